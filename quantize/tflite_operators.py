"""How each operator of an int8 .tflite becomes one of the integer graph, its integers those of TFLite."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgekit.errors import UnsupportedError
from edgekit.graph import Op, Quantization, Tensor
from edgekit.graph.linear_ops import SINGLE_ROUNDING
from edgekit.graph.tables import (
    hard_swish_table,
    logistic_table,
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

if TYPE_CHECKING:
    from quantize.tflite_reader import Reader

HINT = "export the model as fully int8, or quantize its float ONNX: edgekit quantize model.onnx"
NAMES: Mapping[int, str] = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()
}
MAP_RANK = 3
SOFTMAX_QUANTIZATION = Quantization((1 / 256,), -128)
BOUNDS = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
FUSED = f"a fused activation of {', '.join(BOUNDS)}"
ACTIVATIONS: Mapping[int, str] = {
    value: name for name, value in vars(schema.ActivationFunctionType).items() if name.isupper()
}


def read_operator(reader: "Reader", number: int, source: Any) -> None:
    """Add an operator of the file to the graph in the making.

    Raises:
        UnsupportedError: If it cannot be imported; the message names it and the constraint.
    """
    code = reader.model.operatorCodes[source.opcodeIndex]
    kind = NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "custom")
    operator = _Operator(reader, number, source, kind)
    if kind not in HANDLERS:
        raise operator.unsupported(f"operator {kind}, supported: {', '.join(HANDLERS)}")
    HANDLERS[kind](operator)


class _Operator:
    """One operator of the file."""

    def __init__(self, reader: "Reader", number: int, source: Any, kind: str) -> None:
        self.reader = reader
        self.name = f"{kind.lower()}_{number}"
        self.kind = kind
        self.source = source
        self.options = source.builtinOptions
        self.require(len(source.outputs) == 1, "one output")
        reader.names[source.outputs[0]] = f"{self.name}_out"
        self.result = reader.tensor(source.outputs[0])

    def unsupported(self, constraint: str) -> UnsupportedError:
        """Return the error that names the operator and what it would have to be."""
        return UnsupportedError(f"{self.kind} {self.name!r}: {constraint}", HINT)

    def require(self, holds: bool, constraint: str) -> None:
        """Raise the operator's UnsupportedError unless the constraint holds."""
        if not holds:
            raise self.unsupported(f"required: {constraint}")

    def input(self, index: int = 0) -> Tensor:
        """Return an input that is computed; int8."""
        self.require(index < len(self.source.inputs), "all its inputs")
        tensor = self.reader.tensor(self.source.inputs[index])
        self.require(tensor.dtype == "int8", "int8 activations")
        return tensor

    def quantization(self, tensor: Tensor) -> Quantization:
        """Return the one scale of an activation."""
        found = tensor.quantization
        self.require(found is not None and len(found.scales) == 1, "one scale for each activation")
        assert found is not None
        return found

    def constant(self, index: int) -> NDArray[Any]:
        """Return the values of a constant input."""
        values = self.reader.values(self.source.inputs[index]) if index < len(self.source.inputs) else None
        self.require(values is not None, "weights, axes and sizes that are constants")
        assert values is not None
        return values

    def clamp(self) -> tuple[int, int]:
        """Return the int8 range that the fused activation leaves."""
        word = ACTIVATIONS[self.options.fusedActivationFunction] if self.options is not None else "NONE"
        self.require(word in BOUNDS, FUSED)
        return clamp_of(self.quantization(self.result), *BOUNDS[word])

    def add(
        self, kind: str, inputs: tuple[str, ...], attributes: Mapping[str, Attribute], result: Tensor
    ) -> None:
        """Add the operator, named after itself."""
        taken = {op.name for op in self.reader.builder.ops}
        name = self.name if self.name not in taken else f"{self.name}_{kind}"
        self.reader.builder.add_op(Op(kind, name, inputs, (result.name,), attributes, (self.name,)), result)

    def table(self, values: NDArray[np.integer], dtype: str = "int8") -> str:
        """Add a table of 256 values and return its name."""
        return self.reader.builder.add_constant(f"{self.name}_table", dtype, values)


