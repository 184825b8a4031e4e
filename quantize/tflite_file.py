"""A .tflite file in the making: tensors, buffers and operators through the LiteRT schema classes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgekit.graph import Quantization
from edgekit.graph.fixedpoint import pack_int4

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
BUFFER_ALIGNMENT_BYTES = 16
"""The schema's force_align of buffer data, which the Python classes do not apply."""
ANY_LENGTH = -1
METADATA_NAME = "edgekit"
SIGNATURE = "serving_default"

TENSOR_TYPES: Mapping[str, int] = {
    name: getattr(schema.TensorType, name.upper())
    for name in ("float32", "int4", "int8", "int16", "int32", "int64")
}


class TfliteFile:
    """One subgraph; tensors are known by their index, as in the file."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        # The format reserves buffer 0 for tensors without data.
        self.buffers: list[Any] = [schema.BufferT()]
        self.operators: list[Any] = []
        self.codes: dict[tuple[str, int], int] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes, Quantization | None], int] = {}
        self._quantizations: dict[Quantization, _PackedOnce] = {}
        self._options: dict[tuple[str, tuple[tuple[str, Any], ...]], _PackedOnce] = {}

    def tensor(
        self, shape: Sequence[int], dtype: str, quantization: Quantization | None = None, name: str = ""
    ) -> int:
        """Add a tensor that is computed, or an input, and return its index.

        Args:
            shape: Sizes; those of the time axis are the ones before the runtime resizes it.
            dtype: A key of `TENSOR_TYPES`.
            quantization: Its scale and zero point.
            name: Its name; empty for what nobody looks up.
        """
        tensor = schema.TensorT()
        tensor.name = name or None
        tensor.type = TENSOR_TYPES[dtype]
        tensor.shape = np.array(shape, np.int32)
        if quantization is not None:
            made = self._quantizations.setdefault(quantization, _PackedOnce(_quantization(quantization)))
            tensor.quantization = made
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def shape(self, index: int) -> tuple[int, ...]:
        """Return a tensor's sizes, those before the runtime resizes it."""
        return tuple(self.tensors[index].shape.tolist())

    def resizable(self, index: int, axis: int) -> None:
        """Declare an axis of an input to be of any length; what is computed from it follows."""
        tensor = self.tensors[index]
        tensor.shapeSignature = tensor.shape.copy()
        tensor.shapeSignature[axis] = ANY_LENGTH

    def constant(
        self, values: NDArray[np.integer], dtype: str = "", quantization: Quantization | None = None
    ) -> int:
        """Add a tensor with data, unless there is an equal one, and return its index; int4 is packed."""
        stored = pack_int4(values) if dtype == "int4" else np.frombuffer(values.tobytes(), np.uint8)
        dtype = dtype or values.dtype.name
        key = (dtype, values.shape, stored.tobytes(), quantization)
        if key not in self._constants:
            index = self.tensor(values.shape, dtype, quantization=quantization)
            self.tensors[index].buffer = self._buffer(stored)
            self._constants[key] = index
        return self._constants[key]

    def _buffer(self, data: NDArray[np.uint8]) -> int:
        buffer = schema.BufferT()
        buffer.data = data
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def operator(
        self,
        kind: str,
        version: int,
        inputs: Sequence[int],
        output: int,
        options: str = "",
        **values: int | float,
    ) -> int:
        """Append an operator and return its output.

        Args:
            kind: A name in the schema's BuiltinOperator.
            version: The operator version that these inputs need.
            inputs: Tensor indices.
            output: Tensor index.
            options: A name in the schema's BuiltinOptions.
            **values: The fields of these options that are not at their default.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.setdefault((kind, version), len(self.codes))
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            key = (options, tuple(sorted(values.items())))
            operator.builtinOptions = self._options.setdefault(key, _PackedOnce(_options(options, values)))
        self.operators.append(operator)
        return output

    def to_bytes(
        self, description: str, metadata: Mapping[str, str], inputs: list[int], outputs: list[int]
    ) -> bytes:
        """Return the file.

        Args:
            description: One line for people.
            metadata: Stored as JSON in the metadata buffer `edgekit`.
            inputs: Tensor indices, named.
            outputs: Tensor indices, named.
        """
        model = schema.ModelT()
        model.version, model.description = SCHEMA_VERSION, description
        model.operatorCodes = [_operator_code(kind, version) for kind, version in self.codes]
        entry = schema.MetadataT()
        entry.name = METADATA_NAME
        text = json.dumps(dict(metadata), sort_keys=True).encode()
        entry.buffer = self._buffer(np.frombuffer(text, np.uint8))
        subgraph = schema.SubGraphT()
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs, subgraph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        model.metadata, model.subgraphs, model.buffers = [entry], [subgraph], self.buffers
        model.signatureDefs = [self._signature(inputs, outputs)]
        builder = _SharingBuilder()
        builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _signature(self, inputs: list[int], outputs: list[int]) -> Any:
        signature = schema.SignatureDefT()
        signature.signatureKey = SIGNATURE
        signature.inputs, signature.outputs = (
            [self._named(index) for index in indices] for indices in (inputs, outputs)
        )
        return signature

    def _named(self, index: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = self.tensors[index].name, index
        return entry


def _options(name: str, values: Mapping[str, int | float]) -> Any:
    made = getattr(schema, f"{name}T")()
    for field, value in values.items():
        setattr(made, field, value)
    return made


def _quantization(quantization: Quantization) -> Any:
    made = schema.QuantizationParametersT()
    # Equal scales are one: each costs a float and an int64 zero point.
    same = len(set(quantization.scales)) == 1
    made.scale = np.array(quantization.scales[:1] if same else quantization.scales, np.float32)
    made.zeroPoint = np.full(made.scale.size, quantization.zero_point, np.int64)
    made.quantizedDimension = quantization.axis or 0
    return made


def _operator_code(kind: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    # Readers older than the 32-bit field look here.
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    return code


class _PackedOnce:
    """A schema table that several others refer to, written where the first of them needs it."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._offset = 0

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the schema classes' protocol
        """Return the table's offset in the file."""
        self._offset = self._offset or self._table.Pack(builder)
        return self._offset


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers ships no types
    """A builder that writes equal vectors once and aligns buffer data."""

    def __init__(self) -> None:
        super().__init__(1 << 16)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802 - the name that Pack calls
        """Return the offset of an equal vector, writing it if it is the first."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            if x.dtype == np.uint8:
                self.Prep(BUFFER_ALIGNMENT_BYTES, x.nbytes)
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]
