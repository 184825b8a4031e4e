"""What is compared: the ways to quantize, one change at a time to the two that a build offers."""

from dataclasses import dataclass, field
from typing import Any

from benchmarks.students.training import Variant
from quantize.config import QuantizeConfig


@dataclass(frozen=True)
class Row:
    """One way to quantize.

    Attributes:
        title: What differs from a build's.
        settings: Of `QuantizeConfig`.
    """

    title: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> QuantizeConfig:
        """The settings; clips that a stage would measure on are left out, they are measured here."""
        return QuantizeConfig(**self.settings)


DEFAULTS = (Row("`mixed4`, as built", {"weights": "mixed4"}), Row("`int8`, as built", {"weights": "int8"}))


def changes(weights: str) -> tuple[Row, ...]:
    """Return one change at a time, without training afterwards: that would hide what each does."""
    base: dict[str, Any] = {"weights": weights, "qat_steps": 0}
    return (
        Row("without fine-tuning", base),
        Row("ranges: `mse`", {**base, "ranges": "mse"}),
        Row("ranges: `percentile`", {**base, "ranges": "percentile"}),
        Row("biases not corrected", {**base, "correct_biases": False}),
        Row("channels not equalised", {**base, "equalize": False}),
        Row("fine-tuned, 50 steps", {"weights": weights, "qat_steps": 50}),
    )


VARIANTS = (Variant("wav2small", "causal"), Variant("wav2small"), Variant("wav2small", "causal", 128))
