"""The figures of a run as Markdown; no figure is typed here but the bars and what they are taken from."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.teachers.experiments import Across, Within, states_name
from benchmarks.teachers.features import COPIES
from benchmarks.teachers.protocol import FOLDS, LAYER_CHOICES, RIDGE_PENALTY, Recipe
from wavllm_teacher.whisper import LAYERS

EMODB_BARS = (0.945, 0.84, 0.71)
RECALL_BAR = 0.92
RAVDESS_BARS = (0.81, 0.67, 0.69)
TO_EMODB_BARS = (0.574, 0.539, 0.247)
TO_RAVDESS_BARS = (0.699, 0.287, 0.130)
LEAST_CHANGE = 0.005

INTRODUCTION = f"""# Trained teachers, measured

Written by `python -m benchmarks.teachers`; every figure but the bars comes from that run.

- **Features**: mean and standard deviation over time of hidden states of the frozen Whisper-base encoder,
  unpadded clips; states 2+3+4 unless said otherwise. "Augmented" adds {COPIES - 1} changed copies of every
  training clip (speed, room, noise, LibriSpeech babble, bandwidth, level); test clips are always clean.
- **Head** ("softmax"): multinomial logistic regression to the emotion categories on standardised features,
  L2 penalty, C = 0.1 divided by the number of copies; A/D/V is the expectation over each category's mean
  A/D/V in training. It is `wavllm_teacher.head.fit_head`, the shipped teacher's own. Ridge: penalty
  {RIDGE_PENALTY:g} times the number of copies.
- **Labels** are pseudo-labels: a rule on the acted category. The figures cannot be compared with those for
  human ratings, and acted speech with few sentences says little about everyday speech.
- CCC is one figure over all test clips, in the order arousal / dominance / valence. The augmentation's seed
  is fixed and the fit has no randomness.
"""

EMODB = f"""
## EmoDB, held-out speakers

535 clips, 10 speakers, {FOLDS} folds of 2 speakers each, three random assignments of speakers to folds. The
unweighted recall of the 7 categories is that of the probe on the pooled states: for the teacher's head the
probe is the head itself, the likeliest category before the expectation; the logistic probes are the same
kind of regression, fitted to clean clips only, and report their own expectation as CCC. States, copies and
penalty of the teacher's head were chosen by cross-validation over the same ten speakers: its rows are
slightly optimistic. The shipped head differs in its babble: its own training clips, not LibriSpeech's.
"""

RAVDESS = f"""
## RAVDESS, held-out speakers, and two corpora in training

1,440 clips, 24 speakers, 8 categories; a research run: the licence is non-commercial, and nothing trained
on it is shipped. {FOLDS} folds, one assignment. The other corpus, where it is added, trains in every fold.
"""

CROSS = """
## From one corpus to the other

Trained on all of one corpus, tested on all of the other. The base: softmax, clean and augmented copies, means
and deviations, features centred by speaker, the states chosen by the mean CCC over held-out speakers inside
the **training** corpus (clean clips, {folds} folds, among {choices} sets): {to_emodb} from RAVDESS,
{to_ravdess} from EmoDB. Penalty and number of copies are the shipped head's: they were chosen by
cross-validation over EmoDB's ten speakers, who are the test speakers of the first direction.
Beside it, each row changes what its name says, and reads the test labels only to be scored; the best of many
rows is not a result.