def _window(operator: _Operator, kernel: tuple[int, int]) -> dict[str, Attribute]:
    options, (rows, columns) = operator.options, operator.input().shape[:2]
    dilation = (getattr(options, "dilationHFactor", 1), getattr(options, "dilationWFactor", 1))
    stride = (options.strideH, options.strideW)
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
    padding = (0, 0, 0, 0)
    if options.padding == schema.Padding.SAME:
        padding = (*_same(rows, reach[0], stride[0]), *_same(columns, reach[1], stride[1]))
    found: dict[str, Attribute] = {"kernel": kernel, "stride": stride, "padding": padding}
    return found if dilation == (1, 1) else {**found, "dilation": dilation}


def _same(size: int, reach: int, stride: int) -> tuple[int, int]:
    """Return what TFLite's SAME pads before and after, so that ceil(size / stride) windows fit."""
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def _linear(
    operator: _Operator, weights: NDArray[Any], outputs: int, scales: NDArray[np.float64]
) -> tuple[str, ...]:
    """Add weights, bias, multipliers and shifts and return their names."""
    builder, name = operator.reader.builder, operator.name
    bias = np.zeros(outputs, np.int32)
    if len(operator.source.inputs) > 2 and operator.source.inputs[2] >= 0:
        bias = operator.constant(2).astype(np.int32)
    source = operator.quantization(operator.input()).scales[0]
    multiplier, shift = requantization(source, scales, operator.quantization(operator.result).scales[0])
    return (
        builder.add_constant(f"{name}_weights", "int8", weights, _weights_quantization(operator)),
        builder.add_constant(f"{name}_bias", "int32", bias),
        builder.add_constant(f"{name}_multiplier", "int32", np.broadcast_to(multiplier, outputs).copy()),
        builder.add_constant(f"{name}_shift", "int32", np.broadcast_to(shift, outputs).copy()),
    )


def _weights_quantization(operator: _Operator) -> Quantization:
    tensor = operator.reader.tensor(operator.source.inputs[1])
    found = tensor.quantization
    operator.require(tensor.dtype == "int8" and found is not None, "int8 weights with scales")
    assert found is not None
    operator.require(found.zero_point == 0, "weights with zero point 0")
    return found


def _zero_points(operator: _Operator) -> dict[str, Attribute]:
    return {
        "input_zero_point": operator.quantization(operator.input()).zero_point,
        "output_zero_point": operator.quantization(operator.result).zero_point,
    }


def _conv(operator: _Operator) -> None:
    data, weights = operator.input(), operator.constant(1)
    operator.require(len(data.shape) == MAP_RANK, "an input (1, rows, columns, channels)")
    operator.require(weights.shape[3] == data.shape[2], "one group")
    scales = np.array(_weights_quantization(operator).scales)
    inputs = (data.name, *_linear(operator, weights, len(weights), scales))
    attributes = _window(operator, (weights.shape[1], weights.shape[2]))
    attributes |= _zero_points(operator) | {"clamp": operator.clamp()}
    operator.add("conv2d", inputs, attributes, operator.result)


def _depthwise_conv(operator: _Operator) -> None:
    data, weights = operator.input(), operator.constant(1)[0]
    operator.require(len(data.shape) == MAP_RANK, "an input (1, rows, columns, channels)")
    scales = np.array(_weights_quantization(operator).scales)
    inputs = (data.name, *_linear(operator, weights, weights.shape[2], scales))
    attributes = _window(operator, (weights.shape[0], weights.shape[1]))
    attributes |= _zero_points(operator) | {"clamp": operator.clamp()}
    operator.add("depthwise_conv2d", inputs, attributes, operator.result)


def _fully_connected(operator: _Operator) -> None:
    data, weights = operator.input(), operator.constant(1)
    operator.require(not operator.options.weightsFormat, "weights in the default format")
    scales = np.array(_weights_quantization(operator).scales)
    rows = math.prod(data.shape) // weights.shape[1]
    name = data.name
    if data.shape != (rows, weights.shape[1]):
        flat = Tensor(f"{operator.name}_rows", (rows, weights.shape[1]), "int8", data.quantization)
        operator.add("reshape", (name,), {"shape": flat.shape}, flat)
        name = flat.name
    operator.require(operator.result.shape == (rows, len(weights)), "an output (rows, features)")
    inputs = (name, *_linear(operator, weights, len(weights), scales))
    attributes = _zero_points(operator) | {"clamp": operator.clamp()}
    if operator.reader.runtime == "litert":
        attributes["rounding"] = SINGLE_ROUNDING
    operator.add("fully_connected", inputs, attributes, operator.result)


