"""The weights blob: every constant that a retrained model may change, at offsets that the code knows.

Little-endian. A header (magic, format, size, layout, digest of the graph that the code was generated from),
then sections at multiples of 4 bytes, read in place by the C, which accepts its own header alone.
"""

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.columns import columns_of, stored_weights
from codegen.dense import packed_weights, rows_of
from codegen.spectrum import half_of_basis, stored_basis
from codegen.taps import in_vectors, paired_rows, spread_taps
from codegen.vectors import channel_vectors
from edgekit.graph import Graph, Op, graph_digest
from edgekit.target import InstructionSet

MAGIC = b"EKM1"
FORMAT = 2
"""Another one for weights that are stored otherwise under the same names and sizes."""
HEADER_BYTES = 48
LINEAR = ("conv2d", "depthwise_conv2d", "fully_connected", "fully_connected_int16")
LEAST_SHIFT = -31
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


def blob_sections(graph: Graph, instructions: InstructionSet = "portable") -> list[Section]:
    """Return the sections of a graph's blob in order of their offsets."""
    sections: list[Section] = []
    offset = HEADER_BYTES
    for name, values, comment in _arrays(graph, instructions):
        data = np.ascontiguousarray(values).tobytes()
        sections.append(Section(name, offset, data, comment))
        offset += -(-len(data) // 4) * 4
    return sections


def layout_checksum(sections: Sequence[Section], instructions: InstructionSet) -> int:
    """Return a CRC-32 over the instruction set and every section's name, place and size.

    Another target's sections may have other places, or the same ones with weights in another order.
    """
    parts = [[section.name, section.offset, len(section.data)] for section in sections]
    return zlib.crc32(json.dumps([instructions, parts]).encode())


def pack_blob(graph: Graph, sections: Sequence[Section], instructions: InstructionSet) -> bytes:
    """Return the blob of a graph's sections: header, then each padded to 4 bytes with zeros."""
    ends = [section.offset + -(-len(section.data) // 4) * 4 for section in sections]
    blob = bytearray(max(ends, default=HEADER_BYTES))
    layout = layout_checksum(sections, instructions)
    digest = bytes.fromhex(graph_digest(graph))
    struct.pack_into("<4sIII32s", blob, 0, MAGIC, FORMAT, len(blob), layout, digest)
    for section in sections:
        blob[section.offset : section.offset + len(section.data)] = section.data
    return bytes(blob)


def build_blob(graph: Graph, instructions: InstructionSet = "portable") -> bytes:
    """Return the weights blob of a graph for a core's instructions."""
    return pack_blob(graph, blob_sections(graph, instructions), instructions)


def _arrays(graph: Graph, instructions: InstructionSet) -> Iterator[tuple[str, NDArray[np.integer], str]]:
    """Yield (macro name, values, comment) of every section."""
    done: set[str] = set()
    for op in graph.ops:
        if op.kind in LINEAR:
            yield from _linear_arrays(graph, op, instructions)
        else:
            for name in op.inputs:
                if name in graph.constants and name not in done:
                    done.add(name)
                    tensor = graph.tensors[name]
                    values = graph.constants[name]
                    whole = op.kind != "power_spectrum" or not half_of_basis(graph, instructions)
                    stored = values if whole else stored_basis(values)
                    yield name.upper(), stored, f"{tensor.dtype} {list(tensor.shape)}"
        yield from _scalar_arrays(op)


def _linear_arrays(
    graph: Graph, op: Op, instructions: InstructionSet
) -> Iterator[tuple[str, NDArray[np.integer], str]]:
    weights, bias, multiplier, shift = graph.constant_inputs(op)
    tensor = graph.tensors[op.inputs[1]]
    stored = _stored_weights(graph, op, weights, instructions)
    folded = bias.astype(np.int64)
    if op.kind != "fully_connected_int16":
        # x - z times w, summed, is x times w, summed, less z times the sum of w: the C need not subtract.
        by_output = np.moveaxis(weights, -1, 0) if op.kind == "depthwise_conv2d" else weights
        sums = by_output.reshape(len(bias), -1).astype(np.int64).sum(1)
        folded = folded - op.integer("input_zero_point") * sums
    prefix = op.name.upper()
    # Fully connected layers compute four rows at a time: those behind the last are scaled like others.
    behind = (0, -len(bias) % 4 if op.kind == "fully_connected" else 0)
    yield f"{prefix}_WEIGHTS", stored, f"{tensor.dtype} {list(tensor.shape)}"
    yield f"{prefix}_BIAS", np.pad(folded, behind).astype(np.int32), "int32, input zero point folded in"
    yield f"{prefix}_MULTIPLIER", np.pad(multiplier, behind, mode="edge").astype(np.int32), "int32"
    yield f"{prefix}_SHIFT", np.pad(shift, behind, mode="edge").astype(np.int8), "int8"


def _stored_weights(
    graph: Graph, op: Op, weights: NDArray[np.integer], instructions: InstructionSet
) -> NDArray[np.integer]:
    if op.kind == "conv2d":
        return stored_weights(columns_of(graph, op, instructions), spread_taps(op, weights, 2))
    if op.kind == "depthwise_conv2d":
        if in_vectors(graph, op, instructions):
            return channel_vectors(spread_taps(op, weights, 1))
        return paired_rows(op, weights)
    if op.kind == "fully_connected":
        return packed_weights(rows_of(graph, op, instructions), weights)
    # int16, so that they meet int16 values in pairs.
    return np.pad(weights, ((0, 0), (0, weights.shape[1] % 2))).astype(np.int16)


def _scalar_arrays(op: Op) -> Iterator[tuple[str, NDArray[np.integer], str]]:
    prefix = op.name.upper()
    if op.kind in SCALARS:
        name, comment, values = SCALARS[op.kind]
        yield f"{prefix}_{name}", np.array(values(op), np.int32), comment


def _quantization(op: Op) -> list[int]:
    return [op.integer("input_zero_point"), op.integer("output_zero_point"), *op.integers("clamp")]


def _output(op: Op, multiplier: int, shift: int) -> list[int]:
    """Return an `ek_output_t`. Below the least shift every value that can occur rounds to 0."""
    scale = (multiplier, shift) if shift >= LEAST_SHIFT else (0, 0)
    return [*scale, op.integer("output_zero_point"), *op.integers("clamp")]


def _add(op: Op) -> list[int]:
    sides = [value for name in ("input_zero_points", "multipliers", "shifts") for value in op.integers(name)]
    output = _output(op, op.integer("output_multiplier"), op.integer("output_shift"))
    return [*sides, op.integer("left_shift"), *output]


def _scaled(op: Op) -> list[int]:
    return _output(op, op.integer("multiplier"), op.integer("shift"))


SCALARS: Mapping[str, tuple[str, str, Callable[[Op], Sequence[int]]]] = {
    **dict.fromkeys(
        ("conv2d", "depthwise_conv2d", "fully_connected"),
        ("QUANTIZATION", "ek_quantization_t", _quantization),
    ),
    "level_normalize": (
        "NORMALIZATION",
        "ek_normalization_t",
        lambda op: [op.integer(name) for name in NORMALIZATION],
    ),
    "frame_level": ("EPSILON_Q8", "int32", lambda op: [op.integer("epsilon_q8")]),
    "attention_pool": ("ZERO_POINT", "int32", lambda op: [op.integer("value_zero_point")]),
    "average_pool2d": ("CLAMP", "int32, least and most", lambda op: op.integers("clamp")),
    "pad": ("FILL", "int32", lambda op: [op.integer("fill")]),
    "add": ("SUM", "ek_add_t", _add),
    "mul": ("PRODUCT", "ek_mul_t", lambda op: [*op.integers("input_zero_points"), *_scaled(op)]),
    "mean": ("MEAN", "ek_mean_t", lambda op: [op.integer("input_zero_point"), *_scaled(op)]),
    "second_order": (
        "ORDER",
        "ek_second_order_t",
        lambda op: [*op.integers("multipliers"), *op.integers("shifts")],
    ),
}
"""The integers of each kind that a retrained model may change: name of the section, C type, values."""
