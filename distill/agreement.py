"""Student against teacher, with a word on where agreement is undefined."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.metrics import DIMENSIONS, ccc


@dataclass(frozen=True)
class Agreement:
    """CCC per dimension; None where it is undefined, with the reason under the same name.

    Attributes:
        ccc: Dimension to CCC or None.
        undefined: Dimension to the reason, for those that are None.
        error: Mean squared error over all values.
    """

    ccc: dict[str, float | None]
    undefined: dict[str, str]
    error: float

    @property
    def score(self) -> float:
        """What training maximises: the mean of the defined CCCs, or minus the error without any."""
        defined = [value for value in self.ccc.values() if value is not None]
        return float(np.mean(defined)) if defined else -self.error

    def to_dict(self) -> dict[str, Any]:
        """Return the CCCs rounded to six digits, JSON-ready."""
        return {name: None if value is None else round(value, 6) for name, value in self.ccc.items()}


def measure(prediction: NDArray[np.floating], target: NDArray[np.floating]) -> Agreement:
    """Compare (N, 3) predictions with (N, 3) teacher values, N at least 1."""
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for index, name in enumerate(DIMENSIONS):
        reason = _undefined(target[:, index])
        values[name] = None if reason else ccc(prediction[:, index], target[:, index])
        if reason:
            reasons[name] = reason
    error = np.mean((prediction.astype(np.float64) - target) ** 2)
    return Agreement(values, reasons, float(error))


def _undefined(target: NDArray[np.floating]) -> str:
    if target.size < 2:
        return "one clip: concordance needs at least two"
    if np.ptp(target) == 0:
        return "the teacher gave every clip the same value"
    return ""
