"""Ctrl-C during native code that calls back into Python."""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AGAIN_S = 0.05


@contextlib.contextmanager
def interrupts_after(stop: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM take effect when the block ends, not inside it.

    An exception in a Python callback is lost in the native code that called it, and so is what the callback
    should have done. A signal that is ignored, as by what a shell script runs in the background, stays so.

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

    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        signal.raise_signal(arrived[0])


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Have a thread stop native code on Ctrl-C and SIGTERM: their handlers do not run while it does.

    Args:
        stop: Asks the block to end early; called from the signal on, until the block ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    woken, wakes = socket.socketpair()
    with woken, wakes:
        wakes.setblocking(False)
        before = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        watcher = threading.Thread(target=_stop_on_signals, args=(woken, stop))
        watcher.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            wakes.shutdown(socket.SHUT_WR)
            watcher.join()


def _stop_on_signals(woken: socket.socket, stop: Callable[[], None]) -> None:
    asked = False
    while True:
        try:
            numbers = woken.recv(64)
        except TimeoutError:
            numbers = None
        if numbers == b"":
            return
        asked = asked or any(number in SIGNALS for number in numbers or b"")
        if asked:
            # Again and again: native code that is about to begin does not notice.
            woken.settimeout(_AGAIN_S)
            stop()
