"""Geometry of the page's charts: shares of a width or height in percent, nothing about looks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10

from edgekit.metrics import DIMENSIONS
from edgekit.report.figures import Verdict
from edgekit.report.model import Report
from edgekit.report.rows import Arena, Learning, Schedule

SECTION_NAMES = {".text": "code", ".model": "weights", ".rodata": "tables", ".data": "initial values"}
MAP_SYMBOLS = 4
TICKS = 5
SCRATCH = ":scratch"
"""What names of scratch memory end in."""


@dataclass(frozen=True)
class Segment:
    """A piece of a memory.

    Attributes:
        name: What lies there.
        size_bytes: How much.
        left: Where it begins, in percent of the map.
        width: How wide it is, likewise.
        free: Whether nothing lies there.
    """

    name: str
    size_bytes: int
    left: float
    width: float
    free: bool = False


@dataclass(frozen=True)
class MemoryMap:
    """A memory from its first byte to its budget, or to what is used where that is more.

    Attributes:
        name: What it is called.
        used_bytes: What is in use.
        limit_bytes: Its budget.
        device_bytes: What the device has; None of this computer, whose memory is not looked at.
        segments: What lies where.
    """

    name: str
    used_bytes: int
    limit_bytes: int
    device_bytes: int | None
    segments: tuple[Segment, ...]

    @property
    def limit_at(self) -> float:
        """Where the budget ends, in percent of the map."""
        return 100 * self.limit_bytes / max(self.limit_bytes, self.used_bytes)


@dataclass(frozen=True)
class Place:
    """A buffer of the arena while it has one size, in percent of steps and addresses."""

    left: float
    width: float
    bottom: float
    height: float
    label: str
    scratch: bool


@dataclass(frozen=True)
class Gauge:
    """A figure and its limit on one scale, in percent of its width.

    Attributes:
        width: Of the figure.
        limit_at: The limit.
        error: Where the interval of the figure begins, and how wide it is; None if there is none.
    """

    width: float
    limit_at: float
    error: tuple[float, float] | None


@dataclass(frozen=True)
class Lane:
    """One block of audio: when it waits, is worked on, and is due, in percent of the time shown."""

    arrival: float
    begin: float
    end: float
    due: float
    missed: bool
    label: str


@dataclass(frozen=True)
class Tick:
    """A mark of an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """A line through points, as an SVG path on 100 x 100."""

    name: str
    line: str
    dots: str


