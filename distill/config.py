"""How to train a student; cheap to import: the pipeline asks for it on every build."""

from dataclasses import dataclass, replace

from distill.registry import require_student
from edgekit.audio import FrontEnd
from edgekit.audio.logmel import Level
from edgekit.errors import ConfigError

HOPS = (32, 64, 128)


@dataclass(frozen=True)
class DistillConfig:
    """How to train a student.

    Attributes:
        student: Name of the network.
        level: Level normalisation of the front end.
        hop: Samples from one frame to the next: 32 as in the paper; 64 and 128 need half and a quarter of
            the operations.
        steps: Optimiser steps.
        batch: Crops per step; the loss's statistics are over these, so it should be 64 or more.
        crop_s: Length of a training crop in seconds.
        pool: Augmented crops that are made before training; every step draws from them.
        augment: Change the crops as everyday life changes speech.
        mixup: Share of the crops that are two clips mixed.
        learning_rate: Peak of the schedule.
        weight_decay: AdamW's.
        evaluate_every: Steps between measurements on the development clips.
        seed: Seed of the weights, the crops and the augmentation.
        warm_start: Begin with the student that ships with edgekit, its batch normalisation frozen.
        threads: Threads inside torch's operators; two are slower than one whenever something else runs too.
    """

    student: str = "wav2small"
    level: Level = "causal"
    hop: int = 32
    steps: int = 20
    batch: int = 64
    crop_s: float = 2.0
    pool: int = 1280
    augment: bool = True
    mixup: float = 0.2
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
        if self.hop not in HOPS:
            raise ConfigError(f"hop {self.hop}", f"use one of {', '.join(map(str, HOPS))}")
        if not 0 <= self.mixup <= 1:
            raise ConfigError(f"mixup = {self.mixup}", "use a share from 0 to 1")
        for name, least in (("steps", 0), ("batch", 2), ("pool", 2), ("evaluate_every", 1), ("threads", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} = {getattr(self, name)} is too small", f"use at least {least}")
        if self.crop_s < 0.1:
            raise ConfigError(f"crop_s = {self.crop_s} is too short", "use at least 0.1 seconds")

    @property
    def front_end(self) -> FrontEnd:
        """The features that the student is made for."""
        # The window is at least a hop, so that no sample goes unheard; the level remembers as many seconds.
        shortest = FrontEnd()
        return FrontEnd(
            n_fft=max(shortest.n_fft, self.hop),
            hop=self.hop,
            level=self.level,
            memory_frames=shortest.memory_frames * shortest.hop // self.hop,
        )


def recommended_config(
    student: str = "wav2small",
    level: Level = "causal",
    hop: int = 32,
    seed: int = 0,
    *,
    from_scratch: bool = False,
) -> DistillConfig:
    """Return the settings of a short warm start, or of the long training that random weights need.

    Raises:
        ConfigError: If there is no such student or level.
    """
    config = DistillConfig(student, level, hop, seed=seed)
    if not from_scratch:
        return config
    return replace(
        config, warm_start=False, steps=1000, pool=12800, crop_s=1.5, learning_rate=3e-3, evaluate_every=50
    )
