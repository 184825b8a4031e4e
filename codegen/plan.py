"""How a graph streams: which rows each operator waits for, and where every result lies in the state."""

from dataclasses import dataclass

import numpy as np

from codegen.columns import Columns, columns_of, leads, window_of
from codegen.dense import Rows4, rows_of
from codegen.spectrum import half_of_basis
from edgekit.errors import UnsupportedError
from edgekit.graph import FRONT_END_KINDS, Graph, Op, hears_audio
from edgekit.target import InstructionSet

ROW_KINDS = ("conv2d", "max_pool2d", "flatten", "fully_connected")
TAILS = (
    ("attention_pool", "fully_connected_int16"),
    ("attention_pool", "second_order", "fully_connected_int16"),
)
POOL_PADDING = -128


@dataclass(frozen=True)
class Rows:
    """Where a stream of rows lies: a ring of padded rows, or one row in the scratch that is read at once.

    Attributes:
        name: The tensor's name, and the state member's.
        height: Rows kept.
        width: Mel positions of a row without padding; channels of each.
        left, right: Padding positions.
        top: Padding rows before the first; stride: rows from one window to the next.
        tail: Bytes that are read behind the last row; what they hold does not matter.
        fill: Macro of the quantization whose input zero point pads, or empty for pooling's -128.
    """

    name: str
    width: int
    channels: int
    height: int = 1
    left: int = 0
    right: int = 0
    top: int = 0
    stride: int = 1
    tail: int = 0
    fill: str = ""

    @property
    def row_bytes(self) -> int:
        """Bytes of one padded row."""
        return (self.left + self.width + self.right) * self.channels

    @property
    def bytes(self) -> int:
        """Bytes of all rows."""
        return self.height * self.row_bytes + self.tail

    @property
    def offset(self) -> int:
        """Bytes before the first position that is not padding."""
        return self.left * self.channels

    @property
    def data_bytes(self) -> int:
        """Bytes of a row without its padding."""
        return self.width * self.channels

    @property
    def ring(self) -> bool:
        """Whether a window must fill before the reader runs."""
        return self.height > 1


