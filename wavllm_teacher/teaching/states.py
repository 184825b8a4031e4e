"""Hidden states of the corpora, computed once and kept on disk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.audio import read_audio
from edgekit.errors import UnsupportedError
from edgekit.progress import Progress
from wavllm_teacher.adapters import Branch
from wavllm_teacher.dual_encoder import SIZES, Encoder, used_states
from wavllm_teacher.teaching.config import TeachConfig
from wavllm_teacher.teaching.corpus import Clip, Corpus
from wavllm_teacher.training import varied_copy

Samples = NDArray[np.float32]
SMALLEST_SCALE = 1e-3


@dataclass(frozen=True)
class States:
    """What one encoder made of some clips.

    Opened where they are read: a process may map fewer files than a corpus has clips.

    Attributes:
        files: For each clip, a file of (S, T, D) float16 states.
        frames: T of each.
    """

    files: tuple[Path, ...]
    frames: tuple[int, ...]

    def read(self, index: int, first: int = 0, most: int | None = None) -> torch.Tensor:
        """Return the (S, T, D) float16 states of a clip from frame `first` on, `most` frames of them."""
        mapped = np.load(self.files[index], mmap_mode="r")
        return torch.from_numpy(np.array(mapped[:, first : most and first + most]))


@dataclass(frozen=True)
class Heard:
    """What the encoders made of some clips.

    Attributes:
        states: Encoder to states, all of the same clips in the same order.
        labels: (N, 3) arousal, dominance, valence.
    """

    states: dict[str, States]
    labels: torch.Tensor

    def batch(
        self, indices: Sequence[int], starts: Sequence[int] | None = None, frames: int | None = None
    ) -> dict[str, list[torch.Tensor]]:
        """Return encoder to the (S, T, D) states of some clips, float16.

        Args:
            indices: Which clips.
            starts: First frame of each; 0 without it.
            frames: Most frames of a clip; all without it.
        """
        firsts = starts or [0] * len(indices)
        return {
            name: [states.read(i, first, frames) for i, first in zip(indices, firsts, strict=True)]
            for name, states in self.states.items()
        }

    def random_starts(self, indices: Sequence[int], frames: int, rng: np.random.Generator) -> list[int]:
        """Return a first frame for a crop of at most `frames` out of each clip."""
        counts = [min(states.frames[i] for states in self.states.values()) for i in indices]
        return [int(rng.integers(max(1, count - frames + 1))) for count in counts]


class Voices(Sequence[Samples]):
    """The samples of clips, read when they are asked for: a corpus may be larger than the memory."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Samples:  # type: ignore[override] # slices are nobody's need
        return read_audio(self.clips[index].file)


def hear(
    corpus: Corpus,
    split: str,
    encoders: Mapping[str, Encoder],
    config: TeachConfig,
    folder: Path,
    progress: Progress,
) -> Heard:
    """Run the encoders over a split, keeping the result on disk so that a rerun goes on where it was.

    Clips of split train are heard in all copies, the clips themselves first; those of the others once.

    Args:
        corpus: The corpus.
        split: Which of its clips.
        encoders: The encoders.
        config: The settings.
        folder: Where states are kept, by what the corpus consists of.
        progress: Told about clips encoded.

    Raises:
        AudioError: If a clip cannot be read.
        UnsupportedError: If a hidden state is beyond the range of float16, in which states are kept.
    """
    clips = corpus.clips[split]
    copies = config.copies if split == "train" else 1
    states = {}
    for name, encoder in encoders.items():
        place = folder / corpus.digest / name
        place.mkdir(parents=True, exist_ok=True)
        files, frames = [], []
        for number, index in np.ndindex(copies, len(clips)):
            file = place / f"{split}-{index:05d}-{number}.npy"
            if not file.is_file():
                samples = varied_copy(Voices(clips), (config.seed, number, index))
                keep(file, used_states(name, encoder, SIZES[config.size], samples))
            files.append(file)
            frames.append(np.load(file, mmap_mode="r").shape[1])
            progress(f"{corpus.name}, {name}: encoding {split} speech", len(files), copies * len(clips))
        states[name] = States(tuple(files), tuple(frames))
    return Heard(states, torch.tensor([clip.labels for clip in clips]).repeat(copies, 1))


def keep(file: Path, states: torch.Tensor) -> None:
    """Write states as float16, whole or not at all.

    Raises:
        UnsupportedError: If one of them is beyond the range of float16.
    """
    narrow = states.half()
    if not bool(torch.isfinite(narrow).all()):
        what = f"a hidden state of {file.parent.name} is not finite or exceeds 65504"
        raise UnsupportedError(what, "use another encoder")
    partial = file.with_suffix(".partial.npy")
    np.save(partial, narrow.numpy())
    partial.replace(file)


def standardise(branch: Branch, name: str, heard: Sequence[Heard], copies: int) -> None:
    """Fit a branch's mean and scale per state and feature to the clips themselves, not to augmented copies.

    Args:
        branch: Its buffers are set.
        name: The encoder that it reads.
        heard: Training clips of all corpora.
        copies: Copies of each clip among them, the clips themselves first.
    """
    count, total, square = 0, np.zeros(branch.mean.shape), np.zeros(branch.mean.shape)
    for states in _clean(name, heard, copies):
        wide = states.numpy().astype(np.float64)
        count += wide.shape[1]
        total += wide.sum(axis=1)
        square += (wide**2).sum(axis=1)
    mean = total / count
    variance = np.maximum(square / count - mean**2, 0)
    branch.mean.copy_(torch.from_numpy(mean))
    branch.scale.copy_(torch.from_numpy(np.sqrt(variance) + SMALLEST_SCALE))


def _clean(name: str, heard: Sequence[Heard], copies: int) -> Iterator[torch.Tensor]:
    for part in heard:
        for index in range(len(part.labels) // copies):
            yield part.states[name].read(index)
