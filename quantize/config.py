"""How to quantize a student; cheap to import: the pipeline asks for it on every build."""

from dataclasses import dataclass
from typing import Literal

from edgekit.audio import SAMPLE_RATE_HZ
from edgekit.errors import ConfigError

WEIGHTS = ("mixed4", "int8")
FINETUNING_STEPS = {"mixed4": 50, "int8": 0}
RANGE_CHOICES = ("mse", "minmax", "percentile")
LONGEST_WINDOW_S = 30.0


@dataclass(frozen=True)
class QuantizeConfig:
    """How to quantize.

    Attributes:
        weights: `mixed4` stores the wide fully connected layers in int4, `int8` none.
        calibration_clips: Training clips that the activation ranges are read from.
        correction_clips: How many of those the last bias is corrected on.
        evaluation_clips: Held-out clips that the agreement with the float student is measured on, at most.
        ranges: How the range of an activation is chosen: all that was seen (`minmax`), least square error
            (`mse`), or all but the outermost values (`percentile`).
        equalize: Make the channels of activations alike first (see `equalization`).
        correct_biases: Let biases make up for the mean of what rounding takes.
        window_s: What a network hears at a time that cannot stream, and of each clip that is fine-tuned on;
            shorter clips are repeated.
        qat_clips: Training clips that quantization-aware training learns from.
        qat_steps: Its steps; None: 50 with `mixed4`, 0 with `int8`.

    Raises:
        ConfigError: If a setting is none of what there is, or out of range.
    """

    weights: Literal["mixed4", "int8"] = "mixed4"
    calibration_clips: int = 64
    correction_clips: int = 32
    evaluation_clips: int = 96
    ranges: Literal["mse", "minmax", "percentile"] = "minmax"
    equalize: bool = True
    correct_biases: bool = True
    window_s: float = 2.0
    qat_clips: int = 160
    qat_steps: int | None = None

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise ConfigError(f"unknown weights {self.weights!r}", f"use one of {', '.join(WEIGHTS)}")
        if self.ranges not in RANGE_CHOICES:
            raise ConfigError(f"unknown ranges {self.ranges!r}", f"use one of {', '.join(RANGE_CHOICES)}")
        if not 0.1 <= self.window_s <= LONGEST_WINDOW_S:
            raise ConfigError(f"window_s = {self.window_s}", f"use 0.1 to {LONGEST_WINDOW_S:g} seconds")
        if self.qat_steps is None:
            object.__setattr__(self, "qat_steps", FINETUNING_STEPS[self.weights])
        elif self.qat_steps < 0:
            raise ConfigError(f"qat_steps = {self.qat_steps}", "use 0 or more")

    @property
    def window_samples(self) -> int:
        """`window_s` in samples at 16 kHz."""
        return round(self.window_s * SAMPLE_RATE_HZ)
