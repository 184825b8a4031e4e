"""Labels against a reference: agreement figures overall and by group, each with its interval."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ConfigError
from edgekit.evaluation.bootstrap import CONFIDENCE_PERCENT, intervals
from edgekit.evaluation.matching import Files, average_files, match
from edgekit.evaluation.reference import Reference
from edgekit.labels import LabelSet
from edgekit.metrics import DIMENSIONS, ccc, is_constant, mae, pearson, rmse

METRICS: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], float]] = {
    "ccc": ccc,
    "pearson": pearson,
    "rmse": rmse,
    "mae": mae,
}
BETWEEN = ("ccc", "pearson")
"""Those that compare how two series vary: undefined where one does not."""
UNITS = {
    "ccc": "none; -1 to 1, 1 is perfect agreement",
    "pearson": "none; -1 to 1",
    "rmse": "of the scale 0 to 1",
    "mae": "of the scale 0 to 1",
}
FEW_CLUSTERS = 5
LEAST_CLIPS = 2
USUAL_GROUPS = ("corpus", "split", "gender")
"""Columns that divide the clips without being asked for, where they hold at least two values."""
NOT_STATED = "not stated"
UNKNOWN_SPEAKERS = ("", "unknown")


@dataclass(frozen=True)
class Figure:
    """One number with its interval.

    Attributes:
        value: In the unit that `UNITS` gives; None where it is undefined.
        interval: Lower and upper limit at 95 %; None where it is undefined.
        how: By what it was measured, or why it or its interval is undefined.
    """

    value: float | None
    interval: tuple[float, float] | None
    how: str


@dataclass(frozen=True)
class Group:
    """Figures on some of the clips.

    Attributes:
        by: The column that the clips were divided by; empty for all of them.
        value: What they hold in it.
        clips: How many they are.
        clusters: How many speakers (or clips, see `Resampling.unit`) were drawn from.
        figures: Metric, then dimension, to its figure.
    """

    by: str
    value: str
    clips: int
    clusters: int
    figures: dict[str, dict[str, Figure]]

    @property
    def few_clusters(self) -> bool:
        """Whether the clusters are so few that the intervals say little."""
        return self.clusters < FEW_CLUSTERS


@dataclass(frozen=True)
class Resampling:
    """How the intervals were made.

    Attributes:
        unit: What is drawn: `speaker`, or `clip` where no speaker is known.
        lone_clips: Clips of unknown speakers; each stands for a speaker of its own.
        resamples: How often.
        seed: Of the draws.
    """

    unit: str
    lone_clips: int
    resamples: int
    seed: int


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        labels: The label artifact's folder.
        digest: Its digest.
        teachers: Who labelled, sorted.
        reference: The reference table.
        kind: What kind of table it is.
        split: The split that was asked for; None for all clips.
        split_from: `reference` or `labels`: whose splits these are.
        unmatched_files: Labelled files of which no row of the reference speaks.
        unmatched_rows: Rows of the reference whose file has no label.
        unlabelled_rows: Rows of the reference without arousal, dominance and valence.
        resampling: How the intervals were made.
        groups: All clips first, then group by group.
    """

    labels: Path
    digest: str
    teachers: list[str]
    reference: Path
    kind: str
    split: str | None
    split_from: str
    unmatched_files: int
    unmatched_rows: int
    unlabelled_rows: int
    resampling: Resampling
    groups: list[Group]


@dataclass(frozen=True)
class _Matched:
    """Clips that both sides speak of, in the order of the files."""

    labels: NDArray[np.float64]
    reference: NDArray[np.float64]
    columns: dict[str, NDArray[np.str_]]
    cluster: NDArray[np.str_]


