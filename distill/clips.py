"""Labelled clips in memory, and the batches of features that training draws from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.audio import SAMPLE_RATE_HZ, FrontEnd, log_mel
from edgekit.audio.augment import (
    RT60_RANGE_S,
    SNR_RANGE_DB,
    babble,
    band_limit,
    coloured_noise,
    gain_db,
    room,
)
from edgekit.errors import AudioError

if TYPE_CHECKING:
    from edgekit.labels import LabelSet

Samples = NDArray[np.float32]
DEV_SHARE = 5
"""Every fifth training clip becomes development material where the labels name none."""
TALKERS = 3


@dataclass(frozen=True)
class Clips:
    """Clips of 16 kHz audio and the teacher's (N, 3) arousal, dominance, valence of each."""

    audio: Sequence[Samples]
    targets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.audio)


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
    for row, split in enumerate(labels.split):
        rows[split].append(row)
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


def draw_batch(
    clips: Clips, size: int, crop_samples: int, front_end: FrontEnd, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw clips with replacement and return features of one random, augmented crop of each.

    Args:
        clips: What to draw from.
        size: Number of crops B.
        crop_samples: Length of each; a shorter clip is repeated.
        front_end: The features; a causal level starts anew with each crop.
        rng: The generator; the same state gives the same batch.

    Returns:
        (B, T, M) log-mel frames in dB and (B, 3) teacher values of the crops' clips.
    """
    rows = rng.integers(len(clips), size=size)
    crops = (_augment(_crop(clips.audio[row], crop_samples, rng), clips, rng) for row in rows)
    return np.stack([log_mel(crop, front_end) for crop in crops]), clips.targets[rows]


def _crop(samples: Samples, length: int, rng: np.random.Generator) -> Samples:
    if samples.size <= length:
        return np.resize(np.roll(samples, -int(rng.integers(samples.size))), length)
    start = int(rng.integers(samples.size - length + 1))
    return samples[start : start + length]


def _augment(samples: Samples, clips: Clips, rng: np.random.Generator) -> Samples:
    """Change what leaves the emotion as it is: room, noise or other talkers, bandwidth, level."""
    if rng.random() < 0.2:
        samples = room(samples, rng, rng.uniform(*RT60_RANGE_S))
    if rng.random() < 0.3:
        snr_db = rng.uniform(*SNR_RANGE_DB)
        if rng.random() < 0.4:
            samples = babble(samples, rng, snr_db, clips.audio, TALKERS)
        else:
            samples = coloured_noise(samples, rng, snr_db, rng.uniform(0, 2))
    if rng.random() < 0.15:
        samples = band_limit(samples, rng)
    return gain_db(samples, rng)


def crop_samples(seconds: float) -> int:
    """Return a length in samples.

    Example:
        >>> crop_samples(0.5)
        8000
    """
    return round(seconds * SAMPLE_RATE_HZ)
