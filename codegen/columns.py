"""How each convolution is computed.

As columns of pairs, directly or at the points of Winograd's F(4, 3), or as patches of vectors.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codegen.taps import mel_reach
from codegen.vectors import POSITIONS, SUMS_BEHIND, VECTOR_BYTES, vector_weights, vectors_of
from edgekit.graph import TIME, Graph, Op
from edgekit.target import InstructionSet

TILE = 4
"""Outputs of one Winograd tile."""
POINTS = 6
FROM_TAPS = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]])
"""24 G of Lavin and Gray (arXiv 1509.09308): three taps to six points, in integers."""
MOST_CHANNELS = 256
"""Beyond, 24 times a sum of products could leave int32."""
MOST_COLUMNS = 32
"""Positions of a map that are computed at a time where each stands alone."""

# Cycles of a Cortex-M33 or M4, counted in the kernels: what the two ways are compared by.
_CYCLES_OF_FOUR, _CYCLES_OF_THREE = 16, 12
_CYCLES_OF_TILE, _CYCLES_OF_POINTS = 70, 48
_CYCLES_OF_OUTPUT, _CYCLES_OF_PAIR = 12, 6


@dataclass(frozen=True)
class Columns:
    """Columns that are multiplied with the weights of two channels at a time.

    Attributes:
        method: `winograd`: a column is a tile of four outputs, at six points; else it is one output.
        depth: Pairs of a column, at each point; `mve`: its vectors.
        count: Columns, padded to a sum of threes and fours; `mve`: of threes.
        used: Columns that have results.
        step_bytes: `mve`: from one column to the next.
    """

    method: Literal["direct", "winograd", "mve"]
    depth: int
    count: int
    used: int
    step_bytes: int = 0

    @property
    def kernel(self) -> str:
        """Return the name of the C function that computes a row."""
        return {"direct": "ek_conv2d_s8"}.get(self.method, f"ek_conv2d_{self.method}_s8")

    @property
    def fours(self) -> int:
        """Columns that are taken four at a time; the others three at a time."""
        return 0 if self.method == "mve" else self.count - 3 * (-self.count % 4)

    @property
    def takes(self) -> tuple[int, ...]:
        """How many columns functions of their own take at a time: 4, 3 or both; `mve` has none."""
        if self.method == "mve":
            return ()
        return tuple(some for some, wanted in ((4, self.fours), (3, self.count - self.fours)) if wanted)

    @property
    def points(self) -> int:
        """Points that each column is multiplied at."""
        return POINTS if self.method == "winograd" else 1

    @property
    def lanes_bytes(self) -> int:
        """Scratch memory for the columns, and where they are outputs, for a row's products."""
        if self.method == "mve":
            patches = (self.count - 1) * self.step_bytes + self.depth * VECTOR_BYTES
            return 4 * (-(-patches // 4) + 2 * self.count + SUMS_BEHIND)
        sums = 2 * self.count if self.method == "direct" else 0
        return 4 * (self.points * self.depth * self.count + sums)

    @property
    def positions(self) -> int:
        """Positions of an input row that are read, padding included; 0: as many as the windows cover."""
        return TILE * self.count + 2 if self.method == "winograd" else 0

    def function(self, some: int) -> str:
        """Return the name of the C function that multiplies three or four columns."""
        return f"edgekit_products_{self.depth}_{self.count}_{some}"

    @property
    def product_cycles(self) -> int:
        """Estimated cycles of multiplying with the weights of two channels."""
        threes = (self.count - self.fours) // 3
        each = _CYCLES_OF_FOUR * self.fours // 4 + _CYCLES_OF_THREE * threes
        return self.points * self.depth * each


def _padded(columns: int) -> int:
    """Return the least sum of threes and fours that is enough.

    Example:
        >>> [_padded(columns) for columns in (1, 3, 5, 6, 7, 26)]
        [3, 3, 6, 6, 7, 26]
    """
    return max(3, columns + (columns == 5))


def row_width(graph: Graph, op: Op) -> int:
    """Return how many positions of a convolution's result are computed at a time.

    They are a row's; where every position of a map stands alone, as many as leave few columns unused.
    """
    height, width, _ = graph.output(op).shape
    alone = op.integers("kernel") == op.integers("stride") == (1, 1) and max(op.integers("padding")) == 0
    if not alone or height == TIME:
        return width
    fitting = [some for some in range(1, MOST_COLUMNS + 1) if height * width % some == 0]
    return min(fitting, key=lambda some: (_padded(some) / some, -some))


def columns_of(graph: Graph, op: Op, instructions: InstructionSet = "portable") -> Columns:
    """Return how a convolution is computed: the way of fewer estimated cycles."""
    height, width, stride = op.integers("kernel")[0], mel_reach(op), op.integers("stride")[1]
    positions, outputs = row_width(graph, op), graph.output(op).shape[2]
    channels = graph.tensors[op.inputs[0]].shape[-1]
    if instructions == "mve":
        depth = vectors_of(height * width * channels, 8)
        count = -(-positions // POSITIONS) * POSITIONS
        return Columns("mve", depth, count, positions, step_bytes=stride * height * channels)
    direct = Columns("direct", height * -(-width * channels // 2), _padded(positions), positions)
    if (width, stride) != (3, 1) or channels > MOST_CHANNELS:
        return direct
    tiles = -(-positions // TILE)
    winograd = Columns("winograd", height * len(paired_channels(channels)) // 2, _padded(tiles), tiles)
    return min(direct, winograd, key=lambda columns: _cycles(columns, outputs))


def _cycles(columns: Columns, outputs: int) -> int:
    """Return the estimated cycles of one row."""
    products = -(-outputs // 2) * columns.product_cycles
    if columns.method == "winograd":
        return products + columns.used * (outputs * _CYCLES_OF_TILE + columns.depth * _CYCLES_OF_POINTS)
    return products + columns.used * (outputs * _CYCLES_OF_OUTPUT + columns.depth * _CYCLES_OF_PAIR)


def paired_channels(channels: int) -> list[int]:
    """Return the channels in the order of Winograd's pairs; -1 is none: two bytes of a word at a time.

    Example:
        >>> paired_channels(5)
        [0, 2, 1, 3, 4, -1]
    """
    rest = {0: [], 1: [0, -1], 2: [0, -1, 1, -1], 3: [0, 2, 1, -1]}[channels % 4]
    whole = channels - channels % 4
    order = [first + place for first in range(0, whole, 4) for place in (0, 2, 1, 3)]
    return order + [whole + place if place >= 0 else -1 for place in rest]


def stored_weights(columns: Columns, weights: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return (O, KH, KW, C) weights as the kernels read them."""
    if columns.method != "mve":
        return paired_weights(columns, weights)
    by_patch = np.moveaxis(weights, 1, 2).reshape(len(weights), -1)
    return vector_weights(by_patch, 2, 8)


def paired_weights(columns: Columns, weights: NDArray[np.integer]) -> NDArray[np.int16]:
    """Return (O, KH, KW, C) weights as pairs: (pairs of O, points, depth, 2, 2) int16."""
    values = np.asarray(weights, np.int16)
    if columns.method == "winograd":
        values = np.einsum("pk,ohkc->ophc", FROM_TAPS, values)
        order = paired_channels(weights.shape[3])
        padded = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
        lanes = padded[..., order].reshape(len(weights), POINTS, columns.depth, 2)
    else:
        rows = values.reshape(len(values), weights.shape[1], -1)
        padded = np.pad(rows, ((0, 0), (0, 0), (0, rows.shape[2] % 2)))
        lanes = padded.reshape(len(weights), 1, columns.depth, 2)
    even = np.pad(lanes, ((0, len(lanes) % 2), (0, 0), (0, 0), (0, 0)))
    by_two = even.reshape(-1, 2, *lanes.shape[1:])
    return np.ascontiguousarray(np.moveaxis(by_two, 1, 3), np.int16)
