"""The integer graph after its front end as .tflite: int8 log-mels in, int16 A/D/V (Q14) out.

Written without a converter, so that the file holds exactly the graph's weights, biases and scales; a
runtime computes the graph's own multipliers from them. The attention is float: DEQUANTIZE, SOFTMAX over
time, MUL, SUM, QUANTIZE to int16.

Fully connected layers are written as 1x1 convolutions of maps one mel position wide: LiteRT's reference
convolution rounds as the graph does, its FULLY_CONNECTED does not (int8: once instead of twice; int16: by
the full multiplier instead of its upper 16 bits). TFLite Micro has per-channel int4 for convolutions only.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.artifact import write_bytes
from edgekit.audio import SAMPLE_RATE_HZ, FrontEnd
from edgekit.errors import UnsupportedError
from edgekit.graph import TIME, Graph, Op, Tensor
from edgekit.graph.linear_ops import dilation_of
from quantize.layers import MAP_RANK, network_input, network_ops, scales, zero_point
from quantize.scales import clamp_of, requantization
from quantize.tflite_file import TfliteFile

DEFAULT_SECONDS = 2
"""Length of audio that the time axis has until the runtime resizes it."""
TIME_AXIS = 1
MAP_SIZES = 2
PADDING_OF_MAX_POOL = -128
DEPTHWISE_AXIS = 3
"""Of (1, KH, KW, O) weights: the output channels."""
ACTIVATIONS = {"NONE": (-math.inf, math.inf), "RELU": (0.0, math.inf), "RELU6": (0.0, 6.0)}
FUNCTIONS = {
    "hard_swish": ("HARD_SWISH", "HardSwishOptions"),
    "sigmoid": ("LOGISTIC", ""),
    "tanh": ("TANH", ""),
    "relu": ("RELU", ""),
    "relu6": ("RELU6", ""),
    "rescale": ("QUANTIZE", ""),
}
VERSIONS: Mapping[str, int] = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONV_2D": 7,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "LOGISTIC": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "PAD": 2,
    "PADV2": 2,
    "QUANTIZE": 2,
    "RELU": 2,
    "RELU6": 2,
    "TANH": 2,
}
"""Operator versions with the types used here (int4 kernels: CONV_2D 7); all others are 1."""


class TfliteWriter:
    """Writes one operator after another; knows each graph tensor's index in the file.

    Every activation is a (1, T, mel, channel) map there: tokens are one mel position wide, and what is
    pooled over time is one position.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.file = TfliteFile()
        self.indices: dict[str, int] = {}

    def run(self) -> bytes:
        """Return the file."""
        source = network_input(self.graph)
        first = self.add(source, self._time_steps(source))
        if source.shape[0] == TIME:
            self.file.resizable(first, TIME_AXIS)
        for op in network_ops(self.graph):
            if op.kind not in EMITTERS:
                raise UnsupportedError(
                    f"{op.kind} {op.name!r}: not written to TFLite, which has {', '.join(EMITTERS)}",
                    "change the model at that layer",
                )
            EMITTERS[op.kind](self, op)
        outputs = [self.indices[name] for name in self.graph.outputs]
        student = "front_end" in self.graph.metadata
        what = "int8 log-mels to arousal, dominance, valence" if student else "int8"
        description = f"{self.graph.name}: {what}"
        return self.file.to_bytes(description, self.graph.metadata, [first], outputs)

    def _time_steps(self, source: Tensor) -> int:
        if len(source.shape) == 1 or source.shape[0] != TIME:
            return source.shape[0]
        front_end = FrontEnd.from_dict(json.loads(self.graph.metadata["front_end"]))
        return front_end.frame_count(DEFAULT_SECONDS * SAMPLE_RATE_HZ)

    def layer(self, op: Op, time_steps: int) -> bytes:
        """Return a file of one operator whose inputs have that many time steps; those of size 1 keep it.

        Raises:
            UnsupportedError: If it cannot be written.
        """
        names = [tensor.name for tensor in self.graph.activations(op)]
        sizes = [1 if self.graph.tensors[name].shape[0] == 1 else time_steps for name in names]
        inputs = [self.add(self.graph.tensors[name], size) for name, size in zip(names, sizes, strict=True)]
        EMITTERS[op.kind](self, op)
        return self.file.to_bytes(op.name, {}, inputs, [self.indices[op.outputs[0]]])

    def add(self, tensor: Tensor, time_steps: int = 1) -> int:
        """Add a graph tensor as a map of `time_steps` and return its index."""
        _, *sizes = tensor.shape if len(tensor.shape) > 1 else (1, *tensor.shape)
        shape = (1, time_steps, *sizes) if len(sizes) == MAP_SIZES else (1, time_steps, 1, *sizes)
        self.indices[tensor.name] = self.file.tensor(shape, tensor.dtype, tensor.quantization, tensor.name)
        return self.indices[tensor.name]

    def operator(
        self, kind: str, inputs: Sequence[int], output: int, options: str = "", **values: float
    ) -> int:
        """Append an operator in the version that its types need and return its output."""
        return self.file.operator(kind, VERSIONS.get(kind, 1), inputs, output, options, **values)

    def integers(self, *values: int) -> int:
        """Return the index of a constant int32 vector."""
        return self.file.constant(np.array(values, np.int32))

    def source(self, op: Op, index: int = 0) -> tuple[int, Tensor]:
        """Return the file index and the graph tensor of an operator's input."""
        return self.indices[op.inputs[index]], self.graph.tensors[op.inputs[index]]

    def add_padding(self, op: Op, fill: int, output: int | None = None) -> int:
        """Append an explicit PAD, as no TFLite padding scheme pads the start of time and not its end.

        Args:
            op: Has the padding.
            fill: What to pad with.
            output: The padded tensor, where it is more than a step to the operator's result.
        """
        index, tensor = self.source(op)
        top, bottom, left, right = op.integers("padding")
        if not any(op.integers("padding")) and output is None:
            return index
        widths = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        inputs = (index, self.file.constant(widths))
        shape = (np.array(self.file.shape(index)) + widths.sum(axis=1)).tolist()
        padded = self.file.tensor(shape, tensor.dtype, tensor.quantization) if output is None else output
        if fill == zero_point(tensor):
            return self.operator("PAD", inputs, padded, "PadOptions")
        value = self.file.constant(np.array([fill], np.int8), quantization=tensor.quantization)
        return self.operator("PADV2", (*inputs, value), padded, "PadV2Options")

    def add_windowed(self, op: Op, kind: str, inputs: Sequence[int], options: str, **values: float) -> None:
        """Append a VALID convolution or pool of the first input, and its output."""
        kernel_t, (stride_t, stride_w) = op.integers("kernel")[0], op.integers("stride")
        step_t, step_w = dilation_of(op)
        time_steps = (self.file.shape(inputs[0])[TIME_AXIS] - (kernel_t - 1) * step_t - 1) // stride_t + 1
        output = self.add(self.graph.output(op), time_steps)
        values |= {"strideH": stride_t, "strideW": stride_w}
        if (step_t, step_w) != (1, 1):
            values |= {"dilationHFactor": step_t, "dilationWFactor": step_w}
        self.operator(kind, inputs, output, options, padding=schema.Padding.VALID, **values)

    def add_weights(self, op: Op, bias_type: type[np.signedinteger]) -> tuple[int, int]:
        """Add a layer's weights and bias, checking that their scales give the graph's multipliers.

        Raises:
            UnsupportedError: If a runtime would compute other multipliers.
        """
        weights, bias, *stored = self.graph.constant_inputs(op)
        tensor = self.graph.tensors[op.inputs[1]]
        data, result = self.source(op)[1], self.graph.output(op)
        computed = requantization(scales(data)[0], scales(tensor), scales(result)[0])
        if not all(np.all(found == wanted) for found, wanted in zip(computed, stored, strict=True)):
            raise UnsupportedError(
                f"{op.kind} {op.name!r}: its scales do not give its multipliers, so TFLite cannot hold it",
                "re-run edgekit quantize",
            )
        quantization = tensor.quantization
        if op.kind == "depthwise_conv2d":
            kernels = weights[None]
            quantization = dataclasses.replace(quantization, axis=DEPTHWISE_AXIS) if quantization else None
        else:
            kernels = weights if op.kind == "conv2d" else weights[:, None, None, :]
        index = self.file.constant(kernels, tensor.dtype, quantization)
        return index, self.file.constant(bias.astype(bias_type))

    def activation(self, op: Op) -> int:
        """Return the fused activation whose limits are the operator's clamp; UnsupportedError if none is."""
        result = self.graph.output(op).quantization
        assert result is not None, "every activation between layers is quantized"
        for name, bounds in ACTIVATIONS.items():
            if op.integers("clamp") == clamp_of(result, *bounds):
                return int(getattr(schema.ActivationFunctionType, name))
        raise UnsupportedError(
            f"{op.kind} {op.name!r}: clamp {op.integers('clamp')} is no activation of TFLite",
            f"use one of {', '.join(ACTIVATIONS)}",
        )


