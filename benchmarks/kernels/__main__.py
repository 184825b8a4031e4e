"""What the kernels cost beside other engines: python -m benchmarks.kernels [--out FILE] [--cache DIR].

Generates C for single layers and whole networks, runs it on the simulated cores and writes
benchmarks/kernels.md, in some ten minutes. The imported networks are read from EDGEKIT_SHARED (without it
../shared).
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.kernels import peers
from benchmarks.kernels.graphs import imported, layers, students
from benchmarks.kernels.measure import CORES, Cost, build_time, core, run_network, run_student
from benchmarks.students.training import show
from benchmarks.tables import line
from benchmarks.teachers.features import shared_folder
from edgekit import __version__
from edgekit.errors import EdgekitError
from edgekit.graph.cost import macs

INTRODUCTION = f"""# Kernels: instructions of ours and of other engines

Written by `python -m benchmarks.kernels`; every figure of edgekit {__version__} comes from that run, each
result compared with the reference, bit for bit.

- Instructions are counted one by one: Cortex-M4 and M33 in edgekit's simulator (unicorn), Cortex-M55 in QEMU.
- *Portable*: edgekit's own kernels in plain C, on the same core without its DSP or vector instructions.
- Peers, counted in QEMU too: CMSIS-NN at 99f736a with gcc 12 -Ofast; naive C with gcc 12; TFLite Micro at
  90b983c, -O2. Their figures are from measurements beside this run.
- Maps are (time, mel, channels); the 26 x 100 of the peers are our 100 rows of 26. Weights are random,
  results of 8 bits. Per MAC: instructions by the plain layer's multiply-accumulates, padding included,
  whatever a kernel really multiplies.
"""

BLOCK = core("m33").target.audio.block_samples
STUDENTS = f"""- After hours: the same second of speech, with sums of more than 32 bits in the pooling.
- RAM: state, stack and the board's block of {BLOCK} samples; the larger of both seconds.
- Worst block by mean: of the target's blocks of {BLOCK} samples.

"""
BUILD = """Writing the C of {title}, and compiling it for the Cortex-M33, with empty caches:
{wall:.1f} s by the clock, {cpu:.1f} s of processor time, on this machine ({processor}).
"""


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/kernels.md"))
    parser.add_argument("--cache", type=Path, default=Path(".benchmarks/kernels"))
    args = parser.parse_args()
    try:
        args.out.write_text(_page(args.cache), encoding="utf-8")
    except EdgekitError as error:
        print(f"error: {error.what}\nhint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)


def _page(cache: Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        parts = [INTRODUCTION, _layer_part(work), _network_part(work), _student_part(work, cache)]
    return "\n".join(parts)


def _layer_part(work: Path) -> str:
    head = ["layer", "MACs"]
    for name in CORES:
        head += [f"{core(name).label}, edgekit", "portable", "CMSIS-NN", "naive C"]
    rows = [line(head), line(["---"] * len(head))]
    graphs = layers()
    for done, (title, graph) in enumerate(graphs.items()):
        show(f"layer {title}", done, len(graphs))
        (work_macs,) = macs(graph, {"y": np.zeros(graph.tensors["y"].shape, np.int8)}).values()
        cells = [title, f"{work_macs:,}"]
        for name in CORES:
            ours, portable = (run_network(graph, core(name), work, portable=plain) for plain in (False, True))
            theirs = peers.LAYERS[title]
            cells += [f"**{ours.instructions / work_macs:.2f}**", f"{portable.instructions / work_macs:.2f}"]
            cells += [_known(theirs.cmsis_nn.get(name)), _known(theirs.naive.get(name))]
        rows.append(line(cells))
    return "## Instructions per multiply-accumulate, layer by layer\n\n" + "\n".join(rows) + "\n"


def _known(figure: float | None) -> str:
    return "" if figure is None else f"{figure:g}"


def _network_part(work: Path) -> str:
    head = [
        "network",
        "core",
        "instructions",
        "peers",
        "arena, bytes",
        "peers",
        "code, bytes",
    ]
    rows = [line(head), line(["---"] * len(head))]
    shared = shared_folder()
    for title, graph in imported(shared).items():
        for name in CORES:
            show(f"network {title}", 0, 1)
            cost = run_network(graph, core(name), work)
            theirs = peers.NETWORKS[title]
            instructions, arena = theirs.instructions.get(name), theirs.arena_bytes.get(name)
            cells = [title, core(name).label, f"**{cost.instructions:,}**"]
            cells += ["" if instructions is None else f"{instructions:,}"]
            cells += [f"**{cost.arena_bytes:,}**", "" if arena is None else f"{arena:,}"]
            cells += [f"{cost.code_bytes:,}"]
            rows.append(line(cells))
    note = (
        "\nPeers: TFLite Micro with CMSIS-NN. Its code for kws_ref_model on the M4: 104.6 KB, no weights.\n"
    )
    return "## Whole networks, one run\n\n" + "\n".join(rows) + "\n" + note


def _student_part(work: Path, cache: Path) -> str:
    head = [
        "student",
        "core",
        "M instructions per s of audio",
        "M cycles, modelled, first second",
        "after hours",
        "RAM, bytes",
        "code and tables without weights, bytes",
        "weights, bytes",
        "worst block by mean",
    ]
    rows = [line(head), line(["---"] * len(head))]
    graphs = students(cache)
    for title, graph in graphs.items():
        for name in CORES:
            show(f"student {title}", 0, 1)
            rows.append(_student_row(title, name, run_student(graph, core(name), work)))
    first = next(iter(graphs))
    show(f"build {first}", 0, 1)
    seconds = build_time(graphs[first], core("m33"), work)
    build = BUILD.format(title=first, wall=seconds.wall_s, cpu=seconds.cpu_s, processor=_processor())
    return "## Students, front end included\n\n" + STUDENTS + "\n".join(rows) + "\n\n" + build


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    cores = os.cpu_count()
    return f"{name}, {cores} cores, load {os.getloadavg()[0]:.1f}"


def _student_row(title: str, name: str, cost: Cost) -> str:
    cells = [title, core(name).label, f"{cost.instructions / 1e6:.1f}", cost.modelled, cost.modelled_later]
    cells += [
        f"{cost.ram_bytes:,}",
        f"{cost.code_bytes:,}",
        f"{cost.weight_bytes:,}",
        f"{cost.worst_by_mean:.2f}",
    ]
    return line(cells)


if __name__ == "__main__":
    main()