@dataclass(frozen=True)
class LineChart:
    """Curves over steps.

    Attributes:
        title: What is drawn.
        curves: The lines.
        rows: Ticks of the vertical axis, from the bottom.
        columns: Ticks of the horizontal one.
        kept_at: Where the step is whose weights were kept.
    """

    title: str
    curves: tuple[Curve, ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    kept_at: float


def gauge_of(verdict: Verdict) -> Gauge:
    """Return a budget's gauge."""
    value, limit, interval = verdict.actual.value or 0, verdict.limit.value, verdict.actual.interval
    full = max(value, limit, *(interval or ())) * 1.02 or 1
    error = (100 * interval[0] / full, 100 * (interval[1] - interval[0]) / full) if interval else None
    return Gauge(100 * value / full, 100 * limit / full, error)


def ram_map(report: Report) -> MemoryMap:
    """Return the RAM: stack, largest variables, the others, audio that may wait, what is left."""
    memory = report.memory
    stack, static, waiting = (
        int(memory.figures[name].value or 0) for name in ("stack_bytes", "static_bytes", "audio_buffer_bytes")
    )
    largest = memory.ram_symbols[:MAP_SYMBOLS]
    pieces = {"stack, deepest": stack, **{symbol.name: symbol.size_bytes for symbol in largest}}
    other = static - sum(symbol.size_bytes for symbol in largest)
    rest = {"other variables": other, "audio that may wait": waiting}
    return _map(
        report, "RAM", "total_ram_bytes", pieces | {name: size for name, size in rest.items() if size}
    )


def flash_map(report: Report) -> MemoryMap:
    """Return the flash: its sections, and what the budget leaves."""
    sections = report.memory.flash_sections
    pieces = {f"{SECTION_NAMES.get(name, 'section')} ({name})": size for name, size in sections.items()}
    return _map(report, "Flash", "flash_bytes", pieces)


def _map(report: Report, name: str, budget: str, pieces: Mapping[str, int]) -> MemoryMap:
    limit = next(int(verdict.limit.value) for verdict in report.verdicts if verdict.budget == budget)
    used, device = sum(pieces.values()), report.target["ram_bytes" if name == "RAM" else "flash_bytes"]
    if report.timing.cycles_basis == "measured":
        device = None
    free = {"free, of the budget": limit - used} if limit > used else {}
    full, at, segments = max(limit, used), 0, []
    for piece, size in {**pieces, **free}.items():
        segments.append(Segment(piece, size, 100 * at / full, 100 * size / full, piece in free))
        at += size
    return MemoryMap(name, used, limit, device, tuple(segments))


def arena_places(arena: Arena, size_bytes: float) -> tuple[Place, ...]:
    """Return the buffers of an arena as rectangles: steps from the left, addresses from below."""
    step, byte = 100 / len(arena.steps), 100 / size_bytes
    return tuple(
        Place(
            left=life.first_step * step,
            width=(life.last_step - life.first_step + 1) * step,
            bottom=buffer.offset_bytes * byte,
            height=life.size_bytes * byte,
            label=f"{buffer.name}: {life.size_bytes:,} bytes from {buffer.offset_bytes:,}, "
            f"{arena.steps[life.first_step]} to {arena.steps[life.last_step]}",
            scratch=buffer.name.endswith(SCRATCH),
        )
        for buffer in arena.buffers
        for life in buffer.lives
    )


def shares(values: Iterable[float]) -> list[float]:
    """Return values in percent of the largest.

    Example:
        >>> shares([1, 4, 2])
        [25.0, 100.0, 50.0]
    """
    values = list(values)
    most = max(values, default=0) or 1
    return [100 * value / most for value in values]


def lanes_of(schedule: Schedule) -> tuple[tuple[Lane, ...], tuple[Tick, ...]]:
    """Return the blocks on one time line, and the ticks of that."""
    blocks = schedule.timeline
    full = max((max(block.end_ms, block.due_ms) for block in blocks), default=1)
    lanes = tuple(
        Lane(
            arrival=100 * block.arrival_ms / full,
            begin=100 * block.begin_ms / full,
            end=100 * block.end_ms / full,
            due=100 * block.due_ms / full,
            missed=block.missed,
            label=f"block {number}: there at {block.arrival_ms:,.1f} ms, worked on from "
            f"{block.begin_ms:,.1f} to {block.end_ms:,.1f} ms, {'late' if block.missed else 'in time'}",
        )
        for number, block in enumerate(blocks, 1)
    )
    return lanes, ticks(0, full)


def ticks(low: float, high: float) -> tuple[Tick, ...]:
    """Return round marks between two ends.

    Example:
        >>> [tick.label for tick in ticks(0, 200)]
        ['0', '50', '100', '150', '200']
        >>> [(tick.at, tick.label) for tick in ticks(0.5, 1)]
        [(0.0, '0.5'), (20.0, '0.6'), (40.0, '0.7'), (60.0, '0.8'), (80.0, '0.9'), (100.0, '1.0')]
    """
    span = high - low or 1
    power = 10 ** floor(log10(span / TICKS))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power * (TICKS + 0.5) >= span)
    decimals = max(0, -floor(log10(step) + 1e-9))
    first = -floor(-low / step + 1e-9)
    values = [step * i for i in range(first, floor(high / step + 1e-9) + 1)]
    return tuple(Tick(round(100 * (value - low) / span, 6), f"{value:,.{decimals}f}") for value in values)


def learning_charts(learning: Learning) -> tuple[LineChart, ...]:
    """Return the loss on crops and the agreement on development clips; without what was never measured."""
    drawn = {
        "Loss on training crops (sum of 1 - CCC)": ["train_loss"],
        "Agreement on development clips (CCC)": [f"dev_{dimension}" for dimension in DIMENSIONS],
    }
    charts = (_line_chart(title, learning, names) for title, names in drawn.items())
    return tuple(chart for chart in charts if chart is not None)


def _line_chart(title: str, learning: Learning, names: Sequence[str]) -> LineChart | None:
    points = {name: _points(learning, name) for name in names}
    values = [value for line in points.values() for _, value in line]
    steps = [step for step in (row["step"] for row in learning.steps) if step is not None]
    if not values:
        return None
    low, high, first, last = min(values), max(values), min(steps), max(steps)
    margin = 0.08 * (high - low or abs(high) or 1)
    low, high, wide = low - margin, high + margin, last - first or 1

    def place(step: float, value: float) -> str:
        return f"{100 * (step - first) / wide:.2f} {100 - 100 * (value - low) / (high - low):.2f}"

    curves = []
    for name, line in points.items():
        places = [place(*point) for point in line]
        plain = name.removeprefix("dev_").replace("train_loss", "loss")
        curves.append(Curve(plain, "M" + " L".join(places), " ".join(f"M{at} h0" for at in places)))
    kept = 100 * (learning.kept_step - first) / wide
    return LineChart(title, tuple(curves), ticks(low, high), ticks(first, first + wide), kept)


def _points(learning: Learning, name: str) -> list[tuple[float, float]]:
    found = ((row["step"], row[name]) for row in learning.steps)
    return [(step, value) for step, value in found if step is not None and value is not None]
