"""From an int8 .tflite to the integer graph: the same integers, so the same results as TFLite's kernels."""

import re
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgekit.errors import UnsupportedError
from edgekit.graph import Graph, Quantization, Tensor
from quantize.graph_builder import GraphBuilder
from quantize.tflite_operators import HINT, read_operator

DTYPES = {
    schema.TensorType.INT8: "int8",
    schema.TensorType.INT16: "int16",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
}
MAP_RANK = 4
Runtime = Literal["micro", "litert"]
ADD_LEFT_SHIFT = 20


def read_tflite(path: Path, runtime: Runtime = "micro") -> Graph:
    """Return the integer graph of an int8 .tflite.

    Maps (1, T, W, C) lose the leading 1; every other tensor keeps its shape.

    Args:
        path: The file.
        runtime: Whose results are to be had, to the last bit: TFLite Micro's (`micro`), or those of LiteRT's
            reference kernels (`litert`), which since 2.3.0 round once in fully connected layers.

    Raises:
        UnsupportedError: If it is not a .tflite with one subgraph, or an operator cannot be imported; the
            message names it and the constraint.
    """
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise UnsupportedError(f"{path}: not a .tflite file", HINT)
    try:
        model = schema.ModelT.InitFromPackedBuf(data)
    except (struct.error, IndexError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise UnsupportedError(f"{path}: damaged .tflite ({error})", HINT) from error
    if not model.subgraphs or not model.operatorCodes:
        raise UnsupportedError(f"{path}: damaged .tflite (it holds no operators)", HINT)
    if len(model.subgraphs) != 1:
        raise UnsupportedError(f"{path}: {len(model.subgraphs)} subgraphs, one is supported", HINT)
    return Reader(model, re.sub(r"\W", "_", path.stem), runtime).graph()


class Reader:
    """A file being read: its tensors, and the graph that they become part of.

    Args:
        model: As the schema classes unpack it.
        name: Of the graph.
        runtime: See `read_tflite`.
    """

    def __init__(self, model: Any, name: str, runtime: Runtime) -> None:
        self.model = model
        self.runtime = runtime
        self.part = model.subgraphs[0]
        self.builder = GraphBuilder(name)
        self.names: dict[int, str] = {}

    def graph(self) -> Graph:
        """Return the whole graph."""
        for index in self.part.inputs:
            self.builder.add_input(self.tensor(index))
        for number, operator in enumerate(self.part.operators):
            read_operator(self, number, operator)
        self.builder.metadata["source"] = (self.model.description or b"").decode(errors="replace")
        # Where a runtime has what the graph computes.
        self.builder.metadata |= {f"tensor:{name}": str(index) for index, name in self.names.items()}
        return self.builder.build(tuple(self.tensor(index).name for index in self.part.outputs))

    def tensor(self, index: int) -> Tensor:
        """Return a tensor of the file as one of the graph."""
        source = self.part.tensors[index]
        dtype = DTYPES.get(source.type)
        if dtype is None:
            raise UnsupportedError(f"tensor {_name(source)!r}: only integer tensors are supported", HINT)
        shape = tuple(int(size) for size in (source.shape if source.shape is not None else ()))
        if len(shape) == MAP_RANK and shape[0] == 1:
            shape = shape[1:]
        return Tensor(self.unique(index), shape, dtype, _quantization(source))

    def unique(self, index: int) -> str:
        """Return a C identifier for a tensor; the file's name where no other tensor has it."""
        if index not in self.names:
            word = re.sub(r"\W+", "_", _name(self.part.tensors[index])).strip("_") or "tensor"
            word = f"t_{word}" if word[0].isdigit() else word
            self.names[index] = word if word not in self.names.values() else f"{word}_{index}"
        return self.names[index]

    def values(self, index: int) -> NDArray[Any] | None:
        """Return the values of a constant tensor; None if it is computed."""
        source = self.part.tensors[index]
        data = self.model.buffers[source.buffer].data
        if data is None or len(data) == 0:
            return None
        shape = tuple(int(size) for size in source.shape)
        return np.frombuffer(np.asarray(data, np.uint8).tobytes(), DTYPES[source.type]).reshape(shape)


def _name(source: Any) -> str:
    return (source.name or b"").decode(errors="replace")


def _quantization(source: Any) -> Quantization | None:
    found = source.quantization
    if found is None or found.scale is None or len(found.scale) == 0:
        return None
    scales = tuple(float(scale) for scale in found.scale)
    zero_point = int(found.zeroPoint[0]) if found.zeroPoint is not None and len(found.zeroPoint) else 0
    return Quantization(scales, zero_point, int(found.quantizedDimension) if len(scales) > 1 else None)
