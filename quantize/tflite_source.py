"""An operator of an int8 .tflite as its import asks for it: tensors, constants and options, each checked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgekit.errors import UnsupportedError
from edgekit.graph import Op, Quantization, Tensor
from edgekit.graph.types import Attribute
from quantize.scales import clamp_of
from quantize.tflite_contents import HINT, LEFT_OUT, Entry

if TYPE_CHECKING:
    from quantize.tflite_reader import Reader

MAP_RANK = 4
"""Of (1, rows, columns, channels) in the file."""
BIAS = 2
"""Which input of a convolution or fully connected layer it is."""
INT8_POINTS = range(-128, 128)
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


@dataclass(frozen=True)
class Weights:
    """The weights of a convolution or fully connected layer.

    Attributes:
        values: As the file has them, int4 in int8.
        dtype: `int8` or `int4`.
        quantization: One scale, or one for each output.
    """

    values: NDArray[np.integer]
    dtype: str
    quantization: Quantization


class SourceOperator:
    """One operator of a file that is being read.

    Args:
        reader: Reads the file.
        entry: The operator.

    Attributes:
        name: What the graph calls it.
        result: Its output as a tensor of the graph.

    Raises:
        UnsupportedError: If it has no single output of its own, or that is no tensor of integers.
    """

    def __init__(self, reader: "Reader", entry: Entry) -> None:
        self.reader = reader
        self.entry = entry
        self.name = entry.name
        self.require(len(entry.outputs) == 1, "one output")
        (index,) = entry.outputs
        self.require(index not in reader.computed, "an output that nothing else computes")
        reader.name(index, f"{self.name}_out")
        self.result = reader.tensor(index)

    def unsupported(self, constraint: str) -> UnsupportedError:
        """Return the error that names the operator and what it would have to be."""
        return UnsupportedError(f"{self.entry}: {constraint}", HINT)

    def require(self, holds: bool, constraint: str) -> None:
        """Raise the operator's UnsupportedError unless the constraint holds."""
        if not holds:
            raise self.unsupported(f"required: {constraint}")

    def input(self, index: int = 0) -> Tensor:
        """Return an input that is computed; int8."""
        computed = index < len(self.entry.inputs) and self.entry.inputs[index] in self.reader.computed
        self.require(computed, "inputs that the model is given or an operator before it computes")
        tensor = self.reader.tensor(self.entry.inputs[index])
        self.require(tensor.dtype == "int8", "int8 activations")
        return tensor

    def map_input(self) -> Tensor:
        """Return the first input, a map: (rows, columns, channels) in the graph."""
        data = self.input()
        shape = self.file_shape(0)
        self.require(len(shape) == MAP_RANK and shape[0] == 1, "an input (1, rows, columns, channels)")
        return data

    def file_shape(self, index: int) -> tuple[int, ...]:
        """Return an input's shape as the file has it."""
        return self.reader.contents.tensor(self.entry.inputs[index]).shape

    def options(self, kind: type[Any]) -> Any:
        """Return the operator's options; a file without them means their defaults."""
        found = self.entry.options
        self.require(found is None or isinstance(found, kind), "the options of its kind")
        return kind() if found is None else found

    def quantization(self, tensor: Tensor) -> Quantization:
        """Return the one scale of an activation."""
        found = tensor.quantization
        self.require(found is not None and len(found.scales) == 1, "one scale for each activation")
        assert found is not None
        self.require(found.zero_point in INT8_POINTS, "int8 zero points")
        return found

    def clamp(self, activation: int) -> tuple[int, int]:
        """Return the int8 range that a fused activation leaves."""
        word = ACTIVATIONS.get(activation)
        self.require(word in BOUNDS, FUSED)
        assert word is not None
        return clamp_of(self.quantization(self.result), *BOUNDS[word])

    def shaped(self, shape: tuple[int, ...]) -> None:
        """Check that the result has the shape that it will be computed in."""
        self.require(self.result.shape == shape, "an output of the shape that its inputs give")

    def _stored(self, index: int) -> NDArray[np.integer] | None:
        """Return the values of an input; None if it is computed or left out."""
        inputs = self.entry.inputs
        there = index < len(inputs) and inputs[index] != LEFT_OUT
        return self.reader.contents.values(inputs[index]) if there else None

    def integers(self, index: int) -> list[Any]:
        """Return the axes or amounts that an input holds, nested as they are there."""
        values = self._stored(index)
        fits = values is not None and values.ndim > 0 and values.dtype in (np.int32, np.int64)
        self.require(fits, "axes and amounts that are int32 or int64 constants")
        assert values is not None
        return list(values.tolist())

    def axes(self, index: int, rank: int) -> list[int]:
        """Return the axes that an input holds, those counted from behind as from the front."""
        found = self.integers(index)
        plain = all(isinstance(axis, int) and -rank <= axis < rank for axis in found)
        self.require(plain, "axes of the input")
        return [axis % rank for axis in found]

    def is_constant(self, *indices: int) -> bool:
        """Return whether the file holds the values of one of some inputs."""
        return any(self._stored(index) is not None for index in indices)

    def weights(self, rank: int, axis: int) -> Weights:
        """Return the weights; their scales, where there are several, lie on an axis."""
        values = self._stored(1)
        self.require(values is not None and values.ndim == rank, "constant weights of the operator's rank")
        assert values is not None
        tensor = self.reader.contents.tensor(self.entry.inputs[1])
        found = tensor.quantization
        scaled = tensor.dtype in ("int8", "int4") and found is not None
        self.require(scaled, "int8 or int4 weights with scales")
        assert found is not None
        self.require(found.zero_point == 0, "weights with zero point 0")
        self.require(found.axis in (None, axis), "one scale for all weights, or for each output channel")
        return Weights(values, tensor.dtype, found)

    def has_bias(self) -> bool:
        """Return whether there is a third input."""
        return len(self.entry.inputs) > BIAS and self.entry.inputs[BIAS] != LEFT_OUT

    def bias(self, outputs: int) -> NDArray[np.integer]:
        """Return the bias, zeros where it is left out."""
        if not self.has_bias():
            return np.zeros(outputs, np.int32)
        values = self._stored(BIAS)
        fits = values is not None and values.dtype == np.int32 and values.size == outputs
        self.require(fits, "an int32 bias for each output, constant")
        assert values is not None
        return values.ravel()

    def add(
        self, kind: str, inputs: tuple[str, ...], attributes: Mapping[str, Attribute], result: Tensor
    ) -> None:
        """Add an operator to the graph, named after this one."""
        taken = {op.name for op in self.reader.builder.ops}
        name = self.name if self.name not in taken else f"{self.name}_{kind}"
        self.reader.builder.add_op(Op(kind, name, inputs, (result.name,), attributes, (self.name,)), result)

    def reshaped(self, data: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor's values in another shape, adding the operator where it is another."""
        if data.shape == shape:
            return data
        flat = replace(data, name=f"{self.name}_rows", shape=shape)
        self.add("reshape", (data.name,), {"shape": shape}, flat)
        return flat

    def table(self, values: NDArray[np.integer], dtype: str = "int8") -> str:
        """Add a table of 256 values and return its name."""
        return self.reader.builder.add_constant(f"{self.name}_table", dtype, values)
