"""An int8 .tflite from elsewhere as an artifact of the quantize stage: the same integers, and the proof."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.errors import ArtifactError
from edgekit.progress import Progress, silent
from quantize.stage import STAGE

if TYPE_CHECKING:
    from edgekit.graph import Graph
    from edgekit.graph.parity import LayerParity

Array = NDArray[np.int8]
RANDOM_INPUTS = 20
LITERT, MICRO = "litert", "tflite-micro"


def adopt(
    model: Path, out: Path, runtime: Literal["micro", "litert"] = "micro", progress: Progress = silent
) -> Artifact:
    """Import an int8 .tflite, integer for integer.

    Writes graph.json, weights.npz, graph.txt, model.tflite as it was, and parity.json: every layer against
    LiteRT's reference kernels and, where it is installed, the results against TFLite Micro, on random inputs.

    Args:
        model: The file.
        out: Folder to write.
        runtime: Whose rounding the graph follows where the two differ (see `tflite_reader.read_tflite`).
        progress: Told how many inputs were compared.

    Raises:
        ArtifactError: If there is no such file.
        UnsupportedError: If an operator cannot be imported.
        ParityError: If the graph computes other integers than a runtime.
    """
    from edgekit.graph import save_graph, to_text
    from edgekit.graph.parity import merge, require_parity
    from quantize.tflite_reader import read_tflite

    if not model.is_file():
        raise ArtifactError(f"{model}: no such file", "name an int8 .tflite")
    inputs, params = {"model": artifact.sha256_file(model)}, {"runtime": runtime}
    with artifact.writing(out, STAGE, inputs, params) as work:
        graph = read_tflite(model, runtime)
        save_graph(graph, work)
        artifact.write_text(work / "graph.txt", to_text(graph) + "\n")
        artifact.write_bytes(work / "model.tflite", model.read_bytes())
        rows = merge(list(_rows(model, progress)))
        require_parity(rows)
        artifact.write_json(work / "parity.json", {"layers": [row.to_dict() for row in rows]})
    return artifact.read(out, STAGE)


def _rows(model: Path, progress: Progress) -> Iterator["LayerParity"]:
    """Compare on random inputs: each runtime with the graph that follows it."""
    from edgekit.graph import run
    from edgekit.graph.parity import compare
    from quantize.tflite_reader import read_tflite

    litert, graph = _Litert(model), read_tflite(model, "litert")
    micro, followed = _micro(model), read_tflite(model, "micro")
    output = followed.outputs[0]
    for number in range(RANDOM_INPUTS):
        progress("compare runtimes", number, RANDOM_INPUTS)
        fed = _random_inputs(graph, np.random.default_rng(number))
        values, found = run(graph, fed), litert(graph, fed)
        for op in graph.ops:
            if op.outputs[0] in found:
                yield compare(LITERT, op.name, values[op.outputs[0]], found[op.outputs[0]])
        if micro is not None:
            expected = run(followed, fed)[output]
            yield compare(MICRO, "whole", expected, micro(list(fed.values())).reshape(expected.shape))
    progress("compare runtimes", RANDOM_INPUTS, RANDOM_INPUTS)


def _random_inputs(graph: "Graph", rng: np.random.Generator) -> dict[str, Array]:
    shapes = {name: graph.tensors[name].shape for name in graph.inputs}
    return {name: rng.integers(-128, 128, shape).astype(np.int8) for name, shape in shapes.items()}


class _Litert:
    """A .tflite in LiteRT's reference kernels, every activation readable."""

    def __init__(self, model: Path) -> None:
        from quantize.runtime import litert_interpreter

        self._interpreter = litert_interpreter(model)
        self._interpreter.allocate_tensors()

    def __call__(self, graph: "Graph", fed: dict[str, Array]) -> dict[str, Array]:
        """Return what it computes, under the names and in the shapes of the graph."""
        details = self._interpreter.get_input_details()
        for detail, values in zip(details, fed.values(), strict=True):
            self._interpreter.set_tensor(detail["index"], values.reshape(detail["shape"]))
        self._interpreter.invoke()
        found = {}
        for op in graph.ops:
            index = graph.metadata.get(f"tensor:{op.outputs[0]}")
            if index is not None:
                values = self._interpreter.get_tensor(int(index))
                found[op.outputs[0]] = values.reshape(graph.output(op).shape)
        return found


def _micro(model: Path) -> Callable[[list[Array]], Array] | None:
    """Return a .tflite in TFLite Micro; None where that is not installed."""
    try:
        from tflite_micro.python.tflite_micro import runtime
    except ImportError:
        return None
    interpreter = runtime.Interpreter.from_file(str(model))

    def invoke(inputs: list[Array]) -> Array:
        for number, values in enumerate(inputs):
            shape = interpreter.get_input_details(number)["shape"]
            interpreter.set_input(values.reshape(shape), number)
        interpreter.invoke()
        return np.asarray(interpreter.get_output(0))

    return invoke
