"""How a graph runs whole, operator by operator in one arena: what shares memory, what each layer needs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from codegen.columns import Columns, columns_of, leads, row_width, window_of
from codegen.dense import Rows4, rows_of
from codegen.memory import Buffer, Layout, aligned, lives_of, plan_memory
from codegen.spectrum import half_of_basis
from codegen.taps import Taps, in_vectors, mel_reach, taps_of
from edgekit.errors import UnsupportedError
from edgekit.graph import FRONT_END_KINDS, TIME, Graph, Op, Tensor, hears_audio
from edgekit.graph.linear_ops import dilation_of
from edgekit.graph.types import VIEWS
from edgekit.target import InstructionSet

ITEM_BYTES = {"int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "int64": 8}
VALUE_BY_VALUE = ("lookup", "softmax", "level_normalize")
"""Operators that may overwrite what they read."""
WINDOWED = ("conv2d", "max_pool2d")
WAYS = ("add", "mul", "transpose")
"""Operators that go through their inputs axis by axis."""
MOST_AXES = 4
RESULTS = "results"
"""The step behind the last operator."""
MOST_POSITIONS = 65_535
"""The kernels' sizes of maps are 16 bits."""


@dataclass(frozen=True)
class Geometry:
    """A map in memory, and how windows of rows move over it: `ek_map_t`.

    Attributes:
        height: Rows of the map.
        row_bytes: Of a row.
        line_bytes: Of a row with its padding; 0 where rows are read in place.
        left_bytes: Padding before a row.
        reach: Rows that a window spans.
        gap: Rows from one of a window's rows to the next.
        stride: Rows from one window to the next.
        top: Padding rows before the first.
        tail_bytes: What is read behind the last line; it does not matter what that holds.
    """

    height: int
    row_bytes: int
    line_bytes: int
    left_bytes: int
    reach: int
    gap: int
    stride: int
    top: int
    tail_bytes: int

    @property
    def lines_bytes(self) -> int:
        """Scratch memory for padded rows."""
        return self.reach * self.line_bytes + self.tail_bytes


def geometry_of(graph: Graph, op: Op, instructions: InstructionSet) -> Geometry:
    """Return how the windows of a convolution or maximum pooling lie."""
    height, width, channels = graph.tensors[op.inputs[0]].shape
    columns = columns_of(graph, op, instructions) if op.kind == "conv2d" else None
    if columns is not None and (alone := row_width(graph, op)) != graph.output(op).shape[1]:
        height, width = height * width // alone, alone
    rows, top, stride = window_of(graph, op, instructions)
    left, gap = op.integers("padding")[2], dilation_of(op)[0]
    positions = row_width(graph, op) if columns is not None else graph.output(op).shape[1]
    read = (positions - 1) * op.integers("stride")[1] + mel_reach(op)
    right = max(read - left - width, 0)
    in_tiles = columns is not None and columns.method == "winograd"
    tiles = columns.positions if columns is not None else 0
    tail = max(tiles - read, 0) * channels + -channels % 4 if in_tiles else 0
    # Tiles are read one after another: results of the first would reach what the next read.
    copied = in_tiles or max(*op.integers("padding"), right) > 0
    line = (left + width + right) * channels if copied else 0
    reach = (rows - 1) * gap + 1
    return Geometry(height, width * channels, line, left * channels, reach, gap, stride, top, tail)


