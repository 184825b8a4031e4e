"""Whether the written .onnx and .tflite compute the integer graph: each layer, and from audio to A/D/V."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.audio import to_pcm16
from edgekit.graph import TIME, Graph, Op, run
from edgekit.graph.parity import LayerParity, compare, merge
from edgekit.graph.reference import evaluate
from edgekit.progress import Progress, silent
from quantize.layers import network_input, network_ops
from quantize.runtime import OnnxModel, litert_interpreter, one_thread_session
from quantize.tflite_writer import TfliteWriter

Array = NDArray[np.integer]
Values = Mapping[str, Array]

TFLITE, ONNX, MICRO = "tflite", "onnx", "tflite-micro"
MICRO_ARENA_BYTES = 1 << 26
MAP_AXES = 3
WHOLE_CLIP_KINDS = (
    "depthwise_conv2d",
    "average_pool2d",
    "mean",
    "add",
    "mul",
    "lookup",
    "softmax",
    "reshape",
    "transpose",
    "pad",
)
TFLITE_KINDS = ("conv2d", "max_pool2d", "fully_connected", "fully_connected_int16", *WHOLE_CLIP_KINDS)
"""What a .tflite computes in integers: all but the attention pooling."""
ONNX_KINDS = ("conv2d", "max_pool2d", "fully_connected", *WHOLE_CLIP_KINDS)
"""What an .onnx computes in integers: the layer behind the attention pooling is float too."""
ONNX_ALLOWED_LSB = 1
ONNX_ALLOWED_FRACTION = 0.001


@dataclass(frozen=True)
class Difference:
    """How far a copy's results are from the integer graph's, from the input on.

    Attributes:
        largest: In the results' own unit, as A/D/V from 0 to 1.
        mean: Likewise.
        elements: Results compared.
        mismatches: Those that are another integer: more than half of the graph's step off.
        clips: How many inputs.
    """

    largest: float
    mean: float
    elements: int
    mismatches: int
    clips: int

    def to_dict(self) -> dict[str, float | int]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class CopiesParity:
    """Both copies against the graph.

    Attributes:
        layers: One row for each copy and integer layer, on identical inputs.
        end_to_end: Copy to its difference in A/D/V, errors and float parts of all layers included.
    """

    layers: list[LayerParity]
    end_to_end: dict[str, Difference]


@dataclass(frozen=True)
class Feed:
    """One input, as the graph and as its ONNX copy take it.

    Attributes:
        integers: Of the graph's input.
        real: (1, ...) of the copy's.
    """

    integers: Array
    real: NDArray[np.float32]

    @classmethod
    def of_clip(cls, clip: NDArray[np.floating]) -> "Feed":
        """Return (N,) 16 kHz samples in [-1, 1] as a feed."""
        return cls(to_pcm16(clip), clip[None].astype(np.float32))


class TfliteModel:
    """A .tflite in LiteRT's reference kernels, every activation readable."""

    def __init__(self, path: Path, graph: Graph) -> None:
        self._graph = graph
        self._interpreter = litert_interpreter(path)
        self._indices = {item["name"]: item["index"] for item in self._interpreter.get_tensor_details()}

    def __call__(self, log_mel: Array) -> dict[str, Array]:
        """Return every activation of the network, in the graph's shapes, for its int8 input."""
        source = network_input(self._graph).name
        index = self._indices[source]
        if network_input(self._graph).shape[0] == TIME:
            self._interpreter.resize_tensor_input(index, (1, *log_mel.shape))
        self._interpreter.allocate_tensors()
        (detail,) = self._interpreter.get_input_details()
        self._interpreter.set_tensor(index, log_mel.reshape(detail["shape"]))
        self._interpreter.invoke()
        names = [source, *(op.outputs[0] for op in network_ops(self._graph))]
        found = {name: self._interpreter.get_tensor(self._indices[name]) for name in names}
        # TIME is -1, which is also numpy's word for the size that follows from the others.
        assert TIME == -1
        return {name: value.reshape(self._graph.tensors[name].shape) for name, value in found.items()}


class OnnxLayers:
    """The integer layers of an .onnx, each cut out as a model of its own."""

    def __init__(self, path: Path, graph: Graph) -> None:
        import onnx.utils

        self._graph = graph
        whole = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(onnx.load(str(path))))
        self._sessions = {
            op.name: one_thread_session(
                whole.extract_model(
                    list(dict.fromkeys(_activations(graph, op))), [op.outputs[0]]
                ).SerializeToString()
            )
            for op in network_ops(graph)
            if op.kind in ONNX_KINDS
        }

    def __call__(self, op: Op, values: Values) -> Array:
        """Return a layer's result for the graph's (T, mel, channel) maps or (T, feature) tokens."""
        names = list(dict.fromkeys(_activations(self._graph, op)))
        fed = {name: np.ascontiguousarray(in_onnx_order(values[name])) for name in names}
        (result,) = self._sessions[op.name].run(None, fed)
        is_map = values[op.outputs[0]].ndim == MAP_AXES
        return np.asarray(result[0].transpose(1, 2, 0) if is_map else result)


def _activations(graph: Graph, op: Op) -> list[str]:
    return [tensor.name for tensor in graph.activations(op)]


