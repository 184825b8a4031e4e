"""Whether the written .onnx and .tflite compute the integer graph: each layer, and from audio to A/D/V."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import write_json
from edgekit.audio import to_pcm16
from edgekit.errors import ParityError
from edgekit.graph import TIME, Graph, Op, Tensor, run
from edgekit.graph.parity import LayerParity, compare, merge, require_parity
from edgekit.graph.reference import evaluate
from edgekit.progress import Progress, silent
from quantize.layers import network_input, network_ops, scales
from quantize.onnx_writer import WAVEFORM
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
"""What a .tflite computes in integers."""
FLOAT_KINDS = ("attention_pool", "second_order")
"""What it computes in float."""
ONNX_KINDS = ("conv2d", "max_pool2d", "fully_connected", *WHOLE_CLIP_KINDS)
"""What an .onnx computes in integers."""
ONNX_FLOAT_KINDS = (*FLOAT_KINDS, "fully_connected_int16")
ONNX_ALLOWED = (1, 0.001)
"""Steps, and the share of values that may be off by them."""
FLOAT_ALLOWED_STEPS = {"attention_pool": 64, "second_order": 8, "fully_connected_int16": 4}
"""Of layers that are float in a copy, in steps of 16 bits. Of attention, that is half a step of the values:
speech makes 2 steps of the students, 3,000 tokens of noise 9."""
FRONT_END = "front_end"
FRONT_END_ALLOWED = (64, 0.05)
"""Of the float front end, in log-mels: of speech, 2 % are others, and in near silence by up to 39 steps."""
LARGEST_MEAN = {"int8": 0.5, "int16": 64.0}
"""End to end, in steps of the result. Layers that round alike are 0 apart. The float front end costs students
22 steps of A/D/V (0.0013); one that is 15 % too loud costs 130."""
NOT_INSTALLED = "the package tflite_micro is not installed"


@dataclass(frozen=True)
class Difference:
    """How far a copy's results are from the integer graph's, from the input on.

    Attributes:
        largest: In the results' own unit, as A/D/V from 0 to 1.
        mean: Likewise.
        elements: Results compared.
        mismatches: Those that are another integer: more than half of the graph's step off.
        clips: How many inputs.
        allowed_mean: Largest mean that passes.
    """

    largest: float
    mean: float
    elements: int
    mismatches: int
    clips: int
    allowed_mean: float

    def to_dict(self) -> dict[str, float | int]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class CopiesParity:
    """Both copies against the graph.

    Attributes:
        layers: One row for each runtime and layer, on identical inputs, and one of the .onnx's front end.
        end_to_end: Runtime to its difference in A/D/V, errors and float parts of all layers included.
        not_compared: Runtime to why it did not run, or not from end to end.
    """

    layers: list[LayerParity]
    end_to_end: dict[str, Difference]
    not_compared: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "layers": [row.to_dict() for row in self.layers],
            "end_to_end": {name: found.to_dict() for name, found in self.end_to_end.items()},
            "not_compared": self.not_compared,
        }

    def require(self, folder: Path) -> None:
        """Check that no layer, nor the whole, differs by more than allowed.

        Raises:
            ParityError: Naming the first that does; parity.json in the folder has all of them.
        """
        require_parity(self.layers, folder)
        evidence = folder / "parity.json"
        for name, found in self.end_to_end.items():
            if found.mean > found.allowed_mean:
                write_json(evidence, self.to_dict())
                raise ParityError(
                    f"{name} differs from the integer graph end to end: by {found.mean:.3g} on average, "
                    f"{found.allowed_mean:.3g} is allowed",
                    f"a defect of edgekit or of that runtime's version: report it with {evidence}",
                )


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
    """The layers of an .onnx and its front end, each cut out as a model of its own."""

    def __init__(self, path: Path, graph: Graph) -> None:
        import onnx.utils

        self._graph = graph
        self._whole = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(onnx.load(str(path))))
        self._sessions = {
            op.name: self._part(_activations(graph, op), op.outputs[0]) for op in network_ops(graph)
        }
        if "front_end" in graph.metadata:
            self._sessions[FRONT_END] = self._part([WAVEFORM], network_input(graph).name)

    def _part(self, inputs: Sequence[str], output: str) -> Any:
        part = self._whole.extract_model(list(dict.fromkeys(inputs)), [output])
        return one_thread_session(part.SerializeToString())

    def front_end(self, waveform: NDArray[np.float32]) -> Array:
        """Return the int8 log-mels of a (1, N) waveform, in the graph's shape."""
        (result,) = self._sessions[FRONT_END].run(None, {WAVEFORM: waveform})
        return np.asarray(result[0].transpose(1, 2, 0))

    def __call__(self, op: Op, values: Values) -> Array:
        """Return a layer's result for the graph's (T, mel, channel) maps or (T, feature) tokens.

        Where the .onnx has real values, as 16-bit integers of the graph's scale.
        """
        fed = {
            name: np.ascontiguousarray(in_onnx_order(self._as_fed(name, values[name])))
            for name in _activations(self._graph, op)
        }
        (result,) = self._sessions[op.name].run(None, fed)
        wanted = values[op.outputs[0]]
        if op.kind in ONNX_FLOAT_KINDS:
            steps = np.rint(result / scales(self._graph.output(op))[0]).reshape(wanted.shape)
            return np.asarray(np.clip(steps, -(1 << 15), (1 << 15) - 1), np.int64)
        return np.asarray(result[0].transpose(1, 2, 0) if wanted.ndim == MAP_AXES else result)

    def _as_fed(self, name: str, values: Array) -> NDArray[Any]:
        tensor = self._graph.tensors[name]
        if tensor.dtype != "int16":
            return values
        return np.asarray(scales(tensor)[0] * values.reshape(1, -1), np.float32)


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


