"""The integer graph after its front end as .tflite: int8 log-mels in, int16 A/D/V (Q14) out.

Written without a converter, so that the file holds exactly the graph's weights, biases and scales; a
runtime computes the graph's own multipliers from them. The attention is float: DEQUANTIZE, SOFTMAX over
time, MUL, SUM, QUANTIZE to int16.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.artifact import write_bytes
from edgekit.audio import SAMPLE_RATE_HZ, FrontEnd
from edgekit.errors import UnsupportedError
from edgekit.graph import TIME, Graph, Op, Quantization, Tensor
from quantize.layers import network_input, network_ops, scales, zero_point
from quantize.scales import requantization
from quantize.tflite_file import TfliteFile, options

DEFAULT_SECONDS = 2
"""Length of audio that the time axis has until the runtime resizes it."""
PADDING_OF_MAX_POOL = -128
PER_CHANNEL_FULLY_CONNECTED = 12
"""The first operator version with a scale for each output."""


class TfliteWriter:
    """Writes one operator after another; knows each graph tensor's index and default length."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.file = TfliteFile()
        self.indices: dict[str, int] = {}
        self.time_steps: dict[str, int] = {}

    def run(self) -> bytes:
        """Return the file."""
        source = network_input(self.graph)
        front_end = FrontEnd.from_dict(json.loads(self.graph.metadata["front_end"]))
        self.add(source, front_end.frame_count(DEFAULT_SECONDS * SAMPLE_RATE_HZ))
        for op in network_ops(self.graph):
            if op.kind not in EMITTERS:
                raise UnsupportedError(
                    f"{op.kind} {op.name!r}: not written to TFLite, which has {', '.join(EMITTERS)}",
                    "change the model at that layer",
                )
            EMITTERS[op.kind](self, op)
        outputs = [self.indices[name] for name in self.graph.outputs]
        return self.file.to_bytes(
            f"{self.graph.name}: int8 log-mels to arousal, dominance, valence",
            self.graph.metadata,
            [self.indices[source.name]],
            outputs,
        )

    def add(self, tensor: Tensor, time_steps: int = 0) -> int:
        """Add a graph tensor with a batch axis in front and return its index."""
        self.time_steps[tensor.name] = time_steps
        shape = (1, *tensor.shape)
        index = self.file.tensor(shape, tensor.dtype, time_steps, tensor.quantization, tensor.name)
        self.indices[tensor.name] = index
        return index

    def source(self, op: Op, index: int = 0) -> tuple[int, Tensor, int]:
        """Return the file index, tensor and default length of an operator's input."""
        name = op.inputs[index]
        return self.indices[name], self.graph.tensors[name], self.time_steps[name]

    def add_output(self, op: Op) -> int:
        """Add a windowed operator's output, its length computed from its input's, and return its index."""
        top, bottom, *_ = op.integers("padding")
        length = self.source(op)[2] + top + bottom - op.integers("kernel")[0]
        return self.add(self.graph.output(op), length // op.integers("stride")[0] + 1)

    def add_padding(self, op: Op, fill: int) -> int:
        """Append an explicit PAD, as no TFLite padding scheme has a start without an end."""
        index, tensor, time_steps = self.source(op)
        top, bottom, left, right = op.integers("padding")
        if not any(op.integers("padding")):
            return index
        widths = self.file.constant(np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32))
        _, mel, channels = tensor.shape
        shape = (1, TIME, mel + left + right, channels)
        padded = self.file.tensor(shape, "int8", time_steps + top + bottom, tensor.quantization)
        if fill == zero_point(tensor):
            return self.file.operator("PAD", 2, (index, widths), padded, options("PadOptions"))
        value = self.file.constant(np.array([fill], np.int8), quantization=tensor.quantization)
        return self.file.operator("PADV2", 2, (index, widths, value), padded, options("PadV2Options"))

    def add_weights(self, op: Op, bias_type: type[np.signedinteger]) -> tuple[int, int]:
        """Add a layer's weights and bias, checking that their scales give the graph's multipliers.

        Raises:
            UnsupportedError: If a runtime would compute other multipliers.
        """
        weights, bias, *stored = self.graph.constant_inputs(op)
        tensor = self.graph.tensors[op.inputs[1]]
        computed = requantization(
            scales(self.source(op)[1])[0], scales(tensor), scales(self.graph.output(op))[0]
        )
        if not all(np.array_equal(*pair) for pair in zip(computed, stored, strict=True)):
            raise UnsupportedError(
                f"{op.kind} {op.name!r}: its scales do not give its multipliers, so TFLite cannot hold it",
                "re-run edgekit quantize",
            )
        index = self.file.constant(weights, tensor.dtype, tensor.quantization)
        return index, self.file.constant(bias.astype(bias_type))

    def activation(self, op: Op) -> int:
        """Return the fused activation whose limits are the operator's clamp; UnsupportedError if none is."""
        point = zero_point(self.graph.output(op))
        if op.integers("clamp") == (-128, 127):
            return int(schema.ActivationFunctionType.NONE)
        if op.integers("clamp") == (point, 127):
            return int(schema.ActivationFunctionType.RELU)
        raise UnsupportedError(
            f"{op.kind} {op.name!r}: clamp {op.integers('clamp')} is no activation of TFLite",
            "use ReLU or none",
        )


