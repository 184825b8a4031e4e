"""How fully connected layers are computed: four rows of packed weights at a time."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codegen.vectors import VECTOR_BYTES, vector_weights, vectors_of
from edgekit.graph import Graph, Op
from edgekit.target import InstructionSet

INT4_OFFSET = 8
"""Added to int4 weights of three in four rows so that masks take them out; the inputs' sum makes up."""
INT4_ROWS = 4
"""Rows whose int4 weights for one input share 16 bits; the last of them, at the top, is signed."""
MOST_INT4_INPUTS = 511
"""Beyond, 4096 times a row's sum could leave int32: 511 * 128 * 8 * 4096 < 2^31. They are kept in int8."""
MOST_UNROLLED = 12
TOGETHER = 4
"""Rows of more words of int8 are padded to a multiple, so that a loop takes several between two counts."""


@dataclass(frozen=True)
class Rows4:
    """Four rows of weights.

    Attributes:
        bits: 4 or 8.
        words: Words of 32 bits: of int4 with two inputs of all four rows, of int8 four inputs of one row;
            `mve`: a row's vectors.
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
        """Pairs of inputs that meet the rows, an even number."""
        return self.words + self.words % 2 if self.bits == 4 else 2 * self.words

    @property
    def words_of_four(self) -> int:
        """Words of four rows in all."""
        return self.words if self.bits == 4 or self.method == "mve" else INT4_ROWS * self.words

    @property
    def lanes_bytes(self) -> int:
        """Scratch memory for the inputs."""
        return 4 * self.pairs if self.method == "pairs" else self.words * VECTOR_BYTES * 8 // self.bits

    @property
    def taken(self) -> int:
        """Words that are loaded at once: four of int4, one of int8 for each row."""
        return 4 if self.bits == 4 else 1

    @property
    def unrolled(self) -> int:
        """How often words are loaded between two counts of the loop."""
        loads = self.words // self.taken
        return max((n for n in range(1, MOST_UNROLLED // self.taken + 1) if loads % n == 0), default=0)

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
    inputs = weights.shape[1]
    if instructions == "mve" and "rounding" not in op.attributes:
        bits = 4 if weights.dtype == "int4" else 8
        return Rows4(bits, vectors_of(inputs, bits), "mve")
    if weights.dtype == "int4" and inputs <= MOST_INT4_INPUTS:
        return Rows4(4, 2 * (inputs // 4) + min(inputs % 4, 2))
    words = -(-inputs // 4)
    return Rows4(8, words if words <= MOST_UNROLLED else -(-words // TOGETHER) * TOGETHER)


def packed_weights(rows: Rows4, weights: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return (O, K) weights as the kernels read them.

    Returns:
        (fours of O, words) uint32, of int8 (fours of O, words, 4); `mve`: vectors.
    """
    if rows.method == "mve":
        return vector_weights(weights, 4, rows.bits)
    outputs, inputs = weights.shape
    behind = 4 * rows.words - inputs if rows.bits == 8 else -inputs % 4
    padded = np.pad(weights, ((0, -outputs % 4), (0, behind))).astype(np.int64)
    fours = padded.reshape(-1, 4, padded.shape[1] // 4, 4)
    if rows.bits == 8:
        words = ((fours & 255) << (8 * np.arange(4))).sum(axis=-1)
        return np.ascontiguousarray(np.moveaxis(words, 1, 2), np.uint32)
    offset = np.array([INT4_OFFSET, INT4_OFFSET, INT4_OFFSET, 0])
    digits = (fours + offset[:, None, None]) & 15
    halves = (digits << (4 * np.arange(4))[:, None, None]).sum(axis=1)
    # Inputs meet as the kernel lays them out: (0, 2), (1, 3) of each four.
    pairs = halves[..., [0, 1]] | halves[..., [2, 3]] << 16
    return np.ascontiguousarray(pairs.reshape(len(pairs), -1)[:, : rows.words], np.uint32)
