"""The weights blob: every constant that a retrained model may change, at offsets that the code knows.

Little-endian. A header (magic, format, size, digest of the graph that the code was generated from), then
sections at multiples of 4 bytes, read in place by the C.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.columns import columns_of, paired_weights
from codegen.dense import packed_weights, rows_of
from codegen.spectrum import stored_basis
from edgekit.graph import Graph, Op, graph_digest

MAGIC = b"EKM1"
HEADER_BYTES = 48
LINEAR = ("conv2d", "fully_connected", "fully_connected_int16")
NORMALIZATION = ("offset_q9", "floor_q9", "multiplier", "shift", "output_zero_point")


@dataclass(frozen=True)
class Section:
    """One array of the blob.

    Attributes:
        name: A C macro that the generated header defines as the offset.
        comment: What it holds.
    """

    name: str
    offset: int
    data: bytes
    comment: str


def blob_sections(graph: Graph) -> list[Section]:
    """Return the sections of a graph's blob in order of their offsets."""
    sections: list[Section] = []
    offset = HEADER_BYTES
    for name, values, comment in _arrays(graph):
        data = np.ascontiguousarray(values).tobytes()
        sections.append(Section(name, offset, data, comment))
        offset += -(-len(data) // 4) * 4
    return sections


def build_blob(graph: Graph) -> bytes:
    """Return the blob: header, then each section padded to 4 bytes with zeros."""
    sections = blob_sections(graph)
    last = sections[-1]
    size = last.offset + -(-len(last.data) // 4) * 4
    blob = bytearray(size)
    struct.pack_into("<4sIII", blob, 0, MAGIC, 1, size, 0)
    blob[16:48] = bytes.fromhex(graph_digest(graph))
    for section in sections:
        blob[section.offset : section.offset + len(section.data)] = section.data
    return bytes(blob)


def _arrays(graph: Graph) -> Iterator[tuple[str, NDArray[np.integer], str]]:
    """Yield (macro name, values, comment) of every section."""
    done: set[str] = set()
    for op in graph.ops:
        if op.kind in LINEAR:
            yield from _linear_arrays(graph, op)
        else:
            for name in op.inputs:
                if name in graph.constants and name not in done:
                    done.add(name)
                    tensor = graph.tensors[name]
                    values = graph.constants[name]
                    stored = stored_basis(values) if op.kind == "power_spectrum" else values
                    yield name.upper(), stored, f"{tensor.dtype} {list(tensor.shape)}"
        yield from _scalar_arrays(op)


def _linear_arrays(graph: Graph, op: Op) -> Iterator[tuple[str, NDArray[np.integer], str]]:
    weights, bias, multiplier, shift = graph.constant_inputs(op)
    tensor = graph.tensors[op.inputs[1]]
    stored = _stored_weights(graph, op, weights)
    folded = bias.astype(np.int64)
    if op.kind != "fully_connected_int16":
        # x - z times w, summed, is x times w, summed, less z times the sum of w: the C need not subtract.
        folded = folded - op.integer("input_zero_point") * weights.reshape(len(weights), -1).astype(
            np.int64
        ).sum(1)
    prefix = op.name.upper()
    # Fully connected layers compute four rows at a time: those behind the last are scaled like others.
    behind = (0, -len(bias) % 4 if op.kind == "fully_connected" else 0)
    yield f"{prefix}_WEIGHTS", stored, f"{tensor.dtype} {list(tensor.shape)}"
    yield f"{prefix}_BIAS", np.pad(folded, behind).astype(np.int32), "int32, input zero point folded in"
    yield f"{prefix}_MULTIPLIER", np.pad(multiplier, behind, mode="edge").astype(np.int32), "int32"
    yield f"{prefix}_SHIFT", np.pad(shift, behind, mode="edge").astype(np.int8), "int8"


def _stored_weights(graph: Graph, op: Op, weights: NDArray[np.integer]) -> NDArray[np.integer]:
    if op.kind == "conv2d":
        return paired_weights(columns_of(graph, op), weights)
    if op.kind == "fully_connected":
        return packed_weights(rows_of(graph, op), weights)
    # int16, so that they meet int16 values in pairs.
    return np.pad(weights, ((0, 0), (0, weights.shape[1] % 2))).astype(np.int16)


def _scalar_arrays(op: Op) -> Iterator[tuple[str, NDArray[np.integer], str]]:
    prefix = op.name.upper()
    if op.kind in ("conv2d", "fully_connected"):
        points = (op.integer("input_zero_point"), op.integer("output_zero_point"), *op.integers("clamp"))
        yield f"{prefix}_QUANTIZATION", np.array(points, np.int32), "ek_quantization_t"
    elif op.kind == "level_normalize":
        values = [op.integer(name) for name in NORMALIZATION]
        yield f"{prefix}_NORMALIZATION", np.array(values, np.int32), "ek_normalization_t"
    elif op.kind == "frame_level":
        yield f"{prefix}_EPSILON_Q8", np.array([op.integer("epsilon_q8")], np.int32), "int32"
    elif op.kind == "attention_pool":
        yield f"{prefix}_ZERO_POINT", np.array([op.integer("value_zero_point")], np.int32), "int32"
