"""The file that keeps a simulated device's flash from one run to the next."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from edgekit.artifact import exclusive, write_bytes
from edgekit.errors import ConfigError


@contextlib.contextmanager
def keeping(file: Path | None) -> Iterator[Callable[[bytes], None]]:
    """Yield what keeps a flash in a file, whole at any time; no other device keeps its flash there meanwhile.

    Args:
        file: The file; None keeps nothing.

    Raises:
        ConfigError: If it is something else, or another device has it, or its folder cannot be written.
    """
    if file is None:
        yield lambda _flash: None
        return
    if file.exists() and not file.is_file():
        raise ConfigError(f"{file}: is no file", "choose another --flash")
    with exclusive(file.with_name(f".{file.name}.lock"), "--flash"):
        yield lambda flash: write_bytes(file, flash)


def read_flash(file: Path | None, size_bytes: int, firmware: bytes) -> bytes | None:
    """Return the flash of an earlier run; None if there is none yet.

    Args:
        file: Where it was kept.
        size_bytes: Size of the flash.
        firmware: What it begins with.

    Raises:
        ConfigError: If it is no flash of this firmware.
    """
    if file is None or not file.exists():
        return None
    data = file.read_bytes()
    if len(data) != size_bytes:
        what = f"{file}: {len(data):,} bytes, the flash has {size_bytes:,}"
        raise ConfigError(what, "give the file of an earlier run, or another name")
    if not data.startswith(firmware):
        what = f"{file}: the flash of a device with another firmware than this build's"
        raise ConfigError(what, "give another name: a new firmware begins with a new flash")
    return data
