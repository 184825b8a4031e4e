"""How fully connected layers are computed: four rows of packed weights at a time."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codegen.vectors import VECTOR_BYTES, vector_weights, vectors_of
from edgekit.graph import Graph, Op
from edgekit.target import InstructionSet

INT4_OFFSET = 8
"""Added to int4 weights, so that a mask takes them out of a word; the sum of the inputs makes up for it."""
INT4_ORDER = (0, 1, 4, 5, 2, 3, 6, 7)
"""Inputs of the eight nibbles of a word, low first: masked, they meet pairs of inputs (0, 2), (1, 3), ..."""
MOST_UNROLLED = 12


@dataclass(frozen=True)
class Rows4:
    """Four rows of weights.

    Attributes:
        bits: 4 or 8.
        words: Of a row; `mve`: its vectors.
        method: `pairs`: they meet pairs of inputs; `mve`: vectors of them.
    """

    bits: int
    words: int
    method: Literal["pairs", "mve"] = "pairs"

    @property
    def kernel(self) -> str:
        """Return the name of the C function that computes the layer."""
        return "ek_fully_connected" if self.method == "pairs" else f"ek_fully_connected_mve_s{self.bits}"

    @property
    def pairs(self) -> int:
        """Pairs of inputs that meet a row."""
        return self.words * 16 // self.bits

    @property
    def lanes_bytes(self) -> int:
        """Scratch memory for the inputs."""
        return 4 * self.pairs if self.method == "pairs" else self.words * VECTOR_BYTES * 8 // self.bits

    @property
    def unrolled(self) -> int:
        """Words between two counts of the loop."""
        return max(n for n in range(1, MOST_UNROLLED + 1) if self.words % n == 0)

    @property
    def offset(self) -> int:
        """What was added to each weight."""
        return INT4_OFFSET if self.bits == 4 and self.method == "pairs" else 0

    @property
    def function(self) -> str:
        """Return the name of the C function that multiplies four rows."""
        return f"edgekit_dense_s{self.bits}_{self.words}"


def rows_of(graph: Graph, op: Op, instructions: InstructionSet = "portable") -> Rows4:
    """Return how a fully connected layer is computed."""
    weights = graph.tensors[op.inputs[1]]
    bits = 4 if weights.dtype == "int4" else 8
    if instructions == "mve" and "rounding" not in op.attributes:
        return Rows4(bits, vectors_of(weights.shape[1], bits), "mve")
    return Rows4(bits, -(-weights.shape[1] * bits // 32))


def packed_weights(rows: Rows4, weights: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return (O, K) weights as the kernels read them: (fours of O, words, 4) uint32, `mve`: of vectors."""
    if rows.method == "mve":
        return vector_weights(weights, 4, rows.bits)
    per_word = 32 // rows.bits
    outputs, inputs = weights.shape
    padded = np.pad(weights, ((0, -outputs % 4), (0, rows.words * per_word - inputs)))
    values = padded.reshape(-1, 4, rows.words, per_word).astype(np.int64)
    if rows.bits == 4:
        values = values[..., INT4_ORDER] + INT4_OFFSET
    shifts = rows.bits * np.arange(per_word)
    words = ((values & ((1 << rows.bits) - 1)) << shifts).sum(axis=-1)
    return np.ascontiguousarray(np.moveaxis(words, 1, 2), np.uint32)
