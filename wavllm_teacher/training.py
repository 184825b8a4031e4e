"""What the training of both teachers shares: clips, augmented copies, the loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.audio import find_audio, read_audio
from edgekit.audio.augment import augment
from edgekit.errors import AudioError, ConfigError
from edgekit.metrics import DIMENSIONS
from wavllm_teacher.licences import NOT_STATED, is_permissive, stated_licence
from wavllm_teacher.splits import find_table, located

Samples = NDArray[np.float32]
Kept = TypeVar("Kept", np.float16, np.float32)


@dataclass(frozen=True)
class Clip:
    """One training file.

    Attributes:
        file: Where it lies.
        split: train, dev, test, or unlabelled.
        labels: Arousal, dominance, valence; None where the table has none.
        emotion: The category that the speaker acts; empty where the table has none.
        licence: Of its audio, as the table states it.
    """

    file: Path
    split: str
    labels: tuple[float, float, float] | None
    emotion: str = ""
    licence: str = NOT_STATED


def read_clips(folder: Path) -> list[Clip]:
    """Return every clip of a folder that its table (see `splits.find_table`) lists, sorted by path.

    Raises:
        AudioError: If the folder holds no audio, or no table lists it.
    """
    table = find_table(folder)
    rows = [(file, table[located(file)]) for file in find_audio([folder]) if located(file) in table]
    if not rows:
        raise AudioError(f"{folder}: no clips.csv or labels.csv lists its audio", "name another folder")
    return [
        Clip(file, row.get("split", "train"), _labels(row), row.get("emotion", ""), stated_licence(row))
        for file, row in rows
    ]


def require_permissive(clips: Sequence[Clip]) -> None:
    """Require audio that allows the licence that weights trained here get, whatever is done with them.

    Raises:
        ConfigError: If a clip has another licence, or states none.
    """
    for clip in clips:
        if not is_permissive(clip.licence):
            raise ConfigError(
                f"{clip.file}: its licence is {clip.licence!r}; weights that ship learn from free audio",
                "leave it out, or run edgekit teach: there the teacher's licence follows from the audio",
            )


def _labels(row: dict[str, str]) -> tuple[float, float, float] | None:
    values = [row.get(name, "") for name in DIMENSIONS]
    if not all(values):
        return None
    arousal, dominance, valence = map(float, values)
    return arousal, dominance, valence


def varied_copy(voices: Sequence[Samples], seed: tuple[int, int, int]) -> Samples:
    """Return one version of a clip: copy 0 is the clip itself, the others are augmented.

    Args:
        voices: All clips of the set; they also give the babble.
        seed: Seed of the whole training, number of the copy, number of the clip.
    """
    _, number, index = seed
    if number == 0:
        return voices[index]
    return augment(voices[index], np.random.default_rng(seed), voices)


def half(values: torch.Tensor) -> NDArray[np.float16]:
    """Return values as they are cached."""
    return np.asarray(values.numpy(), np.float16)


def labelled(folder: Path, split: str) -> list[Clip]:
    """Return the clips of a split that carry labels."""
    return [clip for clip in read_clips(folder) if clip.split == split and clip.labels is not None]


def read_all(clips: Sequence[Clip]) -> list[Samples]:
    """Return the samples of every clip."""
    return [read_audio(clip.file) for clip in clips]


def cached(path: Path, make: Callable[[], NDArray[Kept]]) -> NDArray[Kept]:
    """Return the array in a file, made and written first if it is not there; a cut write leaves no file."""
    if not path.is_file():
        partial = path.with_suffix(".partial.npy")
        np.save(partial, make())
        partial.replace(path)
    loaded: NDArray[Kept] = np.load(path, mmap_mode="r")
    return loaded


def ccc_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the sum over dimensions of 1 - CCC over the batch; (B, 3) both.

    Small batches give noisy statistics: use 64 clips or more.
    """
    p, t = prediction - prediction.mean(0), target - target.mean(0)
    shift = (prediction.mean(0) - target.mean(0)) ** 2
    ccc = 2 * (p * t).mean(0) / ((p**2).mean(0) + (t**2).mean(0) + shift + 1e-8)
    return (1 - ccc).sum()
