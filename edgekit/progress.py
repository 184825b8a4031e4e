"""How long work reports where it is, without knowing who shows it."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is in all."""
OF_AUDIO = " (seconds of audio)"
"""Ends what is being done where it is counted in seconds of audio: the pace is shown in real time."""

IN_BYTES = " (bytes)"
"""Ends what is being done where bytes are counted: the pace is shown in KiB/s."""
NOTE = "; "
"""Separates what is being done from a remark that changes meanwhile: the number of retries, for example."""


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""
