"""How to train a student; cheap to import: the pipeline asks for it on every build."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from distill.registry import require_student
from edgekit.audio import FrontEnd
from edgekit.audio.logmel import Level
from edgekit.errors import ConfigError

HOPS = (32, 64, 128)
Hearing = Literal["heard", "dry"]
Loss = Literal["ccc", "mse"]
Optimizing = Literal["adamw", "muon"]
Precision = Literal["float32", "bfloat16"]
RANGES = {
    "steps": (0, 10**9),
    "batch": (2, 10**6),
    "crop_s": (0.1, 600),
    "pool": (2, 10**9),
    "mixup": (0, 1),
    "learning_rate": (0, 1e30),
    "weight_decay": (0, 1e6),
    "evaluate_every": (1, 10**9),
    "seed": (0, 2**64 - 1),
    "threads": (1, 1024),
}
"""Least and most of the numbers: torch and numpy take no others."""


@dataclass(frozen=True)
class DistillConfig:
    """How to train a student.

    Attributes:
        student: Name of the network.
        level: Level normalisation of the front end.
        hop: Samples from one frame to the next: 32 as in the paper; 64 and 128 need half and about a quarter
            of the operations.
        steps: Optimiser steps.
        batch: Crops per step; the loss's statistics are over these, so it should be 64 or more.
        crop_s: Length of a training crop in seconds.
        pool: Augmented crops that are made before training; every step draws from them.
        augment: Change the crops as everyday life changes speech.
        mixup: Share of the crops that are two clips mixed.
        loss: Disagreement by concordance over the batch, or the mean squared error.
        optimizer: AdamW for all weights, or Muon for the matrices: from random weights it needs a fraction of
            the steps.
        learning_rate: Peak of the schedule; the matrices' under Muon is ten times that.
        weight_decay: Of either.
        labels: What a teacher that labels the crops hears: what the student does (`heard`), or the talker
            alone (`dry`), before rooms, noise and bandwidth.
        precision: Of the convolutions and linear layers in training; `bfloat16` takes half the time on
            processors that have it, and a little accuracy of the gradients.
        evaluate_every: Steps between measurements on the development clips.
        seed: Seed of the weights, the crops and the augmentation.
        final: Learn from the development clips too and keep the last weights: for weights that ship, once the
            settings are chosen. Otherwise the best on the development clips are kept.
        warm_start: Begin with the student that ships with edgekit, its batch normalisation frozen.
        threads: Threads inside torch's operators; two are slower than one whenever something else runs too.

    Raises:
        ConfigError: If there is no such student or choice, or a number is out of its range.
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
    loss: Loss = "ccc"
    optimizer: Optimizing = "adamw"
    learning_rate: float = 2e-4
    weight_decay: float = 0.01
    labels: Hearing = "dry"
    precision: Precision = "float32"
    evaluate_every: int = 5
    seed: int = 0
    final: bool = False
    warm_start: bool = True
    threads: int = 1

    def __post_init__(self) -> None:
        require_student(self.student)
        if self.level not in ("causal", "utterance"):
            raise ConfigError(f"unknown level {self.level!r}", "use causal or utterance")
        words = {"labels": Hearing, "loss": Loss, "optimizer": Optimizing, "precision": Precision}
        for name, kind in words.items():
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} = {getattr(self, name)!r}", f"use {' or '.join(get_args(kind))}")
        if self.hop not in HOPS:
            raise ConfigError(f"hop {self.hop}", f"use one of {', '.join(map(str, HOPS))}")
        for name, (least, most) in RANGES.items():
            # Not a number is in no range.
            if not least <= getattr(self, name) <= most:
                what = f"{name} = {getattr(self, name)} is out of range"
                raise ConfigError(what, f"use a number from {least} to {most}")

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


def with_settings(config: DistillConfig, settings: Sequence[str]) -> DistillConfig:
    """Return the settings with some changed.

    Args:
        config: Where to start.
        settings: NAME=VALUE each, the names those of the attributes; truth values are `true` and `false`.

    Raises:
        ConfigError: If there is no such setting, or a value is not of its kind or out of range.

    Example:
        >>> changed = with_settings(DistillConfig(), ["steps=500", "mixup=0", "augment=false"])
        >>> changed.steps, changed.mixup, changed.augment
        (500, 0.0, False)
    """
    changed: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in config.__dataclass_fields__:
            known = ", ".join(config.__dataclass_fields__)
            raise ConfigError(f"no setting {setting!r}", f"use NAME=VALUE with one of {known}")
        changed[name] = _parsed(name, text, type(getattr(config, name)))
    return replace(config, **changed)


def _parsed(name: str, text: str, kind: type) -> Any:
    truth = {"true": True, "false": False}
    try:
        return truth[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        kinds = {bool: "true or false", int: "a whole number", float: "a number"}
        raise ConfigError(f"{name} = {text!r}", f"use {kinds[kind]}") from error


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
        config,
        warm_start=False,
        steps=3000,
        pool=25600,
        mixup=0.0,
        optimizer="muon",
        learning_rate=3e-3,
        evaluate_every=100,
    )
