"""The report as Markdown for pull requests: verdicts and changes first, details folded away."""

from collections.abc import Callable, Iterable, Sequence

from edgekit.metrics import DIMENSIONS
from edgekit.report.diff import Change, Diff, cells_of, label_of
from edgekit.report.model import Report
from edgekit.report.words import (
    COMPARISONS,
    agreement,
    costs_beside,
    exceeded_of,
    interval_of,
    margin_of,
    measured_on,
    name_of,
    number,
    over_of,
    power_of,
    shown,
    unit_of,
)

MARKS = {"better": "better", "worse": "**worse**"}
Rows = Iterable[Sequence[str]]


def render_markdown(report: Report, diff: Diff | None = None) -> str:
    """Return the report as Markdown.

    Args:
        report: Of a build.
        diff: What changed since another, if that is asked for.
    """
    parts = [_head(report), _verdicts(report), _near(report), _remedies(report)]
    parts += _changes(diff) if diff else []
    parts += [
        _folded("Accuracy and what it costs", _accuracy(report)),
        _folded("Agreement with the integer graph", _parity(report)),
        _folded("Cycles per second of audio, by layer", _layers(report)),
        _folded("Quantization error, by layer", _quantization(report)),
        _folded("All figures", _figures(report)),
        _timing(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(report: Report) -> str:
    over = exceeded_of(report)
    verdict = f"over budget: {over}" if over else "all budgets held"
    return f"## {_escaped(report.target['name'])}: {verdict}"


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is, in a table too."""
    for character in "\\`*_[]<>|~":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")


def _table(heads: Sequence[str], rows: Rows, left: int = 1) -> str:
    """Return a table; columns behind the first `left` ones are aligned right."""
    rule = ["---" if column < left else "---:" for column in range(len(heads))]
    cells = [heads, *rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], f"| {' | '.join(rule)} |", *lines[1:]])


def _timing(report: Report) -> str:
    error = report.timing.error
    known = f" Known from: {_escaped(error.how)}." if error else ""
    return f"{report.timing.statement}{known}\n\nFigures with ~ are estimated, all others measured."


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _passed(held: bool) -> str:
    return "pass" if held else "**FAIL**"


def _verdicts(report: Report) -> str:
    rows = []
    for verdict in report.verdicts:
        unit = unit_of(verdict.budget)
        limit, actual = f"{number(verdict.limit.value)}{unit}", _escaped(shown(verdict.actual, unit))
        name, origin = name_of(verdict.budget), _escaped(verdict.limit.origin)
        rows.append((name, _passed(verdict.held), limit, origin, actual, margin_of(verdict)))
    return _table(("budget", "verdict", "limit", "limit of", "needed", "margin"), rows, left=2)


def _near(report: Report) -> str:
    lines = (
        f"{name_of(verdict.budget)}: the limit lies within the error of the estimate "
        f"({interval_of(verdict.actual, unit_of(verdict.budget))})."
        for verdict in report.verdicts
        if verdict.within_error
    )
    return "\n\n".join(lines)


def _remedies(report: Report) -> str:
    rows = [
        (
            _escaped(row.change),
            _passed(row.held),
            _escaped(f"~{number(row.core_load_percent)} %"),
            f"{number(row.total_ram_bytes)} bytes",
            _escaped(power_of(row, "~")),
            _escaped("never" if row.longest_result_ms is None else f"~{number(row.longest_result_ms)} ms"),
            over_of(row),
            _escaped(row.how),
        )
        for row in report.remedies
    ]
    heads = ("change", "budgets", "core load", "total RAM", "power", "result after", "over", "how")
    return f"### What would meet the budgets\n\n{_table(heads, rows, left=2)}" if rows else ""


def _changes(diff: Diff) -> list[str]:
    turned = [
        f"**{name_of(row.budget)}: {row.before or 'no budget'} before, {row.after or 'no budget'} now.**"
        for row in diff.verdicts
    ]
    same = f"{len(diff.figures) - len(diff.changed)} of {len(diff.figures)} figures are the same."
    found = [f"### Changes since the build for {_escaped(diff.before['target'])}", *turned]
    if diff.changed:
        found.append(_change_table("figure", diff.changed, label_of))
    found.append(same)
    for title, rows in diff.most_changed.items():
        found.append(
            _folded(f"{title}: what changed most", _change_table("name", rows, lambda row: row.name))
        )
    return found


def _change_table(first: str, rows: Sequence[Change], name: Callable[[Change], str]) -> str:
    cells = [(_escaped(name(row)), *cells_of(row), MARKS.get(row.judgement, row.judgement)) for row in rows]
    return _table((first, "before", "after", "change", "in percent", "verdict"), cells)


def _accuracy(report: Report) -> str:
    rows, costs = [], costs_beside(report)
    for comparison, found in report.accuracy.items():
        row = [found[dimension] for dimension in DIMENSIONS]
        cost = costs.get(comparison, "not on the device")
        on = measured_on(row)
        rows.append((COMPARISONS[comparison], _escaped(cost), _escaped(on), *map(agreement, row)))
    return _table(("comparison (CCC)", "cost", "on", *DIMENSIONS), rows, left=3)


def _parity(report: Report) -> str:
    rows = [
        (backend, _passed(row.held), *(number(count) for count in counts))
        for backend, row in report.parity.items()
        for counts in [(row.layers, row.elements, row.mismatches, row.max_lsb)]
    ]
    return _table(("back end", "verdict", "layers", "values", "differ", "most LSB"), rows, left=2)


def _layers(report: Report) -> str:
    rows = [
        (
            _escaped(layer.layer),
            number(round(layer.cycles_per_second_of_audio)),
            "" if layer.interval is None else " to ".join(number(round(end)) for end in layer.interval),
            "" if layer.cycles_per_mac is None else number(layer.cycles_per_mac),
        )
        for layer in report.layers
    ]
    return _table(("layer", f"cycles ({report.timing.cycles_basis})", "interval", "cycles per MAC"), rows)


def _quantization(report: Report) -> str:
    rows = [
        (
            _escaped(row.layer),
            f"{row.error_percent:.2f} %",
            "exact" if row.signal_to_noise_db is None else f"{row.signal_to_noise_db:.1f} dB",
        )
        for row in report.quantization.layers
    ]
    table = _table(("layer", "error", "signal to noise"), rows)
    return f"{table}\n\nMeasured on {_escaped(report.quantization.how)}."


def _figures(report: Report) -> str:
    rows = []
    for figures in (report.size, report.memory.figures, report.latency, report.energy):
        for key, figure in figures.items():
            unit = unit_of(key)
            value, spread = _escaped(shown(figure, unit)), interval_of(figure, unit)
            rows.append((name_of(key), _escaped(figure.how), value, spread))
    rested = [
        f"- {name_of(key)}: {_escaped(value) if isinstance(value, str) else number(value) + unit_of(key)}"
        for key, value in report.assumptions.items()
    ]
    table = _table(("figure", "how", "value", "interval"), rows, left=2)
    return "\n\n".join([table, *(["Energy rests on:", "\n".join(rested)] if rested else [])])
