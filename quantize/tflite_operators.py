"""How each operator of an int8 .tflite becomes one of the integer graph, its integers those of TFLite."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgekit.errors import UnsupportedError
from edgekit.graph import Quantization
from edgekit.graph.linear_ops import SINGLE_ROUNDING
from edgekit.graph.tables import (
    hard_swish_table,
    logistic_table,
    micro_logistic_table,
    micro_tanh_table,
    relu6_table,
    relu_table,
    rescale_table,
    softmax_table,
    tanh_table,
)
from edgekit.graph.types import Attribute
from quantize.scales import (
    INT8_RANGE,
    clamp_of,
    mean_attributes,
    product_attributes,
    requantization,
    sum_attributes,
)
from quantize.tflite_contents import HINT, Entry
from quantize.tflite_source import ACTIVATIONS, BOUNDS, SourceOperator, Weights

if TYPE_CHECKING:
    from quantize.tflite_reader import Reader

Window = dict[str, Attribute]
TableOf = Callable[[Quantization, Quantization], NDArray[np.int64]]

LARGEST_REACH = 4096
LARGEST_RATIO = 1 << 22
"""Of an input's scale to the output's: 9 bits of an input less its zero point, so shifted, fit int32."""
LARGEST_SCALE = 1 << 16
SMALLEST_SCALE = 2.0**-28
"""Below it, TFLite Micro's logistic and tanh shift by negative amounts."""
SOFTMAX_FRACTION_BITS = 26
HIGH_RESOLUTION = 128
"""By how much hard swish refines its input; its outputs are no finer."""
PROBABILITY = Quantization((1 / 256,), -128)
HYPERBOLIC_TANGENT = Quantization((1 / 128,), 0)


def read_operator(reader: "Reader", entry: Entry) -> None:
    """Add an operator of the file to the graph in the making.

    Raises:
        UnsupportedError: If it cannot be imported; the message names it and the constraint.
    """
    if entry.kind not in HANDLERS:
        supported = ", ".join(HANDLERS)
        raise UnsupportedError(f"{entry}: operator {entry.kind}, supported: {supported}", HINT)
    HANDLERS[entry.kind](SourceOperator(reader, entry))


def _window(operator: SourceOperator, options: Any, kernel: tuple[int, int], channels: int) -> Window:
    """Return how a window moves over the input's map, checking that it gives the result's."""
    sizes, stride = operator.map_input().shape[:2], (options.strideH, options.strideW)
    dilation = (getattr(options, "dilationHFactor", 1), getattr(options, "dilationWFactor", 1))
    operator.require(min(*kernel, *stride, *dilation) >= 1, "kernels, strides and dilations from 1")
    operator.require(options.padding in (schema.Padding.SAME, schema.Padding.VALID), "SAME or VALID padding")
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
    operator.require(max(reach) <= LARGEST_REACH, "windows of at most 4096 rows and columns")
    pads = [(0, 0), (0, 0)]
    if options.padding == schema.Padding.SAME:
        pads = [_same(*axis) for axis in zip(sizes, reach, stride, strict=True)]
    counts = [
        (size + sum(pad) - length) // step + 1
        for size, pad, length, step in zip(sizes, pads, reach, stride, strict=True)
    ]
    operator.shaped((*counts, channels))
    found: Window = {"kernel": kernel, "stride": stride, "padding": (*pads[0], *pads[1])}
    return found if dilation == (1, 1) else {**found, "dilation": dilation}


def _same(size: int, reach: int, stride: int) -> tuple[int, int]:
    """Return what TFLite's SAME pads before and after, so that ceil(size / stride) windows fit."""
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def _linear(operator: SourceOperator, weights: Weights, outputs: int) -> tuple[str, ...]:
    """Add weights, bias, multipliers and shifts and return their names."""
    builder, name = operator.reader.builder, operator.name
    source = operator.quantization(operator.input()).scales[0]
    result = operator.quantization(operator.result).scales[0]
    multiplier, shift = requantization(source, weights.quantization.scales, result)
    return (
        builder.add_constant(f"{name}_weights", weights.dtype, weights.values, weights.quantization),
        builder.add_constant(f"{name}_bias", "int32", operator.bias(outputs)),
        builder.add_constant(f"{name}_multiplier", "int32", np.broadcast_to(multiplier, outputs).copy()),
        builder.add_constant(f"{name}_shift", "int32", np.broadcast_to(shift, outputs).copy()),
    )