@dataclass(frozen=True)
class Plan:
    """A streaming program for one student.

    Attributes:
        front_end: Operator of each front-end kind.
        rows: Storage of each int8 stream by tensor name; aliases (flatten) share one.
        columns: How each convolution is computed, by operator name.
        dense: How each fully connected layer is.
        layers: Row operators in order, flatten left out.
        pool: The attention pooling.
        second: Products of what is pooled, or None.
        head: The A/D/V layer.
        instructions: What its kernels are written for.
    """

    graph: Graph
    front_end: dict[str, Op]
    rows: dict[str, Rows]
    columns: dict[str, Columns]
    dense: dict[str, Rows4]
    layers: tuple[Op, ...]
    pool: Op
    second: Op | None
    head: Op
    instructions: InstructionSet

    @property
    def causal(self) -> bool:
        """Whether the level is a running one; otherwise features wait for the end of the utterance."""
        return self.front_end["frame_level"].integer("memory_frames") > 0

    @property
    def folded(self) -> bool:
        """Whether half of the power spectrum's basis is enough."""
        return half_of_basis(self.graph, self.instructions)

    @property
    def storage(self) -> tuple[Rows, ...]:
        """Every distinct storage, in the order of the streams."""
        return tuple(dict.fromkeys(self.rows.values()))

    @property
    def rings(self) -> tuple[Rows, ...]:
        """The storage that keeps rows from one time step to the next."""
        return tuple(rows for rows in self.storage if rows.ring)

    @property
    def scratch(self) -> dict[str, int]:
        """How much scratch memory each layer needs for its inputs as pairs, by operator name."""
        found = {name: columns.lanes_bytes for name, columns in self.columns.items()}
        pools = [op for op in self.layers if op.kind == "max_pool2d"]
        found |= {op.name: _words(self.rows[op.inputs[0]].row_bytes) for op in pools}
        return found | {name: rows.lanes_bytes for name, rows in self.dense.items()}

    @property
    def places(self) -> dict[str, int]:
        """Where rows that are read at once lie in the scratch: behind what is used while there are any."""
        single = [rows for rows in self.storage if not rows.ring]
        ends = np.cumsum([self._used_beside_rows(), *(_words(rows.bytes) for rows in single)]).tolist()
        return {rows.name: end for rows, end in zip(single, ends[:-1], strict=True)}

    @property
    def scratch_bytes(self) -> int:
        """Scratch memory in all, in words of 64 bits, which the front end has."""
        places = self.places
        ends = [places[rows.name] + rows.bytes for rows in self.storage if not rows.ring]
        return -(-max(*self.scratch.values(), *ends, self.front_end_bytes) // 8) * 8

    def _used_beside_rows(self) -> int:
        """Scratch that the front end or some layer uses while a row lies beside it."""
        features = self.front_end["level_normalize"].outputs[0]
        most = 0 if self.rows[features].ring else self.front_end_bytes
        for name, rows in self.rows.items():
            users = [i for i, op in enumerate(self.layers) if name in (*op.inputs, *op.outputs)]
            if not rows.ring and users:
                last = len(self.layers) if name in self.pool.inputs else users[-1] + 1
                most = max(most, *(self.scratch[op.name] for op in self.layers[users[0] : last]))
        return most

    @property
    def front_end_bytes(self) -> int:
        """Scratch memory of the front end: power, mel, the frame, as pairs too, and its log-mels."""
        n_fft = self.front_end["frame"].integer("n_fft")
        bands = self.rows[self.front_end["level_normalize"].outputs[0]].data_bytes
        return 8 * (n_fft // 2 + 1 + bands) + 2 * (2 * n_fft + bands)

    @property
    def kept(self) -> dict[str, int]:
        """Sums that each convolution keeps for the second of two rows, by operator name."""
        return {
            op.name: self.rows[op.outputs[0]].data_bytes
            for op in self.layers
            if op.name in self.columns and self.columns[op.name].turns
        }

    def leads(self, op: Op) -> bool:
        """Whether the first two rows that a convolution computes at once begin before the start."""
        return leads(self.graph, op) == 1

    def index(self, op: Op) -> int:
        """Return the operator's place in the graph: its number in traces."""
        return self.graph.ops.index(op)


def plan_stream(graph: Graph, instructions: InstructionSet = "portable") -> Plan:
    """Return how a student graph streams, with kernels for a core's instructions.

    Raises:
        UnsupportedError: If the graph is not front end, a chain of row operators, attention pooling and
            one A/D/V layer; it names the operator that does not fit.
    """
    kinds = tuple(op.kind for op in graph.ops)
    tail = next((tail for tail in TAILS if kinds[-len(tail) :] == tail), None)
    if not hears_audio(graph) or tail is None:
        raise _unsupported(
            graph.ops[-1], "the streaming engine runs front end, rows, attention pooling and A/D/V"
        )
    chain, (pool, *seconds, head) = graph.ops[len(FRONT_END_KINDS) : -len(tail)], graph.ops[-len(tail) :]
    rows: dict[str, Rows] = {}
    for op in chain:
        if op.kind not in ROW_KINDS:
            raise _unsupported(op, f"it streams rows of kinds {', '.join(ROW_KINDS)}")
    for tensor in (graph.ops[len(FRONT_END_KINDS) - 1].outputs[0], *(op.outputs[0] for op in chain)):
        _place(graph, tensor, rows, instructions)
    layers = tuple(op for op in chain if op.kind != "flatten")
    front_end = {op.kind: op for op in graph.ops[: len(FRONT_END_KINDS)]}
    columns = {op.name: columns_of(graph, op, instructions) for op in layers if op.kind == "conv2d"}
    dense = {op.name: rows_of(graph, op, instructions) for op in layers if op.kind == "fully_connected"}
    second = seconds[0] if seconds else None
    return Plan(graph, front_end, rows, columns, dense, layers, pool, second, head, instructions)


def _words(count: int) -> int:
    """Return so many bytes rounded up to words."""
    return -(-count // 4) * 4


def _unsupported(op: Op, constraint: str) -> UnsupportedError:
    return UnsupportedError(
        f"{op.kind} {op.name!r} (from {', '.join(op.origin) or 'the front end'}): {constraint}",
        "build one of the students of edgekit students",
    )


def _place(graph: Graph, name: str, rows: dict[str, Rows], instructions: InstructionSet) -> None:
    """Decide where a stream lies from who writes it and who reads it."""
    writer = next(op for op in graph.ops if name in op.outputs)
    if writer.kind == "flatten":
        rows[name] = rows[writer.inputs[0]]
        return
    readers = [op for op in graph.ops if name in op.inputs]
    shape = graph.tensors[name].shape
    width, channels = (shape[1], shape[2]) if len(shape) == 3 else (1, shape[1])
    windowed = [op for op in readers if "kernel" in op.attributes]
    if not windowed:
        rows[name] = Rows(name, width, channels)
        return
    if len(readers) > 1 and not _run_together(graph, readers):
        raise _unsupported(writer, "a map that a convolution or pooling reads has no other reader")
    reader = windowed[0]
    if reader.attributes.get("dilation", (1, 1)) != (1, 1):
        raise _unsupported(reader, "a convolution of rows has dilation 1")
    left = reader.integers("padding")[2]
    behind = [_behind(graph, op, left + width, channels, instructions) for op in windowed]
    right, tail = (max(values) for values in zip(*behind, strict=True))
    height, top, stride = window_of(graph, reader, instructions)
    fill = f"{reader.name.upper()}_QUANTIZATION" if reader.kind == "conv2d" else ""
    rows[name] = Rows(name, width, channels, height, left, right, top, stride, tail, fill)


def _behind(
    graph: Graph, reader: Op, before: int, channels: int, instructions: InstructionSet
) -> tuple[int, int]:
    """Return the padding positions that a reader needs behind a row, and bytes that it reads besides."""
    stride = reader.integers("stride")[1]
    read = (graph.output(reader).shape[1] - 1) * stride + reader.integers("kernel")[1]
    right = max(read - before, 0)
    columns = columns_of(graph, reader, instructions) if reader.kind == "conv2d" else None
    if columns is None or columns.method != "winograd":
        return right, 0
    # Tiles behind the last output; channels behind the last, as four are read at a time.
    return right, max(columns.positions - read, 0) * channels + -channels % 4


def _run_together(graph: Graph, readers: list[Op]) -> bool:
    """Return whether all readers of a map read each row as it comes: no layer among them waits for rows."""
    places = [graph.ops.index(op) for op in readers]
    written = {name for op in graph.ops[places[0] : places[-1]] for name in op.outputs}
    waiting = [op for op in graph.ops if written & set(op.inputs)]
    windows = [op for op in (*readers, *waiting) if "kernel" in op.attributes]
    at_once = all(op.integers("kernel")[0] == op.integers("stride")[0] == 1 for op in windows)
    paddings = {op.attributes.get("padding") for op in readers}
    return at_once and len(paddings) == 1 and None not in paddings


def state_bytes(plan: Plan, window_frames: int) -> dict[str, int]:
    """Return how much of a stream's memory each layer needs, by operator name.

    Rows count for the layer that reads them first, the scratch memory that layers share for the one that
    needs all of it. In utterance mode the features of `window_frames` frames count for the level
    normalisation, which they wait for.
    """
    graph, frame = plan.graph, plan.front_end["frame"]
    features = graph.tensors[plan.pool.inputs[0]].shape[-1]
    needed = {op.name: 0 for op in (frame, plan.front_end["level_normalize"], *plan.layers, plan.pool)}
    needed[frame.name] = frame.integer("n_fft") * 2
    if not plan.causal:
        bands = graph.output(plan.front_end["level_normalize"]).shape[1]
        needed[plan.front_end["level_normalize"].name] = window_frames * bands * 2
    for op in plan.layers:
        needed[op.name] += sum(
            plan.rows[name].bytes for name in op.inputs if plan.rows.get(name) in plan.rings
        )
    for name, count in plan.kept.items():
        needed[name] += 4 * count
    needed[max(plan.scratch, key=lambda name: plan.scratch[name])] += plan.scratch_bytes
    # Numerators in 64 bits, denominators in 40, maxima in 8.
    needed[plan.pool.name] += features * (8 + 5 + 1)
    return needed
