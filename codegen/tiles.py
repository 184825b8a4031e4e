"""The functions that Winograd convolutions need: one for each shape of tiles that occurs."""

from collections.abc import Iterable
from dataclasses import dataclass

from codegen.columns import MEL_POINTS, REACH_BYTES, TIME_POINTS, Columns

BOTH, FIRST, SECOND = TURNS = ("both", "first", "second")
"""What is computed: two rows at once, or one of two rows in turns."""
TIMES = {BOTH: TIME_POINTS, FIRST: TIME_POINTS - 1, SECOND: 1}
"""Points in time of each."""
POSITIONS = 6
"""Mel positions that one tile reads."""


@dataclass(frozen=True, order=True)
class Products:
    """Sums of products of channels with tiles at each point."""

    depth: int
    some: int
    channels: int

    @property
    def stride(self) -> int:
        """Bytes from one point to the next."""
        return 4 * self.some * (self.depth + 2)

    @property
    def function(self) -> str:
        """Return the name of the C function."""
        return f"edgekit_tiles_{self.depth}_{self.some}_{self.channels}"


@dataclass(frozen=True, order=True)
class Step:
    """Tiles to their points, where `channels` are those of the input, or sums at points to outputs.

    Attributes:
        kind: `inputs` or `outputs`.
        depth: Pairs of input channels.
        some: Tiles.
        channels: Bytes from one position to the next.
        turn: One of `TURNS`.
    """

    kind: str
    depth: int
    some: int
    channels: int
    turn: str

    @property
    def stride(self) -> int:
        """Bytes from one point to the next."""
        return 4 * self.some * (self.depth + 2)

    @property
    def times(self) -> int:
        """Points in time."""
        return TIMES[self.turn]

    @property
    def rows(self) -> int:
        """Rows of the window."""
        return 4 if self.turn == BOTH else 3

    @property
    def fours(self) -> int:
        """How often four channels are taken at a time; one that is left is alone."""
        return -(-(self.channels - (self.channels % 4 == 1)) // 4)

    @property
    def buffer(self) -> int:
        """Bytes that the times of four channels of a tile need."""
        return 4 * 2 * POSITIONS * self.times

    @property
    def near(self) -> bool:
        """Whether loads and stores reach all points and outputs from one address."""
        points = MEL_POINTS * (1 if self.kind == "inputs" else self.times)
        return self.stride * points <= REACH_BYTES and 4 * self.channels <= REACH_BYTES // 4

    @property
    def function(self) -> str:
        """Return the name of the C function."""
        return f"edgekit_{self.kind}_{self.depth}_{self.some}_{self.channels}_{self.turn}"


@dataclass(frozen=True, order=True)
class TileSet:
    """The functions of a convolution for tiles taken three or four at a time."""

    depth: int
    some: int
    inputs: int
    outputs: int

    @property
    def name(self) -> str:
        """Return the name of the C table."""
        return f"edgekit_set_{self.depth}_{self.some}_{self.inputs}_{self.outputs}"

    @property
    def products(self) -> tuple[Products | None, Products | None]:
        """Products of two channels and of one, as far as they occur."""
        two = Products(self.depth, self.some, 2) if self.outputs > 1 else None
        return two, Products(self.depth, self.some, 1) if self.outputs % 2 else None

    def step(self, kind: str, turn: str) -> Step:
        """Return the step of that kind and turn."""
        channels = self.inputs if kind == "inputs" else self.outputs
        return Step(kind, self.depth, self.some, channels, turn)


@dataclass(frozen=True)
class Tiles:
    """All functions of a model, each once."""

    products: tuple[Products, ...]
    inputs: tuple[Step, ...]
    outputs: tuple[Step, ...]
    sets: tuple[TileSet, ...]

    def products_table(self, tiles: TileSet) -> str:
        """Return what the C table of a set holds: products of two channels and of one."""
        return ", ".join(shape.function if shape else "NULL" for shape in tiles.products)

    def inputs_table(self, tiles: TileSet) -> str:
        """Return what the C table of a set holds: from tiles to points, by turn."""
        return self._by_turn([tiles.step("inputs", turn) for turn in TURNS])

    def outputs_table(self, tiles: TileSet) -> str:
        """Return what the C table of a set holds: from sums to outputs, by turn."""
        return self._by_turn([tiles.step("outputs", turn) for turn in TURNS])

    def _by_turn(self, steps: list[Step]) -> str:
        known = {*self.inputs, *self.outputs}
        return ", ".join(step.function if step in known else "NULL" for step in steps)


def tile_set(columns: Columns, inputs: int, outputs: int, some: int) -> TileSet:
    """Return the functions that a convolution of so many channels needs for `some` tiles."""
    return TileSet(columns.depth, some, inputs, outputs)


def tiles_of(convolutions: Iterable[tuple[Columns, int, int]]) -> Tiles:
    """Return the functions that convolutions need: how each is computed, its input and output channels."""
    sets: set[TileSet] = set()
    steps: set[Step] = set()
    for columns, inputs, outputs in convolutions:
        for some in columns.takes if columns.method == "winograd" else ():
            each = tile_set(columns, inputs, outputs, some)
            sets.add(each)
            turns = (FIRST, SECOND) if columns.turns else (BOTH,)
            steps |= {each.step(kind, turn) for kind in ("inputs", "outputs") for turn in turns}
    products = {shape for each in sets for shape in each.products if shape}
    return Tiles(
        tuple(sorted(products)),
        tuple(sorted(step for step in steps if step.kind == "inputs")),
        tuple(sorted(step for step in steps if step.kind == "outputs")),
        tuple(sorted(sets)),
    )
