"""The ablations as Markdown; no figure is typed here but the bars."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.distillation.rows import ABLATIONS, AMOUNTS, POOL, STEPS
from benchmarks.students.agreement import EMODB, NOISY, NOISY_HEARD, RAVDESS, TITLES, Agreement
from benchmarks.students.report import ccc_cell, line
from edgekit.metrics import DIMENSIONS

Found = Mapping[str, Agreement]
SETS = (EMODB, NOISY, NOISY_HEARD, RAVDESS)
TEACHER = "compact"
LEAST_POINTS = 3
"""Amounts of audio that a power law is drawn through."""
BARS = {"arousal": 0.88, "dominance": 0.82, "valence": 0.60}


def markdown(found: Found, hours: float) -> str:
    """Return the whole page.

    Args:
        found: Name of a row to set, then teacher, to agreement.
        hours: Of audio that the whole set holds.
    """
    return "\n".join([_introduction(), *_ablations(found), "", *_amounts(found, hours), *_commands()])


def _introduction() -> str:
    return f"""# Distillation: what made the students good

Written by `python -m benchmarks.distillation`; every figure but the bars was measured, and is kept in
[distillation.json](distillation.json) with the command of its row.

Each row is one training of wav2small from random weights, changed in one thing from the recipe of the
students that ship, at a fraction of its cost: {STEPS:,} steps on {POOL:,} crops labelled by the compact
teacher alone, hop 128 (but where the row says otherwise). Everything is learned from `corpus/free` without
its test speakers and from edgekit's synthetic speech; the last weights are kept, so that no held-out clip
chooses anything.

CCC of arousal / dominance / valence against the {TEACHER} teacher, over whole clips of speakers never trained
on. Differences of about .03 between rows are not a finding: see the row with another seed.
"""


def _ablations(found: Found) -> list[str]:
    head = ["change", *(TITLES[name] for name in SETS), "mean, all but the last two"]
    lines = ["## One change at a time", "", line(head), line(["---"] * len(head))]
    for row in ABLATIONS:
        if row.name not in found:
            continue
        cells = [ccc_cell(found[row.name][name][TEACHER]) for name in SETS]
        mean = np.mean([list(found[row.name][name][TEACHER].values()) for name in (EMODB, NOISY)])
        lines.append(line([f"{row.title} (`{row.name}`)", *cells, f"{mean:.3f}"]))
    if missing := [row.name for row in (*ABLATIONS, *AMOUNTS) if row.name not in found]:
        lines += ["", f"Not trained yet: {', '.join(missing)}."]
    return lines


def _amounts(found: Found, hours: float) -> list[str]:
    rows = [row for row in (*AMOUNTS, ABLATIONS[0]) if row.name in found]
    if len(rows) < LEAST_POINTS:
        return []
    head = ["hours of audio", *(TITLES[name] for name in SETS)]
    lines = ["## Hours of audio", "", line(head), line(["---"] * len(head))]
    for row in rows:
        cells = [ccc_cell(found[row.name][name][TEACHER]) for name in SETS]
        lines.append(line([f"{row.share * hours:.2f}", *cells]))
    lines += [
        "",
        "A power law through the disagreement, 1 - CCC = a h^-b with h hours, on the EmoDB test speakers.",
        "Four points of one seed say little about far more audio; more audio of the same eight speakers",
        "would not do what more speakers do.",
        "",
        line(["dimension", "b", "at 10 times the audio", "bar", "hours for the bar"]),
        line(["---"] * 5),
    ]
    for name in DIMENSIONS:
        ccc = [found[row.name][EMODB][TEACHER][name] for row in rows]
        lines.append(_extrapolated(name, [row.share * hours for row in rows], ccc))
    return [*lines, ""]


def _extrapolated(name: str, hours: Sequence[float], ccc: Sequence[float]) -> str:
    slope, offset = np.polyfit(np.log(hours), np.log(1 - np.array(ccc)), 1)
    ten_times = 1 - np.exp(offset + slope * np.log(10 * hours[-1]))
    if max(ccc) >= BARS[name]:
        needed = "reached"
    elif slope < 0:
        needed = f"{np.exp((np.log(1 - BARS[name]) - offset) / slope):.1f}"
    else:
        needed = "more audio does not help"
    return line([name, f"{-slope:.2f}", f"{ten_times:.2f}", f"{BARS[name]:.2f}", needed])


def _commands() -> list[str]:
    lines = [
        "## Commands",
        "",
        "    edgekit label ../shared/corpus/free edgekit/data/speech --out labels",
        *(f"    {row.command}" for row in ABLATIONS),
        "",
        "`python -m benchmarks.distillation --only NAME` trains the same row in the benchmark's cache, the",
        "amounts of audio too.",
    ]
    return [*lines, ""]
