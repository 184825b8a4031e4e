"""The pool that training draws from: features and labels of augmented crops, made once and kept on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.clips import Clips
from distill.crops import CropLabeller, Drawing, balanced, draw
from edgekit.audio import FrontEnd, log_mel
from edgekit.progress import Progress

CHUNK = 64
"""Crops a file: what an interruption loses at most."""


@dataclass(frozen=True)
class Pool:
    """Crops on disk.

    Attributes:
        features: Files of (up to CHUNK, T, M) float16 log-mel frames in dB, mapped into memory.
        targets: (N, 3) labels.
    """

    features: list[NDArray[np.float16]]
    targets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (B, T, M) log-mel frames in dB and (B, 3) labels of some crops."""
        frames = [self.features[row // CHUNK][row % CHUNK] for row in rows]
        return np.stack(frames).astype(np.float32), self.targets[rows]


def rows_of_step(size: int, batch: int, seed: int, step: int) -> NDArray[np.int64]:
    """Return which crops a step learns from: all of the pool, in a new order every time, batch by batch.

    Example:
        >>> sorted(np.concatenate([rows_of_step(6, 3, 0, step) for step in (2, 3)]).tolist())
        [0, 1, 2, 3, 4, 5]
    """
    batch = min(batch, size)
    rounds, place = divmod(step, size // batch)
    order = np.random.default_rng([seed, rounds]).permutation(size)
    return order[place * batch : (place + 1) * batch]


def make_pool(
    clips: Clips,
    size: int,
    drawing: Drawing,
    front_end: FrontEnd,
    labeller: CropLabeller | None,
    folder: Path,
    progress: Progress,
) -> Pool:
    """Draw crops, label them, and keep their features; what is there already is kept.

    Args:
        clips: What to draw from.
        size: Number of crops.
        drawing: How.
        front_end: The features; a causal level starts anew with each crop.
        labeller: Labels every crop; None: a crop has the labels of its clips.
        folder: Where the files lie.
        progress: Told about crops made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probabilities = balanced(clips.targets)
    features, targets = [], []
    for first in range(0, size, CHUNK):
        numbers = range(first, min(first + CHUNK, size))
        stem = folder / f"{first // CHUNK:05d}"
        if not stem.with_suffix(".features.npy").is_file():
            made = [draw(clips, probabilities, number, drawing) for number in numbers]
            labels = labeller(made) if labeller else np.stack([crop.target for crop in made])
            _write(stem.with_suffix(".labels.npy"), np.asarray(labels, np.float32))
            frames = np.stack([log_mel(crop.heard, front_end) for crop in made])
            _write(stem.with_suffix(".features.npy"), frames.astype(np.float16))
        features.append(np.load(stem.with_suffix(".features.npy"), mmap_mode="r"))
        targets.append(np.load(stem.with_suffix(".labels.npy")))
        progress("crops", numbers.stop, size)
    return Pool(features, np.concatenate(targets))


def _write(file: Path, values: NDArray[Any]) -> None:
    partial = file.with_suffix(".partial.npy")
    np.save(partial, values)
    partial.replace(file)