def _linear_attributes(operator: SourceOperator, activation: int) -> dict[str, Attribute]:
    return {
        "input_zero_point": operator.quantization(operator.input()).zero_point,
        "output_zero_point": operator.quantization(operator.result).zero_point,
        "clamp": operator.clamp(activation),
    }


def _conv(operator: SourceOperator) -> None:
    data, weights = operator.map_input(), operator.weights(rank=4, axis=0)
    options, (outputs, *kernel, channels) = operator.options(schema.Conv2DOptionsT), weights.values.shape
    operator.require(operator.has_bias(), "a bias: LiteRT runs no int8 convolution without one")
    operator.require(channels == data.shape[2], "one group")
    window = _window(operator, options, (kernel[0], kernel[1]), outputs)
    attributes = _linear_attributes(operator, options.fusedActivationFunction)
    if weights.dtype == "int4" and window["kernel"] == window["stride"] == (1, 1):
        rows = replace(weights, values=weights.values.reshape(outputs, channels))
        _pointwise(operator, _linear(operator, rows, outputs), attributes)
        return
    constants = _linear(operator, replace(weights, dtype="int8"), outputs)
    operator.add("conv2d", (data.name, *constants), window | attributes, operator.result)


def _pointwise(
    operator: SourceOperator, constants: tuple[str, ...], attributes: Mapping[str, Attribute]
) -> None:
    """Add a convolution of single positions as a fully connected layer, whose weights may stay int4.

    It rounds as the convolution: twice, in every runtime.
    """
    data = operator.input()
    rows = operator.reshaped(data, (math.prod(data.shape[:2]), data.shape[2]))
    _add_rows(operator, (rows.name, *constants), attributes)


def _add_rows(operator: SourceOperator, inputs: tuple[str, ...], attributes: Mapping[str, Attribute]) -> None:
    """Add a fully connected layer of rows, and its result in the shape that the file gives it."""
    result = operator.result
    *before, features = result.shape
    found = result
    if len(before) != 1:
        found = replace(result, name=f"{operator.name}_tokens", shape=(math.prod(before), features))
    operator.add("fully_connected", inputs, attributes, found)
    if found is not result:
        operator.add("reshape", (found.name,), {"shape": result.shape}, result)


def _depthwise_conv(operator: SourceOperator) -> None:
    data, weights = operator.map_input(), operator.weights(rank=4, axis=3)
    options, (one, *kernel, outputs) = operator.options(schema.DepthwiseConv2DOptionsT), weights.values.shape
    operator.require(one == 1, "weights (1, rows, columns, outputs)")
    multiplied = options.depthMultiplier * data.shape[2]
    operator.require(multiplied == outputs, "depth_multiplier outputs for each channel")
    attributes = _window(operator, options, (kernel[0], kernel[1]), outputs)
    attributes |= _linear_attributes(operator, options.fusedActivationFunction)
    # The graph's weights have no leading axis.
    axis = None if weights.quantization.axis is None else weights.quantization.axis - 1
    kernels = Weights(weights.values[0], "int8", replace(weights.quantization, axis=axis))
    constants = _linear(operator, kernels, outputs)
    operator.add("depthwise_conv2d", (data.name, *constants), attributes, operator.result)


def _fully_connected(operator: SourceOperator) -> None:
    data, weights = operator.input(), operator.weights(rank=2, axis=0)
    options, (outputs, columns) = operator.options(schema.FullyConnectedOptionsT), weights.values.shape
    operator.require(not options.weightsFormat, "weights in the default format")
    rows, rest = divmod(math.prod(data.shape), columns)
    operator.require(rest == 0, "rows as long as the weights'")
    result = operator.result
    kept = options.keepNumDims and (1, *data.shape)[-len(result.shape) : -1] == result.shape[:-1]
    shaped = math.prod(result.shape) == rows * outputs and result.shape[-1] == outputs
    operator.require(
        shaped and (kept or len(result.shape) == 2),
        "an output (rows, features), or the input's axes but the last",
    )
    name = operator.reshaped(data, (rows, columns)).name
    constants = _linear(operator, weights, outputs)
    attributes = _linear_attributes(operator, options.fusedActivationFunction)
    if operator.reader.runtime == "litert":
        attributes["rounding"] = SINGLE_ROUNDING
    _add_rows(operator, (name, *constants), attributes)


