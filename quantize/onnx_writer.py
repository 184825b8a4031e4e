"""The integer graph as ONNX: 16 kHz waveform in, arousal, dominance and valence out.

The front end and the attention are float; every layer between them holds the graph's own integers, signed
8-bit activations and weights (int4 linears packed), accumulated in int32.

Requantization takes the two roundings of the graph: Round(accumulator * multiplier), then QuantizeLinear
by a power of two. QLinearConv and QDQ pairs round once, which differs in one element of a few hundred.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper

from edgekit.artifact import write_bytes
from edgekit.errors import UnsupportedError
from edgekit.graph import Graph, Op, Tensor
from quantize.layers import MAP_RANK, network_input, network_ops, scales, zero_point
from quantize.onnx_front_end import decibels_to_log, emit_front_end
from quantize.onnx_nodes import Nodes
from quantize.scales import INT8_RANGE

Array = NDArray[np.integer]
WAVEFORM = "waveform"
REAL_INPUT, REAL_OUTPUT = "real_input", "output"
INT8_STEPS = 255
FLOAT_EXACT = 1 << 24
TIE_BREAK = 2.0**-22
"""Pushes ties away from zero before QuantizeLinear rounds to even: less than the smallest step of an int8
result shifted by up to 14 bits, more than what float32 loses."""
LARGEST_EXACT_SHIFT = 14


def write_onnx(graph: Graph, path: Path) -> None:
    """Write the whole model.

    Args:
        graph: A verified graph; if it begins with PCM, its metadata holds `front_end`, JSON of
            `FrontEnd.to_dict`.
        path: The file; input `waveform` (1, N) float32 in [-1, 1], output named as the graph's, (1, 3).
            Without front end: `real_input`, real values of (1, C, T, W) or (T, F), and `output`.

    Raises:
        UnsupportedError: If an operator or the metadata cannot be written as ONNX; it names it.
    """
    nodes = Nodes()
    source, student = network_input(graph), "front_end" in graph.metadata
    offset = nodes.constant(np.int8(zero_point(source)))
    if student:
        step = nodes.number(decibels_to_log(scales(source)[0]))
        log_mel = nodes.add("QuantizeLinear", emit_front_end(nodes, WAVEFORM, graph), step, offset)
        nodes.add("Unsqueeze", log_mel, nodes.integers(0, 1), output=source.name)
    else:
        nodes.add("QuantizeLinear", REAL_INPUT, nodes.number(scales(source)[0]), offset, output=source.name)
    for op in network_ops(graph):
        emit_layer(nodes, graph, op)
    result = graph.tensors[graph.outputs[0]]
    if student:
        ends = [_float(WAVEFORM, [1, "samples"]), _float(result.name, [1, 3])]
    else:
        if result.dtype == "int8":
            nodes.add("DequantizeLinear", result.name, *_meaning(nodes, result), output=REAL_OUTPUT)
        else:
            # What attention pools is float there already.
            nodes.add("Identity", result.name, output=REAL_OUTPUT)
        ends = [_float(REAL_INPUT, _onnx_shape(source)), _float(REAL_OUTPUT, _onnx_shape(result))]
    model = nodes.model(graph.name, ends[:1], ends[1:])
    model.producer_name = "edgekit"
    helper.set_model_props(model, dict(graph.metadata))
    write_bytes(path, model.SerializeToString(deterministic=True))


def _float(name: str, shape: Sequence[int | str]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _onnx_shape(tensor: Tensor) -> list[int]:
    """Return a map's (1, channel, T, mel), or the (T, features) of tokens."""
    if len(tensor.shape) < MAP_RANK:
        return list(tensor.shape if len(tensor.shape) > 1 else (1, *tensor.shape))
    rows, columns, channels = tensor.shape
    return [1, channels, rows, columns]


def _meaning(nodes: Nodes, tensor: Tensor) -> tuple[str, str]:
    """Return the names of a tensor's scale and zero point."""
    return nodes.number(scales(tensor)[0]), nodes.constant(np.int8(zero_point(tensor)))


def emit_layer(nodes: Nodes, graph: Graph, op: Op) -> None:
    """Append one operator of the network, its inputs and output under their names in the graph.

    Raises:
        UnsupportedError: If ONNX has no form of it here.
    """
    if op.kind not in EMITTERS:
        raise UnsupportedError(
            f"{op.kind} {op.name!r}: not written to ONNX, which has {', '.join(EMITTERS)}",
            "change the model at that layer",
        )
    EMITTERS[op.kind](nodes, graph, op)


