"""How fast images get onto a device: python -m benchmarks.flashing [--out FILE].

Runs whole updates against the update agent of the firmware, compiled for this computer, at the end of a line
that has the pace of a serial one, and writes benchmarks/flashing.md.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.tables import line
from codegen.update_agent import AGENT, agent_sources, crypto_sources
from edgekit import __version__, artifact
from edgekit.errors import EdgekitError
from edgekit.target import SECTOR_BYTES
from edgekit.targets import load_target
from edgekit.toolchain import compile_host
from edgekit.uploader import image as images
from edgekit.uploader.container import Version
from edgekit.uploader.device import open_device
from edgekit.uploader.facts import Abi, Facts, Needs, class_uuid, vendor_uuid
from edgekit.uploader.image import Image
from edgekit.uploader.install import Outcome, install
from edgekit.uploader.keys import PrivateKey, generate, load_private
from edgekit.uploader.link import BITS_PER_BYTE
from edgekit.uploader.smp import WRITE, Message, line_bytes

ROOT = Path(__file__).parents[2]
IMAGE_BYTES = 62 * 1024
PACKET_BYTES = 1024
BAR_S, BAR_RATIO = 9.0, 1.15
SLOT_BYTES = 18 * SECTOR_BYTES
JOURNAL_BYTES = 2 * SECTOR_BYTES
FITTING = bytes(range(256)) * 32
START_S = 10.0
FACTS = Facts(
    kind="model",
    version=Version(1, 0, 0, 0),
    counter=1,
    vendor=vendor_uuid(),
    device_class=class_uuid("hearing-aid"),
    abi=Abi(1, 0, 1),
    graph=bytes(range(32)),
    needs=Needs(16_384, IMAGE_BYTES, 4, 3),
    provenance=bytes(32),
    firmware=Version(1, 0, 0),
)

INTRODUCTION = f"""# Flashing: time against the line