class MicroLayers:
    """The integer layers of a graph in TFLite Micro, each as a .tflite of its own."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._interpreters: dict[str, tuple[int, Any]] = {}

    def __call__(self, op: Op, values: Values) -> Array:
        """Return a layer's result for the graph's own inputs."""
        fed = [values[name] for name in _activations(self._graph, op)]
        # What was pooled over time is one step.
        steps = max(value.shape[0] if value.ndim > 1 else 1 for value in fed)
        interpreter = self._interpreter(op, steps)
        for number, value in enumerate(fed):
            shape = interpreter.get_input_details(number)["shape"]
            interpreter.set_input(value.reshape(shape), number)
        interpreter.invoke()
        return np.asarray(interpreter.get_output(0)).reshape(values[op.outputs[0]].shape)

    def _interpreter(self, op: Op, steps: int) -> Any:
        from tflite_micro.python.tflite_micro import runtime

        # One for each layer, of the latest length: each holds an arena of its own.
        made, interpreter = self._interpreters.get(op.name, (0, None))
        if made != steps:
            model = TfliteWriter(self._graph).layer(op, steps)
            interpreter = runtime.Interpreter.from_bytes(model, arena_size=MICRO_ARENA_BYTES)
            self._interpreters[op.name] = steps, interpreter
        return interpreter


def has_micro() -> bool:
    """Return whether TFLite Micro is installed: it comes with the `dev` extra."""
    return importlib.util.find_spec("tflite_micro") is not None


def micro_rows(graph: Graph, values: Values, layers: MicroLayers) -> Iterator[LayerParity]:
    """Compare each integer layer with TFLite Micro on the reference's inputs, tolerance 0."""
    for op in network_ops(graph):
        if op.kind in TFLITE_KINDS:
            yield compare(MICRO, op.name, values[op.outputs[0]], layers(op, values))


def _expected(graph: Graph, op: Op, values: Values, found: Values) -> Array:
    """Return what the reference makes of the inputs that the copy's layer had."""
    names = [name for name in op.inputs if name not in graph.constants]
    if all(np.array_equal(values[name], found[name]) for name in names):
        return values[op.outputs[0]]
    return evaluate(graph, op, {**graph.constants, **found})


def tflite_rows(graph: Graph, values: Values, found: Values) -> Iterator[LayerParity]:
    """Compare each integer layer of a .tflite on the inputs that it had, tolerance 0.

    Args:
        graph: The graph.
        values: What `edgekit.graph.run` returned.
        found: What `TfliteModel` returned for the same log-mels.
    """
    for op in network_ops(graph):
        if op.kind in TFLITE_KINDS:
            yield compare(TFLITE, op.name, _expected(graph, op, values, found), found[op.outputs[0]])


def onnx_rows(graph: Graph, values: Values, layers: OnnxLayers) -> Iterator[LayerParity]:
    """Compare each integer layer of an .onnx on the reference's inputs: 1 LSB, in 0.1 % of the values."""
    for op in network_ops(graph):
        if op.kind in ONNX_KINDS:
            found = layers(op, values)
            allowed = ONNX_ALLOWED_LSB, ONNX_ALLOWED_FRACTION
            yield compare(ONNX, op.name, values[op.outputs[0]], found, *allowed)


def in_onnx_order(values: NDArray[Any]) -> NDArray[Any]:
    """Return a (T, mel, channel) map as ONNX's (1, channel, T, mel); anything else as it is."""
    return values.transpose(2, 0, 1)[None] if values.ndim == MAP_AXES else values


def check_copies(
    graph: Graph, folder: Path, feeds: Sequence[Feed], progress: Progress = silent
) -> CopiesParity:
    """Run both copies and the reference on the same inputs.

    Args:
        graph: The graph, of one input.
        folder: Holds the `model.onnx` and `model.tflite` written from it.
        feeds: The inputs.
        progress: Told the inputs done.

    Raises:
        ParityError: If a layer's result has another shape than in the graph.
    """
    tflite, layers = TfliteModel(folder / "model.tflite", graph), OnnxLayers(folder / "model.onnx", graph)
    onnx, micro = OnnxModel(folder / "model.onnx"), MicroLayers(graph) if has_micro() else None
    output, rows = graph.outputs[0], []
    meaning = graph.tensors[output].quantization
    assert meaning is not None, "the output stands for real values"
    differences: dict[str, list[NDArray[np.float64]]] = {TFLITE: [], ONNX: []}
    for done, feed in enumerate(feeds):
        progress("compare copies", done, len(feeds))
        values = run(graph, {graph.inputs[0]: feed.integers})
        found = tflite(values[network_input(graph).name])
        rows += [*tflite_rows(graph, values, found), *onnx_rows(graph, values, layers)]
        if micro is not None:
            rows += micro_rows(graph, values, micro)
        real = meaning.dequantize(values[output])
        differences[TFLITE].append((meaning.dequantize(found[output]) - real).ravel())
        differences[ONNX].append(onnx(feed.real) - in_onnx_order(real).ravel())
    progress("compare copies", len(feeds), len(feeds))
    found_far = {name: _difference(items, meaning.scales[0]) for name, items in differences.items()}
    return CopiesParity(merge(rows), found_far)


def _difference(differences: Sequence[NDArray[np.float64]], step: float) -> Difference:
    far = np.abs(np.array(differences))
    mismatches = int((far > step / 2).sum())
    return Difference(float(far.max()), float(far.mean()), far.size, mismatches, len(differences))
