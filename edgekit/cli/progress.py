"""Progress on standard error: live bars on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

from edgekit.progress import IN_BYTES, NOTE, OF_AUDIO, Progress

if TYPE_CHECKING:
    # Importing rich takes longer than `edgekit --help` may.
    from rich.progress import Progress as Bars
    from rich.progress import Task

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
        what, _, note = what.partition(NOTE)
        if what != self.what:
            self.what, self.start = what, (now, done)
        elif total <= 1 or (done < total and now - self.shown_s < PLAIN_INTERVAL_S):
            return
        self.shown_s = now
        elapsed_s, first = now - self.start[0], self.start[1]
        count = with_note(shown_count(elapsed_s, first, done, total, what), note)
        self.stream.write(f"{what}{count}\n")
        self.stream.flush()


def shown_count(elapsed_s: float, first: int, done: int, total: int, what: str = "") -> str:
    """Return how much is done, and how long the rest takes at the pace since the phase began at `first`.

    Where `what` says that seconds of audio or bytes are counted, the pace is shown as well.

    Example:
        >>> shown_count(10.0, 90, 95, 100), shown_count(0.0, 0, 0, 8), shown_count(1.0, 0, 0, 1)
        (' 95/100, 10 s left', ' 0/8', '')
        >>> shown_count(2.0, 0, 16384, 32768, f"writing{IN_BYTES}")
        ' 16,384/32,768, 50 %, 8.0 KiB/s, 2 s left'
        >>> shown_count(2.0, 0, 50, 100, f"labelling{OF_AUDIO}")
        ' 50/100, 25 x real time, 2 s left'
    """
    if total <= 1:
        return ""
    count, moved = f" {done}/{total}", done - first
    if what.endswith(IN_BYTES):
        count = f" {done:,}/{total:,}, {100 * done // total} %"
        if moved > 0 and elapsed_s > 0:
            count += f", {moved / elapsed_s / 1024:.1f} KiB/s"
    if moved <= 0:
        return count
    if what.endswith(OF_AUDIO) and elapsed_s > 0:
        count += f", {moved / elapsed_s:.3g} x real time"
    return count if done >= total else f"{count}, {format_s(elapsed_s * (total - done) / moved)} left"


def with_note(count: str, note: str) -> str:
    """Return a count with a remark behind it.

    Example:
        >>> with_note(" 1/8", "2 retries"), with_note(" 1/8", "")
        (' 1/8, 2 retries', ' 1/8')
    """
    return f"{count}, {note}" if note else count


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
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(20),
        TimeElapsedColumn(),
        TextColumn("{task.fields[count]}", markup=False),
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
        self.task: Task | None = None
        self.first = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show `done` of `total`; a phase of one step moves to and fro."""
        what, _, note = what.partition(NOTE)
        if self.task is None or what != self.task.description:
            self.finish()
            number = self.bars.add_task(what, total=total if total > 1 else None, count="")
            self.task = next(task for task in self.bars.tasks if task.id == number)
            self.first = done
        count = shown_count(self.task.elapsed or 0.0, self.first, done, total, what)
        self.bars.update(self.task.id, completed=done, count=with_note(count, note))

    def finish(self) -> None:
        """End the running phase: its bar becomes a line."""
        if self.task is None:
            return
        elapsed_s = self.task.elapsed or 0.0
        took = f" ({format_s(elapsed_s)})" if elapsed_s >= 1 else ""
        self.bars.remove_task(self.task.id)
        self.bars.console.print(f"{self.task.description}{took}", markup=False)
        self.task = None
