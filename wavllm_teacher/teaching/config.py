"""How to train a dual-encoder teacher; cheap to import."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit.errors import ConfigError

LEAST_BATCH = 64
"""Smaller batches give poor concordance statistics."""
SINGLE_SHARE = 0.25
"""Part of all steps that is single tasks, where only their sum is given."""


def stage_steps(steps: int) -> dict[str, int]:
    """Return the steps of both stages as settings of a `TeachConfig`.

    Example:
        >>> stage_steps(400)
        {'single_steps': 100, 'joint_steps': 300}
    """
    single = round(SINGLE_SHARE * steps)
    return {"single_steps": single, "joint_steps": steps - single}


@dataclass(frozen=True)
class TeachConfig:
    """How to train a dual-encoder teacher, and on what.

    Attributes:
        corpora: Folders of clips whose tables give split and A/D/V labels.
        whisper: Folder of a Whisper encoder; None leaves it out.
        wavlm: Folder of a WavLM encoder; None leaves it out.
        size: `small`, or the sizes of the `paper`.
        single_steps: Steps of the first stage, whose batches are of one corpus and one dimension in turn.
        joint_steps: Steps of the second stage, over all corpora and dimensions.
        batch: Crops a step.
        copies: Versions of every training clip: the clip itself and `copies - 1` augmented ones.
        crop_frames: Longest crop in encoder frames, 50 a second.
        learning_rate: Peak of each stage's schedule.
        weight_decay: AdamW's.
        dropout: Share of features dropped in training.
        evaluate_every: Steps between measurements on the dev clips.
        seed: Seed of weights, copies, crops and dropout.
        threads: Threads inside torch's operators; their number changes the last bits.
    """

    corpora: tuple[Path, ...]
    whisper: Path | None = None
    wavlm: Path | None = None
    size: Literal["small", "paper"] = "small"
    single_steps: int = 100
    joint_steps: int = 300
    batch: int = LEAST_BATCH
    copies: int = 4
    crop_frames: int = 150
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.3
    evaluate_every: int = 25
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if not self.corpora:
            raise ConfigError("no corpus given", "name folders of clips: edgekit teach CORPUS… --out DIR")
        if not self.encoders:
            raise ConfigError("no encoder given", "give --whisper DIR, --wavlm DIR, or both")
        if self.size not in ("small", "paper"):
            raise ConfigError(f"unknown size {self.size!r}", "use small or paper")
        least = {"single_steps": 0, "joint_steps": 0, "batch": LEAST_BATCH, "copies": 1}
        for name, bound in {**least, "crop_frames": 1, "evaluate_every": 1, "threads": 1, "seed": 0}.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"{name} = {getattr(self, name)} is too small", f"use at least {bound}")

    @property
    def encoders(self) -> dict[str, Path]:
        """Encoder to its folder, for those that are given."""
        given = {"whisper": self.whisper, "wavlm": self.wavlm}
        return {name: folder for name, folder in given.items() if folder is not None}

    @property
    def steps(self) -> int:
        """Steps of both stages."""
        return self.single_steps + self.joint_steps

    def params(self) -> dict[str, Any]:
        """Return the settings that are not paths, JSON-ready."""
        paths = ("corpora", "whisper", "wavlm")
        settings = {name: value for name, value in asdict(self).items() if name not in paths}
        return {**settings, "encoders": list(self.encoders)}
