"""How fast images get onto a device: python -m benchmarks.flashing [--out FILE].

Runs whole updates against the tests' server, whose line has the pace of a serial one, and writes
benchmarks/flashing.md.
"""

import argparse
import hashlib
import json
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.students.report import line
from edgekit import __version__, artifact
from edgekit.errors import EdgekitError
from edgekit.uploader.device import open_device
from edgekit.uploader.install import Outcome, install
from edgekit.uploader.link import BITS_PER_BYTE
from edgekit.uploader.smp import WRITE, Message, line_bytes

ROOT = Path(__file__).parents[2]
IMAGE_BYTES = 62 * 1024
BAR_S, BAR_RATIO = 9.0, 1.15
INFO: dict[str, Any] = dict.fromkeys(("class", "vendor", "graph", "key", "fit"), bytes(32).hex())
INFO |= {"abi": [1, 0, 0], "floor": 0, "ram": 0}
START_S = 10.0

INTRODUCTION = f"""# Flashing: time against the line

Written by `python -m benchmarks.flashing` with edgekit {__version__}: updates with an image of
{IMAGE_BYTES:,} bytes ({IMAGE_BYTES // 1024} KiB) against `tests/smp_server.py`, whose line takes ten bits for
each byte. *Upload* is erasing, writing and reading back; *update* is everything: also checking, restarting
(0.1 s), testing and confirming. *Line* is what the upload's requests alone take on the line, without replies,
framed in packets of the device's size; the ratio is that of the upload to it.

Bars, without noise at 115,200 baud and buffers of 1,024 bytes: an update in at most {BAR_S:.0f} s, an upload
in at most {BAR_RATIO} times the line.
"""


@dataclass(frozen=True)
class Model:
    """An image that the server takes: it looks at the digest only."""

    data: bytes
    digest: bytes
    number: int = 1


@dataclass(frozen=True)
class Run:
    """One update.

    Attributes:
        baud: Of the line.
        buffer_bytes: Of the device.
        flips: Probability that a byte is damaged, either way.
    """

    baud: int
    buffer_bytes: int
    flips: float = 0.0


RUNS = (
    Run(115_200, 1024),
    Run(115_200, 384),
    Run(115_200, 2048),
    Run(460_800, 1024),
    Run(921_600, 1024),
    Run(115_200, 1024, 1e-5),
    Run(115_200, 1024, 1e-4),
    Run(115_200, 1024, 1e-3),
)


def main() -> int:
    """Measure, write the page; returns the exit code: 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flashing", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "flashing.md")
    args = parser.parse_args()
    model = _model()
    try:
        outcomes = [(run, *_update(run, model)) for run in RUNS]
    except EdgekitError as error:
        print(f"error: {error.what}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    rows = [_row(run, outcome, upload_s, line_s(model, run)) for run, outcome, upload_s in outcomes]
    artifact.write_text(args.out, "\n".join([INTRODUCTION, *_HEAD, *rows, ""]))
    run, outcome, upload_s = outcomes[0]
    return 0 if outcome.duration_s <= BAR_S and upload_s <= BAR_RATIO * line_s(model, run) else 1


_HEAD = (
    line(["baud", "buffer", "flips per byte", "line", "upload", "ratio", "update", "KiB/s", "retries"]),
    line(["---"] * 9),
)


def _row(run: Run, outcome: Outcome, upload_s: float, theory_s: float) -> str:
    took_s = outcome.duration_s
    cells = [
        f"{run.baud:,}",
        f"{run.buffer_bytes:,}",
        f"{run.flips:g}" if run.flips else "none",
        f"{theory_s:.2f} s",
        f"{upload_s:.2f} s",
        f"{upload_s / theory_s:.2f}",
        f"{took_s:.2f} s",
        f"{outcome.image_bytes / 1024 / upload_s:.1f}",
        str(outcome.retries),
    ]
    return line(cells)


def line_s(model: Model, run: Run) -> float:
    """Return how long the requests of an upload take on the line, all of the device's size."""
    head = len(Message(WRITE, 1, 0, 1, {"off": len(model.data), "data": bytes(256)}).encoded()) - 256
    room = run.buffer_bytes - 4 - head
    full, rest = divmod(len(model.data), room)
    count = full * line_bytes(head + room) + (line_bytes(head + rest) if rest else 0)
    return count * BITS_PER_BYTE / run.baud


def _model() -> Model:
    """Return an image with a header, a digest and nothing else."""
    digest_field = 40
    payload = random.Random(0).randbytes(IMAGE_BYTES - 32 - digest_field)  # noqa: S311 -- no secret
    header = struct.pack("<IIHHIIBBHII", 0x96F3B83D, 0, 32, 0, len(payload), 0x10, 1, 0, 0, 0, 0)
    digest = hashlib.sha256(header + payload).digest()
    fields = struct.pack("<HHHH", 0x6907, digest_field, 0x10, 32) + digest
    return Model(header + payload + fields, digest)


def _update(run: Run, model: Model) -> tuple[Outcome, float]:
    """Return how an update ended, and how long the upload in it took."""
    begun_s: dict[str, float] = {}

    def progress(what: str, _done: int, _total: int) -> None:
        begun_s.setdefault(what.partition(" ")[0], time.monotonic())

    noise = {"flips_in": run.flips, "flips_out": run.flips}
    with _served({"baud": run.baud, "buf_size": run.buffer_bytes, **noise}) as port:
        device = open_device(port, run.baud)
        with closing(device.session.link):
            outcome = install(device, model, lambda _: None, progress=progress)
    return outcome, begun_s["restarting"] - begun_s["writing"]


@contextmanager
def _served(config: dict[str, Any]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port, settings = folder / "port", folder / "server.json"
        told = {"link": str(port), "stats": str(folder / "stats"), "info": INFO}
        settings.write_text(json.dumps(told | config))
        process = subprocess.Popen([sys.executable, str(ROOT / "tests" / "smp_server.py"), str(settings)])
        until_s = time.monotonic() + START_S
        while not port.exists() and time.monotonic() < until_s:
            time.sleep(0.01)
        try:
            yield str(port)
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