class MicroFile:
    """A whole .tflite of inputs of one size in TFLite Micro.

    Raises:
        RuntimeError: If TFLite Micro cannot run it.
    """

    def __init__(self, path: Path) -> None:
        from tflite_micro.python.tflite_micro import runtime

        self._interpreter = runtime.Interpreter.from_file(str(path), arena_size=MICRO_ARENA_BYTES)
        self._interpreter.invoke()

    def __call__(self, integers: Array) -> Array:
        """Return the result for the graph's int8 input."""
        self._interpreter.set_input(integers.reshape(self._interpreter.get_input_details(0)["shape"]), 0)
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_output(0))


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
    """Compare each layer of a .tflite on the inputs that it had: tolerance 0, except in float.

    Args:
        graph: The graph.
        values: What `edgekit.graph.run` returned.
        found: What `TfliteModel` returned for the same log-mels.
    """
    for op in network_ops(graph):
        if op.kind in (*TFLITE_KINDS, *FLOAT_KINDS):
            allowed = (FLOAT_ALLOWED_STEPS[op.kind], 1.0) if op.kind in FLOAT_KINDS else (0, 0.0)
            expected = _expected(graph, op, values, found)
            yield compare(TFLITE, op.name, expected, found[op.outputs[0]], *allowed)


def onnx_rows(graph: Graph, values: Values, layers: OnnxLayers) -> Iterator[LayerParity]:
    """Compare each layer of an .onnx on the reference's inputs: 1 LSB in 0.1 %, except in float."""
    for op in network_ops(graph):
        if op.kind in (*ONNX_KINDS, *ONNX_FLOAT_KINDS):
            real = op.kind in ONNX_FLOAT_KINDS
            allowed = (FLOAT_ALLOWED_STEPS[op.kind], 1.0) if real else ONNX_ALLOWED
            yield compare(ONNX, op.name, values[op.outputs[0]], layers(op, values), *allowed)


def front_end_rows(
    graph: Graph, values: Values, layers: OnnxLayers, waveform: NDArray[np.float32]
) -> Iterator[LayerParity]:
    """Compare the log-mels of an .onnx that has a front end."""
    if "front_end" in graph.metadata:
        expected = values[network_input(graph).name]
        yield compare(ONNX, FRONT_END, expected, layers.front_end(waveform), *FRONT_END_ALLOWED)


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
    micro_file, not_compared = _micro_file(graph, folder / "model.tflite")
    output, source, rows = graph.outputs[0], network_input(graph).name, []
    meaning = graph.tensors[output].quantization
    assert meaning is not None, "the output stands for real values"
    differences: dict[str, list[NDArray[np.float64]]] = {}
    for done, feed in enumerate(feeds):
        progress("compare copies", done, len(feeds))
        values = run(graph, {graph.inputs[0]: feed.integers})
        found = tflite(values[source])
        rows += [*tflite_rows(graph, values, found), *onnx_rows(graph, values, layers)]
        rows += front_end_rows(graph, values, layers, feed.real)
        if micro is not None:
            rows += micro_rows(graph, values, micro)
        real = meaning.dequantize(values[output])
        answers = {
            TFLITE: meaning.dequantize(found[output]).ravel() - real.ravel(),
            ONNX: onnx(feed.real) - in_onnx_order(real).ravel(),
        }
        if micro_file is not None:
            answers[MICRO] = meaning.dequantize(micro_file(values[source])).ravel() - real.ravel()
        for name, difference in answers.items():
            differences.setdefault(name, []).append(difference)
    progress("compare copies", len(feeds), len(feeds))
    found_far = {name: _difference(items, graph.tensors[output]) for name, items in differences.items()}
    return CopiesParity(merge(rows), found_far, not_compared)


def _micro_file(graph: Graph, path: Path) -> tuple[MicroFile | None, dict[str, str]]:
    """Return the whole .tflite in TFLite Micro, or why it does not run."""
    if not has_micro():
        return None, {MICRO: NOT_INSTALLED}
    if network_input(graph).shape[0] == TIME:
        return None, {MICRO: "end to end: it has no axis of any length"}
    try:
        return MicroFile(path), {}
    except RuntimeError as error:
        return None, {MICRO: f"end to end: it cannot run this file: {error}"}


def _difference(differences: Sequence[NDArray[np.float64]], result: Tensor) -> Difference:
    far, step = np.abs(np.array(differences)), scales(result)[0]
    mismatches = int((far > step / 2).sum())
    allowed = step * LARGEST_MEAN[result.dtype]
    return Difference(float(far.max()), float(far.mean()), far.size, mismatches, len(differences), allowed)
