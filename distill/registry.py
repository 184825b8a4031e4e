"""The students that edgekit can train, and the trained ones that ship with it."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import edgekit
from edgekit.audio import FrontEnd
from edgekit.audio.logmel import Level
from edgekit.errors import ConfigError

if TYPE_CHECKING:
    from distill.student import Student

SHIPPED = Path(edgekit.__file__).parent / "data" / "students"


def _wav2small(name: str, front_end: FrontEnd) -> "Student":
    # Imported late: the pipeline asks for names and folders on every build, and torch takes seconds.
    from distill.wav2small import Wav2Small, Wav2Small2

    network = {"wav2small": Wav2Small, "wav2small2": Wav2Small2}[name]
    return network(front_end, end_padding=False)


def _mobilenet(name: str, front_end: FrontEnd) -> "Student":
    from distill.mobilenet import BACKBONES, MobileNet

    return MobileNet(front_end, BACKBONES[name])


_STUDENTS: dict[str, Callable[[str, FrontEnd], "Student"]] = {
    "wav2small": _wav2small,
    "wav2small2": _wav2small,
    "mobilenetv4-small": _mobilenet,
    "mobilenetv4-medium": _mobilenet,
    "mobilenetv3-small": _mobilenet,
    "mobilenetv3-large": _mobilenet,
}


def student_names() -> list[str]:
    """Return the names of all students, the default first."""
    return list(_STUDENTS)


def require_student(name: str) -> None:
    """Check that a student exists.

    Raises:
        ConfigError: If it does not; the message names the closest one.
    """
    if name in _STUDENTS:
        return
    close = difflib.get_close_matches(name, _STUDENTS, n=1)
    suggestion = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigError(
        f"unknown student {name!r}{suggestion}", f"choose one of {', '.join(student_names())} with --student"
    )


def create_student(name: str, front_end: FrontEnd) -> "Student":
    """Return a new student with random weights; one that can stream, in the form that does.

    Raises:
        ConfigError: If there is no student of that name.
    """
    require_student(name)
    return _STUDENTS[name](name, front_end)


def shipped_student(name: str, level: Level, hop: int = 32) -> Path:
    """Return the folder of the trained student that ships with edgekit.

    Raises:
        ConfigError: If there is no such student, or none was trained for that level normalisation and hop.
    """
    require_student(name)
    folder = SHIPPED / variant_name(name, level, hop)
    if not (folder / "student.safetensors").is_file():
        what = f"no trained {name} with {level} level and hop {hop} ships with edgekit"
        raise ConfigError(what, "use --from-scratch")
    return folder


def shipped_variants() -> list[str]:
    """Return the names of the trained students that ship, see `variant_name`."""
    return sorted(folder.name for folder in SHIPPED.iterdir() if folder.is_dir())


def variant_name(name: str, level: Level, hop: int) -> str:
    """Return what the folder of a trained student is called.

    Example:
        >>> variant_name("wav2small", "causal", 32), variant_name("wav2small", "causal", 128)
        ('wav2small-causal', 'wav2small-hop128-causal')
    """
    return f"{name}-{level}" if hop == 32 else f"{name}-hop{hop}-{level}"
