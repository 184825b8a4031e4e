"""The report for a terminal: verdicts first, then what stands behind them; readable at 80 columns."""

from collections.abc import Callable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from edgekit.metrics import DIMENSIONS
from edgekit.report.diff import Change, Diff, cells_of, label_of
from edgekit.report.figures import Figures
from edgekit.report.model import Memory, Report
from edgekit.report.rows import Learning, Remedy, Schedule, Symbol
from edgekit.report.words import (
    COMPARISONS,
    FAIL,
    PASS,
    UNDEFINED,
    agreement,
    costs_beside,
    exceeded_of,
    in_time_of,
    interval_of,
    late_of,
    margin_of,
    measured_on,
    name_of,
    number,
    over_of,
    power_of,
    shown,
    unit_of,
)

BAR_CELLS = 20
MOST_SYMBOLS = 6
MOST_BLOCKS = 8
MOST_STEPS = 6
LEAST_TEXT = 16
"""Cells of a column of sentences, at the least."""
GAP = 3
LEGEND = "~ estimated, all else measured"
MARKS = {"better": "green", "worse": "red"}


class Bar:
    """A bar of up to `BAR_CELLS` cells, in plain ASCII where the terminal knows nothing else.

    Args:
        share: Length as a fraction of the longest bar, 0 to 1.
    """

    def __init__(self, share: float) -> None:
        self.cells = round(share * BAR_CELLS)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the bar."""
        yield Text(("#" if options.ascii_only else "━") * self.cells, style="cyan")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the width that the column needs."""
        return Measurement(BAR_CELLS, BAR_CELLS)


