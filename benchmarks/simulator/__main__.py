"""How fast and how exact the simulator is: python -m benchmarks.simulator [--out FILE] [--cache DIR].

Runs the firmware of the students that ship on simulated cores and writes benchmarks/simulator.md.
The students are those of benchmarks.kernels, from its cache.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernels.graphs import students
from benchmarks.kernels.measure import core
from benchmarks.simulator.counts import BOARD_FUNCTIONS, Boards, both_boards, differences
from benchmarks.simulator.speed import bare, counting
from benchmarks.students.training import show
from benchmarks.tables import line
from codegen.emit import emit_sources, model_sources
from codegen.toolchain import compile_firmware
from edgekit import __version__
from edgekit.audio import DEFAULT_AUDIO, SAMPLE_RATE_HZ, find_audio, read_audio, to_pcm16
from edgekit.errors import EdgekitError
from edgekit.graph import Graph
from edgekit.target import Target

SPEED_S = 10
COUNTED_S = (0.5, 1.0, 2.0)
LEAST_M_PER_S, MOST_S = 30, 6

INTRODUCTION = f"""# The simulator: speed and counts

Written by `python -m benchmarks.simulator` with edgekit {__version__}, on speech that ships.

- Bars: at least {LEAST_M_PER_S} million simulated instructions per second with cycles by layer, and one
  second of audio through wav2small in at most {MOST_S} s, on a machine of 2 processors; this one has
  {{cpus}}, and a load of {{load:.1f}} while this was measured.
- Each time is the least of three runs, by the wall and by the processor. A second of audio includes reading
  the firmware and its costs.
- Where loads from flash wait, every load of the core is slower to simulate: they are counted one by one.
- *Bare* is unicorn with the same memories and audio, nothing counted and no fault caught, in the same run.
"""
COUNTS = """## Instructions: unicorn and QEMU

The same engine on a Cortex-M33, on unicorn's board of registers and on QEMU's board of files (`mps2-an505`).
QEMU's own count, of what its decoder translated, equals the sum of our table in every run, or the run is an
error. All that differs between the two is in the functions of the boards; in `main` and in every function of
the engine, the counts are the same.
"""


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/simulator.md"))
    parser.add_argument("--cache", type=Path, default=Path(".benchmarks/kernels"))
    args = parser.parse_args()
    try:
        args.out.write_text(_page(students(args.cache)), encoding="utf-8")
    except EdgekitError as error:
        print(f"error: {error.what}\nhint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)


def _page(graphs: dict[str, Graph]) -> str:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        speed = _speed_part(graphs, work)
        counts = _counts_part(graphs, work)
    introduction = INTRODUCTION.format(cpus=os.cpu_count(), load=os.getloadavg()[0])
    return "\n".join([introduction, speed, counts])


def _speech(seconds: float) -> NDArray[np.int16]:
    clips = (to_pcm16(read_audio(path)) for path in find_audio([DEFAULT_AUDIO]))
    found: list[NDArray[np.int16]] = []
    wanted = round(seconds * SAMPLE_RATE_HZ)
    while sum(map(len, found)) < wanted:
        found.append(next(clips))
    return np.concatenate(found)[:wanted]


def _speed_part(graphs: dict[str, Graph], work: Path) -> str:
    head = [
        "student",
        "core",
        "simulated by",
        "M instructions per s of audio",
        "s per s of audio",
        "of processor",
    ]
    head += ["M instructions per s", "per s of processor", "bare, per s of processor", "counting by bare"]
    rows = [line(head), line(["---"] * len(head))]
    for title, graph in graphs.items():
        for name in ("m33", "m4", "m55"):
            show(f"speed of {title}", 0, 1)
            label = core(name).label
            if core(name).target.timing.data_wait_cycles:
                label += ", waits of flash"
            rows.append(_speed_row(title, graph, core(name).target, label, work))
    return "## Speed\n\n" + "\n".join(rows) + "\n"


def _speed_row(title: str, graph: Graph, target: Target, label: str, work: Path) -> str:
    elf = _firmware(graph, target, work)
    second, instructions = counting(elf, target, _speech(1))
    long, executed = counting(elf, target, _speech(SPEED_S))
    cells = [title, label, target.core.simulator, f"{instructions / 1e6:.1f}"]
    cells += [f"**{second.wall_s:.2f}**", f"{second.cpu_s:.2f}"]
    cells += [f"**{executed / long.wall_s / 1e6:.0f}**", f"{executed / long.cpu_s / 1e6:.0f}"]
    if target.core.simulator == "qemu":
        return line([*cells, "", ""])
    alone = bare(elf, target, _speech(SPEED_S))
    return line([*cells, f"{executed / alone.cpu_s / 1e6:.0f}", f"{long.cpu_s / alone.cpu_s:.2f}"])


def _firmware(graph: Graph, target: Target, work: Path) -> Path:
    for name, text in emit_sources(graph, target.audio.sample_rate_hz, target.core.instructions).items():
        (work / name).write_text(text, encoding="utf-8")
    return compile_firmware(model_sources(work), [work], target, work / "firmware.elf")


def _counts_part(graphs: dict[str, Graph], work: Path) -> str:
    head = ["student", "audio, s", "unicorn", "QEMU, its own count", "difference"]
    head += [f"`{name}`" for name in BOARD_FUNCTIONS] + ["all others"]
    rows = [line(head), line(["---"] * len(head))]
    for title, graph in graphs.items():
        boards = both_boards(graph, work)
        for seconds in COUNTED_S:
            show(f"counts of {title}", 0, 1)
            rows.append(_counts_row(title, boards, seconds))
    return COUNTS + "\n" + "\n".join(rows) + "\n"


def _counts_row(title: str, boards: Boards, seconds: float) -> str:
    pcm = _speech(seconds)
    here, there = boards.in_unicorn(pcm), boards.in_qemu(pcm)
    more = differences(here, there)
    ours, own = here.result.instructions, there.result.instructions
    assert ours is not None
    assert own is not None
    cells = [title, f"{seconds:g}", f"{ours:,}", f"{own:,}", f"{own - ours:+,}"]
    cells += [f"{more.get(name, 0):+,}" for name in BOARD_FUNCTIONS]
    return line([*cells, f"{sum(more[name] for name in more if name not in BOARD_FUNCTIONS):+,}"])


if __name__ == "__main__":
    main()
