"""Whether runtimes compute what a graph read from a .tflite does: each layer, and from input to output."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UnsupportedError
from edgekit.graph import Graph, Op, run
from edgekit.graph.parity import LayerParity, compare, merge
from edgekit.graph.reference import evaluate
from edgekit.progress import Progress, silent
from quantize.parity import MICRO, MICRO_ARENA_BYTES, NOT_INSTALLED, has_micro
from quantize.runtime import litert_interpreter
from quantize.tflite_contents import HINT
from quantize.tflite_reader import Runtime, read_tflite

Array = NDArray[np.integer]
Values = Mapping[str, Array]
RuntimeModel = Callable[[Values], dict[str, Array]]

LITERT = "litert"
BACKENDS: Mapping[Runtime, str] = {"litert": LITERT, "micro": MICRO}
RANDOM_INPUTS = 20
WHOLE = "whole"
"""Layer name of the row that compares the results alone."""


@dataclass(frozen=True)
class Distance:
    """How far a runtime's results are from the graph's, in steps of the output.

    Attributes:
        largest: Over all inputs and outputs.
        mean: Likewise.
        inputs: How many.
    """

    largest: int
    mean: float
    inputs: int

    def to_dict(self) -> dict[str, float | int]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class RuntimesParity:
    """Both runtimes against the graph.

    Attributes:
        follows: The runtime whose rounding the graph has.
        layers: One row for each runtime and layer, on identical inputs, and one of the whole.
        end_to_end: Runtime to its distance, the differences of all layers included.
        not_compared: Runtime to why it did not run.
    """

    follows: str
    layers: list[LayerParity]
    end_to_end: dict[str, Distance]
    not_compared: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "follows": self.follows,
            "layers": [row.to_dict() for row in self.layers],
            "end_to_end": {name: distance.to_dict() for name, distance in self.end_to_end.items()},
            "not_compared": self.not_compared,
        }


class LitertModel:
    """A .tflite in LiteRT's reference kernels.

    Args:
        model: The file.
        graph: What was read from it.

    Raises:
        UnsupportedError: If LiteRT cannot run it, or computes other shapes than it declares.
    """

    def __init__(self, model: Path, graph: Graph) -> None:
        self._graph = graph
        try:
            self._interpreter = litert_interpreter(model)
            self._interpreter.allocate_tensors()
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            reason = str(error).replace("\n", " ")
            raise UnsupportedError(f"{model}: LiteRT cannot run it ({reason})", HINT) from error
        # A tensor whose name LiteRT cannot read is not among them.
        sizes = {item["index"]: math.prod(item["shape"]) for item in self._interpreter.get_tensor_details()}
        for name, index in runtime_tensors(graph).items():
            found, declared = sizes.get(index, "unknown"), math.prod(graph.tensors[name].shape)
            if found != declared:
                wrong = f"size {found} in LiteRT, {declared} in the file"
                raise UnsupportedError(f"{model}: tensor {index} ({name}) is of {wrong}", HINT)

    def __call__(self, fed: Values) -> dict[str, Array]:
        """Return inputs and activations, under the names and in the shapes of the graph."""
        for detail, values in zip(self._interpreter.get_input_details(), fed.values(), strict=True):
            self._interpreter.set_tensor(detail["index"], values.reshape(detail["shape"]))
        self._interpreter.invoke()
        return _in_graph_shapes(self._graph, self._interpreter.get_tensor)


class MicroModel:
    """A .tflite in TFLite Micro.

    Args:
        model: The file.
        graph: What was read from it.

    Raises:
        RuntimeError: If TFLite Micro cannot run it.
    """

    def __init__(self, model: Path, graph: Graph) -> None:
        from tflite_micro.python.tflite_micro import runtime

        self._graph = graph
        self._interpreter = runtime.Interpreter.from_file(
            str(model),
            arena_size=MICRO_ARENA_BYTES,
            intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors,
        )
        self._interpreter.invoke()

    def __call__(self, fed: Values) -> dict[str, Array]:
        """Return inputs and activations, under the names and in the shapes of the graph."""
        for number, values in enumerate(fed.values()):
            shape = self._interpreter.get_input_details(number)["shape"]
            self._interpreter.set_input(values.reshape(shape), number)
        self._interpreter.invoke()
        return _in_graph_shapes(
            self._graph, lambda index: self._interpreter.GetTensor(index, 0)["tensor_data"]
        )


def runtime_tensors(graph: Graph) -> dict[str, int]:
    """Return the graph's activations that the file has too, and their index there."""
    found = {name: graph.metadata.get(f"tensor:{name}") for name in graph.tensors}
    return {name: int(index) for name, index in found.items() if index is not None}


