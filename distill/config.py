"""How to train a student; cheap to import: the pipeline asks for it on every build."""

from dataclasses import dataclass, replace

from distill.registry import require_student
from edgekit.audio import FrontEnd
from edgekit.audio.logmel import Level
from edgekit.errors import ConfigError


@dataclass(frozen=True)
class DistillConfig:
    """How to train a student.

    Attributes:
        student: Name of the network.
        level: Level normalisation of the front end.
        steps: Optimiser steps.
        batch: Crops per step; the loss's statistics are over these, so it should be 64 or more.
        crop_s: Length of a training crop in seconds.
        learning_rate: Peak of the schedule.
        weight_decay: AdamW's.
        evaluate_every: Steps between measurements on the development clips.
        seed: Seed of the weights, the crops and the augmentation.
        warm_start: Begin with the student that ships with edgekit, its batch normalisation frozen.
        threads: Threads inside torch's operators; two are slower than one whenever something else runs too.
    """

    student: str = "wav2small"
    level: Level = "causal"
    steps: int = 20
    batch: int = 64
    crop_s: float = 2.0
    learning_rate: float = 2e-4
    weight_decay: float = 0.01
    evaluate_every: int = 5
    seed: int = 0
    warm_start: bool = True
    threads: int = 1

    def __post_init__(self) -> None:
        require_student(self.student)
        if self.level not in ("causal", "utterance"):
            raise ConfigError(f"unknown level {self.level!r}", "use causal or utterance")
        for name, least in (("steps", 0), ("batch", 2), ("evaluate_every", 1), ("threads", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} = {getattr(self, name)} is too small", f"use at least {least}")
        if self.crop_s < 0.1:
            raise ConfigError(f"crop_s = {self.crop_s} is too short", "use at least 0.1 seconds")

    @property
    def front_end(self) -> FrontEnd:
        """The features that the student is made for."""
        return FrontEnd(level=self.level)


def recommended_config(
    student: str = "wav2small", level: Level = "causal", seed: int = 0, *, from_scratch: bool = False
) -> DistillConfig:
    """Return the settings of a short warm start, or of the long training that random weights need.

    Raises:
        ConfigError: If there is no such student or level.
    """
    config = DistillConfig(student, level, seed=seed)
    if not from_scratch:
        return config
    return replace(config, warm_start=False, steps=1000, learning_rate=3e-3, evaluate_every=50)
