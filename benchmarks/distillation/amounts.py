"""What more hours of audio are worth: a power law through the disagreement, for every bar."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.distillation.rows import ABLATIONS, AMOUNTS, AMOUNTS_HOP_32, Row
from benchmarks.students.agreement import EMODB, NOISY, NOISY_HEARD, RAVDESS, TITLES, Agreement
from benchmarks.students.bars import LEAST, MOST_LOST_BY_HOP, MOST_LOST_IN_NOISE
from benchmarks.tables import ccc_cell, line
from edgekit.metrics import DIMENSIONS

Found = Mapping[str, Agreement]
Law = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Hours to what is expected of a student."""
SETS = (EMODB, NOISY, NOISY_HEARD, RAVDESS)
LEAST_POINTS = 3
"""Amounts of audio that a power law is drawn through."""
MOST_HOURS = 10_000.0
BASE = next(row for row in ABLATIONS if row.name == "base")
HOP_32 = next(row for row in ABLATIONS if row.name == "hop-32")


def section(found: Found, hours: float) -> list[str]:
    """Return the lines on hours of audio; none where too few amounts were trained.

    Args:
        found: Name of a row to set, then teacher, to agreement.
        hours: Of audio that the whole set holds.
    """
    lines = []
    for title, rows in (("hop 128", (*AMOUNTS, BASE)), ("hop 32", (*AMOUNTS_HOP_32, HOP_32))):
        trained = [row for row in rows if row.name in found]
        if len(trained) >= LEAST_POINTS:
            lines += [*_measured(title, found, trained, hours), ""]
    if not lines:
        return []
    return ["## Hours of audio", "", *lines, *_expected(found, hours), ""]


def _measured(title: str, found: Found, rows: Sequence[Row], hours: float) -> list[str]:
    head = [f"hours, {title}", "row", "teacher", *(TITLES[name] for name in SETS)]
    cells = [
        [
            f"{row.share * hours:.2f}",
            f"`{row.name}`",
            t,
            *(ccc_cell(found[row.name][name][t]) for name in SETS),
        ]
        for t in _teachers(found, rows)
        for row in rows
    ]
    return [line(head), line(["---"] * len(head)), *map(line, cells)]


def _teachers(found: Found, rows: Sequence[Row]) -> list[str]:
    """Return the teachers that all of the rows were measured by."""
    return [t for t in ("compact", "full") if all(t in found[row.name][EMODB] for row in rows)]


def _expected(found: Found, hours: float) -> list[str]:
    rows = [row for row in (*AMOUNTS, BASE) if row.name in found]
    now = f"{hours:.2f} h"
    head = ["teacher", "what", "bar", "b", f"fitted at {now}", "at 10 times the audio", "hours for the bar"]
    lines = [
        "A power law through the disagreement, 1 - CCC = a h^-b with h hours, is fitted to each set, teacher",
        "and dimension, with the standard error of b; what is lost is the difference of two of them. A few",
        "points of one seed say little about far more audio: where the error is as large as b, nothing. More",
        "audio of the same speakers would not do what more speakers do. These rows have a fraction of the",
        "training of the [students](students.md) that ship.",
        "",
        line(head),
        line(["---"] * len(head)),
    ]
    for teacher in _teachers(found, rows):
        lines += [line([teacher, *cells]) for cells in _bars(found, rows, teacher, hours)]
    return lines


def _bars(found: Found, rows: Sequence[Row], teacher: str, hours: float) -> list[list[str]]:
    def law(of_set: str, dimension: str, rows: Sequence[Row] = rows) -> PowerLaw:
        ccc = [found[row.name][of_set][teacher][dimension] for row in rows]
        return power_law([row.share * hours for row in rows], ccc)

    lines = [
        _bar(f"{dimension}, {TITLES[of_set]}", bar, law(of_set, dimension), hours)
        for of_set, bars in LEAST.items()
        for dimension, bar in zip(DIMENSIONS, bars, strict=True)
    ]
    for noisy, says in ((NOISY, "labels of the clean clip"), (NOISY_HEARD, "the teacher hearing it too")):
        lost = _difference(law(EMODB, "arousal"), law(noisy, "arousal"))
        lines.append(_bar(f"arousal lost in noise, {says}", MOST_LOST_IN_NOISE, lost, hours, least=False))
    hop_32 = [row for row in (*AMOUNTS_HOP_32, HOP_32) if teacher in found.get(row.name, {}).get(EMODB, {})]
    if len(hop_32) >= LEAST_POINTS:
        for dimension in DIMENSIONS:
            lost = _difference(law(EMODB, dimension, hop_32), law(EMODB, dimension))
            lines.append(_bar(f"{dimension} lost by hop 128", MOST_LOST_BY_HOP, lost, hours, least=False))
    return lines


@dataclass(frozen=True)
class PowerLaw:
    """CCC by hours of audio: 1 - a h^-b.

    Attributes:
        a: The disagreement at one hour.
        b: How fast it falls.
        error: The standard error of b.
    """

    a: float
    b: float
    error: float

    def __call__(self, hours: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what is expected."""
        return np.asarray(1 - self.a * hours**-self.b)


def power_law(hours: Sequence[float], ccc: Sequence[float]) -> PowerLaw:
    """Return the law through at least three points, by least squares where both axes are logarithmic.

    Example:
        >>> law = power_law([1, 2, 4], [0.6, 0.8, 0.9])
        >>> round(law.a, 3), round(law.b, 3), law(np.array([8.0])).round(3).tolist()
        (0.4, 1.0, [0.95])
    """
    (slope, offset), covariance = np.polyfit(np.log(hours), np.log(1 - np.array(ccc)), 1, cov=True)
    return PowerLaw(float(np.exp(offset)), float(-slope), float(np.sqrt(covariance[0, 0])))


def _difference(more: Law, less: Law) -> Law:
    return lambda h: more(h) - less(h)


def _bar(what: str, bar: float, law: Law, hours: float, *, least: bool = True) -> list[str]:
    now, ten_times = law(np.array([hours, 10 * hours]))
    bound = "at least" if least else "at most"
    slope = f"{law.b:.2f} ± {law.error:.2f}" if isinstance(law, PowerLaw) else ""
    return [
        what,
        f"{bound} {bar:.2f}",
        slope,
        f"{now:.3f}",
        f"{ten_times:.3f}",
        _needed(bar, law, hours, least),
    ]


def _needed(bar: float, law: Law, hours: float, least: bool) -> str:
    grid = np.geomspace(hours, MOST_HOURS, 2000)
    expected, sign = law(grid), 1 if least else -1
    held = sign * expected >= sign * bar
    if held[0]:
        return "reached"
    if held.any():
        return f"{grid[held.argmax()]:.3g}"
    better = sign * expected[-1] > sign * expected[0]
    return f"more than {MOST_HOURS:,.0f}" if better else "more audio does not help"
