"""A self-test that ships with the generated C: inputs, and what the graph makes of them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.emit import banner, render
from edgekit.artifact import write_text
from edgekit.graph import Graph, hears_audio, run

NUMBERS_PER_LINE = 16
FILES = ("edgekit_selftest.c", "Makefile", "CMakeLists.txt", "main.c")
AUDIO_TEMPLATES = {name: f"{name}.j2" for name in FILES}
NETWORK_TEMPLATES = AUDIO_TEMPLATES | {
    "edgekit_selftest.c": "network_selftest.c.j2",
    "main.c": "network_main.c.j2",
}


def write_self_test(
    graph: Graph, inputs: Mapping[str, NDArray[np.integer]], folder: Path, target: str = ""
) -> None:
    """Write edgekit_selftest.c with its vectors, an example main.c, and files for Make and CMake.

    Args:
        graph: The graph.
        inputs: What to compute the expected result from, by tensor name.
        folder: Where the generated C lies.
        target: Name of the target, for the comments that open the files.
    """
    results = run(graph, inputs)
    values: dict[str, object] = {
        "banner": banner(graph, target),
        "make_banner": banner(graph, target, "# "),
    }
    if hears_audio(graph):
        adv = ", ".join(map(str, results[graph.outputs[0]].tolist()))
        pcm = inputs["pcm"]
        finishes = graph.op("level").integer("memory_frames") == 0
        values |= {"finishes": finishes, "adv": adv, "sample_count": pcm.size, "pcm": _lines(pcm)}
    else:
        values["inputs"] = [_lines(_bytes(inputs[name])) for name in graph.inputs]
        values["outputs"] = [_lines(_bytes(results[name])) for name in graph.outputs]
    for name, template in (AUDIO_TEMPLATES if hears_audio(graph) else NETWORK_TEMPLATES).items():
        write_text(folder / name, render(template, values))


def _bytes(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    return np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)


def _lines(values: NDArray[np.integer]) -> str:
    flat = values.ravel()
    rows = [flat[i : i + NUMBERS_PER_LINE].tolist() for i in range(0, flat.size, NUMBERS_PER_LINE)]
    return "\n".join("    " + ", ".join(map(str, row)) + "," for row in rows)
