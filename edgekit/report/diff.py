"""What changed from one build to another: figures, verdicts, layers and symbols."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgekit.report import words
from edgekit.report.budget import MISSED

Json = Mapping[str, Any]
Judgement = Literal["better", "worse", "same", "neither", "undefined"]

MOST_ROWS = 10
MORE_IS_BETTER = ("accuracy.", "energy.battery_hours")
NEITHER = ("size.parameters", "memory.stack_reserved_bytes")
NOTHING_IS_WORST = ("latency.longest_result_ms", "energy.battery_hours")
"""Undefined where the core cannot keep up."""


@dataclass(frozen=True)
class Change:
    """One number before and after.

    Attributes:
        name: Its place in report.json; of a layer or symbol, its name.
        before: In the other build; None where it is undefined or does not exist.
        after: In this one.
        judgement: Whether the device is better off.
    """

    name: str
    before: float | None
    after: float | None
    judgement: Judgement

    @property
    def change(self) -> float | None:
        """By how much it grew."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def change_percent(self) -> float | None:
        """The same in percent of what it was."""
        return None if self.change is None or not self.before else 100 * self.change / abs(self.before)

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {**asdict(self), "change": self.change, "change_percent": self.change_percent}


@dataclass(frozen=True)
class VerdictChange:
    """The verdicts of a budget; None where a build was not held to it."""

    budget: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Diff:
    """What changed since another build.

    Attributes:
        before: Target and edgekit version of the other build.
        verdicts: Budgets whose verdict changed.
        figures: All figures.
        layers: Layers whose cycles per second of audio changed most.
        ram_symbols: Variables whose bytes changed most.
        flash_symbols: Functions and tables whose bytes changed most.
    """

    before: Mapping[str, str]
    verdicts: tuple[VerdictChange, ...]
    figures: tuple[Change, ...]
    layers: tuple[Change, ...]
    ram_symbols: tuple[Change, ...]
    flash_symbols: tuple[Change, ...]

    @property
    def changed(self) -> tuple[Change, ...]:
        """The figures that are not the same."""
        return tuple(figure for figure in self.figures if figure.judgement != "same")

    @property
    def most_changed(self) -> dict[str, tuple[Change, ...]]:
        """Layers and symbols that changed most, under a title each; those that changed at all."""
        found = {
            "Cycles per second of audio, by layer": self.layers,
            "RAM in bytes, by symbol": self.ram_symbols,
            "Flash in bytes, by symbol": self.flash_symbols,
        }
        return {title: rows for title, rows in found.items() if rows}

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        values = asdict(self)
        for name in ("figures", "layers", "ram_symbols", "flash_symbols"):
            values[name] = [row.to_dict() for row in getattr(self, name)]
        return {**values, "before": dict(self.before), "verdicts": [asdict(row) for row in self.verdicts]}


def compare_reports(before: Json, after: Json) -> Diff:
    """Return what changed.

    Args:
        before: The JSON form of the report of the other build.
        after: Of this one.
    """
    old, new = dict(_figures(before)), dict(_figures(after))
    if not all(figures["energy.average_uw"] is not None for figures in (old, new)):
        # A battery life that is not known is no empty battery.
        old, new = ({n: v for n, v in each.items() if not n.startswith("energy.")} for each in (old, new))
    return Diff(
        before={"target": before["target"]["name"], "edgekit": before["provenance"]["edgekit"]},
        verdicts=tuple(_verdicts(before, after)),
        figures=tuple(_change(name, old.get(name), new.get(name)) for name in {**new, **old}),
        layers=_layers(before, after),
        ram_symbols=_most(*(_sums(each["memory"]["ram_symbols"]) for each in (before, after))),
        flash_symbols=_most(*(_sums(each["memory"]["flash_symbols"]) for each in (before, after))),
    )


def _verdicts(before: Json, after: Json) -> Iterator[VerdictChange]:
    for budget in {**after["verdict"], **before["verdict"]}:
        found = [_verdict(each, budget) for each in (before, after)]
        if found[0] != found[1]:
            yield VerdictChange(budget, *found)


