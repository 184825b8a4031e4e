"""Weights of windows: taps that lie apart along mel, and rows two at a time."""

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Graph, Op
from edgekit.graph.linear_ops import dilation_of
from edgekit.target import InstructionSet


def mel_reach(op: Op) -> int:
    """Return the mel positions that a window spans."""
    return (op.integers("kernel")[1] - 1) * dilation_of(op)[1] + 1


def spread_taps(op: Op, weights: NDArray[np.integer], axis: int) -> NDArray[np.integer]:
    """Return weights with zeros between the taps of a dilated window: kernels know windows without gaps."""
    gap = dilation_of(op)[1]
    shape = [mel_reach(op) if i == axis else size for i, size in enumerate(weights.shape)]
    spread = np.zeros(shape, weights.dtype)
    np.moveaxis(spread, axis, 0)[::gap] = np.moveaxis(weights, axis, 0)
    return spread


def in_vectors(graph: Graph, op: Op, instructions: InstructionSet) -> bool:
    """Return whether an operator is a depthwise convolution of four channels at a time, row by row."""
    if op.kind != "depthwise_conv2d" or instructions != "mve":
        return False
    return graph.output(op).shape[2] == graph.tensors[op.inputs[0]].shape[2]


@dataclass(frozen=True)
class Taps:
    """How a depthwise convolution pairs the rows of its input: `ek_taps_t`.

    Attributes:
        rows: Of the result.
        width: Of the input.
        left: Padding before a row.
        pairs: Of a window's rows.
        row_step: Rows from one pair that is made to the next.
        slots: Pairs of rows that are kept.
        slot_step: From one of a window's pairs to the next.
        positions: Of a row of pairs, padding included, for a multiple of four results.
        kernel_w: Columns of a window.
        stride: Positions from one window to the next.
        sums: Positions of a row of results, rounded up to a multiple of four.
    """

    rows: int
    width: int
    left: int
    pairs: int
    row_step: int
    slots: int
    slot_step: int
    positions: int
    kernel_w: int
    stride: int
    sums: int

    @property
    def function(self) -> str:
        """Return the name of the C function that multiplies four positions."""
        return f"edgekit_depthwise_{self.pairs}_{self.kernel_w}_{self.stride}"

    @property
    def lanes_bytes(self) -> int:
        """Scratch memory for the pairs of four channels, and for a row of sums."""
        return 4 * (4 * self.slots * self.positions + self.sums)

    @property
    def span(self) -> int:
        """Rows from a window's first pair to its last."""
        return (self.slots - 1) * self.row_step


def taps_of(graph: Graph, op: Op) -> Taps:
    """Return how a depthwise convolution pairs rows."""
    (rows, columns, _), (_, width, _) = graph.output(op).shape, graph.tensors[op.inputs[0]].shape
    left = op.integers("padding")[2]
    between, pairs = 2 * dilation_of(op)[0], -(-op.integers("kernel")[0] // 2)
    row_step = gcd(op.integers("stride")[0], between)
    slots = (pairs - 1) * between // row_step + 1
    fours = -(-columns // 4) * 4
    stride, reach = op.integers("stride")[1], mel_reach(op)
    positions = max((fours - 1) * stride + reach, left + width)
    slot_step = between // row_step % slots
    return Taps(rows, width, left, pairs, row_step, slots, slot_step, positions, reach, stride, fours)


def paired_rows(op: Op, weights: NDArray[np.integer]) -> NDArray[np.int16]:
    """Return (KH, KW, O) depthwise weights as the kernel reads them: (O, pairs of KH, KW, 2) int16."""
    spread = spread_taps(op, weights, 1).astype(np.int16)
    even = np.pad(spread, ((0, len(spread) % 2), (0, 0), (0, 0)))
    pairs = even.reshape(-1, 2, *spread.shape[1:])
    return np.ascontiguousarray(np.transpose(pairs, (3, 0, 2, 1)))
