"""How each node of a float ONNX file becomes a layer, or joins the layer before it."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from quantize.network import Columns, Layer
from quantize.onnx_shapes import (
    KEEP_ORDER,
    MAP_RANK,
    add_padding,
    add_reshape,
    add_row,
    add_transpose,
    attributes_of,
)
from quantize.onnx_windows import read_average_pool, read_conv, read_max_pool

if TYPE_CHECKING:
    from quantize.importer import Importer

TIME_AXIS = 1
"""Of (batch, time, feature) tokens."""
MAP_AXES = [2, 3]
"""Time and mel of (batch, channel, time, mel) maps."""
CLIPPED = ("conv2d", "depthwise_conv2d", "fully_connected", "add", "mul")
"""Layers that can clip their own results."""
MAP_OPERATORS = ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool")
LINEAR = ("conv2d", "depthwise_conv2d", "fully_connected")
READ_TURNED = (*KEEP_ORDER, "Reshape", "MatMul", "Gemm", "ReduceSum")
"""What reads tokens whose features lie otherwise than in ONNX, and knows it."""


def read_node(importer: "Importer", node: onnx.NodeProto) -> None:
    """Import a node.

    Raises:
        UnsupportedError: If it cannot be; it names the node and the constraint.
    """
    handler = HANDLERS.get(node.op_type)
    if handler is None:
        what = f"operator {node.op_type}, supported: {', '.join(HANDLERS)}"
        raise importer.unsupported(node, what)
    read = [name for name in node.input if name in importer.alias]
    orders = {(name in importer.as_they_are, importer.channels_first.get(name, 0)) for name in read}
    if node.op_type in KEEP_ORDER:
        importer.require(node, len(orders) < 2, "inputs whose axes lie in one order")
    elif node.op_type in MAP_OPERATORS:
        importer.require(
            node,
            all(map(importer.is_map, read)),
            "convolutions and pools read maps (batch, channel, time, mel)",
        )
    turned = any(name in importer.channels_first for name in read) and node.op_type not in READ_TURNED
    importer.require(node, not turned, "a Gemm or MatMul to read what was a map until its Reshape")
    handler(importer, node)
    if node.op_type in KEEP_ORDER and orders:
        as_they_are, channels = orders.pop()
        if as_they_are:
            importer.as_they_are.add(node.output[0])
        if channels:
            importer.channels_first[node.output[0]] = channels


def _batch_norm(importer: "Importer", node: onnx.NodeProto) -> None:
    importer.require(node, not attributes_of(node).get("training_mode", 0), "training_mode 0")
    gamma, beta, mean, variance = (importer.constant(node, i).astype(np.float64) for i in range(1, 5))
    layer = importer.layers.get(importer.source(node))
    follows = layer is not None and layer.kind in LINEAR and not _clips(layer)
    importer.require(node, follows, "it follows a Conv, Gemm or MatMul")
    assert layer is not None
    rows = layer.kind == "fully_connected" and len(importer.shapes.get(node.input[0], ())) == 1
    importer.require(node, rows or importer.is_map(node.input[0]), "channels, or features of one row")
    gain = gamma / np.sqrt(variance + attributes_of(node).get("epsilon", 1e-5))
    # Outputs are the first axis of a layer's weights, the last of a depthwise convolution's.
    first = (-1,) + (1,) * (layer.weights.ndim - 1)
    by_output = gain if layer.kind == "depthwise_conv2d" else gain.reshape(first)
    importer.extend(node, weights=layer.weights * by_output, bias=(layer.bias - mean) * gain + beta)


def _clips(layer: Layer) -> bool:
    return (layer.low, layer.high) != (-math.inf, math.inf)


def _relu(importer: "Importer", node: onnx.NodeProto) -> None:
    _clip_to(importer, node, 0.0, math.inf, "relu")


def _clip(importer: "Importer", node: onnx.NodeProto) -> None:
    limits = [importer.constant(node, i).item() for i in range(1, len(node.input)) if node.input[i]]
    # Before opset 11 they were attributes.
    attributes = attributes_of(node)
    limits += [attributes[name] for name in ("min", "max") if name in attributes]
    importer.require(node, limits == [0.0, 6.0], "0 to 6")
    _clip_to(importer, node, 0.0, 6.0, "relu6")


def _clip_to(importer: "Importer", node: onnx.NodeProto, low: float, high: float, function: str) -> None:
    layer = importer.layers.get(importer.source(node))
    if layer is not None and layer.kind in CLIPPED and importer.is_only_reader(node):
        importer.extend(node, low=max(low, layer.low), high=min(high, layer.high))
        return
    _lookup(importer, node, function)


def _lookup(importer: "Importer", node: onnx.NodeProto, function: str) -> None:
    source = importer.source(node)
    name = importer.layer_name(node)
    importer.add(node, Layer("lookup", name, (source,), node.output[0], (node.name,), function=function))


def _hard_swish(importer: "Importer", node: onnx.NodeProto) -> None:
    _lookup(importer, node, "hard_swish")


def _sigmoid(importer: "Importer", node: onnx.NodeProto) -> None:
    _lookup(importer, node, "sigmoid")


def _tanh(importer: "Importer", node: onnx.NodeProto) -> None:
    _lookup(importer, node, "tanh")


def _hard_sigmoid(importer: "Importer", node: onnx.NodeProto) -> None:
    """Fold it into the convolution or linear layer before, whose results are then clipped to 0 and 1."""
    attributes, layer = attributes_of(node), importer.layers.get(importer.source(node))
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    follows = layer is not None and layer.kind in LINEAR and importer.is_only_reader(node)
    importer.require(node, follows, "it alone reads a Conv, Gemm or MatMul")
    assert layer is not None
    importer.require(node, not _clips(layer), "no activation before it")
    importer.extend(node, weights=alpha * layer.weights, bias=alpha * layer.bias + beta, low=0.0, high=1.0)


def _reduce_mean(importer: "Importer", node: onnx.NodeProto) -> None:
    rank = len(MAP_AXES) + 2
    axes = sorted(axis % rank for axis in _axes(importer, node) or range(rank))
    wanted = [1, 2] if node.input[0] in importer.as_they_are else MAP_AXES
    over_places = len(importer.shapes.get(node.input[0], ())) == rank - 1 and axes == wanted
    importer.require(node, over_places, "a mean over time and mel of a map")
    _mean(importer, node)


def _axes(importer: "Importer", node: onnx.NodeProto) -> list[int] | None:
    """Return the axes of a node, an attribute or, in later opsets, an input; None if it has neither."""
    if len(node.input) > 1 and node.input[1]:
        return [int(axis) for axis in importer.constant(node, 1).ravel()]
    found = attributes_of(node).get("axes")
    return None if found is None else list(found)


def _global_mean(importer: "Importer", node: onnx.NodeProto) -> None:
    importer.require(node, importer.is_map(node.input[0]), "the mean of a map")
    _mean(importer, node)


def _mean(importer: "Importer", node: onnx.NodeProto) -> None:
    source, output = importer.source(node), node.output[0]
    importer.add(node, Layer("mean", importer.layer_name(node), (source,), output, (node.name,)))
    as_they_are = node.input[0] in importer.as_they_are
    if attributes_of(node).get("keepdims", 1) == 0:
        channels = importer.shape(node, node.input[0])[-1 if as_they_are else 0]
        name = importer.layer_name(node)
        row = Layer("reshape", name, (output,), f"{output}:row", (node.name,), shape=(1, channels))
        importer.alias[output] = importer.add_hidden(row)
    elif as_they_are:
        importer.as_they_are.add(output)


def _squeeze(importer: "Importer", node: onnx.NodeProto) -> None:
    readers = _readers(importer, node.output[0])
    to_tokens = importer.is_map(node.input[0]) and _axes(importer, node) in ([3], [-1])
    if to_tokens and readers and {reader.op_type for reader in readers} == {"Transpose"}:
        importer.alias[node.output[0]] = importer.source(node)
        importer.squeezed.add(node.output[0])
        return
    add_reshape(importer, node)


def _readers(importer: "Importer", name: str) -> list[onnx.NodeProto]:
    """Return the nodes that read a tensor; none where the model returns it."""
    found = [other for other in importer.nodes if name in other.input]
    return [] if name == importer.output else found


def _unsqueeze(importer: "Importer", node: onnx.NodeProto) -> None:
    read = node.input[0]
    alone = read == importer.input and len(importer.shapes.get(read, ())) == len(MAP_AXES)
    if not (alone and all(_adds_channel(importer, other) for other in _readers(importer, read))):
        add_reshape(importer, node)
        return
    # The channel axis of the input.
    importer.alias[node.output[0]] = importer.input
    importer.has_one_channel = True


def _adds_channel(importer: "Importer", node: onnx.NodeProto) -> bool:
    return node.op_type == "Unsqueeze" and _axes(importer, node) in ([1], [-3])


def _transpose(importer: "Importer", node: onnx.NodeProto) -> None:
    source, rank = importer.source(node), len(importer.shapes.get(node.input[0], ())) + 1
    axes = list(attributes_of(node).get("perm", reversed(range(rank))))
    if source in importer.pooled_channels:
        importer.require(node, axes == [0, 2, 1], "perm 0 2 1: mel and channel change places")
        importer.turned[node.output[0]] = source
        return
    if node.input[0] in importer.squeezed:
        importer.require(node, axes == [0, 2, 1], "perm 0 2 1: maps to tokens")
        name = importer.layer_name(node)
        importer.add(node, Layer("flatten", name, (source,), node.output[0], (node.name,)))
        return
    if axes == [0, 2, 1, 3] and importer.is_map(node.input[0]) and _makes_tokens(importer, node):
        importer.alias[node.output[0]] = source
        channels = importer.shapes.get(node.input[0], (0,))[0]
        importer.require(node, channels > 0, "a number of channels that is known")
        importer.channels_first[node.output[0]] = channels
        return
    add_transpose(importer, node, axes)


def _makes_tokens(importer: "Importer", node: onnx.NodeProto) -> bool:
    """Return whether all that reads a Transpose takes channels and mel positions for a token's features."""
    shares = {other.output[0] for other in importer.nodes if _is_over_time(other)}
    readers = _readers(importer, node.output[0])
    return bool(readers) and all(
        _is_over_time(reader)
        or _flattens(importer, reader)
        or (reader.op_type == "Mul" and bool(shares & set(reader.input)))
        for reader in readers
    )