Centring by speaker is **transductive**: it needs all clips of a test speaker, unlabelled, and to know that
they are one speaker's; centring by corpus needs all test clips. Rows "not centred" are **inductive**: each
test clip stands alone. "Change" is of the mean of the three CCCs against the base.
"""


@dataclass(frozen=True)
class Figures:
    """What a run measured."""

    emodb: list[Within]
    multi: tuple[list[Within], list[Within]]
    base: tuple[Recipe, Recipe]
    across: dict[str, list[Across]]
    encoding_s: int
    fitting_s: float


def markdown(figures: Figures) -> str:
    """Return the whole page."""
    encoding, fitting = (f"{seconds / 60:.0f} min" for seconds in (figures.encoding_s, figures.fitting_s))
    minutes = f"Encoding took {encoding}, kept in the cache; all fits {fitting}"
    return "\n".join(
        [
            INTRODUCTION.rstrip(),
            f"- {minutes}, on {os.cpu_count()} cores.",
            "",
            "## In short",
            "",
            *_summary(figures),
            EMODB,
            *_within(figures.emodb, EMODB_BARS, RECALL_BAR),
            RAVDESS,
            *_within(figures.multi[0], RAVDESS_BARS, None),
            "",
            "EmoDB, one assignment of the three above:",
            "",
            *_within(figures.multi[1], EMODB_BARS, RECALL_BAR),
            *_cross_sections(figures),
            "",
        ]
    )


def triple(values: Iterable[float]) -> str:
    """Return three CCCs as in the fact sheets.

    Example:
        >>> triple((0.9384, 0.5, -0.1))
        '.938 / .500 / -.100'
    """
    return " / ".join(f"{value:.3f}".replace("0.", ".", 1) for value in values)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _within(rows: list[Within], bars: tuple[float, ...], recall_bar: float | None) -> list[str]:
    count = len(rows[0].ccc)
    spread = [f"folds {number}" for number in range(count)] if count > 1 else []
    head = ["", *spread, "CCC mean" if spread else "CCC", "unweighted recall"]
    lines = [["bar", *[""] * len(spread), triple(bars), f"{recall_bar:.3f}" if recall_bar else ""]]
    for row in rows:
        recall = ", ".join(f"{value:.3f}" for value in row.recall)
        if spread and row.recall:
            recall += f"; mean {np.mean(row.recall):.3f}"
        single = [triple(values) for values in row.ccc] if spread else []
        lines.append([row.name, *single, triple(np.mean(row.ccc, axis=0)), recall])
    return _table(head, lines)


def _cross_sections(figures: Figures) -> list[str]:
    """Return the tables across corpora, with what helped and what did not."""
    base, tables = figures.across["base"][0], figures.across
    to_emodb, to_ravdess = (", ".join(map(str, recipe.layers)) for recipe in figures.base)
    head = ["", "RAVDESS to EmoDB", "EmoDB to RAVDESS", "change to EmoDB, to RAVDESS"]
    bars = [
        "bar: best per column of the fact sheet's ridges",
        triple(TO_EMODB_BARS),
        triple(TO_RAVDESS_BARS),
        "",
    ]
    rows = [bars, _across(base, None)]
    rows += [_across(row, base) for row in [*tables["model"], *tables["transductive"], *tables["inductive"]]]
    layers = [_across(row, base) for row in tables["layers"]]
    common = ["base, clips of common categories", *(triple(values) for values in base.common), ""]
    return [
        CROSS.format(folds=FOLDS, choices=len(LAYER_CHOICES), to_emodb=to_emodb, to_ravdess=to_ravdess),
        *_table(head, rows),
        "",
        "The base with other states:",
        "",
        *_table(head, layers),
        "",
        "What no recipe can learn: EmoDB has no calm or surprised clip, RAVDESS no bored one.",
        "",
        *_table(head, [common]),
        "",
        *_unhelpful(base, tables),
    ]


def _summary(figures: Figures) -> list[str]:
    """Return every bar with what was reached."""
    head, joined, base = figures.emodb[-1], figures.multi[0][-1], figures.across["base"][0]
    reached = [
        ("EmoDB, held-out speakers", np.mean(head.ccc, axis=0), EMODB_BARS),
        ("RAVDESS, held-out speakers, both corpora in training", joined.ccc[0], RAVDESS_BARS),
        ("RAVDESS to EmoDB, base (transductive)", base.ccc[0], TO_EMODB_BARS),
        ("EmoDB to RAVDESS, base (transductive)", base.ccc[1], TO_RAVDESS_BARS),
    ]
    shipped = next(row for row in figures.across["layers"] if row.name == states_name(LAYERS))
    reached.append(
        ("RAVDESS to EmoDB, base with the teacher's states (transductive)", shipped.ccc[0], TO_EMODB_BARS)
    )
    reached.append(
        ("EmoDB to RAVDESS, base with the teacher's states (transductive)", shipped.ccc[1], TO_RAVDESS_BARS)
    )
    for row in figures.across["inductive"]:
        reached.append((f"RAVDESS to EmoDB, {row.name} (inductive)", row.ccc[0], TO_EMODB_BARS))
        reached.append((f"EmoDB to RAVDESS, {row.name} (inductive)", row.ccc[1], TO_RAVDESS_BARS))
    rows = [[name, triple(got), triple(bars), _verdict(got, bars)] for name, got, bars in reached]
    recall = float(np.mean(head.recall))
    verdict = _verdict([recall], [RECALL_BAR])
    rows.insert(1, ["EmoDB, unweighted recall", f"{recall:.3f}", f"{RECALL_BAR:.3f}", verdict])
    return _table(["", "reached", "bar", "met"], rows)


def _verdict(reached: Sequence[float], bars: Sequence[float]) -> str:
    """Return yes, no, or how many of the bars are exceeded, to the three digits that are shown.

    Example:
        >>> _verdict((0.5, 0.1004), (0.4, 0.1))
        '1 of 2'
    """
    met = sum(round(float(got), 3) > bar for got, bar in zip(reached, bars, strict=True))
    return {0: "no", len(bars): "yes"}.get(met, f"{met} of {len(bars)}")


def _across(row: Across, base: Across | None) -> list[str]:
    change = "" if base is None else ", ".join(f"{value:+.3f}" for value in row.means() - base.means())
    return [row.name, *(triple(values) for values in row.ccc), change]


def _unhelpful(base: Across, tables: dict[str, list[Across]]) -> list[str]:
    """Return a list of the changes that left the mean CCC where it was or lowered it, both ways."""
    rows = [row for row in tables["transductive"] if (row.means() - base.means() < LEAST_CHANGE).all()]
    lines = [f"- {row.name}: {_across(row, base)[-1]}" for row in rows]
    return [
        "## What did not help",
        "",
        f"Changes of the base worth less than {LEAST_CHANGE} both ways:",
        "",
        *lines,
    ]