def evaluate(
    labels: LabelSet,
    reference: Reference,
    by: Sequence[str] = (),
    split: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Evaluation:
    """Measure how well labels agree with a reference.

    Pieces of one file are averaged, weighted by their duration: one value per clip, and one figure over all
    clips of a group, as challenges on MSP-Podcast do. Figures are given for all clips; per corpus, split and
    gender where these hold several values; and per value of the columns in `by`. A CCC or correlation is
    undefined, not 0, where one side is constant or has fewer than two clips.

    Intervals are bootstrapped over speakers where the reference names them, else over clips; speakers of the
    same name in two corpora are two.

    Args:
        labels: What a teacher said.
        reference: What to compare with.
        by: More columns of the reference to divide the clips by; any case.
        split: Only this split's clips; any case. The reference's splits count where it has any, else those
            of the labels.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        AudioError: If no clip is in both, or a name is ambiguous.
        ConfigError: If the reference has no column of `by`, or no clip is in `split`.
    """
    files = average_files(labels)
    pairs = match(files, reference)
    matched = _take(files, reference, _wanted(files, reference, pairs, split))
    grouping = _grouping(matched, reference, by)
    missed_files, missed_rows = _missed(files, reference, pairs, split)
    return Evaluation(
        labels=labels.path,
        digest=labels.digest,
        teachers=sorted(set(labels.teacher)),
        reference=reference.path,
        kind=reference.kind,
        split=split,
        split_from="reference" if "split" in reference.columns else "labels",
        unmatched_files=missed_files,
        unmatched_rows=missed_rows,
        unlabelled_rows=reference.unlabelled,
        resampling=_resampling(matched, resamples, seed),
        groups=[_group(matched, column, value, resamples, seed) for column, value in grouping],
    )


def _is(split: str | None, name: str) -> bool:
    return split is None or split.lower() == name.lower()


def _splits(files: Files, reference: Reference, pairs: Iterable[tuple[int, int]]) -> list[str]:
    if "split" in reference.columns:
        return [reference.columns["split"][j] for _, j in pairs]
    return [files.split[i] for i, _ in pairs]


def _wanted(
    files: Files, reference: Reference, pairs: Sequence[tuple[int, int]], split: str | None
) -> list[tuple[int, int]]:
    splits = _splits(files, reference, pairs)
    wanted = [pair for pair, name in zip(pairs, splits, strict=True) if _is(split, name)]
    if not wanted:
        known = ", ".join(sorted({name or NOT_STATED for name in splits}))
        raise ConfigError(f"no clip to compare is in split {split}", f"use one of {known}")
    return wanted


def _missed(
    files: Files, reference: Reference, pairs: Sequence[tuple[int, int]], split: str | None
) -> tuple[int, int]:
    """Return how many files and rows have no partner, of those that are known to be in the split."""
    used_files, used_rows = (set(side) for side in zip(*pairs, strict=True))
    missed_files = set(range(len(files.file))) - used_files
    missed_rows = set(range(len(reference))) - used_rows
    if "split" in reference.columns:
        missed_rows = {j for j in missed_rows if _is(split, reference.columns["split"][j])}
    else:
        missed_files = {i for i in missed_files if _is(split, files.split[i])}
    return len(missed_files), len(missed_rows)


def _take(files: Files, reference: Reference, pairs: Sequence[tuple[int, int]]) -> _Matched:
    ours, theirs = (list(side) for side in zip(*pairs, strict=True))
    columns = {name: np.array([values[j] for j in theirs]) for name, values in reference.columns.items()}
    columns["split"] = np.array(_splits(files, reference, pairs))
    nobody = [""] * len(pairs)
    corpora, speakers = (columns.get(name, nobody) for name in ("corpus", "speaker"))
    cluster = [
        f"clip {files.file[i]}" if speaker.lower() in UNKNOWN_SPEAKERS else f"speaker {speaker} of {corpus}"
        for i, speaker, corpus in zip(ours, speakers, corpora, strict=True)
    ]
    return _Matched(files.adv[ours], reference.adv[theirs], columns, np.array(cluster))


def _grouping(matched: _Matched, reference: Reference, by: Sequence[str]) -> list[tuple[str, str]]:
    """Return column and value of every group; the empty column for all clips."""
    asked = [name.lower() for name in by]
    for name in asked:
        if name not in matched.columns:
            known = ", ".join(sorted(matched.columns))
            raise ConfigError(f"{reference.path}: has no column {name} to group by", f"use one of {known}")
    usual = [
        name
        for name in USUAL_GROUPS
        if name in matched.columns and not is_constant(matched.columns[name]) and name not in asked
    ]
    columns = [*usual, *dict.fromkeys(asked)]
    return [("", ""), *((name, str(v)) for name in columns for v in np.unique(matched.columns[name]))]


def _resampling(matched: _Matched, resamples: int, seed: int) -> Resampling:
    lone = int(np.char.startswith(matched.cluster, "clip ").sum())
    unit = "clip" if lone == len(matched.cluster) else "speaker"
    return Resampling(unit, lone if unit == "speaker" else 0, resamples, seed)


def _group(matched: _Matched, column: str, value: str, resamples: int, seed: int) -> Group:
    rows = matched.columns[column] == value if column else np.full(len(matched.cluster), True)
    labels, reference = matched.labels[rows], matched.reference[rows]
    names, cluster = np.unique(matched.cluster[rows], return_inverse=True)
    limits = intervals(labels, reference, cluster, resamples, seed)
    figures = {
        metric: {
            dimension: _figure(metric, labels[:, d], reference[:, d], limits[metric][:, d])
            for d, dimension in enumerate(DIMENSIONS)
        }
        for metric in METRICS
    }
    return Group(column, value or (NOT_STATED if column else ""), len(labels), len(names), figures)


def _figure(
    metric: str,
    labels: NDArray[np.float64],
    reference: NDArray[np.float64],
    limits: NDArray[np.float64],
) -> Figure:
    reason = _undefined(labels, reference) if metric in BETWEEN else ""
    if reason:
        return Figure(None, None, f"undefined: {reason}")
    value = METRICS[metric](labels, reference)
    if np.isnan(limits).any():
        return Figure(value, None, f"{len(labels)} clips; interval undefined: too few to draw from")
    how = f"{len(labels)} clips; {CONFIDENCE_PERCENT} % interval by bootstrap"
    return Figure(value, (float(limits[0]), float(limits[1])), how)


def _undefined(labels: NDArray[np.float64], reference: NDArray[np.float64]) -> str:
    if len(labels) < LEAST_CLIPS:
        return f"fewer than {LEAST_CLIPS} clips"
    if is_constant(labels):
        return "all labels are the same"
    return "all reference values are the same" if is_constant(reference) else ""
