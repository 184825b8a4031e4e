"""How a convolution is computed.

Columns of pairs, directly or in tiles of Winograd's F(2, 3) x F(4, 3), or patches of vectors.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codegen.taps import mel_reach
from codegen.vectors import POSITIONS, SUMS_BEHIND, VECTOR_BYTES, vector_weights, vectors_of
from edgekit.graph import TIME, Graph, Op
from edgekit.graph.linear_ops import dilation_of
from edgekit.target import InstructionSet

TILE = 4
"""Mel positions of the outputs of one Winograd tile; in time it has two rows."""
MEL_POINTS, TIME_POINTS = 6, 4
SCALE = 48
"""What sums of products at the points are times the outputs."""
MEL_FROM_TAPS = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]])
"""24 G of Lavin and Gray's F(4, 3) (arXiv 1509.09308): three taps to six points, in integers."""
TIME_FROM_TAPS = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]])
"""2 G of their F(2, 3). Both on weights of -128..127: within 9,216, so that int16 holds them."""
REACH_BYTES = 4095
"""How far a load or store reaches from its base."""
MOST_DEPTH = 8_192
"""Deeper columns are multiplied in a loop: unrolled, their code would be larger than a branch reaches."""
MOST_CHANNELS = 256
"""Beyond, 48 times a sum of products could leave int32: 9 * 256 * 128 * 128 * 48 < 2^31."""
MOST_COLUMNS = 32
"""Positions of a map that are computed at a time where each stands alone."""

# Cycles of a Cortex-M33 or M4, counted in the kernels: what the two ways are compared by.
_CYCLES_OF_FOUR, _CYCLES_OF_THREE, _CYCLES_OF_POINT = 16, 12, 16
_CYCLES_OF_TILE, _CYCLES_OF_POINTS = 150, 190
_CYCLES_OF_OUTPUT, _CYCLES_OF_PAIR = 10, 11