def _conv2d(nodes: Nodes, graph: Graph, op: Op) -> None:
    weights, _, *_ = graph.constant_inputs(op)
    _convolve(nodes, graph, op, np.moveaxis(weights, 3, 1), 1)


def _depthwise_conv2d(nodes: Nodes, graph: Graph, op: Op) -> None:
    weights, _, *_ = graph.constant_inputs(op)
    groups = graph.tensors[op.inputs[0]].shape[-1]
    _convolve(nodes, graph, op, np.moveaxis(weights, -1, 0)[:, None], groups)


def _convolve(nodes: Nodes, graph: Graph, op: Op, weights: Array, groups: int) -> None:
    """Append a convolution with (O, C / groups, KH, KW) weights."""
    bias = graph.constant_inputs(op)[1]
    kernels = nodes.constant(np.ascontiguousarray(weights))
    points = (nodes.constant(np.int8(op.integer("input_zero_point"))), nodes.constant(np.int8(0)))
    window = _window(op) | ({"group": groups} if groups > 1 else {})
    if "dilation" in op.attributes:
        window["dilations"] = op.integers("dilation")
    accumulator = nodes.add("ConvInteger", op.inputs[0], kernels, *points, **window)
    biased = nodes.add("Add", accumulator, nodes.constant(bias.astype(np.int32).reshape(-1, 1, 1)))
    multiplier, shift = graph.constant_inputs(op)[2:4]
    largest = _largest(weights.reshape(len(weights), -1), bias)
    _requantize(nodes, op, biased, (multiplier, shift), (-1, 1, 1), largest)


def _largest(rows: Array, bias: Array) -> int:
    """Return what no accumulator of (O, K) weights exceeds."""
    return int((np.abs(bias.astype(np.int64)) + INT8_STEPS * np.abs(rows.astype(np.int64)).sum(axis=1)).max())


def _window(op: Op) -> dict[str, Any]:
    top, bottom, left, right = op.integers("padding")
    return {
        "kernel_shape": op.integers("kernel"),
        "strides": op.integers("stride"),
        "pads": (top, left, bottom, right),
    }


def _requantize(
    nodes: Nodes,
    op: Op,
    accumulator: str,
    scale: tuple[Array, Array],
    per_channel: tuple[int, ...],
    largest: int,
) -> None:
    """Round(accumulator * multiplier * 2^left), then by 2^right with ties away from zero, clamped.

    Args:
        nodes: Where to.
        op: The operator, with output zero point and clamp.
        accumulator: An int32 tensor.
        scale: Multipliers and shifts.
        per_channel: Their shape beside the tensor's.
        largest: What no accumulator exceeds: beyond 24 bits, float32 does not hold it.
    """
    multiplier, shift = scale[0].astype(np.int64), scale[1].astype(np.int64)
    exact = largest < FLOAT_EXACT and shift.min() >= -LARGEST_EXACT_SHIFT
    real = TensorProto.FLOAT if exact else TensorProto.DOUBLE
    kind = helper.tensor_dtype_to_np_dtype(real)
    factor = np.ldexp(multiplier / 2**31, np.maximum(shift, 0)).astype(kind)
    divisor = (2.0 ** np.maximum(-shift, 0) * (1 - TIE_BREAK)).astype(np.float32)
    point = np.full(divisor.size, op.integer("output_zero_point"), np.int8)
    product = nodes.add(
        "Mul", nodes.add("Cast", accumulator, to=real), nodes.constant(factor.reshape(per_channel))
    )
    if (multiplier & (multiplier - 1) == 0).any():
        # Powers of two meet halves all the time, which go up; Round takes them to even.
        high = nodes.add("Floor", nodes.add("Add", product, nodes.constant(kind.type(0.5))))
    else:
        high = nodes.add("Round", product)
    if not exact:
        high = _rounded_away(nodes, high, 2.0 ** np.minimum(shift, 0).reshape(per_channel))
        divisor = np.ones_like(divisor)
    _to_int8(nodes, op, high, nodes.constant(divisor), nodes.constant(point), axis=1)


def _to_int8(nodes: Nodes, op: Op, real: str, scale: str, point: str, **axis: Any) -> None:
    """Append the operator's output: a real tensor rounded to int8, within the operator's clamp."""
    clamp = op.integers("clamp")
    if clamp == INT8_RANGE:
        nodes.add("QuantizeLinear", real, scale, point, output=op.outputs[0], **axis)
        return
    quantized = nodes.add("QuantizeLinear", real, scale, point, **axis)
    limits = (nodes.constant(np.int8(limit)) for limit in clamp)
    nodes.add("Clip", quantized, *limits, output=op.outputs[0])


