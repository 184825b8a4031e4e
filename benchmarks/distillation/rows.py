"""What is compared: one change at a time to the recipe of the students that ship, made cheaper."""

import shlex
from dataclasses import dataclass

from distill.config import DistillConfig, recommended_config, with_settings
from edgekit.audio.logmel import Level

STEPS, POOL = 600, 6400
FULL = "full"
"""Folder of the full teacher, which has to be put together first."""
BASE = ("final=true", f"steps={STEPS}", f"pool={POOL}", "precision=bfloat16")


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        name: Of its folder.
        title: What differs from the base.
        settings: As `edgekit distill --set` takes them, after the base's.
        level: Level normalisation.
        hop: Samples between frames.
        relabel: Who labels the crops, of several the mean; empty: they have the labels of their clips.
        share: Of the clips that are learned from.
    """

    name: str
    title: str
    settings: tuple[str, ...] = ()
    level: Level = "causal"
    hop: int = 128
    relabel: tuple[str, ...] = ("compact",)
    share: float = 1.0

    @property
    def config(self) -> DistillConfig:
        """The settings of its training."""
        start = recommended_config("wav2small", self.level, self.hop, from_scratch=True)
        return with_settings(start, (*BASE, *self.settings))

    @property
    def command(self) -> str:
        """The same as a command."""
        words = ["edgekit", "distill", "labels" if self.share == 1 else f"labels-{self.share:g}"]
        words += ["--from-scratch", "--level", self.level, "--hop", str(self.hop)]
        for teacher in self.relabel or ("none",):
            words += ["--relabel", teacher]
        for setting in (*BASE, *self.settings):
            words += ["--set", setting]
        return shlex.join([*words, "--out", self.name])


ABLATIONS = (
    Row("base", "the recipe"),
    Row("loss-mse", "loss: mean squared error instead of concordance", ("loss=mse",)),
    Row("adamw", "optimiser: AdamW for all weights", ("optimizer=adamw",)),
    Row("mixup-0.2", "mixup: a fifth of the crops", ("mixup=0.2",)),
    Row("mixup-0.5", "mixup: half of the crops", ("mixup=0.5",)),
    Row("augment-off", "augmentation: none; speed and filters stay", ("augment=false",)),
    Row("labels-of-clips", "labels: those of the clips, no speed, no filters", relabel=()),
    Row("labels-full", "labels: of the full teacher", relabel=(FULL,)),
    Row("labels-both", "labels: the mean of both teachers'", relabel=("compact", FULL)),
    Row("labels-heard", "labels: of what the student hears, noise and rooms included", ("labels=heard",)),
    Row("utterance", "normaliser: over the whole clip", level="utterance"),
    Row("hop-64", "hop 64", hop=64),
    Row("hop-32", "hop 32", hop=32),
    Row("steps-300", "half of the steps", ("steps=300",)),
    Row("steps-1200", "twice the steps, the same crops", ("steps=1200",)),
    Row("pool-12800", "twice the crops, the same steps", ("pool=12800",)),
    Row("crop-1", "crops of 1 s", ("crop_s=1",)),
    Row("crop-3", "crops of 3 s", ("crop_s=3",)),
    Row("seed-1", "another seed", ("seed=1",)),
)
SHARES = (0.125, 0.25, 0.5)
AMOUNTS = tuple(Row(f"clips-{share:g}", f"{share:.0%} of the clips", share=share) for share in SHARES)
AMOUNTS_HOP_32 = tuple(
    Row(f"hop-32-clips-{share:g}", f"hop 32, {share:.0%} of the clips", hop=32, share=share)
    for share in SHARES[1:]
)
ALL = (*ABLATIONS, *AMOUNTS, *AMOUNTS_HOP_32)