def _in_graph_shapes(graph: Graph, tensor: Callable[[int], Array]) -> dict[str, Array]:
    return {
        name: np.asarray(tensor(index)).reshape(graph.tensors[name].shape)
        for name, index in runtime_tensors(graph).items()
    }


def check_runtimes(
    model: Path, graph: Graph, runtime: Runtime, progress: Progress = silent
) -> RuntimesParity:
    """Run a graph and the file that it was read from on the same random inputs.

    The runtime that the graph follows has to give its integers; the other one may differ in layers that the
    two compute differently, by no more than is known.

    Args:
        model: The file.
        graph: What `read_tflite` made of it.
        runtime: Whose rounding the graph has.
        progress: Told how many inputs were compared.

    Raises:
        UnsupportedError: If LiteRT cannot run the file.
    """
    runtimes, not_compared = _runtimes(model, graph)
    loose = _computed_differently(model, graph, runtime)
    rows: list[LayerParity] = []
    differences: dict[str, list[Array]] = {name: [] for name in runtimes}
    for number in range(RANDOM_INPUTS):
        progress("compare runtimes", number, RANDOM_INPUTS)
        fed = _random_inputs(graph, np.random.default_rng(number))
        values = run(graph, fed)
        for name, computed in runtimes.items():
            found, allowed = computed(fed), {} if name == BACKENDS[runtime] else loose
            rows += _layer_rows(name, graph, found, allowed)
            if not allowed:
                rows += [compare(name, WHOLE, values[output], found[output]) for output in graph.outputs]
            differences[name] += [_steps(values[output], found[output]) for output in graph.outputs]
    progress("compare runtimes", RANDOM_INPUTS, RANDOM_INPUTS)
    distances = {name: _distance(items) for name, items in differences.items()}
    return RuntimesParity(BACKENDS[runtime], merge(rows), distances, not_compared)


def _runtimes(model: Path, graph: Graph) -> tuple[dict[str, RuntimeModel], dict[str, str]]:
    """Return the runtimes that can run the file, and why the others do not."""
    # The first: it says what is wrong with a file, where TFLite Micro takes every offset for granted.
    runtimes: dict[str, RuntimeModel] = {LITERT: LitertModel(model, graph)}
    if not has_micro():
        return runtimes, {MICRO: NOT_INSTALLED}
    try:
        runtimes[MICRO] = MicroModel(model, graph)
    except RuntimeError as error:
        return runtimes, {MICRO: f"it cannot run this file: {error}"}
    return runtimes, {}


def _computed_differently(model: Path, graph: Graph, runtime: Runtime) -> dict[str, int]:
    """Return the layers of the file that the other runtime computes otherwise, and by how many steps."""
    twin = read_tflite(model, "micro" if runtime == "litert" else "litert")
    pairs = zip(graph.ops, twin.ops, strict=True)
    return {op.origin[0]: steps for op, other in pairs if (steps := _steps_apart(graph, op, twin, other))}


def _steps_apart(graph: Graph, op: Op, twin: Graph, other: Op) -> int:
    """Return how far two readings of an operator can be apart: a step where they round differently."""
    if op.kind != "lookup":
        return int(op.attributes != other.attributes)
    (table,), (other_table,) = graph.constant_inputs(op), twin.constant_inputs(other)
    return int(_steps(table, other_table).max())


def _random_inputs(graph: Graph, rng: np.random.Generator) -> dict[str, Array]:
    shapes = {name: graph.tensors[name].shape for name in graph.inputs}
    return {name: rng.integers(-128, 128, shape).astype(np.int8) for name, shape in shapes.items()}


def _layer_rows(backend: str, graph: Graph, found: Values, loose: Mapping[str, int]) -> Iterator[LayerParity]:
    """Compare each layer of the file, which may be several operators, on the inputs that it had there."""
    known: dict[str, Array] = {**graph.constants, **{name: found[name] for name in graph.inputs}}
    for op in graph.ops:
        (name,), (layer,) = op.outputs, op.origin
        expected = evaluate(graph, op, known)
        known[name] = found.get(name, expected)
        if name in found:
            steps = loose.get(layer, 0)
            yield compare(backend, layer, expected, found[name], steps, float(steps > 0))


def _steps(expected: Array, found: Array) -> Array:
    return np.asarray(np.abs(expected.astype(np.int64) - found).ravel(), np.int64)


def _distance(steps: Sequence[Array]) -> Distance:
    together = np.concatenate(steps)
    return Distance(int(together.max()), float(together.mean()), RANDOM_INPUTS)
