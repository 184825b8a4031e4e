"""An evaluation as JSON, and for a terminal: readable at 80 columns."""

from collections.abc import Mapping
from dataclasses import asdict

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from edgekit.evaluation.bootstrap import CONFIDENCE_PERCENT, METHOD
from edgekit.evaluation.evaluate import FEW_CLUSTERS, UNITS, Evaluation, Figure, Group, Resampling
from edgekit.evaluation.reference import LABELS
from edgekit.metrics import DIMENSIONS

SCHEMA = 1
TITLES = {"ccc": "CCC", "pearson": "Pearson", "rmse": "RMSE"}
TITLES_OF_LABELS = {"ccc": "CCC", "mae": "mean difference", "rmse": "RMSE"}
"""What a table shows of two teachers: they may be compared without either being right."""
DECIMALS = 3


def to_dict(found: Evaluation) -> dict[str, object]:
    """Return the JSON form: every figure with its interval, unit and how it was measured."""
    return {
        "schema": SCHEMA,
        "labels": str(found.labels),
        "labels_digest": found.digest,
        "teachers": found.teachers,
        "reference": str(found.reference),
        "reference_kind": found.kind,
        "split": found.split,
        "split_from": found.split_from,
        "unmatched_files": found.unmatched_files,
        "unmatched_rows": found.unmatched_rows,
        "unlabelled_rows": found.unlabelled_rows,
        "resampling": asdict(found.resampling)
        | {"confidence_percent": CONFIDENCE_PERCENT, "how": resampled(found.resampling)},
        "groups": [_group_dict(group) for group in found.groups],
    }


def _group_dict(group: Group) -> dict[str, object]:
    figures = {
        metric: {dimension: _figure_dict(metric, figure) for dimension, figure in row.items()}
        for metric, row in group.figures.items()
    }
    named = {"by": group.by or None, "value": group.value or None, "clips": group.clips}
    return {
        **named,
        "clusters": group.clusters,
        "few_clusters": group.few_clusters,
        "figures": figures,
    }


def _figure_dict(metric: str, figure: Figure) -> dict[str, object]:
    low, high = figure.interval or (None, None)
    limits = {"value": figure.value, "low": low, "high": high}
    return {**limits, "unit": UNITS[metric], "basis": "measured", "how": figure.how}


def resampled(resampling: Resampling) -> str:
    """Return how the intervals were made, in words.

    Example:
        >>> resampled(Resampling("speaker", 0, 2000, 0))
        'expanded percentile bootstrap, 2,000 resamples by speaker, seed 0'
    """
    how = f"{METHOD}, {resampling.resamples:,} resamples by {resampling.unit}"
    how += f", seed {resampling.seed}"
    if resampling.lone_clips:
        how += f"; {resampling.lone_clips:,} clips of unknown speakers count as a speaker each"
    return how


def render(found: Evaluation) -> RenderableType:
    """Return the whole evaluation, ready to print with rich."""
    parts: list[RenderableType] = [
        Text(f"{found.labels} against {found.reference}", style="bold"),
        Text(f"teacher {', '.join(found.teachers)}; reference: {found.kind}; {_clips_of(found)}"),
        *(Text(line, style="yellow") for line in _left_out(found)),
        Text(f"[low, high]: {CONFIDENCE_PERCENT} % interval, {resampled(found.resampling)}", style="dim"),
    ]
    titles = TITLES_OF_LABELS if found.kind.startswith(LABELS) else TITLES
    for group in found.groups:
        parts += [Text(), Text(_heading(found, group), style="bold"), _table(group, titles)]
    return Stack(*parts, *_warning(found))


def _clips_of(found: Evaluation) -> str:
    if found.split is None:
        return "all splits"
    return f"split {found.split} of the {found.split_from}"


def _left_out(found: Evaluation) -> list[str]:
    counts = {
        "labelled files are not in the reference": found.unmatched_files,
        "reference rows have no labelled file": found.unmatched_rows,
        "reference rows hold no arousal, dominance and valence": found.unlabelled_rows,
    }
    return [f"left out: {count:,} {what}" for what, count in counts.items() if count]


def _heading(found: Evaluation, group: Group) -> str:
    name = f"{group.by} {group.value}" if group.by else "all"
    return f"{name}: {_count(group.clips, 'clip')}{_drawn(found, group)}"


def _drawn(found: Evaluation, group: Group) -> str:
    unit = found.resampling.unit
    return "" if unit == "clip" else f", {_count(group.clusters, unit)}"


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def _table(group: Group, titles: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for column in ("", *titles.values()):
        table.add_column(column, no_wrap=True)
    for dimension in DIMENSIONS:
        shown = (_shown(group.figures[metric][dimension]) for metric in titles)
        # As text: in a plain string, brackets would be markup.
        table.add_row(dimension, *map(Text, shown))
    return table


def _shown(figure: Figure) -> str:
    """Return a figure and its interval.

    Example:
        >>> _shown(Figure(0.5, (-0.25, 0.75), "")), _shown(Figure(None, None, ""))
        ('0.500 [-0.250, 0.750]', 'undefined')
    """
    if figure.value is None:
        return "undefined"
    if figure.interval is None:
        return f"{figure.value:.{DECIMALS}f} [undefined]"
    low, high = figure.interval
    return f"{figure.value:.{DECIMALS}f} [{low:.{DECIMALS}f}, {high:.{DECIMALS}f}]"


def _warning(found: Evaluation) -> list[RenderableType]:
    few = [group for group in found.groups if group.few_clusters]
    if not few:
        return []
    unit = found.resampling.unit
    names = ", ".join(f"{group.by} {group.value}" if group.by else "all" for group in few)
    text = (
        f"\nwarning: fewer than {FEW_CLUSTERS} {unit}s in {names}: such intervals are too narrow, "
        f"and say little about other {unit}s"
    )
    return [Text(text, style="yellow")]
