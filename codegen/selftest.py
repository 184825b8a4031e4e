"""A self-test that ships with the generated C: real speech in, the graph's A/D/V expected."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.emit import banner, render
from edgekit.artifact import write_text
from edgekit.graph import Graph, run

NUMBERS_PER_LINE = 16
FILES = ("edgekit_selftest.c", "Makefile", "main.c")


def write_self_test(graph: Graph, pcm: NDArray[np.int16], folder: Path) -> None:
    """Write edgekit_selftest.c with its vectors, a Makefile that builds and runs it, and an example main.c.

    Args:
        graph: The graph.
        pcm: (N,) samples to compute the expected result from.
        folder: Where the generated C lies.
    """
    adv = run(graph, {"pcm": pcm})[graph.outputs[0]]
    values = {
        "banner": banner(graph),
        "causal": graph.op("level").integer("memory_frames") > 0,
        "adv": ", ".join(map(str, adv.tolist())),
        "sample_count": pcm.size,
        "pcm": _lines(pcm),
    }
    for name in FILES:
        write_text(folder / name, render(f"{name}.j2", values))


def _lines(pcm: NDArray[np.int16]) -> str:
    rows = [pcm[i : i + NUMBERS_PER_LINE].tolist() for i in range(0, pcm.size, NUMBERS_PER_LINE)]
    return "\n".join("    " + ", ".join(map(str, row)) + "," for row in rows)