@dataclass(frozen=True)
class Program:
    """A graph that runs whole.

    Attributes:
        front_end: Operator of each front-end kind that streams ahead of the arena; empty without audio.
        inputs: Tensors that are filled from outside before each run.
        ops: Operators that run in the arena, in order.
        layout: Where everything lies.
        owner: The buffer that each tensor lies in, by tensor name.
        columns: How each convolution is computed, by operator name.
        dense: How each fully connected layer is.
        instructions: What its kernels are written for.
    """

    graph: Graph
    front_end: dict[str, Op]
    inputs: tuple[str, ...]
    ops: tuple[Op, ...]
    layout: Layout
    owner: dict[str, str]
    columns: dict[str, Columns]
    dense: dict[str, Rows4]
    instructions: InstructionSet

    @property
    def layers(self) -> tuple[Op, ...]:
        """Operators that do something: not those that only rename memory."""
        return tuple(op for op in self.ops if op.kind not in VIEWS or not self._in_place(op))

    def _in_place(self, op: Op) -> bool:
        return self.owner[op.inputs[0]] == self.owner[op.outputs[0]]

    @property
    def frames(self) -> int:
        """Frames that the front end gives to one run; 0 without a front end."""
        return self.tensor(self.inputs[0]).shape[0] if self.front_end else 0

    @property
    def causal(self) -> bool:
        """Whether frames are normalised as they come; otherwise when all of a window are there."""
        return "level_normalize" not in (op.kind for op in self.ops)

    def geometry(self, op: Op) -> Geometry:
        """Return how an operator's windows lie."""
        return geometry_of(self.graph, op, self.instructions)

    def offset(self, name: str) -> int:
        """Return where a tensor or an operator's scratch memory begins."""
        return self.layout.offsets[self.owner.get(name, name)]

    def scratch(self, op: Op, part: str) -> int:
        """Return where a part of an operator's scratch memory begins; 0 where all parts are empty."""
        offset = self.layout.offsets.get(scratch_name(op), 0)
        for name, size in scratch_parts(self.graph, op, self.instructions):
            if name == part:
                return offset
            offset += aligned(size)
        raise KeyError(part)

    def tensor(self, name: str) -> Tensor:
        """Return a tensor with the time axis filled in."""
        return whole_tensor(self.graph, name)

    def live_bytes(self) -> dict[str, int]:
        """Return what is in use while each operator runs, by operator name."""
        return {op.name: self.layout.live_bytes[step] for step, op in enumerate(self.ops)}

    def steps(self) -> list[str]:
        """Return the operator that runs at each step; results are read at the one behind the last."""
        return [*(op.name for op in self.ops), RESULTS]

    def places(self) -> list[dict[str, object]]:
        """Return where every buffer lies, and how large it is at which steps."""
        return [
            {"name": buffer.name, "offset_bytes": self.layout.offsets[buffer.name], "lives": lives_of(buffer)}
            for buffer in self.layout.buffers
        ]

    def bytes(self, name: str) -> int:
        """Return the memory of a tensor."""
        return tensor_bytes(self.graph, name)

    def in_vectors(self, op: Op) -> bool:
        """Return whether a depthwise convolution takes four channels at a time, row by row."""
        return in_vectors(self.graph, op, self.instructions)

    def row_width(self, op: Op) -> int:
        """Return how many positions of a windowed operator's result are computed at a time."""
        return row_width(self.graph, op) if op.kind == "conv2d" else self.tensor(op.outputs[0]).shape[1]

    def result_row_bytes(self, op: Op) -> int:
        """Return the bytes of those."""
        return self.row_width(op) * self.tensor(op.outputs[0]).shape[2]

    def windows(self, op: Op) -> int:
        """Return how often that happens; two rows at a time in tiles."""
        rows = self.bytes(op.outputs[0]) // self.result_row_bytes(op)
        return -(-rows // self.rows_at_once(op))

    def rows_at_once(self, op: Op) -> int:
        """Return how many rows of results one window gives."""
        return self.columns[op.name].rows if op.kind == "conv2d" else 1

    def leads(self, op: Op) -> bool:
        """Return whether the first of the first two rows is before the map."""
        return leads(self.graph, op) == 1

    def window_rows(self, op: Op) -> int:
        """Return the rows of a window."""
        return window_of(self.graph, op, self.instructions)[0]

    @property
    def folded(self) -> bool:
        """Whether half of the power spectrum's basis is enough."""
        return half_of_basis(self.graph, self.instructions)

    def reach(self, op: Op) -> int:
        """Return the mel positions that a window spans."""
        return mel_reach(op)

    def taps(self, op: Op) -> Taps:
        """Return how a depthwise convolution pairs rows."""
        return taps_of(self.graph, op)

    def way(self, op: Op) -> str:
        """Return how an operator goes through its inputs, as the C of an `ek_pass_t`."""
        sizes, steps = merged_axes(*_axes(self.graph, op))
        return f"{{{_braced(sizes)}, {{{_braced(steps[0])}, {_braced(steps[-1])}}}}}"

    def index(self, op: Op) -> int:
        """Return the operator's place in the graph: its number in traces."""
        return self.graph.ops.index(op)


def _braced(values: Sequence[int]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def _axes(graph: Graph, op: Op) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Return the sizes of a result's axes, and of each input the values from one to the next along them."""
    sizes = graph.output(op).shape
    if op.kind == "transpose":
        steps = _steps(graph.tensors[op.inputs[0]].shape)
        return sizes, [tuple(steps[axis] for axis in op.integers("axes"))]
    found = []
    for name in op.inputs:
        shape = (1,) * (len(sizes) - len(graph.tensors[name].shape)) + graph.tensors[name].shape
        found.append(tuple(0 if n == 1 else step for n, step in zip(shape, _steps(shape), strict=True)))
    return sizes, found


def _steps(shape: tuple[int, ...]) -> list[int]:
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def merged_axes(
    sizes: tuple[int, ...], steps: Sequence[tuple[int, ...]]
) -> tuple[list[int], list[list[int]]]:
    """Return a way over a tensor with as few axes as it needs, filled up to four with axes of one value.

    Example:
        >>> merged_axes((2, 3, 4), [(12, 4, 1), (12, 4, 1)])
        ([1, 1, 1, 24], [[0, 0, 0, 1], [0, 0, 0, 1]])
        >>> merged_axes((2, 3, 4), [(12, 4, 1), (0, 0, 1)])
        ([1, 1, 6, 4], [[0, 0, 4, 1], [0, 0, 0, 1]])
    """
    axes = [(size, *(step[i] for step in steps)) for i, size in enumerate(sizes) if size > 1]
    kept: list[tuple[int, ...]] = []
    for axis in axes:
        if kept and kept[-1][1:] == tuple(step * axis[0] for step in axis[1:]):
            kept[-1] = (kept[-1][0] * axis[0], *axis[1:])
        else:
            kept.append(axis)
    filled = [(1, *(0 for _ in steps))] * (MOST_AXES - len(kept)) + kept
    return [axis[0] for axis in filled], [[axis[1 + i] for axis in filled] for i in range(len(steps))]


def whole_tensor(graph: Graph, name: str) -> Tensor:
    """Return a tensor; what a stream's window needs of it, if it is the front end's last one."""
    tensor = graph.tensors[name]
    if TIME not in tensor.shape:
        return tensor
    normalized = next((op for op in graph.ops if op.kind == "level_normalize"), None)
    frames = graph.output(normalized).shape[0] if normalized is not None else TIME
    return Tensor(name, tuple(frames if size == TIME else size for size in tensor.shape), tensor.dtype)


def tensor_bytes(graph: Graph, name: str) -> int:
    """Return the memory of a whole tensor."""
    tensor = whole_tensor(graph, name)
    return prod(tensor.shape) * ITEM_BYTES[tensor.dtype]


def scratch_name(op: Op) -> str:
    """Return the name of an operator's scratch buffer: no tensor has it."""
    return f"{op.name}:scratch"


def scratch_parts(graph: Graph, op: Op, instructions: InstructionSet) -> Iterator[tuple[str, int]]:
    """Yield (name, bytes) of each part of an operator's scratch memory."""
    if op.kind == "conv2d":
        yield "lanes", columns_of(graph, op, instructions).lanes_bytes
    vectors = in_vectors(graph, op, instructions)
    if op.kind in WINDOWED or vectors:
        geometry = geometry_of(graph, op, instructions)
        if op.kind == "max_pool2d":
            yield "largest", max(geometry.line_bytes, geometry.row_bytes)
        yield "lines", geometry.lines_bytes
    if op.kind == "depthwise_conv2d" and not vectors:
        yield "lanes", taps_of(graph, op).lanes_bytes
    if op.kind == "fully_connected":
        yield "lanes", rows_of(graph, op, instructions).lanes_bytes
    if op.kind == "fully_connected_int16":
        yield "pairs", 4 * -(-graph.tensors[op.inputs[0]].shape[0] // 2)
    if op.kind == "attention_pool":
        (features,) = graph.output(op).shape
        yield "numerator", 8 * features
        yield "denominator", 4 * features
        yield "above", features
        yield "maximum", features


def plan_program(graph: Graph, instructions: InstructionSet = "portable") -> Program:
    """Return how a graph runs whole, with kernels for a core's instructions.

    Raises:
        UnsupportedError: If an operator cannot run so; it is named.
    """
    for op in graph.ops:
        _require_sizes(graph, op)
    front_end = {op.kind: op for op in graph.ops[: len(FRONT_END_KINDS)]} if hears_audio(graph) else {}
    streamed = _streamed(front_end)
    ops = tuple(op for op in graph.ops if op not in streamed)
    inputs = (streamed[-1].outputs[0],) if streamed else graph.inputs
    for name in inputs:
        if TIME in whole_tensor(graph, name).shape:
            raise UnsupportedError(
                f"input {name!r} has no fixed length, and the graph does not stream",
                "quantize the model for windows of a fixed length",
            )
    buffers, owner = _buffers(graph, ops, inputs, instructions)
    columns = {op.name: columns_of(graph, op, instructions) for op in ops if op.kind == "conv2d"}
    dense = {op.name: rows_of(graph, op, instructions) for op in ops if op.kind == "fully_connected"}
    layout = plan_memory(buffers)
    return Program(graph, front_end, inputs, ops, layout, owner, columns, dense, instructions)


def _streamed(front_end: dict[str, Op]) -> tuple[Op, ...]:
    """Return the operators that run frame by frame: all of the front end where the level is a running one."""
    causal = bool(front_end) and front_end["frame_level"].integer("memory_frames") > 0
    return tuple(op for op in front_end.values() if causal or op.kind != "level_normalize")


def _require_sizes(graph: Graph, op: Op) -> None:
    few = op.kind not in WAYS or len(graph.output(op).shape) <= MOST_AXES
    top, bottom, left, right = op.integers("padding") if "padding" in op.attributes else (0,) * 4
    sources = [tensor.shape for tensor in graph.activations(op)]
    padded = [(s[0] + top + bottom, s[1] + left + right, s[2]) for s in sources if len(s) == 3]
    sizes = [*padded, *(shape for shape in (graph.output(op).shape,) if len(shape) == 3)]
    small = all(max(shape) <= MOST_POSITIONS for shape in sizes)
    rules = {
        f"at most {MOST_AXES} axes in C": few,
        f"at most {MOST_POSITIONS:,} rows, columns and channels in C, padding included": small,
    }
    for rule, holds in rules.items():
        if not holds:
            raise UnsupportedError(
                f"{op.kind} {op.name!r} (from {', '.join(op.origin) or 'no layer'}): required: {rule}",
                "change the model at that layer",
            )


def _buffers(
    graph: Graph, ops: tuple[Op, ...], inputs: tuple[str, ...], instructions: InstructionSet
) -> tuple[list[Buffer], dict[str, str]]:
    """Return the buffers of all tensors and scratch memories, and the buffer that each tensor lies in."""
    last = {name: step for step, op in enumerate(ops) for name in op.inputs}
    last |= {name: len(ops) for name in graph.outputs}
    sizes: dict[str, dict[int, int]] = {}
    owner: dict[str, str] = {}
    for name in inputs:
        owner[name] = name
        sizes[name] = _life(graph, name, 0, last.get(name, 0))
    scratch: list[Buffer] = []
    for step, op in enumerate(ops):
        result = op.outputs[0]
        dead = [name for name in op.inputs if name not in graph.constants and last[name] == step]
        shared = next((name for name in dead if _may_overwrite(graph, op, name, instructions)), None)
        owner[result] = owner[shared] if shared is not None else result
        life = sizes.setdefault(owner[result], {})
        for at, size in _life(graph, result, step, last.get(result, step)).items():
            life[at] = max(life.get(at, 0), size)
        parts = sum(aligned(size) for _, size in scratch_parts(graph, op, instructions))
        if parts:
            scratch.append(Buffer(scratch_name(op), {step: parts}))
    return [*(Buffer(name, life) for name, life in sizes.items()), *scratch], owner


def _life(graph: Graph, name: str, first: int, last: int) -> dict[int, int]:
    return dict.fromkeys(range(first, last + 1), aligned(tensor_bytes(graph, name)))


def _may_overwrite(graph: Graph, op: Op, name: str, instructions: InstructionSet) -> bool:
    """Return whether the result may lie where an input lies that nobody needs afterwards."""
    if op.kind in VIEWS or (op.kind in VALUE_BY_VALUE and name == op.inputs[0]):
        return True
    if op.kind in ("add", "mul"):
        return graph.tensors[name].shape == graph.output(op).shape
    if op.kind == "fully_connected":
        return graph.output(op).shape[-1] <= graph.tensors[name].shape[-1]
    if in_vectors(graph, op, instructions):
        return geometry_of(graph, op, instructions).line_bytes > 0 and _rows_shrink(graph, op, instructions)
    if op.kind == "depthwise_conv2d":
        return _channels_stay(graph, op)
    return op.kind in WINDOWED and _rows_shrink(graph, op, instructions)


def _channels_stay(graph: Graph, op: Op) -> bool:
    """Return whether each channel of a depthwise convolution writes only where it has read.

    Places of one channel are a channel count apart in both maps; rows are paired before results reach them.
    """
    (_, width, channels), (_, columns, outputs) = graph.tensors[op.inputs[0]].shape, graph.output(op).shape
    return outputs == channels and columns <= width and op.integers("padding")[0] <= taps_of(graph, op).span


def _rows_shrink(graph: Graph, op: Op, instructions: InstructionSet) -> bool:
    """Return whether a row of results never reaches rows of the input that are still to be read.

    Rows are copied to lines, or read whole before their results are written.
    """
    geometry, (_, width, channels) = geometry_of(graph, op, instructions), graph.output(op).shape
    row_bytes = (row_width(graph, op) if op.kind == "conv2d" else width) * channels
    if geometry.line_bytes > 0:
        return row_bytes <= geometry.row_bytes
    return row_bytes <= geometry.row_bytes * geometry.stride
