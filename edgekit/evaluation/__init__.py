"""How well labels agree with a reference: figures, their intervals, and what they were measured on."""

from edgekit.evaluation.evaluate import Evaluation, Figure, Group, evaluate
from edgekit.evaluation.matching import as_reference
from edgekit.evaluation.reference import Reference, read_reference

__all__ = ["Evaluation", "Figure", "Group", "Reference", "as_reference", "evaluate", "read_reference"]