def _verdict(report: Json, budget: str) -> str | None:
    if budget in report["verdict"]:
        return str(report["verdict"][budget]["verdict"])
    if budget != MISSED:
        return None
    # Reports counted missed deadlines before these were a verdict.
    return "fail" if report["latency"]["schedule"]["missed_deadlines"] else "pass"


def _figures(report: Json) -> Iterator[tuple[str, float | None]]:
    groups = {name: report[name] for name in ("size", "memory", "latency", "energy")}
    groups |= {f"accuracy.{name}": figures for name, figures in report["accuracy"].items()}
    for group, figures in groups.items():
        for name, figure in figures.items():
            if isinstance(figure, dict) and "value" in figure:
                yield f"{group}.{name}", figure["value"]
    schedule = report["latency"]["schedule"]
    lost = (schedule["in_time"] or {"lost_blocks": 0})["lost_blocks"]
    yield "latency.schedule.missed_deadlines", max(schedule["missed_deadlines"], lost)
    yield "latency.schedule.buffer_bytes", schedule["buffer_bytes"]
    for backend, row in report["parity"].items():
        yield f"parity.{backend}.mismatches", row["mismatches"]


def _change(name: str, before: float | None, after: float | None) -> Change:
    return Change(name, before, after, _judge(name, before, after))


def _layers(before: Json, after: Json) -> tuple[Change, ...]:
    """Return the layers whose cycles changed most; none where a build does not tell layers apart."""
    rows = [report["latency"]["layers"] for report in (before, after)]
    if any(row["part"] == "all" for row in [*rows[0], *rows[1]]):
        return ()
    return _most(*(_sums(each, "layer", "cycles_per_second_of_audio") for each in rows))


def _judge(name: str, before: float | None, after: float | None) -> Judgement:
    if before == after:
        return "same"
    if before is None or after is None:
        if name in NOTHING_IS_WORST:
            return "better" if before is None else "worse"
        return "undefined"
    if name in NEITHER:
        return "neither"
    return "better" if (after > before) == name.startswith(MORE_IS_BETTER) else "worse"


def _sums(rows: list[dict[str, Any]], name: str = "name", size: str = "size_bytes") -> dict[str, float]:
    """Return name to size; functions of one name in two files count together."""
    found: dict[str, float] = {}
    for row in rows:
        found[row[name]] = found.get(row[name], 0) + row[size]
    return found


def _most(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[Change, ...]:
    changes = [_change(name, before.get(name, 0), after.get(name, 0)) for name in {**after, **before}]
    changed = [change for change in changes if change.change]
    return tuple(sorted(changed, key=lambda row: -abs(row.change or 0))[:MOST_ROWS])


def label_of(change: Change) -> str:
    """Return what people call a figure that changed, with its unit.

    Example:
        >>> label_of(Change("memory.total_ram_bytes", 1, 2, "worse"))
        'total RAM, bytes'
        >>> label_of(Change("accuracy.student_vs_teacher.arousal", 0.5, 0.6, "better"))
        'student vs teacher, arousal'
    """
    group, *rest = change.name.split(".")
    if group == "accuracy":
        return f"{words.COMPARISONS[rest[0]]}, {rest[1]}"
    if group == "parity":
        return f"{rest[0]}, values that differ"
    unit = words.unit_of(rest[-1]).strip()
    return f"{words.name_of(rest[-1])}{unit and ', '}{unit}"


def cells_of(change: Change) -> tuple[str, str, str, str]:
    """Return before, after and the change, absolute and in percent, as text.

    Example:
        >>> cells_of(Change("memory.total_ram_bytes", 1000, 1100, "worse"))
        ('1,000', '1,100', '+100', '+10.0 %')
    """
    text = _precise if change.name.startswith("accuracy.") else words.short
    before, after = (words.UNDEFINED if v is None else text(v) for v in (change.before, change.after))
    by, percent = change.change, change.change_percent
    grown = "" if by is None else f"{'+' if by > 0 else ''}{text(by)}" if by else "0"
    return before, after, grown, "" if percent is None else f"{percent:+.1f} %"


def _precise(value: float) -> str:
    return f"{value:.4f}"