def _rounded_away(nodes: Nodes, high: str, factor: NDArray[np.float64] | np.float64) -> str:
    """Return float32 integers: doubles times powers of two, halves away from zero."""
    value = nodes.add("Mul", high, nodes.constant(factor))
    half = nodes.constant(np.float64(0.5))
    magnitude = nodes.add("Floor", nodes.add("Add", nodes.add("Abs", value), half))
    return nodes.add("Cast", nodes.add("Mul", nodes.add("Sign", value), magnitude), to=TensorProto.FLOAT)


def _max_pool2d(nodes: Nodes, graph: Graph, op: Op) -> None:  # noqa: ARG001 - emitters share one signature
    nodes.add("MaxPool", op.inputs[0], output=op.outputs[0], **_window(op))


def _average_pool2d(nodes: Nodes, graph: Graph, op: Op) -> None:  # noqa: ARG001 - emitters share one signature
    # The integers as they are, in the float that onnxruntime has this pool for.
    integers = nodes.add("Cast", op.inputs[0], to=TensorProto.FLOAT)
    means = nodes.add("Cast", nodes.add("AveragePool", integers, **_window(op)), to=TensorProto.DOUBLE)
    rounded = _rounded_away(nodes, means, np.float64(1))
    _to_int8(nodes, op, rounded, nodes.number(1), nodes.constant(np.int8(0)))


def _mean(nodes: Nodes, graph: Graph, op: Op) -> None:
    centred = _centred(nodes, op.inputs[0], op.integer("input_zero_point"))
    total = nodes.add("ReduceSum", centred, nodes.integers(2, 3), keepdims=1)
    rows, columns, _ = graph.tensors[op.inputs[0]].shape
    _requantize(nodes, op, total, _one_multiplier(op), (1,), rows * columns * INT8_STEPS)


def _mul(nodes: Nodes, graph: Graph, op: Op) -> None:  # noqa: ARG001 - emitters share one signature
    points = op.integers("input_zero_points")
    one, other = (_centred(nodes, name, point) for name, point in zip(op.inputs, points, strict=True))
    _requantize(nodes, op, nodes.add("Mul", one, other), _one_multiplier(op), (1,), INT8_STEPS**2)


def _centred(nodes: Nodes, name: str, zero_point: int) -> str:
    return nodes.add(
        "Sub", nodes.add("Cast", name, to=TensorProto.INT32), nodes.constant(np.int32(zero_point))
    )


def _one_multiplier(op: Op) -> tuple[Array, Array]:
    return np.array([op.integer("multiplier")]), np.array([op.integer("shift")])


def _add(nodes: Nodes, graph: Graph, op: Op) -> None:
    one, other = (_dequantize(nodes, graph, name) for name in op.inputs)
    _quantize(nodes, graph, op, nodes.add("Add", one, other))


def _lookup(nodes: Nodes, graph: Graph, op: Op) -> None:
    index = nodes.add(
        "Add", nodes.add("Cast", op.inputs[0], to=TensorProto.INT32), nodes.constant(np.int32(128))
    )
    nodes.add("Gather", nodes.constant(graph.constant_inputs(op)[0]), index, output=op.outputs[0])


def _quantize(nodes: Nodes, graph: Graph, op: Op, real: str) -> None:
    """Append the operator's output: a real tensor in the output's scale."""
    _to_int8(nodes, op, real, *_meaning(nodes, graph.output(op)))


def _flatten(nodes: Nodes, graph: Graph, op: Op) -> None:
    last = nodes.add("Transpose", op.inputs[0], perm=(0, 2, 3, 1))
    nodes.add("Reshape", last, nodes.integers(-1, graph.output(op).shape[1]), output=op.outputs[0])


def _fully_connected(nodes: Nodes, graph: Graph, op: Op) -> None:
    weights, bias, *_ = graph.constant_inputs(op)
    int4 = graph.tensors[op.inputs[1]].dtype == "int4"
    columns = nodes.constant(np.ascontiguousarray(weights.T), int4)
    if int4:
        columns = nodes.add("Cast", columns, to=TensorProto.INT8)
    point = nodes.constant(np.int8(op.integer("input_zero_point")))
    accumulator = nodes.add("MatMulInteger", op.inputs[0], columns, point)
    biased = nodes.add("Add", accumulator, nodes.constant(bias.astype(np.int32)))
    multiplier, shift = graph.constant_inputs(op)[2:4]
    _requantize(nodes, op, biased, (multiplier, shift), (-1,), _largest(weights, bias))


