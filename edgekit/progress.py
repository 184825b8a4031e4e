"""How long work reports where it is, without knowing who shows it."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is in all."""
OF_AUDIO = " (seconds of audio)"
"""Ends what is being done where it is counted in seconds of audio: the pace is shown in real time."""


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""