def _pool(operator: _Operator) -> None:
    data, options = operator.input(), operator.options
    operator.require(data.quantization == operator.result.quantization, "one scale before and after")
    attributes = _window(operator, (options.filterHeight, options.filterWidth))
    clamp = operator.clamp()
    if operator.kind == "AVERAGE_POOL_2D":
        operator.add("average_pool2d", (data.name,), attributes | {"clamp": clamp}, operator.result)
        return
    operator.require(clamp == INT8_RANGE, "no fused activation")
    operator.add("max_pool2d", (data.name,), attributes, operator.result)


def _reshape(operator: _Operator) -> None:
    operator.add("reshape", (operator.input().name,), {"shape": operator.result.shape}, operator.result)


def _transpose(operator: _Operator) -> None:
    data, axes = operator.input(), operator.constant(1).tolist()
    if len(axes) > len(data.shape):
        operator.require(axes[0] == 0, "the batch axis stays first")
        axes = [axis - 1 for axis in axes[1:]]
    operator.add("transpose", (data.name,), {"axes": tuple(axes)}, operator.result)


def _pad(operator: _Operator) -> None:
    data, amounts = operator.input(), operator.constant(1).tolist()
    operator.require(len(data.shape) == MAP_RANK and len(amounts) == MAP_RANK + 1, "a map")
    operator.require(amounts[0] == amounts[3] == [0, 0], "padding of rows and columns alone")
    padding = (*amounts[1], *amounts[2])
    fill = operator.quantization(operator.result).zero_point
    operator.add("pad", (data.name,), {"padding": padding, "fill": fill}, operator.result)


def _softmax(operator: _Operator) -> None:
    data = operator.input()
    operator.require(
        operator.result.quantization == SOFTMAX_QUANTIZATION, "an output of scale 1/256, zero -128"
    )
    table = softmax_table(operator.quantization(data).scales[0], operator.options.beta)
    operator.add("softmax", (data.name, operator.table(table, "int32")), {}, operator.result)


def _lookup(operator: _Operator) -> None:
    data = operator.input()
    source, result = operator.quantization(data), operator.quantization(operator.result)
    values = TABLES[operator.kind](source, result)
    operator.add("lookup", (data.name, operator.table(values)), {}, operator.result)


TABLES: Mapping[str, Callable[[Quantization, Quantization], NDArray[np.int64]]] = {
    "RELU": relu_table,
    "RELU6": relu6_table,
    "RELU_N1_TO_1": lambda source, result: rescale_table(source, result, -1.0, 1.0),
    "QUANTIZE": lambda source, result: rescale_table(source, result, -math.inf, math.inf),
    "HARD_SWISH": hard_swish_table,
    "LOGISTIC": logistic_table,
    "TANH": tanh_table,
}


def _pair(operator: _Operator) -> None:
    """Add the sum or the product of two tensors."""
    tensors = (operator.input(0), operator.input(1))
    one, other = (operator.quantization(tensor) for tensor in tensors)
    attributes_of = sum_attributes if operator.kind == "ADD" else product_attributes
    attributes = attributes_of(one, other, operator.quantization(operator.result), operator.clamp())
    names = (tensors[0].name, tensors[1].name)
    operator.add(operator.kind.lower(), names, attributes, operator.result)


def _mean(operator: _Operator) -> None:
    data, axes = operator.input(), sorted(operator.constant(1).ravel().tolist())
    operator.require(len(data.shape) == MAP_RANK and axes == [1, 2], "a mean over rows and columns of a map")
    source, result = operator.quantization(data), operator.quantization(operator.result)
    attributes = mean_attributes(source, result, data.shape[0] * data.shape[1])
    point = operator.result
    if len(point.shape) < MAP_RANK:
        point = Tensor(f"{operator.name}_map", (1, 1, data.shape[2]), "int8", point.quantization)
    operator.add("mean", (data.name,), attributes, point)
    if point is not operator.result:
        operator.add("reshape", (point.name,), {"shape": operator.result.shape}, operator.result)


HANDLERS: Mapping[str, Callable[[_Operator], None]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise_conv,
    "FULLY_CONNECTED": _fully_connected,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "ADD": _pair,
    "MUL": _pair,
    "SOFTMAX": _softmax,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": _transpose,
    "PAD": _pad,
    **dict.fromkeys(TABLES, _lookup),
}
