"""What tests of devices on a serial line share, whatever answers there."""

import contextlib
import json
import os
import pty
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

START_S = 20


class LinkedProcess:
    """A process of a script with settings, and the link to the terminal that it makes.

    Args:
        script: The script; it takes the path of its settings.
        settings: Where these are written.
        told: The settings; `link` and `stats` are paths that the script makes.
    """

    def __init__(self, script: str, settings: Path, told: Mapping[str, Any]) -> None:
        self.link, self.stats = Path(told["link"]), Path(told["stats"])
        settings.write_text(json.dumps(told))
        self.process = subprocess.Popen([sys.executable, script, settings])
        until_s = time.monotonic() + START_S
        while not self.link.exists():
            assert self.process.poll() is None
            assert time.monotonic() < until_s
            time.sleep(0.01)

    @property
    def port(self) -> str:
        return str(self.link)

    def stop(self) -> dict[str, Any]:
        """End it; return what it counted."""
        self.process.terminate()
        assert self.process.wait(START_S) == 0
        return json.loads(self.stats.read_text())


def started(*words: object, **options: Any) -> subprocess.Popen[str]:
    """Start the command line as a process of its own."""
    command = [sys.executable, "-m", "edgekit.cli", *map(str, words)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


def bars_until(wanted: bytes, port: str) -> tuple[int, bytes]:
    """Run `edgekit monitor` on a terminal until it has shown that, end it; return exit code and output."""
    master, slave = pty.openpty()
    process = started("monitor", "--port", port, stdout=slave)
    shown, until_s = b"", time.monotonic() + START_S
    while wanted not in shown and time.monotonic() < until_s:
        if select.select([master], [], [], 0.2)[0]:
            shown += os.read(master, 4096)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=START_S)
    os.close(master)
    os.close(slave)
    return process.returncode, shown


@contextlib.contextmanager
def no_longer_than(limit_s: int) -> Iterator[None]:
    """Fail what takes longer."""

    def late(*_: object) -> None:
        raise AssertionError(f"hangs for {limit_s} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(limit_s)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def rate(rng: random.Random, low: float, high: float) -> float:
    """Return a rate between two, drawn evenly on a logarithmic scale."""
    return low * (high / low) ** rng.random()


def line_faults(rng: random.Random, image_bytes: int) -> dict[str, Callable[[], Any]]:
    """Return name to what draws the value of each fault that a line can have."""
    return {
        "flips_in": lambda: rate(rng, 1e-5, 1e-3),
        "flips_out": lambda: rate(rng, 1e-5, 1e-3),
        "drops_in": lambda: rate(rng, 1e-5, 3e-4),
        "drops_out": lambda: rate(rng, 1e-5, 3e-4),
        "duplicates": lambda: rate(rng, 0.01, 0.1),
        "merges": lambda: rate(rng, 0.005, 0.05),
        "log": lambda: rate(rng, 0.05, 0.5),
        "stale": lambda: rate(rng, 0.05, 0.5),
        "lost": lambda: rate(rng, 0.01, 0.1),
        "lose": lambda: rng.sample(["first", "middle", "last"], rng.randint(1, 3)),
        "reset_at": lambda: rng.randrange(image_bytes),
        "vanish_at": lambda: rng.randrange(image_bytes),
    }
