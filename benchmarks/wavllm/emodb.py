"""EmoDB for a speech language model: clips, changed copies, and ears that remember what they heard."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from edgekit.audio import SAMPLE_RATE_HZ, read_audio
from edgekit.audio.augment import augment, equalize
from edgekit.metrics import DIMENSIONS
from wavllm_teacher.encoder import WINDOW_SAMPLES
from wavllm_teacher.speech_llm.hearing import Ears, Heard
from wavllm_teacher.speech_llm.sizes import SpeechLlmShape
from wavllm_teacher.training import cached

WORDS = {
    "angry": "angry",
    "bored": "bored",
    "disgust": "disgusted",
    "fearful": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
}
"""EmoDB's emotions as the table spells them, to the word that answers."""
EMOTIONS = tuple(WORDS.values())

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """One recording, or a changed copy of one.

    Attributes:
        file: Where it lies.
        emotion: The word that answers.
        split: train, dev or test; no speaker is in two.
        labels: Arousal, dominance, valence from 0 to 1, as the table states them.
    """

    file: Path
    emotion: str
    split: str
    labels: tuple[float, ...]


def read_clips(shared: Path) -> list[Clip]:
    """Return EmoDB's clips in the order of the table."""
    with (shared / "corpus/labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["corpus"] == "emodb"]
    return [_clip(shared / "corpus", row) for row in rows]


def _clip(corpus: Path, row: Mapping[str, str]) -> Clip:
    labels = tuple(float(row[name]) for name in DIMENSIONS)
    return Clip(corpus / row["path"], WORDS[row["emotion"]], row["split"], labels)


def changed_copies(clips: Sequence[Clip], number: int, folder: Path) -> list[Clip]:
    """Return one changed copy of each clip, written where it is missing: another voice, room, microphone.

    Args:
        clips: Recordings.
        number: Of the copy; another number is changed otherwise.
        folder: Where the copies lie.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for clip in clips:
        file = folder / f"{clip.file.stem}-{number}.wav"
        if not file.is_file():
            seed = int.from_bytes(hashlib.sha256(file.name.encode()).digest()[:8])
            _write(file, changed(read_audio(clip.file), np.random.default_rng(seed)))
        copies.append(replace(clip, file=file))
    return copies


def changed(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return a clip as another microphone, and mostly another voice or room, would have it."""
    return augment(equalize(samples, rng), rng)


def _write(file: Path, samples: Samples) -> None:
    unfinished = file.with_suffix(".partial.wav")
    soundfile.write(unfinished, samples, SAMPLE_RATE_HZ, subtype="PCM_16")
    unfinished.replace(file)


class KeepingEars(Ears):
    """Ears that keep in a folder what they heard: three trainings hear the same clips.

    Args:
        shape: A model's sizes, without WavLM.
        folder: Of this encoder alone; a file for each clip, by its samples.
    """

    def __init__(self, shape: SpeechLlmShape, folder: Path) -> None:
        super().__init__(shape)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def forward(self, samples: Samples) -> Heard:
        """Return what is heard in one clip of at most 30 s."""
        assert samples.size <= WINDOW_SAMPLES, "EmoDB's clips fit one window"
        kept: Any = cached(self._file(samples), partial(self._hear, samples))
        return Heard((torch.from_numpy(np.array(kept)),), None)

    def keeps(self, samples: Samples) -> bool:
        """Return whether a clip has been heard before."""
        return self._file(samples).is_file()

    def _file(self, samples: Samples) -> Path:
        return self.folder / f"{hashlib.sha256(samples.tobytes()).hexdigest()}.npy"

    def _hear(self, samples: Samples) -> NDArray[np.float32]:
        (window,) = super().forward(samples).whisper
        heard: NDArray[np.float32] = window.numpy()
        return heard