def _pool_window(operator: SourceOperator, options: Any) -> Window:
    data = operator.map_input()
    operator.require(data.quantization == operator.result.quantization, "one scale before and after")
    return _window(operator, options, (options.filterHeight, options.filterWidth), data.shape[2])


def _average_pool(operator: SourceOperator) -> None:
    options = operator.options(schema.Pool2DOptionsT)
    attributes = _pool_window(operator, options)
    attributes["clamp"] = operator.clamp(options.fusedActivationFunction)
    operator.add("average_pool2d", (operator.input().name,), attributes, operator.result)


def _max_pool(operator: SourceOperator) -> None:
    options = operator.options(schema.Pool2DOptionsT)
    attributes = _pool_window(operator, options)
    word = ACTIVATIONS.get(options.fusedActivationFunction, "")
    idle = word in BOUNDS and clamp_of(operator.quantization(operator.result), *BOUNDS[word]) == INT8_RANGE
    operator.require(idle, "no fused activation that changes values")
    operator.add("max_pool2d", (operator.input().name,), attributes, operator.result)


def _reshape(operator: SourceOperator) -> None:
    data, shape = operator.input(), operator.result.shape
    operator.require(math.prod(data.shape) == math.prod(shape), "as many values before and after")
    operator.add("reshape", (data.name,), {"shape": shape}, operator.result)


def _transpose(operator: SourceOperator) -> None:
    data, shape = operator.input(), operator.file_shape(0)
    axes = operator.axes(1, len(shape))
    operator.require(sorted(axes) == list(range(len(shape))), "axes that are a permutation of the input's")
    was_map = len(shape) > len(data.shape)
    becomes_map = len(shape) > len(operator.result.shape)
    operator.require(axes[0] == 0 or not (was_map or becomes_map), "the batch axis stays first")
    if was_map:
        axes = [axis - 1 for axis in axes[1:]]
    operator.shaped(tuple(data.shape[axis] for axis in axes))
    operator.add("transpose", (data.name,), {"axes": tuple(axes)}, operator.result)


def _pad(operator: SourceOperator) -> None:
    data, amounts = operator.map_input(), operator.integers(1)
    operator.require(np.shape(amounts) == (4, 2), "an amount before and after each axis")
    operator.require(amounts[0] == amounts[3] == [0, 0], "padding of rows and columns alone")
    (top, bottom), (left, right) = amounts[1:3]
    operator.require(min(top, bottom, left, right) >= 0, "amounts from 0")
    rows, columns, channels = data.shape
    operator.shaped((rows + top + bottom, columns + left + right, channels))
    # Without a scale of the input, LiteRT pads with 0.
    _, fill = (operator.quantization(tensor).zero_point for tensor in (data, operator.result))
    attributes: dict[str, Attribute] = {"padding": (top, bottom, left, right), "fill": fill}
    operator.add("pad", (data.name,), attributes, operator.result)


def _softmax(operator: SourceOperator) -> None:
    data, beta = operator.input(), operator.options(schema.SoftmaxOptionsT).beta
    operator.require(operator.result.quantization == PROBABILITY, "an output of scale 1/256, zero -128")
    operator.shaped(data.shape)
    scale = operator.quantization(data).scales[0]
    # The kernels end the whole process where it is less.
    steep = math.isfinite(beta) and beta * scale * (1 << SOFTMAX_FRACTION_BITS) > 1
    operator.require(steep, "beta times the input's scale above 2^-26")
    names = (data.name, operator.table(softmax_table(scale, beta), "int32"))
    operator.add("softmax", names, {}, operator.result)


def _lookup(operator: SourceOperator, table_of: TableOf) -> None:
    data = operator.input()
    operator.shaped(data.shape)
    values = table_of(operator.quantization(data), operator.quantization(operator.result))
    operator.add("lookup", (data.name, operator.table(values)), {}, operator.result)


def _ratio(operator: SourceOperator) -> float:
    """Return the scale of the input in steps of the output."""
    source, result = (operator.quantization(tensor) for tensor in (operator.input(), operator.result))
    return source.scales[0] / result.scales[0]


def _rescaled(operator: SourceOperator) -> None:
    operator.require(_ratio(operator) <= LARGEST_RATIO, "an input scale of at most 2^22 times the output's")
    _lookup(operator, RESCALED[operator.entry.kind])


