"""Figures of tasks as JSON and as a table, beside those of the paper where they are known."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wavllm_teacher.speech_llm.evaluating import Figure, TaskResult

SCHEMA = 1
TITLES = {
    "word_error_rate": "word error rate",
    "bleu": "BLEU",
    "accuracy": "accuracy",
    "equal_error_rate": "equal error rate",
    "unweighted_recall": "unweighted recall",
    "instruction_following": "instruction following",
    "part_accuracy": "parts right",
}


@dataclass(frozen=True)
class PaperFigure:
    """A figure of WavLLM (arXiv 2404.00656).

    Attributes:
        value: As in `Figure`.
        on: The test set.
        mark: How it is known: `second-hand` from somebody's notes, `unverified` from memory.
    """

    value: float
    on: str
    mark: str


UNKNOWN_SET = "test set not known"
SECOND_HAND, UNVERIFIED = "second-hand", "unverified"
PAPER = {
    ("recognition", "word_error_rate"): (
        PaperFigure(0.020, "LibriSpeech test-clean", SECOND_HAND),
        PaperFigure(0.048, "LibriSpeech test-other", SECOND_HAND),
    ),
    ("emotion", "accuracy"): (PaperFigure(0.72, "IEMOCAP", UNVERIFIED),),
    ("verification", "accuracy"): (PaperFigure(0.91, UNKNOWN_SET, UNVERIFIED),),
    ("questions", "accuracy"): (PaperFigure(0.6755, UNKNOWN_SET, UNVERIFIED),),
    ("multiple", "instruction_following"): (PaperFigure(0.925, UNKNOWN_SET, SECOND_HAND),),
}
"""Task and metric to what the paper is said to have; its own table was not at hand."""


def to_dict(results: Sequence[TaskResult]) -> dict[str, Any]:
    """Return the JSON form: task to its figures, each with the paper's beside it."""
    return {"schema": SCHEMA, "tasks": {result.task: _task_dict(result) for result in results}}


def _task_dict(result: TaskResult) -> dict[str, Any]:
    figures = {
        figure.metric: {
            "value": figure.value,
            "basis": "measured",
            "how": figure.how,
            "paper": [asdict(paper) for paper in PAPER.get((result.task, figure.metric), ())],
        }
        for figure in result.figures
    }
    return {"items": result.items, "figures": figures, "left_out": [asdict(left) for left in result.left_out]}


def render(results: Sequence[TaskResult]) -> RenderableType:
    """Return what was measured beside what the paper is said to have, and what was left out, to print."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for column in ("task", "items", "figure", "measured", "WavLLM"):
        table.add_column(column, overflow="fold")
    for result in results:
        for row, figure in enumerate(result.figures):
            named = (result.task, f"{result.items:,}") if row == 0 else ("", "")
            table.add_row(*named, TITLES[figure.metric], shown(figure), _paper(result.task, figure))
    return Group(table, *(Text(_left_out(result), style="yellow") for result in results if result.left_out))


def _left_out(result: TaskResult) -> str:
    count, first = len(result.left_out), result.left_out[0]
    whole = f"left out: {count:,} of {result.items + count:,} of {result.task}"
    told = f"{whole}{', the first' if count > 1 else ''}: {first.item}: {first.reason}"
    # A file's name need not be valid UTF-8, a terminal's text must be.
    return told.encode(errors="backslashreplace").decode()


def shown(figure: Figure) -> str:
    """Return a figure for people.

    Example:
        >>> shown(Figure("accuracy", 0.5, "")), shown(Figure("bleu", 31.25, ""))
        ('50.0 %', '31.2')
        >>> shown(Figure("equal_error_rate", None, ""))
        'undefined'
    """
    return "undefined" if figure.value is None else _number(figure.metric, figure.value)


def _number(metric: str, value: float) -> str:
    return f"{value:.1f}" if metric == "bleu" else f"{value:.1%}".replace("%", " %")


def _paper(task: str, figure: Figure) -> str:
    known = PAPER.get((task, figure.metric), ())
    return "\n".join(f"{_number(figure.metric, p.value)} ({p.on}; {p.mark})" for p in known)