def _is_over_time(node: onnx.NodeProto) -> bool:
    return node.op_type == "Softmax" and attributes_of(node).get("axis") == TIME_AXIS


def _flattens(importer: "Importer", node: onnx.NodeProto) -> bool:
    """Return whether a node makes (batch, time, features) of (batch, time, channel, mel)."""
    if node.op_type != "Reshape":
        return False
    batch, time, *features = importer.constant(node, 1).tolist()
    before = importer.shapes.get(node.input[0], (0,))[0]
    return batch in (0, 1) and time in (0, before) and len(features) == 1


def _reshape(importer: "Importer", node: onnx.NodeProto) -> None:
    if node.input[0] not in importer.channels_first:
        add_reshape(importer, node)
        return
    importer.require(
        node, _flattens(importer, node), "it keeps batch and time, and makes one axis of the rest"
    )
    channels = importer.channels_first[node.input[0]]
    name = importer.layer_name(node)
    importer.add(node, Layer("flatten", name, (importer.source(node),), node.output[0], (node.name,)))
    importer.channels_first[node.output[0]] = channels


def _columns(importer: "Importer", source: str, count: int) -> Columns:
    """Return which ONNX feature each feature of the graph is, for what a linear layer reads."""
    numbers = np.arange(count)
    if source in importer.channels_first:
        # ONNX's tokens are (channel, mel), the graph's (mel, channel).
        return np.asarray(numbers.reshape(importer.channels_first[source], -1).T.ravel())
    before = importer.layers.get(source)
    if before is not None and before.kind == "second_order":
        return _second_order_columns(numbers, importer.pooled_channels[before.inputs[0]])
    return numbers