def _relu6(operator: SourceOperator) -> None:
    same = operator.input().quantization == operator.result.quantization
    operator.require(same, "one scale before and after, which TFLite Micro takes for granted")
    _rescaled(operator)


RESCALED: Mapping[str, TableOf] = {
    "RELU": relu_table,
    "RELU6": relu6_table,
    "RELU_N1_TO_1": lambda source, result: rescale_table(source, result, -1.0, 1.0),
    "QUANTIZE": lambda source, result: rescale_table(source, result, -math.inf, math.inf),
}


def _require_scale(operator: SourceOperator) -> None:
    scale = operator.quantization(operator.input()).scales[0]
    operator.require(SMALLEST_SCALE <= scale <= LARGEST_SCALE, "an input scale from 2^-28 to 2^16")


def _hard_swish(operator: SourceOperator) -> None:
    _require_scale(operator)
    operator.require(_ratio(operator) < HIGH_RESOLUTION, "an input scale below 128 times the output's")
    _lookup(operator, hard_swish_table)


def _logistic(operator: SourceOperator) -> None:
    _require_scale(operator)
    operator.require(operator.result.quantization == PROBABILITY, "an output of scale 1/256, zero -128")
    _lookup(operator, micro_logistic_table if operator.reader.runtime == "micro" else logistic_table)


def _tanh(operator: SourceOperator) -> None:
    _require_scale(operator)
    operator.require(operator.result.quantization == HYPERBOLIC_TANGENT, "an output of scale 1/128, zero 0")
    _lookup(operator, micro_tanh_table if operator.reader.runtime == "micro" else tanh_table)


def _pair(
    operator: SourceOperator,
    activation: int,
    attributes_of: Callable[
        [Quantization, Quantization, Quantization, tuple[int, int]], dict[str, Attribute]
    ],
) -> None:
    """Add the sum or the product of two tensors."""
    operator.require(not operator.is_constant(0, 1), "two operands that are computed, neither a constant")
    one, other = operator.input(0), operator.input(1)
    sizes = zip(one.shape[::-1], other.shape[::-1], strict=False)
    agree = all(a == b or 1 in (a, b) for a, b in sizes)
    operator.require(agree, "shapes that agree, or repeat along axes of size 1")
    operator.shaped(np.broadcast_shapes(one.shape, other.shape))
    left, right, result = (operator.quantization(tensor) for tensor in (one, other, operator.result))
    attributes = attributes_of(left, right, result, operator.clamp(activation))
    operator.add(operator.entry.kind.lower(), (one.name, other.name), attributes, operator.result)


def _add(operator: SourceOperator) -> None:
    _pair(operator, operator.options(schema.AddOptionsT).fusedActivationFunction, sum_attributes)


def _mul(operator: SourceOperator) -> None:
    _pair(operator, operator.options(schema.MulOptionsT).fusedActivationFunction, product_attributes)


def _mean(operator: SourceOperator) -> None:
    data, axes = operator.map_input(), operator.axes(1, 4)
    rows, columns, channels = data.shape
    operator.require(set(axes) == {1, 2}, "a mean over axes 1 and 2")
    point = operator.result
    operator.require(
        point.shape in ((1, 1, channels), (1, channels)), "an output (1, 1, 1, channels) or (1, channels)"
    )
    source, result = operator.quantization(data), operator.quantization(point)
    mean = replace(point, name=f"{operator.name}_map", shape=(1, 1, channels))
    mean = point if point.shape == mean.shape else mean
    operator.add("mean", (data.name,), mean_attributes(source, result, rows * columns), mean)
    if mean is not point:
        operator.add("reshape", (mean.name,), {"shape": point.shape}, point)


HANDLERS: Mapping[str, Callable[[SourceOperator], None]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise_conv,
    "FULLY_CONNECTED": _fully_connected,
    "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": _max_pool,
    "MEAN": _mean,
    "ADD": _add,
    "MUL": _mul,
    "SOFTMAX": _softmax,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": _transpose,
    "PAD": _pad,
    **dict.fromkeys(RESCALED, _rescaled),
    "RELU6": _relu6,
    "HARD_SWISH": _hard_swish,
    "LOGISTIC": _logistic,
    "TANH": _tanh,
}
