"""What the student hears in training: crops of the clips, changed as everyday life changes speech."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.clips import Clips, Samples
from edgekit.audio import SAMPLE_RATE_HZ
from edgekit.audio.augment import (
    RT60_RANGE_S,
    babble,
    band_limit,
    coloured_noise,
    equalize,
    gain_db,
    room,
    speed,
    time_shift,
)

Labeller = Callable[[Sequence[Samples]], NDArray[np.float32]]
"""A teacher: (N,) clips at 16 kHz to (clips, 3) arousal, dominance, valence."""
CropLabeller = Callable[[Sequence["Crop"]], NDArray[np.float32]]
"""Crops to (crops, 3) arousal, dominance, valence."""

TALKERS = 3
SHORTEST_SPEECH = 0.35
"""Share of a crop with pauses that is speech, at least."""
PAUSE_BELOW_SPEECH_DB = (30.0, 90.0)
CELL = 0.1
"""Width of the cells of arousal and valence among which training is balanced."""
WIDE_SPEED_RANGE = (0.7, 1.4)
MIX_RANGE = (0.1, 0.9)
SNR_RANGE_DB = (2.0, 25.0)


@dataclass(frozen=True)
class Drawing:
    """How crops are drawn.

    Attributes:
        samples: Length of a crop; a shorter clip is repeated.
        augment: Change the crops, by rooms, noise, talkers, bandwidth, start and level.
        mixup: Share of the crops that are two clips mixed, their labels in the same proportion.
        speed: Change speed and pitch as well: only for a labeller that hears the result.
        seed: Of everything random.
    """

    samples: int
    augment: bool = True
    mixup: float = 0.0
    speed: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Crop:
    """A crop of (samples,) float32.

    Attributes:
        heard: What the student hears.
        dry: The talker alone: before rooms, noise, bandwidth and level.
        target: (3,) label, as the labels of its clips give it.
    """

    heard: Samples
    dry: Samples
    target: NDArray[np.float32]


def balanced(targets: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the (N,) probabilities of drawing clips with (N, 3) labels.

    Most speech is near neutral, and a loss of correlations learns little from it: a clip is drawn in inverse
    proportion to the square root of how many are labelled alike in arousal and valence.

    Example:
        >>> balanced(np.array([[0.5, 0, 0.5]] * 4 + [[0.9, 0, 0.5]], np.float32)).round(3).tolist()
        [0.167, 0.167, 0.167, 0.167, 0.333]
    """
    cells = np.floor(targets[:, [0, 2]] / CELL).astype(int)
    _, cell, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[cell.ravel()])
    return np.asarray(weights / weights.sum())


def draw(clips: Clips, probabilities: NDArray[np.float64], number: int, drawing: Drawing) -> Crop:
    """Return crop number `number`."""
    rng = np.random.default_rng([drawing.seed, number])
    samples, target = _one(clips, probabilities, drawing, rng)
    if rng.random() < drawing.mixup:
        other, other_target = _one(clips, probabilities, drawing, rng)
        share = rng.uniform(*MIX_RANGE)
        samples = share * _levelled(samples) + (1 - share) * _levelled(other)
        target = share * target + (1 - share) * other_target
    dry = _talker(samples, rng) if drawing.augment else samples
    heard = _path(dry, clips, rng) if drawing.augment else dry
    return Crop(np.asarray(heard, np.float32), np.asarray(dry, np.float32), np.asarray(target, np.float32))


def _one(
    clips: Clips, probabilities: NDArray[np.float64], drawing: Drawing, rng: np.random.Generator
) -> tuple[Samples, NDArray[np.float32]]:
    row = rng.choice(len(clips), p=probabilities)
    samples = clips.audio[row]
    if drawing.speed:
        if rng.random() < 0.8:
            samples = speed(samples, rng, WIDE_SPEED_RANGE)
        if rng.random() < 0.5:
            samples = equalize(samples, rng)
    return _crop(samples, drawing.samples, rng), clips.targets[row]


def _crop(samples: Samples, length: int, rng: np.random.Generator) -> Samples:
    if samples.size <= length:
        return np.resize(np.roll(samples, -int(rng.integers(samples.size))), length)
    start = int(rng.integers(samples.size - length + 1))
    return samples[start : start + length]


def _levelled(samples: Samples) -> Samples:
    """Return samples with a root mean square of a tenth of full scale; silence stays silence."""
    return np.asarray(samples * (0.1 / np.sqrt(np.mean(samples**2, dtype=np.float64) + 1e-9)), np.float32)


def _talker(samples: Samples, rng: np.random.Generator) -> Samples:
    """Change when the talker speaks."""
    if rng.random() < 0.3:
        samples = time_shift(samples, rng)
    if rng.random() < 0.4:
        samples = _with_pauses(samples, rng)
    return samples


def _with_pauses(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return the crop with only a part of its speech, and the quiet of a recording before and after."""
    length = round(samples.size * rng.uniform(SHORTEST_SPEECH, 1))
    start = int(rng.integers(samples.size - length + 1))
    speech = np.zeros_like(samples)
    speech[start : start + length] = samples[:length]
    return coloured_noise(speech, rng, rng.uniform(*PAUSE_BELOW_SPEECH_DB), rng.uniform(0, 2))


def _path(samples: Samples, clips: Clips, rng: np.random.Generator) -> Samples:
    """Change what comes between talker and hearing aid, in the order of the acoustic path."""
    if rng.random() < 0.35:
        samples = room(samples, rng, rng.uniform(*RT60_RANGE_S))
    if rng.random() < 0.5:
        snr_db = rng.uniform(*SNR_RANGE_DB)
        if rng.random() < 0.6:
            samples = babble(samples, rng, snr_db, clips.audio, TALKERS)
        else:
            samples = coloured_noise(samples, rng, snr_db, rng.uniform(0, 2))
    if rng.random() < 0.2:
        samples = band_limit(samples, rng)
    return gain_db(samples, rng)


def crop_samples(seconds: float) -> int:
    """Return a length in samples.

    Example:
        >>> crop_samples(0.5)
        8000
    """
    return round(seconds * SAMPLE_RATE_HZ)
