"""The report for a terminal: verdicts first, then what stands behind them; readable at 80 columns."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from edgekit.metrics import DIMENSIONS
from edgekit.report.model import Figure, Figures, LayerCost, Report, Verdict

BAR_CELLS = 24
FAR_OVER_PERCENT = 100
UNITS = {"bytes": "bytes", "percent": "%", "uw": "uW", "hours": "h", "cycles": "cycles"}
NAMES = {
    "total_ram_bytes": "total RAM",
    "static_bytes": "static RAM",
    "onnx_bytes": "model.onnx",
    "weights_bytes": "weights (model.bin)",
    "tflite_bytes": "model.tflite",
    "average_uw": "average power",
    "cycles_per_mac": "cycles per MAC",
    "battery_hours": "battery life",
    "cycles_per_second_of_audio": "cycles per second",
    "instructions_per_second_of_audio": "instructions per second",
}
"""What people call a figure whose key is not plain enough."""
LEGEND = "~ estimated, all else measured"


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


def render(report: Report) -> RenderableType:
    """Return the whole report, ready to print with rich."""
    sections = {
        "Budgets": _verdicts(report),
        "Accuracy (CCC; 1 is perfect agreement)": _accuracy(report),
        "Agreement with the integer graph": _parity(report),
        "Cycles per second of audio, by layer": _layers(report.layers),
        "Figures": _figures([report.size, report.memory, report.latency, report.energy]),
    }
    name, description = report.target["name"], report.target["description"]
    parts: list[RenderableType] = [Text(name, style="bold"), Text(description)]
    for title, section in sections.items():
        parts += [Text(f"\n{title}", style="bold"), section]
    return Group(*parts, Text(), _conclusion(report))


def _conclusion(report: Report) -> Text:
    if not report.exceeded:
        return Text(f"All budgets held ({LEGEND}).", style="green")
    names = ", ".join(_name(verdict.budget) for verdict in report.exceeded)
    return Text(f"Over budget: {names} ({LEGEND}).", style="red")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _verdicts(report: Report) -> Table:
    table = _table("budget", "verdict", "limit", "actual", "margin")
    for verdict in report.verdicts:
        unit = _unit(verdict.budget)
        limit, actual = f"{_number(verdict.limit)}{unit}", _shown(verdict.actual, unit)
        table.add_row(_name(verdict.budget), _passed(verdict.held), limit, actual, _margin(verdict))
    return table


def _margin(verdict: Verdict) -> str:
    """Return what is left of a budget in percent, or how many times it is needed where that says more."""
    if verdict.margin_percent < -FAR_OVER_PERCENT:
        return f"x {1 - verdict.margin_percent / 100:.1f}"
    return f"{verdict.margin_percent:+.1f} %"


def _passed(held: bool) -> Text:
    return Text("pass", style="green") if held else Text("FAIL", style="bold red")


def _accuracy(report: Report) -> Table:
    table = _table("comparison", *DIMENSIONS)
    table.add_column("on", style="dim")
    for comparison, figures in report.accuracy.items():
        row = [figures[dimension] for dimension in DIMENSIONS]
        shown = ["n/a" if figure.value is None else f"{figure.value:.4f}" for figure in row]
        # Where one is undefined, its reason says more than what the others were measured on.
        how = next((figure.how for figure in row if figure.value is None), row[0].how)
        table.add_row(comparison.replace("_", " "), *shown, how)
    return table


def _parity(report: Report) -> Table:
    table = _table("back end", "verdict", "layers", "values", "differ", "most LSB")
    for backend, parity in report.parity.items():
        counts = parity.layers, parity.elements, parity.mismatches, parity.max_lsb
        table.add_row(backend, _passed(parity.held), *(f"{count:,}" for count in counts))
    return table


def _figures(groups: Sequence[Figures]) -> Table:
    table = _table("figure", "value")
    table.add_column("how", style="dim")
    for figures in groups:
        for key, figure in figures.items():
            table.add_row(_name(key), _shown(figure, _unit(key)), figure.how)
    return table


def _layers(layers: Sequence[LayerCost]) -> Table:
    table = _table("layer", "cycles", "share", "")
    table.columns[-1].justify = "left"
    costs = [layer.cycles_per_second_of_audio for layer in layers]
    for layer, cost in zip(layers, costs, strict=True):
        share = cost / (sum(costs) or 1)
        table.add_row(layer.layer, f"~{cost:,.0f}", f"{100 * share:.1f} %", Bar(cost / (max(costs) or 1)))
    return table


def _name(key: str) -> str:
    """Return what people call a figure: without its unit.

    Example:
        >>> _name("total_ram_bytes"), _name("parameters")
        ('total RAM', 'parameters')
    """
    words = key.split("_")
    plain = " ".join(words[:-1] if len(words) > 1 and words[-1] in UNITS else words)
    return NAMES.get(key, plain)


def _unit(key: str) -> str:
    """Return the unit that a key ends in, with a space before it.

    Example:
        >>> _unit("core_load_percent"), _unit("parameters")
        (' %', '')
    """
    word = key.rsplit("_", 1)[-1]
    return f" {UNITS[word]}" if word in UNITS else ""


def _shown(figure: Figure, unit: str) -> str:
    if figure.value is None:
        return "n/a"
    return f"{'~' if figure.basis == 'estimated' else ''}{_number(figure.value)}{unit}"


def _number(value: float) -> str:
    """Return a number with thousands marked, fractions only where they matter.

    Example:
        >>> _number(72659), _number(12.345), _number(1.2345), _number(1234567.8)
        ('72,659', '12.3', '1.23', '1,234,568')
    """
    decimals = 0 if isinstance(value, int) or abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{decimals}f}"