Written by `python -m benchmarks.flashing` with edgekit {__version__}: updates with a signed image of
{IMAGE_BYTES:,} bytes ({IMAGE_BYTES // 1024} KiB). The device is the update agent in C, compiled for this
computer, behind `tests/bad_line.py`, whose line takes ten bits for each byte. *Upload* is writing and reading
back; *update* is everything: also erasing, checking, restarting, testing and confirming. *Line* is what the
upload's requests alone take on the line, without replies, framed in packets of the agent's size
({PACKET_BYTES:,} bytes); the ratio is that of the upload to it. A *used* slot is erased first, {{erase_ms:g}}
ms for each of its sectors, as the target `hearing-aid` says of its flash. Hashes and signatures are this
computer's work: on the device, checking takes longer (`edgekit device` shows that).

Bars, without noise at 115,200 baud into a blank slot: an update in at most {BAR_S:.0f} s, an upload
in at most {BAR_RATIO} times the line.
"""


@dataclass(frozen=True)
class Run:
    """One update.

    Attributes:
        baud: Of the line.
        used: The slot holds another image.
        flips: Probability that a byte is damaged, either way.
    """

    baud: int
    used: bool = False
    flips: float = 0.0


RUNS = (
    Run(115_200),
    Run(115_200, used=True),
    Run(460_800),
    Run(921_600),
    Run(115_200, flips=1e-5),
    Run(115_200, flips=1e-4),
    Run(115_200, flips=1e-3),
)


def main() -> int:
    """Measure, write the page; returns the exit code: 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flashing", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "flashing.md")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = [(run, *update) for run, update in _measured(Path(folder))]
    except EdgekitError as error:
        print(f"error: {error.what}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    rows = [_row(run, outcome, upload_s) for run, outcome, upload_s in outcomes]
    introduction = INTRODUCTION.format(erase_ms=_erase_ms())
    artifact.write_text(args.out, "\n".join([introduction, *_HEAD, *rows, ""]))
    run, outcome, upload_s = outcomes[0]
    return 0 if outcome.duration_s <= BAR_S and upload_s <= BAR_RATIO * line_s(run) else 1


def _measured(folder: Path) -> Iterator[tuple[Run, tuple[Outcome, float]]]:
    sources = [*agent_sources(), *crypto_sources(), AGENT / "host_device.c", AGENT / "host_main.c"]
    program = compile_host(sources, folder / "agent_host", include=[AGENT], shared=False)
    generate(folder / "key.pem")
    key = load_private(folder / "key.pem")
    old, new, spare = (_model(seed, key) for seed in range(3))
    for run in RUNS:
        flash = JOURNAL_BYTES * b"\xff" + FITTING + _slot(old) + _slot(spare if run.used else b"")
        with _device(program, key, flash, folder) as port, _line(port, run, folder) as far_end:
            yield run, _update(run, far_end, images.parse(new))


_HEAD = (
    line(["baud", "slot", "flips per byte", "line", "upload", "ratio", "update", "KiB/s", "retries"]),
    line(["---"] * 9),
)


def _row(run: Run, outcome: Outcome, upload_s: float) -> str:
    cells = [
        f"{run.baud:,}",
        "used" if run.used else "blank",
        f"{run.flips:g}" if run.flips else "none",
        f"{line_s(run):.2f} s",
        f"{upload_s:.2f} s",
        f"{upload_s / line_s(run):.2f}",
        f"{outcome.duration_s:.2f} s",
        f"{outcome.image_bytes / 1024 / upload_s:.1f}",
        str(outcome.retries),
    ]
    return line(cells)


def line_s(run: Run) -> float:
    """Return how long the requests of an upload take on the line, all of the agent's size."""
    head = len(Message(WRITE, 1, 0, 1, {"off": IMAGE_BYTES, "data": bytes(256)}).encoded()) - 256
    room = PACKET_BYTES - 4 - head
    full, rest = divmod(IMAGE_BYTES, room)
    count = full * line_bytes(head + room) + (line_bytes(head + rest) if rest else 0)
    return count * BITS_PER_BYTE / run.baud


def _model(seed: int, key: PrivateKey) -> bytes:
    """Return a signed model image of exactly IMAGE_BYTES."""
    payload = random.Random(seed).randbytes(IMAGE_BYTES)  # noqa: S311 -- no secret
    around = len(images.sign(payload, FACTS, key)) - IMAGE_BYTES
    facts = replace(FACTS, needs=replace(FACTS.needs, weights_bytes=IMAGE_BYTES - around))
    return images.sign(payload[around:], facts, key)


def _slot(image: bytes) -> bytes:
    return image.ljust(SLOT_BYTES, b"\xff")


def _erase_ms() -> float:
    update = load_target("hearing-aid").update
    assert update is not None  # the target can be updated
    return update.erase_ms


def _update(run: Run, port: str, model: Image) -> tuple[Outcome, float]:
    """Return how an update ended, and how long the upload in it took."""
    begun_s: dict[str, float] = {}

    def progress(what: str, _done: int, _total: int) -> None:
        begun_s.setdefault(what.partition(" ")[0], time.monotonic())

    device = open_device(port, run.baud)
    with closing(device.session.link):
        outcome = install(device, model, lambda _: None, progress=progress)
    return outcome, begun_s["restarting"] - begun_s["writing"]


@contextmanager
def _device(program: Path, key: PrivateKey, flash: bytes, folder: Path) -> Iterator[str]:
    """Run the agent with this flash; yields its port."""
    file, port = folder / "flash.bin", folder / "port"
    file.write_bytes(flash)
    told = {
        "key": key.public.raw.hex(),
        "vendor": FACTS.vendor.hex,
        "class": FACTS.device_class.hex,
        "graph": FACTS.graph.hex(),
        "abi": f"{FACTS.abi.major}.{FACTS.abi.minor}.{FACTS.abi.kernels}",
        "ram": FACTS.needs.ram_bytes,
        "slot": SLOT_BYTES,
        "fitting": len(FITTING),
        "erase_ms": round(_erase_ms()),
        "link": port,
    }
    with _running([str(program), str(file), *(f"{name}={value}" for name, value in told.items())], port):
        yield str(port)


@contextmanager
def _line(port: str, run: Run, folder: Path) -> Iterator[str]:
    """Put a serial line of some pace and noise before a port; yields its other end."""
    far_end, settings = folder / "line", folder / "line.json"
    told = {"device": port, "link": str(far_end), "stats": str(folder / "stats"), "baud": run.baud}
    settings.write_text(json.dumps(told | {"flips_in": run.flips, "flips_out": run.flips}))
    with _running([sys.executable, str(ROOT / "tests" / "bad_line.py"), str(settings)], far_end):
        yield str(far_end)


@contextmanager
def _running(command: list[str], link: Path) -> Iterator[None]:
    """Run a process that makes a link once it is ready."""
    link.unlink(missing_ok=True)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until_s = time.monotonic() + START_S
    while not link.is_symlink() and time.monotonic() < until_s:
        time.sleep(0.01)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