def _linear(importer: "Importer", node: onnx.NodeProto, weights: NDArray[Any], bias: NDArray[Any]) -> None:
    source, read = importer.source(node), node.input[0]
    rank = len(importer.shapes.get(read, ()))
    tokens = rank <= len(MAP_AXES) and source not in importer.pooled_channels
    importer.require(node, tokens, "tokens (batch, time, features) or rows (batch, features)")
    importer.require(node, min(weights.shape) > 0, "a matrix that is not empty")
    columns = _columns(importer, source, weights.shape[1])
    layer = Layer(
        "fully_connected",
        importer.layer_name(node),
        (source,),
        node.output[0],
        (node.name,),
        weights.astype(np.float64)[:, columns],
        bias.astype(np.float64),
        columns=columns,
    )
    importer.add(node, layer)


def _matmul(importer: "Importer", node: onnx.NodeProto) -> None:
    if node.input[1] in importer.turned:
        source = importer.source(node)
        importer.require(node, importer.turned[node.input[1]] == source, "pooled values times themselves")
        importer.products[node.output[0]] = source
        return
    weights = importer.constant(node, 1)
    importer.require(node, weights.ndim == 2, "a matrix on the right")
    _linear(importer, node, weights.T, np.zeros(weights.shape[1]))


def _concat(importer: "Importer", node: onnx.NodeProto) -> None:
    """Pooled values beside their products: the second-order pooling of Wav2Small2.0."""
    source = importer.source(node)
    beside = len(node.input) == 2 and importer.products.get(node.input[1]) == source
    importer.require(node, beside and attributes_of(node)["axis"] == 2, "pooled values, then their products")
    name = importer.layer_name(node)
    importer.add(node, Layer("second_order", name, (source,), node.output[0], (node.name,)))


