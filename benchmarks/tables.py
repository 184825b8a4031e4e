"""Cells and lines of the tables on the pages."""

from collections.abc import Mapping, Sequence

from edgekit.metrics import DIMENSIONS


def ccc_cell(ccc: Mapping[str, float], places: int = 3) -> str:
    """Return agreement as a cell of a table.

    Example:
        >>> ccc_cell({"arousal": 0.9123, "dominance": -0.01, "valence": 0.5})
        '.912 / -.010 / .500'
    """
    return " / ".join(f"{ccc[name]:.{places}f}".replace("0.", ".", 1) for name in DIMENSIONS)


def line(cells: Sequence[str]) -> str:
    """Return a line of a table."""
    return "| " + " | ".join(cells) + " |"
