"""What people call figures, and how numbers are written in every form of the report."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.report.budget import MISSED
from edgekit.report.figures import Figure, Verdict
from edgekit.report.rows import Remedy

if TYPE_CHECKING:
    from edgekit.report.model import Report

FAR_OVER_PERCENT = 100
UNITS = {
    "bytes": "bytes",
    "percent": "%",
    "uw": "uW",
    "hours": "h",
    "cycles": "cycles",
    "ms": "ms",
    "hz": "Hz",
    "mwh": "mWh",
    "db": "dB",
}
NAMES = {
    "total_ram_bytes": "total RAM",
    "static_bytes": "static RAM",
    "stack_bytes": "stack, deepest",
    "stack_reserved_bytes": "stack, reserved",
    "onnx_bytes": "model.onnx",
    "student_onnx_bytes": "student.onnx (float)",
    "weights_bytes": "weights (model.bin)",
    "tflite_bytes": "model.tflite",
    "average_uw": "average power",
    "cycles_per_mac": "cycles per MAC",
    "battery_hours": "battery life",
    "cycles_per_second_of_audio": "cycles per second",
    "instructions_per_second_of_audio": "instructions per second",
    "longest_result_ms": "longest wait for a result",
    "worst_block_cycles": "slowest block",
    "buffer_bytes": "audio that waits, at worst",
    "audio_buffer_bytes": "audio that may wait",
    "active_uw_per_mhz": "core, uW per MHz",
}
"""What people call a figure whose key is not plain enough."""
COMPARISONS = {
    "teacher_vs_reference": "teacher vs reference",
    "student_vs_teacher": "student vs teacher",
    "quantized_vs_student": "quantized vs student",
    "device_vs_graph": "device vs graph",
}
PASS, FAIL = "pass", "FAIL"
UNDEFINED = "n/a"


def name_of(key: str) -> str:
    """Return what people call a figure: without its unit.

    Example:
        >>> name_of("total_ram_bytes"), name_of("parameters")
        ('total RAM', 'parameters')
    """
    words = key.split("_")
    plain = " ".join(words[:-1] if len(words) > 1 and words[-1] in UNITS else words)
    return NAMES.get(key, plain)


def unit_of(key: str) -> str:
    """Return the unit that a key ends in, with a space before it.

    Example:
        >>> unit_of("core_load_percent"), unit_of("parameters")
        (' %', '')
    """
    word = key.rsplit("_", 1)[-1]
    return f" {UNITS[word]}" if word in UNITS else ""


def number(value: float) -> str:
    """Return a number with thousands marked, fractions only where they matter.

    Example:
        >>> number(72659), number(12.345), number(1.2345), number(1234567.8)
        ('72,659', '12.3', '1.23', '1,234,568')
    """
    decimals = 0 if isinstance(value, int) or abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{decimals}f}"


def short(value: float) -> str:
    """Return a number, in millions where it has that many.

    Example:
        >>> short(89677070.0), short(358708), short(1.5)
        ('89.68 M', '358,708', '1.50')
    """
    return f"{value / 1e6:,.2f} M" if abs(value) >= 1e6 else number(value)


def shown(figure: Figure, unit: str = "") -> str:
    """Return a figure's value with its unit, estimates marked."""
    if figure.value is None:
        return UNDEFINED
    return f"{'~' if figure.basis == 'estimated' else ''}{number(figure.value)}{unit}"


def interval_of(figure: Figure, unit: str = "") -> str:
    """Return where the true value lies; empty where that is not known."""
    return f"{number(figure.interval[0])} to {number(figure.interval[1])}{unit}" if figure.interval else ""


def margin_of(verdict: Verdict) -> str:
    """Return what is left of a budget in percent, or how many times it is needed where that says more.

    Of a limit of nothing, how many are over it.

    Example:
        >>> from edgekit.report.budget import MISSED, NO_DEADLINE_MISSED
        >>> margin_of(Verdict(MISSED, NO_DEADLINE_MISSED, Figure(3, "measured", "")))
        '3 over'
    """
    margin = verdict.margin_percent
    if margin is None:
        return UNDEFINED if verdict.actual.value is None else f"{number(verdict.actual.value)} over"
    return f"x {1 - margin / 100:.1f}" if margin < -FAR_OVER_PERCENT else f"{margin:+.1f} %"


def agreement(figure: Figure) -> str:
    """Return a CCC."""
    return UNDEFINED if figure.value is None else f"{figure.value:.4f}"


def late_of(report: "Report") -> str:
    """Return how many deadlines are missed; empty where none is."""
    late, blocks = report.schedule.late_blocks, report.schedule.late_of_blocks
    return f"{late:,} of {blocks:,} deadlines missed" if late else ""


def in_time_of(report: "Report") -> str:
    """Return what happened when audio interrupted the model; empty where nothing can."""
    ran = report.schedule.in_time
    if ran is None:
        return ""
    lost = f"{ran.lost_blocks:,} lost" if ran.lost_blocks else "none lost"
    wait = ran.longest_result_ms
    results = f"a result at most ~{number(wait or 0)} ms behind its audio"
    if wait is None:
        results = "no window heard to its end" if ran.results else "no result"
    return f"Run in time, audio interrupting the model: {ran.blocks:,} blocks, {lost}, {results}."


def exceeded_of(report: "Report") -> str:
    """Return the budgets that a build does not hold, with the count of missed deadlines; empty if it does."""
    counts = {MISSED: f" ({report.schedule.late_blocks:,} of {report.schedule.late_of_blocks:,})"}
    return ", ".join(f"{name_of(v.budget)}{counts.get(v.budget, '')}" for v in report.exceeded)


def over_of(remedy: Remedy) -> str:
    """Return the budgets that a remedy would exceed."""
    return ", ".join(name_of(budget) for budget in remedy.over)


def power_of(remedy: Remedy, about: str = "") -> str:
    """Return the power that a remedy comes to, with a mark before it."""
    return UNDEFINED if remedy.average_uw is None else f"{about}{number(remedy.average_uw)} uW"


def measured_on(row: Sequence[Figure]) -> str:
    """Return what CCCs were measured on, or why one is undefined: that says more."""
    return next((figure.how for figure in row if figure.value is None), row[0].how)


def costs_beside(report: "Report") -> dict[str, str]:
    """Return what each form of the model costs, by the comparison that says how good it is."""
    size, memory, load = report.size, report.memory.figures, report.latency["core_load_percent"]
    return {
        "student_vs_teacher": f"{shown(size['parameters'])} parameters",
        "quantized_vs_student": f"{shown(size['onnx_bytes'])} bytes as ONNX",
        "device_vs_graph": f"{shown(size['flash_bytes'])} bytes of flash, "
        f"{shown(memory['total_ram_bytes'])} of RAM, load {shown(load)} %",
    }
