"""The ablations as Markdown; no figure is typed here but the bars."""

import numpy as np

from benchmarks.distillation import amounts
from benchmarks.distillation.amounts import SETS, Found
from benchmarks.distillation.rows import ABLATIONS, ALL, POOL, STEPS
from benchmarks.students.agreement import EMODB, NOISY, TITLES
from benchmarks.students.report import ccc_cell, line

TEACHER = "compact"


def markdown(found: Found, hours: float) -> str:
    """Return the whole page.

    Args:
        found: Name of a row to set, then teacher, to agreement.
        hours: Of audio that the whole set holds.
    """
    return "\n".join([_introduction(), *_ablations(found), "", *amounts.section(found, hours), *_commands()])


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
    if missing := [row.name for row in ALL if row.name not in found]:
        lines += ["", f"Not trained yet: {', '.join(missing)}."]
    return lines


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