def write_tflite(graph: Graph, path: Path) -> None:
    """Write the network.

    Args:
        graph: A verified graph whose metadata holds `front_end`, JSON of `FrontEnd.to_dict`.
        path: The file; input (1, T, mel, 1) int8 of any T (resize it), output (1, 1, 1, 3) int16 in Q14.

    Raises:
        UnsupportedError: If an operator cannot be written; it names the operator and why.
    """
    write_bytes(path, TfliteWriter(graph).run())


def _conv2d(writer: TfliteWriter, op: Op) -> None:
    inputs = (writer.add_padding(op, op.integer("input_zero_point")), *writer.add_weights(op, np.int32))
    activation = writer.activation(op)
    writer.add_windowed(op, "CONV_2D", inputs, "Conv2DOptions", fusedActivationFunction=activation)


def _depthwise_conv2d(writer: TfliteWriter, op: Op) -> None:
    inputs = (writer.add_padding(op, op.integer("input_zero_point")), *writer.add_weights(op, np.int32))
    channels, outputs = (writer.file.shape(index)[-1] for index in inputs[:2])
    values = {"depthMultiplier": outputs // channels, "fusedActivationFunction": writer.activation(op)}
    writer.add_windowed(op, "DEPTHWISE_CONV_2D", inputs, "DepthwiseConv2DOptions", **values)


def _average_pool2d(writer: TfliteWriter, op: Op) -> None:
    if any(op.integers("padding")):
        raise UnsupportedError(
            f"{op.kind} {op.name!r}: TFLite cannot leave explicit padding out of a mean", "pad with nothing"
        )
    values = dict(zip(("filterHeight", "filterWidth"), op.integers("kernel"), strict=True))
    values["fusedActivationFunction"] = writer.activation(op)
    writer.add_windowed(op, "AVERAGE_POOL_2D", (writer.source(op)[0],), "Pool2DOptions", **values)


def _mean(writer: TfliteWriter, op: Op) -> None:
    inputs = (writer.source(op)[0], writer.integers(TIME_AXIS, TIME_AXIS + 1))
    writer.operator("MEAN", inputs, writer.add(writer.graph.output(op)), "ReducerOptions", keepDims=True)


def _pair(writer: TfliteWriter, op: Op) -> None:
    inputs = [writer.source(op, index)[0] for index in (0, 1)]
    time_steps = max(writer.file.shape(index)[TIME_AXIS] for index in inputs)
    output = writer.add(writer.graph.output(op), time_steps)
    kind, options = ("ADD", "AddOptions") if op.kind == "add" else ("MUL", "MulOptions")
    writer.operator(kind, inputs, output, options, fusedActivationFunction=writer.activation(op))


def _lookup(writer: TfliteWriter, op: Op) -> None:
    function = op.attributes.get("function")
    if function not in FUNCTIONS:
        raise UnsupportedError(
            f"{op.kind} {op.name!r}: TFLite has no operator for it", f"use one of {', '.join(FUNCTIONS)}"
        )
    kind, options = FUNCTIONS[str(function)]
    index, _ = writer.source(op)
    output = writer.add(writer.graph.output(op), writer.file.shape(index)[TIME_AXIS])
    writer.operator(kind, (index,), output, options)


def _max_pool2d(writer: TfliteWriter, op: Op) -> None:
    kernel = dict(zip(("filterHeight", "filterWidth"), op.integers("kernel"), strict=True))
    padded = writer.add_padding(op, PADDING_OF_MAX_POOL)
    writer.add_windowed(op, "MAX_POOL_2D", (padded,), "Pool2DOptions", **kernel)


def _softmax(writer: TfliteWriter, op: Op) -> None:
    index, _ = writer.source(op)
    output = writer.add(writer.graph.output(op), writer.file.shape(index)[TIME_AXIS])
    writer.operator("SOFTMAX", (index,), output, "SoftmaxOptions", beta=1.0)


def _reshape(writer: TfliteWriter, op: Op) -> None:
    index, _ = writer.source(op)
    result = writer.graph.output(op)
    output = writer.add(result, result.shape[0])
    shape = writer.integers(*writer.file.shape(output))
    writer.operator("RESHAPE", (index, shape), output, "ReshapeOptions")


def _transpose(writer: TfliteWriter, op: Op) -> None:
    index, _ = writer.source(op)
    result, axes = writer.graph.output(op), op.integers("axes")
    # Tokens (T, F) lie as (1, T, 1, F) in the file.
    places = (1, 2, 3) if len(axes) == MAP_RANK else (1, 3)
    moved = [0, 1, 2, 3]
    for place, axis in zip(places, axes, strict=True):
        moved[place] = places[axis]
    output = writer.add(result, result.shape[0])
    writer.operator("TRANSPOSE", (index, writer.integers(*moved)), output, "TransposeOptions")


def _pad(writer: TfliteWriter, op: Op) -> None:
    writer.add_padding(
        op, op.integer("fill"), writer.add(writer.graph.output(op), writer.graph.output(op).shape[0])
    )


def _flatten(writer: TfliteWriter, op: Op) -> None:
    index, _ = writer.source(op)
    tokens = writer.graph.output(op)
    shape = writer.integers(1, -1, 1, tokens.shape[1])
    output = writer.add(tokens, writer.file.shape(index)[TIME_AXIS])
    writer.operator("RESHAPE", (index, shape), output, "ReshapeOptions")


def _pointwise(writer: TfliteWriter, op: Op, bias_type: type[np.signedinteger], activation: int) -> None:
    index, _ = writer.source(op)
    output = writer.add(writer.graph.output(op), writer.file.shape(index)[TIME_AXIS])
    writer.operator(
        "CONV_2D",
        (index, *writer.add_weights(op, bias_type)),
        output,
        "Conv2DOptions",
        padding=schema.Padding.VALID,
        strideH=1,
        strideW=1,
        fusedActivationFunction=activation,
    )


def _fully_connected(writer: TfliteWriter, op: Op) -> None:
    _pointwise(writer, op, np.int32, writer.activation(op))


def _fully_connected_int16(writer: TfliteWriter, op: Op) -> None:
    # Runtimes accumulate int16 activations in int64 and expect the bias in it.
    _pointwise(writer, op, np.int64, schema.ActivationFunctionType.NONE)


def _attention_pool(writer: TfliteWriter, op: Op) -> None:
    tokens = writer.file.shape(writer.source(op)[0])
    _, time_steps, _, features = tokens
    time_last = (1, 1, features, time_steps)

    def add(
        kind: str, shape: Sequence[int], inputs: Sequence[int], options: str = "", **values: float
    ) -> int:
        return writer.operator(kind, inputs, writer.file.tensor(shape, "float32"), options, **values)

    value, score = (add("DEQUANTIZE", tokens, (writer.source(op, index)[0],)) for index in (0, 1))
    turned = add("TRANSPOSE", time_last, (score, writer.integers(0, 2, 3, 1)))
    softmax = add("SOFTMAX", time_last, (turned,), "SoftmaxOptions", beta=1.0)
    weight = add("TRANSPOSE", tokens, (softmax, writer.integers(0, 3, 1, 2)))
    product = add("MUL", tokens, (value, weight), "MulOptions")
    time_axis = writer.integers(TIME_AXIS)
    mean = add("SUM", (1, 1, 1, features), (product, time_axis), "ReducerOptions", keepDims=True)
    writer.operator("QUANTIZE", (mean,), writer.add(writer.graph.output(op)))


def _second_order(writer: TfliteWriter, op: Op) -> None:
    """Float, as the attention before it: pooled values beside their products."""
    index, tensor = writer.source(op)
    features, channels = tensor.shape[0], op.integer("channels")

    def add(
        kind: str, shape: Sequence[int], inputs: Sequence[int], options: str = "", **values: float
    ) -> int:
        return writer.operator(kind, inputs, writer.file.tensor(shape, "float32"), options, **values)

    flat = (1, 1, 1, features)
    value = add("DEQUANTIZE", flat, (index,))
    shape = (1, 1, features // channels, channels)
    maps = add("RESHAPE", shape, (value, writer.integers(*shape)), "ReshapeOptions")
    square = (1, 1, channels, channels)
    products = add("BATCH_MATMUL", square, (maps, maps), "BatchMatMulOptions", adjX=True)
    row = (1, 1, 1, channels**2)
    products = add("RESHAPE", row, (products, writer.integers(*row)), "ReshapeOptions")
    both = add(
        "CONCATENATION", (1, 1, 1, features + channels**2), (value, products), "ConcatenationOptions", axis=3
    )
    writer.operator("QUANTIZE", (both,), writer.add(writer.graph.output(op)))


EMITTERS: Mapping[str, Callable[[TfliteWriter, Op], None]] = {
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise_conv2d,
    "max_pool2d": _max_pool2d,
    "average_pool2d": _average_pool2d,
    "mean": _mean,
    "add": _pair,
    "mul": _pair,
    "lookup": _lookup,
    "flatten": _flatten,
    "fully_connected": _fully_connected,
    "attention_pool": _attention_pool,
    "second_order": _second_order,
    "fully_connected_int16": _fully_connected_int16,
    "softmax": _softmax,
    "reshape": _reshape,
    "transpose": _transpose,
    "pad": _pad,
}