def _attention_pool(nodes: Nodes, graph: Graph, op: Op) -> None:
    value, score = (_dequantize(nodes, graph, name) for name in op.inputs[:2])
    weighted = nodes.add("Mul", value, nodes.add("Softmax", score, axis=0))
    nodes.add("ReduceSum", weighted, nodes.integers(0), output=op.outputs[0])


def _second_order(nodes: Nodes, graph: Graph, op: Op) -> None:  # noqa: ARG001 - emitters share one signature
    maps = nodes.add("Reshape", op.inputs[0], nodes.integers(-1, op.integer("channels")))
    products = nodes.add("MatMul", nodes.add("Transpose", maps, perm=(1, 0)), maps)
    values, row = (nodes.add("Reshape", part, nodes.integers(1, -1)) for part in (maps, products))
    nodes.add("Concat", values, row, output=op.outputs[0], axis=1)


def _dequantize(nodes: Nodes, graph: Graph, name: str) -> str:
    return nodes.add("DequantizeLinear", name, *_meaning(nodes, graph.tensors[name]))


def _softmax(nodes: Nodes, graph: Graph, op: Op) -> None:
    shares = nodes.add("Softmax", _dequantize(nodes, graph, op.inputs[0]), axis=-1)
    nodes.add("QuantizeLinear", shares, *_meaning(nodes, graph.output(op)), output=op.outputs[0])


def _reshape(nodes: Nodes, graph: Graph, op: Op) -> None:
    values = _in_graph_order(nodes, op.inputs[0], graph.tensors[op.inputs[0]])
    shape = op.integers("shape")
    if len(shape) < MAP_RANK:
        nodes.add("Reshape", values, nodes.integers(*shape), output=op.outputs[0])
        return
    last = nodes.add("Reshape", values, nodes.integers(1, *shape))
    nodes.add("Transpose", last, output=op.outputs[0], perm=(0, 3, 1, 2))


def _in_graph_order(nodes: Nodes, name: str, tensor: Tensor) -> str:
    return nodes.add("Transpose", name, perm=(0, 2, 3, 1)) if len(tensor.shape) == MAP_RANK else name


def _transpose(nodes: Nodes, graph: Graph, op: Op) -> None:  # noqa: ARG001 - emitters share one signature
    axes = op.integers("axes")
    if len(axes) < MAP_RANK:
        nodes.add("Transpose", op.inputs[0], output=op.outputs[0], perm=axes)
        return
    # ONNX has time, mel and channel at 2, 3 and 1; its axes in that order: 1, 2, 3 are channel, time, mel.
    places = (2, 3, 1)
    perm = [0, *(places[axes[graph_axis]] for graph_axis in (2, 0, 1))]
    nodes.add("Transpose", op.inputs[0], output=op.outputs[0], perm=perm)


def _pad(nodes: Nodes, graph: Graph, op: Op) -> None:  # noqa: ARG001 - emitters share one signature
    top, bottom, left, right = op.integers("padding")
    amounts = nodes.integers(0, 0, top, left, 0, 0, bottom, right)
    nodes.add("Pad", op.inputs[0], amounts, nodes.constant(np.int8(op.integer("fill"))), output=op.outputs[0])


def _fully_connected_int16(nodes: Nodes, graph: Graph, op: Op) -> None:
    weights, bias, *_ = graph.constant_inputs(op)
    weight_scales = np.array(scales(graph.tensors[op.inputs[1]]), np.float32)
    matrix = nodes.add("DequantizeLinear", nodes.constant(weights), nodes.constant(weight_scales), axis=0)
    real_bias = bias * weight_scales * scales(graph.tensors[op.inputs[0]])[0]
    offset = nodes.constant(real_bias.astype(np.float32))
    nodes.add("Gemm", op.inputs[0], matrix, offset, output=op.outputs[0], transB=1)


EMITTERS: Mapping[str, Callable[[Nodes, Graph, Op], None]] = {
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise_conv2d,
    "max_pool2d": _max_pool2d,
    "average_pool2d": _average_pool2d,
    "mean": _mean,
    "add": _add,
    "mul": _mul,
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