class Fitting:
    """A table that leaves out columns where the terminal is too narrow for all.

    Args:
        heads: Of all columns.
        rows: A cell for each.
        spare: Heads of columns that may go, the first of them first.
        sentences: Whether the first column may wrap.
        gap: Cells between columns.
    """

    def __init__(
        self,
        heads: Sequence[str],
        rows: Sequence[Sequence[str | Text]],
        spare: Sequence[str],
        *,
        sentences: bool = False,
        gap: int = GAP,
    ) -> None:
        self.columns = dict(zip(heads, zip(*rows, strict=True) if rows else [()] * len(heads), strict=True))
        self.spare = spare
        self.sentences = sentences
        self.gap = gap

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table with the columns that fit."""
        columns, spare = dict(self.columns), list(self.spare)
        while spare and self._width_of(columns) > options.max_width:
            del columns[spare.pop(0)]
        table = _table(*columns)
        table.padding = (0, self.gap, 0, 0)
        if self.sentences:
            table.columns[0].no_wrap, table.columns[0].min_width = False, LEAST_TEXT
        for row in zip(*columns.values(), strict=True):
            table.add_row(*row)
        yield table

    def _width_of(self, columns: Mapping[str, Sequence[str | Text]]) -> int:
        """Return the cells that columns need so that no text is cut off."""
        widths = [max(cell_len(str(cell)) for cell in (head, *cells)) for head, cells in columns.items()]
        if self.sentences:
            widths[0] = LEAST_TEXT
        return sum(widths) + self.gap * (len(widths) - 1)


def render(report: Report, diff: Diff | None = None) -> RenderableType:
    """Return the whole report, ready to print with rich.

    Args:
        report: Of a build.
        diff: What changed since another, if that is asked for.
    """
    sections: dict[str, list[RenderableType]] = {"Budgets": [_verdicts(report), *_near(report)]}
    if report.remedies:
        sections["What would meet the budgets"] = [_remedies(report.remedies)]
    if diff is not None:
        sections[f"Changes since the build for {diff.before['target']}"] = list(_changes(diff))
    sections |= {
        "Accuracy (CCC; 1 is perfect agreement) and what it costs": [_accuracy(report)],
        "Agreement with the integer graph": [_parity(report)],
        "Cycles per second of audio, by layer": [_layers(report), *_timing(report)],
        "Real time": [_real_time(report), _timeline(report.schedule)],
        _state_title(report.memory): [_state(report.memory)],
        "RAM by symbol": [_symbols(report.memory.ram_symbols)],
        "Flash by symbol": [_symbols(report.memory.flash_symbols)],
        "Quantization error, by layer": [_quantization(report), Text(report.quantization.how, "dim")],
        f"Learning curve; step {report.learning.kept_step:,} was kept": [_learning(report.learning)],
        **({"Energy rests on": [_assumptions(report)]} if report.assumptions else {}),
        "Figures": [_figures([report.size, report.memory.figures, report.latency, report.energy])],
    }
    parts: list[RenderableType] = [Text(report.target["name"], "bold"), Text(report.target["description"])]
    for title, section in sections.items():
        parts += [Text(f"\n{title}", style="bold"), *section]
    return Group(*parts, Text(), _conclusion(report))


def _conclusion(report: Report) -> Text:
    over = exceeded_of(report)
    budgets = f"Over budget: {over}" if over else "All budgets held"
    return Text(f"{budgets} ({LEGEND}).", style="red" if over else "green")


def _table(*columns: str, last_wraps: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    for index, column in enumerate(columns):
        wraps = last_wraps and index == len(columns) - 1
        right = index > 0 and not wraps
        table.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=not wraps,
            style="dim" if wraps else None,
        )
    return table


def _verdicts(report: Report) -> Fitting:
    rows: list[Sequence[str | Text]] = []
    for verdict in report.verdicts:
        unit = unit_of(verdict.budget)
        limit, actual = f"{number(verdict.limit.value)}{unit}", shown(verdict.actual, unit)
        rows.append((name_of(verdict.budget), _passed(verdict.held), limit, actual, margin_of(verdict)))
    return Fitting(("budget", "verdict", "limit", "actual", "margin"), rows, ("margin", "limit", "actual"))


def _near(report: Report) -> list[RenderableType]:
    """Return what to know of verdicts that the error of an estimate could turn."""
    lines: list[RenderableType] = []
    for verdict in report.verdicts:
        if verdict.within_error:
            name, spread = name_of(verdict.budget), interval_of(verdict.actual, unit_of(verdict.budget))
            lines.append(Text(f"{name}: the limit lies within the error ({spread})", style="yellow"))
    return lines


def _passed(held: bool) -> Text:
    return Text(PASS, style="green") if held else Text(FAIL, style="bold red")


def _remedies(remedies: Sequence[Remedy]) -> Fitting:
    heads = ("change", "budgets", "load", "RAM", "power", "result in")
    rows: list[Sequence[str | Text]] = [
        (
            Text.assemble(row.change, (f"\nover: {over_of(row)}" if row.over else "", "dim")),
            _passed(row.held),
            f"~{number(row.core_load_percent)} %",
            number(row.total_ram_bytes),
            power_of(row, "~"),
            "never" if row.longest_result_ms is None else f"~{number(row.longest_result_ms)} ms",
        )
        for row in remedies
    ]
    return Fitting(heads, rows, ("RAM", "power", "result in", "load"), sentences=True)


def _changes(diff: Diff) -> list[RenderableType]:
    lines: list[RenderableType] = [
        Text(f"{name_of(row.budget)}: {row.before or UNDEFINED} -> {row.after or UNDEFINED}", style="bold")
        for row in diff.verdicts
    ]
    if diff.changed:
        lines.append(_change_table("figure", diff.changed, label_of))
    same = len(diff.figures) - len(diff.changed)
    lines.append(Text(f"{same} of {len(diff.figures)} figures are the same.", style="dim"))
    for title, rows in diff.most_changed.items():
        lines += [Text(f"{title}: what changed most"), _change_table("", rows, lambda row: row.name)]
    return lines


def _change_table(first: str, rows: Sequence[Change], name: Callable[[Change], str]) -> Fitting:
    percent, judgement = " ", "  "
    heads = (first, "before", "after", "change", percent, judgement)
    cells: list[Sequence[str | Text]] = []
    for row in rows:
        judged = "" if row.judgement in ("neither", "undefined") else row.judgement
        cells.append((name(row), *cells_of(row), Text(judged, MARKS.get(row.judgement, ""))))
    return Fitting(heads, cells, ("before", percent, "after", judgement), sentences=True, gap=2)


def _accuracy(report: Report) -> Table:
    table = _table("comparison", *DIMENSIONS, "on; cost", last_wraps=True)
    costs = costs_beside(report)
    for comparison, figures in report.accuracy.items():
        row = [figures[dimension] for dimension in DIMENSIONS]
        cost = costs.get(comparison, "")
        table.add_row(
            COMPARISONS[comparison], *map(agreement, row), f"{measured_on(row)}{cost and '; '}{cost}"
        )
    return table


def _parity(report: Report) -> Fitting:
    heads = ("back end", "verdict", "layers", "values", "differ", "most LSB")
    rows: list[Sequence[str | Text]] = []
    for backend, parity in report.parity.items():
        counts = parity.layers, parity.elements, parity.mismatches, parity.max_lsb
        rows.append((backend, _passed(parity.held), *(f"{count:,}" for count in counts)))
    return Fitting(heads, rows, ("layers", "values", "most LSB", "differ"))


def _layers(report: Report) -> Table:
    # Of an uncalibrated profile, both ends; a known error is the same part of every layer.
    least = report.timing.error is None and report.timing.cycles_are_upper_bound
    table = _table("layer", *(["at least", "at most"] if least else ["cycles"]), "share", "per MAC", "")
    table.columns[-1].justify = "left"
    costs, about = [layer.cycles_per_second_of_audio for layer in report.layers], report.timing.about
    for layer, cost in zip(report.layers, costs, strict=True):
        share, per_mac = cost / (sum(costs) or 1), layer.cycles_per_mac
        each = "" if per_mac is None else f"{about}{number(per_mac)}"
        ends = [f"{layer.interval[0]:,.0f}"] if least and layer.interval else []
        bar = Bar(cost / (max(costs) or 1))
        table.add_row(layer.layer, *ends, f"{about}{cost:,.0f}", f"{100 * share:.1f} %", each, bar)
    return table


def _timing(report: Report) -> list[RenderableType]:
    error = report.timing.error
    known: list[RenderableType] = [Text(f"Known from: {error.how}", style="dim")] if error else []
    return [Text(report.timing.statement), *known]


def _real_time(report: Report) -> Text:
    schedule = report.schedule
    wait = schedule.longest_result_ms
    late = late_of(report) or "No deadline missed"
    model = f"{report.timing.about}{number(schedule.model_load_percent)}"
    lines = [
        schedule.statement,
        f"Load ~{number(schedule.total_load_percent)} %: model {model} %, "
        f"audio path ~{number(schedule.audio_path_load_percent)} %.",
        f"{late} ({schedule.deadline_ms:g} ms); at worst {schedule.buffer_bytes:,} bytes of audio wait.",
        "The core never catches up." if wait is None else f"A result takes at most ~{number(wait)} ms.",
    ]
    return Text("\n".join(filter(None, [*lines, in_time_of(report)])))


def _timeline(schedule: Schedule) -> Table:
    table = _table("block", "there, ms", "begun", "done", "due", "")
    table.columns[-1].justify = "left"
    for index, block in enumerate(schedule.timeline[:MOST_BLOCKS], 1):
        times = (block.arrival_ms, block.begin_ms, block.end_ms, block.due_ms)
        late = Text("late", style="red") if block.missed else Text("in time", style="green")
        table.add_row(str(index), *(f"{ms:,.1f}" for ms in times), late)
    return table


def _learning(learning: Learning) -> Table:
    table = _table("step", "loss", *DIMENSIONS)
    last = len(learning.steps) - 1
    places = sorted({round(i * last / (MOST_STEPS - 1)) for i in range(MOST_STEPS)}) if last >= 0 else []
    for row in (learning.steps[place] for place in places):
        values = (row["train_loss"], *(row[f"dev_{dimension}"] for dimension in DIMENSIONS))
        table.add_row(f"{row['step']:,.0f}", *("" if value is None else f"{value:.3f}" for value in values))
    return table


def _state_title(memory: Memory) -> str:
    return "Arena in use, by layer" if memory.arena else "State that the stream keeps, by layer"


def _state(memory: Memory) -> Table:
    table = _table("layer", "bytes", "")
    table.columns[-1].justify = "left"
    most = max(memory.state_bytes_by_layer.values()) or 1
    for layer, size in memory.state_bytes_by_layer.items():
        table.add_row(layer, f"{size:,}", Bar(size / most))
    return table


def _symbols(symbols: Sequence[Symbol]) -> Table:
    table = _table("symbol", "section", "bytes", "")
    table.columns[1].justify = table.columns[-1].justify = "left"
    most = max((symbol.size_bytes for symbol in symbols), default=1)
    for symbol in symbols[:MOST_SYMBOLS]:
        table.add_row(symbol.name, symbol.section, f"{symbol.size_bytes:,}", Bar(symbol.size_bytes / most))
    rest = symbols[MOST_SYMBOLS:]
    if rest:
        table.add_row(f"{len(rest)} more", "", f"{sum(symbol.size_bytes for symbol in rest):,}", "")
    return table


def _quantization(report: Report) -> Table:
    table = _table("layer", "error", "signal to noise", "")
    table.columns[-1].justify = "left"
    layers = report.quantization.layers
    most = max((row.error_percent for row in layers), default=0) or 1
    for row in layers:
        ratio = "exact" if row.signal_to_noise_db is None else f"{row.signal_to_noise_db:.1f} dB"
        table.add_row(row.layer, f"{row.error_percent:.2f} %", ratio, Bar(row.error_percent / most))
    return table


def _assumptions(report: Report) -> Table:
    table = _table("assumption", "", last_wraps=True)
    for key, value in report.assumptions.items():
        text = value if isinstance(value, str) else f"{number(value)}{unit_of(key)}"
        table.add_row(name_of(key), text)
    return table


def _figures(groups: Sequence[Figures]) -> Table:
    table = _table("figure", "value", "how", last_wraps=True)
    for figures in groups:
        for key, figure in figures.items():
            spread = interval_of(figure, unit_of(key))
            table.add_row(name_of(key), shown(figure, unit_of(key)), f"{spread}{spread and '; '}{figure.how}")
    return table
