"""Numbers that say where they come from, and budgets that they are held to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Basis = Literal["measured", "estimated"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """One number and where it comes from.

    Attributes:
        value: The number, in the unit that its name ends in; None where it is undefined.
        basis: Whether it was measured or estimated.
        how: By what it was measured, or with which model it was estimated.
        interval: Where the true value lies, lowest and highest, as far as the error of the model is known.
    """

    value: float | None
    basis: Basis
    how: str
    interval: Interval | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        values: dict[str, object] = {"value": self.value, "basis": self.basis, "how": self.how}
        return values | ({"interval": list(self.interval)} if self.interval else {})


Figures = Mapping[str, Figure]


@dataclass(frozen=True)
class Limit:
    """The most that a budget allows.

    Attributes:
        value: In the unit that the budget's name ends in.
        origin: Who says so: the target, or a budget file.
    """

    value: float
    origin: str


@dataclass(frozen=True)
class Verdict:
    """One budget and what the build made of it.

    Attributes:
        budget: Name of the budget; ends in its unit.
        limit: The most that is allowed.
        actual: What the build needs.
    """

    budget: str
    limit: Limit
    actual: Figure

    @property
    def held(self) -> bool:
        """Whether the build stays within the budget."""
        return self.actual.value is not None and self.actual.value <= self.limit.value

    @property
    def margin_percent(self) -> float | None:
        """What is left of the budget in percent of it; negative by how much it is exceeded; None of nothing.

        Example:
            >>> Verdict("flash_bytes", Limit(200, "target"), Figure(150, "measured", "")).margin_percent
            25.0
        """
        if self.actual.value is None or not self.limit.value:
            return None
        return 100 * (1 - self.actual.value / self.limit.value)

    @property
    def within_error(self) -> bool:
        """Whether the limit lies within the error of the estimate: the device may give the other verdict."""
        return self.actual.interval is not None and (
            self.actual.interval[0] <= self.limit.value < self.actual.interval[1]
        )

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        limit = {"limit": self.limit.value, "limit_from": self.limit.origin}
        judged = {"verdict": "pass" if self.held else "fail", "within_error": self.within_error}
        actual = {"actual": self.actual.value, "margin_percent": self.margin_percent}
        return {**judged, **limit, **actual, "basis": self.actual.basis, "how": self.actual.how}
