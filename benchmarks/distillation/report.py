"""The ablations as Markdown; no figure is typed here but the bars."""

import numpy as np

from benchmarks.distillation import amounts
from benchmarks.distillation.amounts import SETS, Found
from benchmarks.distillation.rows import ABLATIONS, ALL, FULL, POOL, STEPS
from benchmarks.students.agreement import EMODB, NOISY, TITLES, Agreement
from benchmarks.tables import ccc_cell, line
from edgekit.metrics import DIMENSIONS

TEACHER = "compact"
FINDINGS = (
    "What is more than chance: without augmentation the student is better on clean clips of the same corpus,",
    "and fails in noise and on another corpus; labels of what is heard before noise and rooms, speed and",
    "filters included, are worth more on another corpus than those of the clips; crops of 1 s are too short;",
    "who learns from the full teacher alone is further from the compact one. The other changes move the mean",
    "no further than another seed does.",
)


def markdown(found: Found, hours: float) -> str:
    """Return the whole page.

    Args:
        found: Name of a row to set, then teacher, to agreement.
        hours: Of audio that the whole set holds.
    """
    return "\n".join(
        [_introduction(found), *_ablations(found), "", *amounts.section(found, hours), *_commands()]
    )


def _introduction(found: Found) -> str:
    return f"""# Distillation: what made the students good

Written by `python -m benchmarks.distillation`; every figure but the bars was measured, and is kept in
[distillation.json](distillation.json) with the command of its row.

Each row is one training of wav2small from random weights, changed in one thing from the recipe of the
students that ship, at a fraction of its cost: {STEPS:,} steps on {POOL:,} crops labelled by the compact
teacher alone, hop 128 (but where the row says otherwise). Everything is learned from `corpus/free` without
its two test speakers and from edgekit's synthetic speech; the last weights are kept, so that no held-out clip
chooses weights. The recipe itself was worked out on this corpus, its test speakers included.

CCC of arousal / dominance / valence against the {TEACHER} teacher, over whole clips of speakers never trained
on. Rows that learn from the full teacher are judged by the compact one too. {_noise(found)}
"""


def _noise(found: Found) -> str:
    """Return how far chance alone moves a figure, as far as one more seed tells."""
    if not {"base", "seed-1"} <= set(found):
        return "How far another seed moves a figure has not been measured."
    moved = [
        abs(found["base"][name][TEACHER][d] - found["seed-1"][name][TEACHER][d])
        for name in SETS
        for d in DIMENSIONS
    ]
    mean = abs(_mean(found["base"]) - _mean(found["seed-1"]))
    return (
        f"Another seed alone moves a\nfigure by up to {max(moved):.3f}, by {np.median(moved):.3f} in the "
        f"median, and the mean by {mean:.3f}: no less is a finding."
    )


def _mean(agreement: Agreement) -> float:
    return float(np.mean([list(agreement[name][TEACHER].values()) for name in (EMODB, NOISY)]))


def _ablations(found: Found) -> list[str]:
    head = ["change", *(TITLES[name] for name in SETS), "mean, all but the last two"]
    lines = ["## One change at a time", "", line(head), line(["---"] * len(head))]
    for row in ABLATIONS:
        if row.name not in found:
            continue
        cells = [ccc_cell(found[row.name][name][TEACHER]) for name in SETS]
        lines.append(line([f"{row.title} (`{row.name}`)", *cells, f"{_mean(found[row.name]):.3f}"]))
    missing = [row.name for row in ALL if row.name not in found]
    return [*lines, "", *([f"Not trained yet: {', '.join(missing)}."] if missing else FINDINGS)]


def _commands() -> list[str]:
    lines = [
        "## Commands",
        "",
        "    edgekit label ../shared/corpus/free edgekit/data/speech --out labels",
        "    python -m wavllm_teacher.train assemble --encoder ../shared/weights/whisper-base-encoder "
        f"--out {FULL}",
        *(f"    {row.command}" for row in ABLATIONS),
        "",
        "`python -m benchmarks.distillation --only ROW` trains the same row in the benchmark's cache, those",
        "of the hours of audio too, whose clips it draws.",
    ]
    return [*lines, ""]
