"""The serial port: opening it, sending packets, receiving them until a deadline."""

import errno
import os
import select
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edgekit.errors import EdgekitError, LinkLostError, PortBusyError, PortError, PortPermissionError
from edgekit.uploader.smp import Deframer, to_lines

if TYPE_CHECKING:
    from serial import Serial

BAUD = 115_200
BITS_PER_BYTE = 10
"""On the line: a start bit, eight of data, a stop bit."""
WRITE_TIMEOUT_S = 1.0
REOPEN_S = 5.0
REOPEN_INTERVAL_S = 0.1
_NOT_ALLOWED = (errno.EACCES, errno.EPERM)
_BUSY = (errno.EBUSY, errno.EAGAIN)
_NOT_THERE = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO)
_READ_BYTES = 4096


class Link:
    """A serial port that nobody else may use meanwhile.

    Args:
        path: Of the port.
        baud: Bits per second.

    Raises:
        PortError: If there is no such port, or it is none.
        PortPermissionError: If this user may not open it.
        PortBusyError: If another program holds it.
    """

    def __init__(self, path: str, baud: int = BAUD) -> None:
        self.path = path
        self.baud = baud
        self._deframer = Deframer()
        self._packets: Iterator[bytes] = iter(())
        self._serial = _open(path, baud)

    def __enter__(self) -> "Link":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the port back."""
        self._serial.close()

    def line_s(self, count: int) -> float:
        """Return how long so many bytes take on the line."""
        return count * BITS_PER_BYTE / self.baud

    def send(self, packet: bytes) -> None:
        """Send a packet, behind a newline that ends whatever the device has read of a damaged line.

        Raises:
            LinkLostError: If the port has gone.
        """
        import serial

        try:
            self._serial.write(b"\n" + to_lines(packet))
        except serial.SerialTimeoutException:
            # The device does not read, so it will not answer either: the sender waits, then tries again.
            return
        except OSError as error:
            raise _lost(self.path, error) from error

    def receive(self, deadline_s: float) -> bytes | None:
        """Return the next whole packet, or None if none is there when the clock reaches `deadline_s`.

        Raises:
            LinkLostError: If the port has gone.
        """
        while (packet := next(self._packets, None)) is None:
            wait_s = deadline_s - time.monotonic()
            if wait_s <= 0:
                return None
            try:
                # Not by pyserial's timeout: setting it configures the port anew each time.
                if select.select([self._serial], [], [], wait_s)[0]:
                    self._packets = self._deframer.feed(self._serial.read(_READ_BYTES))
            except OSError as error:
                raise _lost(self.path, error) from error
        return packet

    def reopen(self) -> None:
        """Open the port again, waiting for a while until it is back: it goes where USB devices restart.

        Raises:
            LinkLostError: If it stays away.
        """
        self.close()
        until_s = time.monotonic() + REOPEN_S
        while True:
            try:
                self._serial = _open(self.path, self.baud)
            except (PortError, PortPermissionError) as error:
                # Permissions are set a moment after the port appears.
                if time.monotonic() > until_s:
                    raise LinkLostError(f"{self.path} has gone: {error.what}", _RESUME) from error
                time.sleep(REOPEN_INTERVAL_S)
            else:
                self._deframer, self._packets = Deframer(), iter(())
                return


_RESUME = "check the cable, then run the same command again: it resumes"


def _lost(path: str, error: OSError) -> LinkLostError:
    return LinkLostError(f"{path} has gone: {error.strerror or error}", _RESUME)


def _open(path: str, baud: int) -> "Serial":
    import serial

    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISCHR(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "a file"
            raise PortError(f"{path}: {kind}, not a serial port", "run edgekit ports")
        return serial.Serial(path, baud, timeout=0, write_timeout=WRITE_TIMEOUT_S, exclusive=True)
    except OSError as error:
        raise _not_opened(path, error) from error
    except ValueError as error:
        raise PortError(f"{path}: {error}", "choose another --baud") from error


def _not_opened(path: str, error: OSError) -> EdgekitError:
    number, text = _cause(error)
    if number in _NOT_ALLOWED:
        hint = "join the group that owns the port (dialout or uucp), then log in again"
        return PortPermissionError(f"{path}: {text}", hint)
    if number in _BUSY:
        hint = "close the terminal or other program that uses it"
        return PortBusyError(f"{path} is used by another program: {text}", hint)
    if number == errno.ENOTTY:
        return PortError(f"{path}: not a serial port: {text}", "run edgekit ports")
    if number in _NOT_THERE:
        return PortError(f"{path}: no such port: {text}", "check the cable, then run edgekit ports")
    return PortError(f"{path}: {text}", "run edgekit ports")


def _cause(error: BaseException) -> tuple[int | None, str]:
    """Return number and text of the operating system's error, which pyserial wraps now and then."""
    cause: BaseException | None = error
    while cause is not None:
        # termios.error has both as plain arguments.
        match cause.args:
            case (int(number), str(_)):
                return number, os.strerror(number)
        cause = cause.__context__
    return None, str(error)
