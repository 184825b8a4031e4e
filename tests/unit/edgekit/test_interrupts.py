import ctypes
import signal
import threading
import time

import pytest

from edgekit.interrupts import SIGNALS, interrupts_after, stopped_by_signals

CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def sort(count: int, seen: list[int], number: signal.Signals) -> None:
    """Have C call back `count` times or so, and a signal arrive in the third call."""

    @CALLBACK
    def compare(_one: int, _other: int) -> int:
        seen.append(len(seen))
        if len(seen) == 3:
            signal.raise_signal(number)
        return 0

    ctypes.CDLL(None).qsort(ctypes.create_string_buffer(count), count, 1, compare)


def test_ctrl_c_in_a_callback_loses_nothing():
    seen: list[int] = []

    def run() -> None:
        with interrupts_after():
            sort(64, seen, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(seen) > 3


def test_stop_is_called_at_once_and_earlier_handlers_come_back():
    stopped: list[int] = []
    handled: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: handled.append(number))
    try:
        with interrupts_after(lambda: stopped.append(1)):
            signal.raise_signal(signal.SIGTERM)
            assert (stopped, handled) == ([1], [])
        assert handled == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_without_a_signal_nothing_happens():
    before = signal.getsignal(signal.SIGINT)
    with interrupts_after():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_in_the_block_comes_first_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGINT)

    def run() -> None:
        with interrupts_after():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("block")

    with pytest.raises(ValueError, match="block"):
        run()
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_it_stays_out_of_the_way():
    done: list[bool] = []

    def run() -> None:
        with interrupts_after():
            done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_native_code_that_calls_nothing_is_stopped(number: signal.Signals):
    flag = threading.Event()
    handled: list[int] = []
    before = signal.signal(number, lambda found, _: handled.append(found))
    try:
        with stopped_by_signals(flag.set):
            signal.raise_signal(number)
            assert flag.wait(10)
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(number, before)


def test_other_threads_have_no_signals_to_be_stopped_by():
    def run() -> None:
        with stopped_by_signals(lambda: None):
            done.append(signal.getsignal(signal.SIGINT))

    done: list[object] = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(done) == 1


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_ignored_stops_nothing(number):
    stopped = []
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with interrupts_after(lambda: stopped.append(1)), stopped_by_signals(lambda: stopped.append(2)):
            signal.raise_signal(number)
            time.sleep(0.1)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert stopped == []
