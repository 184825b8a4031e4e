"""Progress on standard error: live bars on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

from edgekit.progress import Progress

if TYPE_CHECKING:
    # Importing rich takes longer than `edgekit --help` may.
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PLAIN_INTERVAL_S = 5.0


@contextlib.contextmanager
def showing_progress() -> Iterator[Progress]:
    """Yield the callback that shows progress; finished phases stay as lines."""
    if not sys.stderr.isatty():
        yield PlainProgress(sys.stderr, time.monotonic)
        return
    with _bars() as bars:
        live = LiveProgress(bars)
        try:
            yield live
        finally:
            live.finish()


class PlainProgress:
    """One line when a phase starts, one every few seconds, one when it ends.

    Args:
        stream: Where the lines go.
        clock_s: A monotonic clock in seconds.
    """

    def __init__(self, stream: TextIO, clock_s: Callable[[], float]) -> None:
        self.stream = stream
        self.clock_s = clock_s
        self.what = ""
        self.start = (0.0, 0)
        self.shown_s = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show `done` of `total`, if it is time to."""
        now = self.clock_s()
        if what != self.what:
            self.what, self.start = what, (now, done)
        elif done < total and now - self.shown_s < PLAIN_INTERVAL_S:
            return
        self.shown_s = now
        left = time_left_s(now - self.start[0], done - self.start[1], total - done)
        count = f" {done}/{total}" if total > 1 else ""
        self.stream.write(f"{what}{count}{'' if left is None else f', {format_s(left)} left'}\n")
        self.stream.flush()


def time_left_s(elapsed_s: float, done: int, left: int) -> float | None:
    """Return how long the rest takes at the pace so far; None at the end or before there is a pace.

    Example:
        >>> time_left_s(10.0, 5, 10)
        20.0
    """
    return elapsed_s * left / done if done > 0 and left > 0 else None


def format_s(seconds: float) -> str:
    """Return a duration for people.

    Example:
        >>> format_s(4.2), format_s(83)
        ('4 s', '1 min 23 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _bars() -> "Bars":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )


class LiveProgress:
    """A bar for the phase that runs, a line with its duration for every phase that is over.

    Args:
        bars: The live display, already started.
    """

    def __init__(self, bars: "Bars") -> None:
        self.bars = bars
        self.task: TaskID | None = None
        self.what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show `done` of `total`."""
        if self.task is None or what != self.what:
            self.finish()
            self.what, self.task = what, self.bars.add_task(what, total=total, completed=done)
        self.bars.update(self.task, completed=done, total=total)

    def finish(self) -> None:
        """End the running phase: its bar becomes a line."""
        if self.task is None:
            return
        task = next(task for task in self.bars.tasks if task.id == self.task)
        elapsed_s = task.elapsed or 0.0
        took = f" ({format_s(elapsed_s)})" if elapsed_s >= 1 else ""
        self.bars.remove_task(self.task)
        self.task = None
        self.bars.console.print(f"{self.what}{took}", markup=False)