def _flatten(importer: "Importer", node: onnx.NodeProto) -> None:
    source = importer.source(node)
    importer.require(node, attributes_of(node).get("axis", 1) == 1, "axis 1")
    if source in importer.layers and importer.layers[source].kind == "second_order":
        importer.alias[node.output[0]] = source
        return
    add_row(importer, node, importer.source(node))


def _identity(importer: "Importer", node: onnx.NodeProto) -> None:
    if node.input[0] in importer.constants:
        importer.constants[node.output[0]] = importer.constants[node.input[0]]
        return
    importer.alias[node.output[0]] = importer.source(node)


def _dropout(importer: "Importer", node: onnx.NodeProto) -> None:
    training = len(node.input) > 2 and node.input[2] and importer.constant(node, 2).any()
    importer.require(node, not training, "training_mode false")
    _identity(importer, node)


def _second_order_columns(numbers: Columns, channels: int) -> Columns:
    """ONNX has (mel, products) channel by channel, the graph all values (mel, channel), then all products."""
    by_channel = numbers.reshape(channels, -1)
    bands = by_channel.shape[1] - channels
    return np.concatenate([by_channel[:, :bands].T.ravel(), by_channel[:, bands:].ravel()])


def _gemm(importer: "Importer", node: onnx.NodeProto) -> None:
    attributes = attributes_of(node)
    plain = (attributes.get("alpha", 1.0), attributes.get("beta", 1.0), attributes.get("transA", 0))
    importer.require(node, plain == (1.0, 1.0, 0), "alpha 1, beta 1, transA 0")
    weights = importer.constant(node, 1)
    rows = weights if attributes.get("transB", 0) else weights.T
    bias = importer.constant(node, 2) if len(node.input) > 2 and node.input[2] else np.zeros(len(rows))
    _require_by_output(importer, node, bias, len(rows))
    _linear(importer, node, rows, np.broadcast_to(bias.ravel(), len(rows)))


def _add(importer: "Importer", node: onnx.NodeProto) -> None:
    constants = [index for index in (0, 1) if node.input[index] in importer.constants]
    if not constants:
        _combine(importer, node, "add")
        return
    bias, read = importer.constant(node, constants[0]).astype(np.float64), 1 - constants[0]
    layer = importer.layers.get(importer.source(node, read))
    follows = layer is not None and layer.kind == "fully_connected" and not _clips(layer)
    importer.require(node, follows, "two tensors, or a constant after a MatMul")
    assert layer is not None
    _require_by_output(importer, node, bias, len(layer.bias))
    importer.extend(node, read, bias=layer.bias + bias.ravel())


def _require_by_output(importer: "Importer", node: onnx.NodeProto, bias: NDArray[Any], outputs: int) -> None:
    """Require a constant of the last axis: one that differs from token to token is no bias."""
    along_last = bias.size == 1 or (bias.size == outputs and bias.shape[-1] == outputs)
    importer.require(node, along_last, "a constant of one number, or one for each output")


def _combine(importer: "Importer", node: onnx.NodeProto, kind: str) -> None:
    ranks = {len(importer.shapes[name]) for name in node.input if name in importer.shapes}
    importer.require(node, len(ranks) == 1, "two tensors of as many axes")
    sources = (importer.source(node, 0), importer.source(node, 1))
    importer.add(node, Layer(kind, importer.layer_name(node), sources, node.output[0], (node.name,)))


