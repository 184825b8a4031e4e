"""What would meet the budgets: changes that a build has tried, held to the limits that a report is about."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgekit.report.budget import MISSED
from edgekit.report.figures import Verdict
from edgekit.report.rows import Remedy

DEADLINES = "deadlines"
"""What stands for missed deadlines among the budgets that a remedy exceeds."""


def remedies_of(rows: Iterable[Mapping[str, Any]], verdicts: Sequence[Verdict]) -> tuple[Remedy, ...]:
    """Return what would meet the budgets, what holds all of them first; nothing where the build does.

    Args:
        rows: What `remedies.json` says, against the limits of the target.
        verdicts: Of the build, against the limits that count.
    """
    if all(verdict.held for verdict in verdicts):
        return ()
    found = [_judged(row, verdicts) for row in rows]
    return tuple(sorted(found, key=lambda remedy: not remedy.held))


def _judged(row: Mapping[str, Any], verdicts: Sequence[Verdict]) -> Remedy:
    over = tuple(
        DEADLINES if verdict.budget == MISSED else verdict.budget
        for verdict in verdicts
        if _exceeds(row, verdict)
    )
    return Remedy(**{**row, "over": over, "held": not over})


def _exceeds(row: Mapping[str, Any], verdict: Verdict) -> bool:
    if verdict.budget not in row:
        # Nothing to compare: as it was found against the limit of the target.
        return verdict.budget in row["over"]
    value = row[verdict.budget]
    return value is None or value > verdict.limit.value
