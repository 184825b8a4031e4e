"""The errors that are the user's, the model's or the device's doing, each with its exit code.

An `EdgekitError` prints as one line and a hint naming the next command to run, without a traceback.
Anything else that escapes is a bug in edgekit and keeps its traceback.
"""

from collections.abc import Sequence


class EdgekitError(Exception):
    """What was wrong, where, and what to do next.

    Args:
        what: One sentence: what was wrong and where.
        hint: The next command or change that mends it; empty only where nothing helps.

    Example:
        >>> error = AudioError("clip.wav: no samples", "record it again")
        >>> str(error), error.hint, error.exit_code
        ('clip.wav: no samples', 'record it again', 7)
    """

    exit_code = 2
    details: tuple[str, ...] = ()
    """Lines to print below: what led there."""

    def __init__(self, what: str, hint: str = "") -> None:
        # Both go to Exception.args: errors cross process pools, and pickle rebuilds from args.
        super().__init__(what, hint)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return self.what


class ConfigError(EdgekitError):
    """A wrong option, path or configuration."""

    exit_code = 2


class TargetError(EdgekitError):
    """An unknown or impossible target."""

    exit_code = 3


class BudgetError(EdgekitError):
    """A budget is exceeded; the build is complete."""

    exit_code = 4


class ArtifactError(EdgekitError):
    """An artifact is damaged, stale or foreign."""

    exit_code = 5


class UnsupportedError(EdgekitError):
    """An operator or model that edgekit does not support."""

    exit_code = 6


class AudioError(EdgekitError):
    """Audio or label input that cannot be used."""

    exit_code = 7


class ParityError(EdgekitError):
    """Two back ends that must agree do not."""

    exit_code = 8


class SimulationError(EdgekitError):
    """The firmware faulted or hung on the simulated core.

    Args:
        what: What happened and where.
        hint: What to do next.
        details: The call stack and the registers, line by line.
    """

    exit_code = 8

    def __init__(self, what: str, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(what, hint)
        self.details = tuple(details)
        self.args = (what, hint, self.details)


class PortError(EdgekitError):
    """No serial port, more than one to choose from, or a path that is none."""

    exit_code = 10


class PortPermissionError(EdgekitError):
    """A serial port that this user may not open."""

    exit_code = 11


class PortBusyError(EdgekitError):
    """A serial port that another program holds."""

    exit_code = 12


class NoAnswerError(EdgekitError):
    """Nothing that speaks SMP answers on the port."""

    exit_code = 13


class LinkLostError(EdgekitError):
    """A device that answered answers no more; the same command resumes."""

    exit_code = 14


class ImageError(EdgekitError):
    """An update image is damaged, incomplete or not signed."""

    exit_code = 20


class WrongKeyError(ImageError):
    """An image is signed with another key than the device accepts."""

    exit_code = 21


class WrongTargetError(ImageError):
    """An image is for another class of device."""

    exit_code = 22


class WrongGraphError(ImageError):
    """An image needs another firmware: its graph, ABI or firmware version differs."""

    exit_code = 23


class TooBigError(ImageError):
    """An image does not fit into the device's slot or memory."""

    exit_code = 24


class DowngradeError(ImageError):
    """An image's security counter is below that of the device."""

    exit_code = 25


class VerifyError(EdgekitError):
    """What the device holds is not what was sent."""

    exit_code = 30


class DeviceError(EdgekitError):
    """The device failed: its flash, or a command that it refused."""

    exit_code = 31


class RevertedError(EdgekitError):
    """The device went back to the old image."""

    exit_code = 32


INTERRUPTED_EXIT_CODE = 130