def _softmax(importer: "Importer", node: onnx.NodeProto) -> None:
    old = importer.opset < 13
    rank = len(importer.shapes.get(node.input[0], (0, 0))) + 1
    axis = attributes_of(node).get("axis", 1 if old else -1)
    # Before opset 13, everything from the axis on is one row.
    importer.require(node, not old or rank == 2, "opset 13 or later, or rows")
    if axis % rank == rank - 1:
        plain = rank < 4 and node.input[0] not in importer.channels_first
        importer.require(node, plain, "rows or tokens in ONNX's order")
        layer = Layer(
            "softmax", importer.layer_name(node), (importer.source(node),), node.output[0], (node.name,)
        )
        importer.add(node, layer)
        return
    # Axis 1 of a map is its channels, unless a Transpose has put time there.
    over_time = axis == TIME_AXIS and (rank == 3 or node.input[0] in importer.channels_first)
    importer.require(node, over_time, "the last axis, or time: axis 1 of tokens")
    importer.weights_of_time[node.output[0]] = node.input[0]


def _mul(importer: "Importer", node: onnx.NodeProto) -> None:
    attention = [name for name in node.input if name in importer.weights_of_time]
    if not attention:
        _combine(importer, node, "mul")
        return
    importer.require(node, len(attention) == 1, "values times a Softmax over time")
    value = node.input[1 - list(node.input).index(attention[0])]
    score = importer.weights_of_time[attention[0]]
    importer.require(node, value in importer.alias, "values that come from a layer")
    one, other = (importer.channels_first.get(name, 0) for name in (value, score))
    importer.require(node, one == other, "values and scores whose features lie in one order")
    _require_scores(importer, node, value, score)
    inputs = (importer.alias[value], importer.alias[score])
    if len(importer.shapes.get(value, ())) == MAP_RANK:
        inputs = (_flat(importer, node, inputs[0]), _flat(importer, node, inputs[1]))
        importer.attended_channels[node.output[0]] = one
    layer = Layer("attention_pool", importer.layer_name(node), inputs, node.output[0], (node.name,))
    importer.add(node, layer)


def _require_scores(importer: "Importer", node: onnx.NodeProto, value: str, score: str) -> None:
    """Require a score for each value; one for each token becomes that, computed by as many equal rows."""
    (_, *features), (_, *scores) = (importer.shapes.get(name, (0,)) for name in (value, score))
    layer = importer.layers.get(importer.alias[score])
    alone = layer is not None and layer.kind == "fully_connected" and len(_readers(importer, score)) == 1
    if alone and scores == [1] != features:
        assert layer is not None
        weights, bias = (np.repeat(values, features[0], axis=0) for values in (layer.weights, layer.bias))
        importer.layers[layer.output] = dataclasses.replace(layer, weights=weights, bias=bias)
        return
    importer.require(node, features == scores, "a score for each value, or a MatMul's for each token")


def _flat(importer: "Importer", node: onnx.NodeProto, source: str) -> str:
    """Add the tokens of a map that ONNX leaves unflattened, and return their name."""
    name = f"{importer.layers[source].name}_tokens"
    return importer.add_hidden(Layer("flatten", name, (source,), f"{source}:tokens", (node.name,)))


def _reduce_sum(importer: "Importer", node: onnx.NodeProto) -> None:
    layer = importer.layers.get(importer.source(node))
    importer.require(
        node, layer is not None and layer.kind == "attention_pool", "it sums the attended values"
    )
    importer.require(node, _axes(importer, node) == [TIME_AXIS], "axis 1: over time")
    importer.require(node, attributes_of(node).get("keepdims", 1) == 0, "keepdims 0")
    importer.extend(node)
    if channels := importer.attended_channels.get(node.input[0]):
        importer.pooled_channels[node.output[0]] = channels
    elif channels := importer.channels_first.get(node.input[0]):
        importer.channels_first[node.output[0]] = channels


HANDLERS: Mapping[str, Callable[["Importer", onnx.NodeProto], None]] = {
    "Conv": read_conv,
    "BatchNormalization": _batch_norm,
    "Relu": _relu,
    "Clip": _clip,
    "HardSwish": _hard_swish,
    "HardSigmoid": _hard_sigmoid,
    "Sigmoid": _sigmoid,
    "Tanh": _tanh,
    "ReduceMean": _reduce_mean,
    "GlobalAveragePool": _global_mean,
    "AveragePool": read_average_pool,
    "Squeeze": _squeeze,
    "MaxPool": read_max_pool,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Concat": _concat,
    "Flatten": _flatten,
    "Add": _add,
    "Softmax": _softmax,
    "Mul": _mul,
    "ReduceSum": _reduce_sum,
    "Pad": add_padding,
    "Identity": _identity,
    "Dropout": _dropout,
}