@dataclass(frozen=True)
class Columns:
    """Columns that are multiplied with the weights of two channels at a time.

    Attributes:
        method: `winograd`: a column is a tile of outputs, at its points; else it is one output.
        depth: Pairs of a column, at each point; `mve`: its vectors.
        count: Columns, padded to a sum of threes and fours; `mve`: of threes.
        used: Columns that have results.
        rows: Rows that are computed at once: 2 where the reader of a Winograd convolution waits for both, or
            one; two rows then share their products in turns.
        step_bytes: `mve`: from one column to the next.
        spare_bytes: `direct`: scratch for a row of results where some columns have none.
    """

    method: Literal["direct", "winograd", "mve"]
    depth: int
    count: int
    used: int
    rows: int = 1
    step_bytes: int = 0
    spare_bytes: int = 0

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
    def turns(self) -> bool:
        """Whether two rows share their products in turns."""
        return self.method == "winograd" and self.rows == 1

    @property
    def positions(self) -> int:
        """Positions of an input row that are read, padding included; 0: as many as the windows cover."""
        return TILE * self.count + 2 if self.method == "winograd" else 0

    @property
    def lanes_bytes(self) -> int:
        """Scratch memory for the columns and their sums of products, at points computed at once."""
        if self.method == "mve":
            patches = (self.count - 1) * self.step_bytes + self.depth * VECTOR_BYTES
            return 4 * (-(-patches // 4) + 2 * self.count + SUMS_BEHIND)
        if self.method == "direct":
            return 4 * (self.depth + 2) * self.count + self.spare_bytes
        times = TIME_POINTS if self.rows == 2 else TIME_POINTS - 1
        return MEL_POINTS * times * self.stride(self.takes[0])

    def stride(self, some: int) -> int:
        """Bytes from one point of Winograd's to the next: pairs of so many tiles, and two channels' sums."""
        return 4 * some * (self.depth + 2)

    def near(self, outputs: int) -> bool:
        """Whether generated code of the direct method takes a row: its stores, sums and branches reach."""
        reached = 4 * max(outputs, self.count) <= REACH_BYTES and self.depth <= MOST_DEPTH
        return self.method == "direct" and reached

    def function(self, outputs: int) -> str:
        """Return the name of the C function of the direct method for so many output channels."""
        return f"edgekit_row_{self.depth}_{self.count}_{outputs}"

    def cycles(self, outputs: int) -> int:
        """Return the estimated cycles of one row of so many channels."""
        threes = (self.count - self.fours) // 3
        products = _CYCLES_OF_FOUR * self.fours // 4 + _CYCLES_OF_THREE * threes
        pairs = -(-outputs // 2)
        if self.method == "direct":
            scaled = self.used * (outputs * _CYCLES_OF_OUTPUT + self.depth * _CYCLES_OF_PAIR)
            return pairs * self.depth * products + scaled
        at_points = self.depth * products + _CYCLES_OF_POINT * (self.fours // 4 + threes)
        tiles = self.used * (outputs * _CYCLES_OF_TILE + self.depth * _CYCLES_OF_POINTS)
        return (MEL_POINTS * TIME_POINTS * pairs * at_points + tiles) // 2


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
    height, width, stride = op.integers("kernel")[0], mel_reach(op), op.integers("stride")
    positions, outputs = row_width(graph, op), graph.output(op).shape[2]
    channels = graph.tensors[op.inputs[0]].shape[-1]
    if instructions == "mve":
        depth = vectors_of(height * width * channels, 8)
        count = -(-positions // POSITIONS) * POSITIONS
        return Columns("mve", depth, count, positions, step_bytes=stride[1] * height * channels)
    count = _padded(positions)
    spare = -(-count * outputs // 4) * 4 if count != positions else 0
    direct = Columns("direct", -(-height * width * channels // 2), count, positions, spare_bytes=spare)
    dilated = dilation_of(op) != (1, 1)
    if (height, width) != (3, 3) or stride != (1, 1) or dilated or channels > MOST_CHANNELS:
        return direct
    tiles, rows = -(-positions // TILE), 2 if _computed_in_pairs(graph, op) else 1
    winograd = Columns("winograd", len(paired_channels(channels)) // 2, _padded(tiles), tiles, rows)
    return min(direct, winograd, key=lambda columns: columns.cycles(outputs))


def _computed_in_pairs(graph: Graph, op: Op) -> bool:
    """Whether two rows can be computed at once: all are there, or the one reader takes two each time."""
    if graph.output(op).shape[0] != TIME:
        return True
    readers = [each for each in graph.ops if op.outputs[0] in each.inputs and "kernel" in each.attributes]
    if len(readers) != 1 or readers[0].integers("kernel")[0] == 1:
        return False
    height, top, stride = window_of(graph, readers[0])
    return stride == 2 and top < height


def window_of(graph: Graph, op: Op, instructions: InstructionSet = "portable") -> tuple[int, int, int]:
    """Return the rows of a window, those before the first row, and the rows from one window to the next."""
    height, top, stride = op.integers("kernel")[0], op.integers("padding")[0], op.integers("stride")[0]
    if op.kind == "conv2d" and columns_of(graph, op, instructions).rows == 2:
        return height + 1, top + leads(graph, op), 2
    return height, top, stride


def leads(graph: Graph, op: Op) -> int:
    """Return 1 where the first two rows of a convolution are one before the start and row 0, else 0.

    Two rows at once end where the reader's windows end, or the map.
    """
    if graph.output(op).shape[0] != TIME:
        return graph.output(op).shape[0] % 2
    (reader,) = (each for each in graph.ops if op.outputs[0] in each.inputs)
    height, top, _ = window_of(graph, reader)
    return (height - top) % 2


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
        values = np.einsum("th,pk,ohkc->otpc", TIME_FROM_TAPS, MEL_FROM_TAPS, values)
        order = paired_channels(weights.shape[3])
        padded = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
        lanes = padded[..., order].reshape(len(weights), TIME_POINTS * MEL_POINTS, columns.depth, 2)
    else:
        # Doubled, as the scale wants twice the sums.
        rows = 2 * values.reshape(len(values), -1)
        lanes = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).reshape(len(weights), 1, columns.depth, 2)
    even = np.pad(lanes, ((0, len(lanes) % 2), (0, 0), (0, 0), (0, 0)))
    by_two = even.reshape(-1, 2, *lanes.shape[1:])
    return np.ascontiguousarray(np.moveaxis(by_two, 1, 3), np.int16)
