"""Every operator of the integer graph in words, from the code: what it computes, what makes it legal."""

import inspect
from dataclasses import dataclass

from edgekit.graph.reference import OPERATORS
from edgekit.graph.spec import CONSTRAINTS


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
        kind: Its name in the graph.
        summary: What it computes, in a sentence.
        constraints: What has to hold, in the words of the error that names it otherwise.
    """

    kind: str
    summary: str
    constraints: tuple[str, ...]


def operators() -> list[Operator]:
    """Return every operator, in the order of the reference.

    Example:
        >>> [op.constraints for op in operators() if op.kind == "flatten"]
        [('the first input is int8.', 'the output is int8.')]
    """
    found = []
    for kind, function in OPERATORS.items():
        summary = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
        constraints = tuple(" ".join((rule.__doc__ or "").split()) for rule in CONSTRAINTS[kind])
        found.append(Operator(kind, summary, constraints))
    return found
