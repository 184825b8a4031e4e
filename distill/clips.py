"""Labelled clips in memory, by what they are for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import AudioError

if TYPE_CHECKING:
    from edgekit.labels import LabelSet

Samples = NDArray[np.float32]
DEV_SHARE = 5
"""Every fifth training clip becomes development material where the labels name none."""


@dataclass(frozen=True)
class Clips:
    """Clips of 16 kHz audio and the teacher's (N, 3) arousal, dominance, valence of each."""

    audio: Sequence[Samples]
    targets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.audio)


def joined(one: Clips, other: Clips) -> Clips:
    """Return the clips of two sets."""
    return Clips([*one.audio, *other.audio], np.concatenate([one.targets, other.targets]))


@dataclass(frozen=True)
class Splits:
    """Clips by what they are for; `test` may be empty."""

    train: Clips
    dev: Clips
    test: Clips


def load_splits(labels: "LabelSet", least_samples: int) -> Splits:
    """Read the audio of a label set, by split.

    Without clips marked `dev`, every fifth training clip is taken for it; a single clip serves as both.

    Args:
        labels: The label set.
        least_samples: Clips shorter than this give no prediction.

    Raises:
        AudioError: If no clip is marked `train`, or a clip is too short or cannot be read.
    """
    rows: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
    # In an order of their own, not that of their paths: the same audio trains the same student anywhere.
    for row in sorted(range(len(labels)), key=lambda row: labels.audio_sha256[row]):
        rows[labels.split[row]].append(row)
    if not rows["train"]:
        raise AudioError("the labels hold no clip of split train", "label more clips with edgekit label")
    if not rows["dev"]:
        train = rows["train"]
        rows["dev"] = train[DEV_SHARE - 1 :: DEV_SHARE] or train
        held_out = set(rows["dev"])
        rows["train"] = [row for row in train if row not in held_out] or train
    return Splits(**{split: _load(labels, numbers, least_samples) for split, numbers in rows.items()})


def _load(labels: "LabelSet", rows: list[int], least_samples: int) -> Clips:
    audio = [labels.clip(row) for row in rows]
    for row, samples in zip(rows, audio, strict=True):
        if samples.size < least_samples:
            what = f"{labels.file[row]}: {samples.size} samples are too few for the student ({least_samples})"
            raise AudioError(what, "leave out clips this short, then run edgekit label again")
    targets = np.asarray(labels.adv, np.float32)[rows].reshape(-1, 3)
    return Clips(audio, targets)
