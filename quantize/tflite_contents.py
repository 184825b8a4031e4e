"""What a .tflite says: its operators, tensors and constants, each checked before anything relies on it."""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgekit.errors import UnsupportedError
from edgekit.graph import Quantization, Tensor
from edgekit.graph.fixedpoint import unpack_int4

HINT = "export the model as fully int8, or quantize its float ONNX: edgekit quantize model.onnx"
DTYPES = {
    schema.TensorType.INT4: "int4",
    schema.TensorType.INT8: "int8",
    schema.TensorType.INT16: "int16",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
}
TYPE_NAMES = {value: name for name, value in vars(schema.TensorType).items() if name.isupper()}
KINDS = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
LEFT_OUT = -1
"""In place of an input that an operator may do without."""
LARGEST_SIZE = 1 << 26
"""Of a tensor: the reference holds 8 bytes for each value, and a damaged size may be anything."""
DAMAGE = (struct.error, AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What the schema classes raise where offsets and sizes lead nowhere."""


@dataclass(frozen=True)
class Entry:
    """One operator as the file lists it.

    Attributes:
        number: Its place in the file.
        kind: A name in the schema's BuiltinOperator.
        inputs: Tensor indices, `LEFT_OUT` for one that is not there.
        outputs: Tensor indices.
        options: The schema's object; None where the file has none.
    """

    number: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any

    @property
    def name(self) -> str:
        """What the graph and errors call it."""
        return f"{self.kind.lower()}_{self.number}"

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


class Contents:
    """A file of one subgraph; tensors are known by their index.

    Args:
        path: The file.

    Attributes:
        inputs: The model's.
        outputs: The model's.
        operators: In execution order.
        description: The line for people that the file has; may be empty.

    Raises:
        UnsupportedError: If it is not a .tflite, damaged, or of several subgraphs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._model = _unpacked(path)
        self._tensors = self._part().tensors or []
        self.inputs = self._indices("its inputs", self._part().inputs)
        self.outputs = self._indices("its outputs", self._part().outputs)
        self.operators = tuple(self._entry(n, item) for n, item in enumerate(self._part().operators or []))
        self.description = (self._model.description or b"").decode(errors="replace")
        if not (self.inputs and self.outputs and self.operators):
            raise self._damaged("it has no inputs, outputs or operators")

    def _part(self) -> Any:
        parts = self._model.subgraphs or []
        if not parts:
            raise self._damaged("it holds no operators")
        if len(parts) != 1:
            raise UnsupportedError(f"{self._path}: {len(parts)} subgraphs, one is supported", HINT)
        return parts[0]

    def _damaged(self, how: str) -> UnsupportedError:
        return UnsupportedError(f"{self._path}: damaged .tflite ({how})", HINT)

    def _indices(self, whose: str, stored: Any, lowest: int = 0) -> tuple[int, ...]:
        """Return tensor indices, each of which there is."""
        indices = tuple(int(index) for index in (stored if stored is not None else ()))
        wrong = [index for index in indices if not lowest <= index < len(self._tensors)]
        if wrong:
            raise self._damaged(f"{whose}: tensor {wrong[0]} of {len(self._tensors)}")
        return indices

    def _entry(self, number: int, item: Any) -> Entry:
        codes = self._model.operatorCodes or []
        if not 0 <= item.opcodeIndex < len(codes):
            raise self._damaged(f"operator {number} is of kind {item.opcodeIndex} of {len(codes)}")
        code = codes[item.opcodeIndex]
        kind = KINDS.get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN")
        inputs = self._indices(f"inputs of {kind} {number}", item.inputs, LEFT_OUT)
        outputs = self._indices(f"outputs of {kind} {number}", item.outputs)
        return Entry(number, kind, inputs, outputs, item.builtinOptions)

    def tensor_name(self, index: int) -> str:
        """Return the name that the file gives a tensor; may be empty."""
        return (self._tensors[index].name or b"").decode(errors="replace")

    def unsupported(self, index: int, why: str) -> UnsupportedError:
        """Return the error that names a tensor and the first operator that writes or reads it."""
        name = self.tensor_name(index)
        tensor = f"tensor {index} {name!r}" if name else f"tensor {index}"
        for entry in self.operators:
            if index in (*entry.outputs, *entry.inputs):
                verb = "writes" if index in entry.outputs else "reads"
                return UnsupportedError(f"{entry} {verb} {tensor}: {why}", HINT)
        return UnsupportedError(f"{tensor}, which no operator reads or writes: {why}", HINT)

    def tensor(self, index: int) -> Tensor:
        """Return a tensor under the file's name, its shape as it is there.

        Raises:
            UnsupportedError: If it is not of integers, or its sizes or scales make no sense.
        """
        source = self._tensors[index]
        if source.type not in DTYPES:
            kind = TYPE_NAMES.get(source.type, source.type)
            raise self.unsupported(index, f"{kind}, only int8 models are supported")
        shape = tuple(int(size) for size in (source.shape if source.shape is not None else ()))
        if any(size < 1 for size in shape):
            raise self.unsupported(index, f"shape {shape}, sizes have to be positive")
        if math.prod(shape) > LARGEST_SIZE:
            raise self.unsupported(index, f"shape {shape}, at most 2^26 values are supported")
        quantization = self._quantization(index, source.quantization, shape)
        return Tensor(self.tensor_name(index), shape, DTYPES[source.type], quantization)

    def _quantization(self, index: int, found: Any, shape: tuple[int, ...]) -> Quantization | None:
        if found is None or found.scale is None or len(found.scale) == 0:
            return None
        scales = tuple(float(scale) for scale in found.scale)
        wrong = [scale for scale in scales if not (scale > 0 and math.isfinite(scale))]
        if wrong:
            raise self.unsupported(index, f"scale {wrong[0]}, scales have to be positive and finite")
        points = {int(point) for point in (found.zeroPoint if found.zeroPoint is not None else ())} or {0}
        if len(points) > 1:
            raise self.unsupported(index, f"zero points {sorted(points)}, one is supported")
        axis = int(found.quantizedDimension)
        if len(scales) == 1:
            return Quantization(scales, points.pop())
        if not (0 <= axis < len(shape) and shape[axis] == len(scales)):
            raise self.unsupported(index, f"{len(scales)} scales on axis {axis} of {shape}")
        return Quantization(scales, points.pop(), axis)

    def values(self, index: int) -> NDArray[np.integer] | None:
        """Return the values of a constant tensor, int4 as int8; None if it is computed.

        Raises:
            UnsupportedError: If the file holds more or fewer bytes than the tensor has, or as `tensor`.
        """
        tensor, number = self.tensor(index), self._tensors[index].buffer
        buffers = self._model.buffers or []
        if not 0 <= number < len(buffers):
            raise self.unsupported(index, f"buffer {number} of {len(buffers)}")
        data = buffers[number].data
        if data is None or len(data) == 0:
            return None
        stored, count = np.asarray(data, np.uint8), math.prod(tensor.shape)
        packed = tensor.dtype == "int4"
        size = (count + 1) // 2 if packed else count * np.dtype(tensor.dtype).itemsize
        if stored.size != size:
            raise self.unsupported(index, f"{stored.size} bytes of data, {size} expected")
        values = unpack_int4(stored, count) if packed else np.frombuffer(stored.tobytes(), tensor.dtype)
        return np.asarray(values.reshape(tensor.shape))


def _unpacked(path: Path) -> Any:
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise UnsupportedError(f"{path}: not a .tflite file", HINT)
    try:
        return schema.ModelT.InitFromPackedBuf(data)
    except DAMAGE as error:
        raise UnsupportedError(f"{path}: damaged .tflite ({error})", HINT) from error