def write_tflite(graph: Graph, path: Path) -> None:
    """Write the network.

    Args:
        graph: A verified graph whose metadata holds `front_end`, JSON of `FrontEnd.to_dict`.
        path: The file; input (1, T, mel, 1) int8 of any T (resize it), output (1, 3) int16 in Q14.

    Raises:
        UnsupportedError: If an operator cannot be written; it names the operator and why.
    """
    write_bytes(path, TfliteWriter(graph).run())


def _conv2d(writer: TfliteWriter, op: Op) -> None:
    padded = writer.add_padding(op, op.integer("input_zero_point"))
    constants = writer.add_weights(op, np.int32)
    stride_t, stride_w = op.integers("stride")
    choices = options(
        "Conv2DOptions",
        padding=schema.Padding.VALID,
        strideH=stride_t,
        strideW=stride_w,
        fusedActivationFunction=writer.activation(op),
    )
    writer.file.operator("CONV_2D", 3, (padded, *constants), writer.add_output(op), choices)


def _max_pool2d(writer: TfliteWriter, op: Op) -> None:
    padded = writer.add_padding(op, PADDING_OF_MAX_POOL)
    (kernel_t, kernel_w), (stride_t, stride_w) = op.integers("kernel"), op.integers("stride")
    choices = options(
        "Pool2DOptions",
        padding=schema.Padding.VALID,
        strideH=stride_t,
        strideW=stride_w,
        filterHeight=kernel_t,
        filterWidth=kernel_w,
    )
    writer.file.operator("MAX_POOL_2D", 2, (padded,), writer.add_output(op), choices)


def _flatten(writer: TfliteWriter, op: Op) -> None:
    index, _, time_steps = writer.source(op)
    output = writer.graph.output(op)
    shape = writer.file.constant(np.array([1, -1, output.shape[1]], np.int32))
    writer.file.operator("RESHAPE", 1, (index, shape), writer.add(output, time_steps), options("ReshapeOptions"))


def _fully_connected(writer: TfliteWriter, op: Op) -> None:
    index, _, time_steps = writer.source(op)
    constants = writer.add_weights(op, np.int32)
    output = writer.add(writer.graph.output(op), time_steps)
    choices = options(
        "FullyConnectedOptions", keepNumDims=True, fusedActivationFunction=writer.activation(op)
    )
    version = PER_CHANNEL_FULLY_CONNECTED
    writer.file.operator("FULLY_CONNECTED", version, (index, *constants), output, choices)


def _attention_pool(writer: TfliteWriter, op: Op) -> None:
    file, (features,) = writer.file, writer.graph.output(op).shape
    time_steps = writer.source(op)[2]
    time_last = file.constant(np.array([0, 2, 1], np.int32))

    def real(shape: tuple[int, ...] = (1, features, TIME)) -> int:
        return file.tensor(shape, "float32", time_steps)

    def transposed(index: int) -> int:
        rows = file.operator("DEQUANTIZE", 2, (index,), real((1, TIME, features)))
        return file.operator("TRANSPOSE", 1, (rows, time_last), real(), options("TransposeOptions"))

    value, score = (transposed(writer.source(op, index)[0]) for index in (0, 1))
    weight = file.operator("SOFTMAX", 1, (score,), real(), options("SoftmaxOptions", beta=1.0))
    product = file.operator("MUL", 1, (value, weight), real(), options("MulOptions"))
    axis = file.constant(np.array([2], np.int32))
    mean = file.operator("SUM", 1, (product, axis), real((1, features)), options("ReducerOptions"))
    file.operator("QUANTIZE", 2, (mean,), writer.add(writer.graph.output(op)))


def _fully_connected_int16(writer: TfliteWriter, op: Op) -> None:
    index, *_ = writer.source(op)
    constants = writer.add_weights(op, np.int64)
    output = writer.add(writer.graph.output(op))
    choices = options("FullyConnectedOptions", quantizedBiasType=schema.TensorType.INT64)
    version = PER_CHANNEL_FULLY_CONNECTED
    writer.file.operator("FULLY_CONNECTED", version, (index, *constants), output, choices)


EMITTERS: Mapping[str, Callable[[TfliteWriter, Op], None]] = {
    "conv2d": _conv2d,
    "max_pool2d": _max_pool2d,
    "flatten": _flatten,
    "fully_connected": _fully_connected,
    "attention_pool": _attention_pool,
    "fully_connected_int16": _fully_connected_int16,
}
