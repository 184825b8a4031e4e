"""Ctrl-C during native code that calls back into Python."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def interrupts_after(stop: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM take effect when the block ends, not inside it.

    An exception in a Python callback is lost in the native code that called it, and so is what the callback
    should have done.

    Args:
        stop: Called at once, from the signal handler: asks the block to end early.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def note(number: int, _frame: object) -> None:
        arrived.append(number)
        stop()

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        signal.raise_signal(arrived[0])
