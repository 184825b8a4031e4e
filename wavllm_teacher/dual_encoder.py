"""The dual-encoder teacher: Whisper for what is said, WavLM for who says it and how.

As in WavLLM (Hu et al., arXiv 2404.00656), both encoders are frozen, and an adapter on each brings it to
12.5 frames a second; both are cut to the shorter, concatenated and fused by a linear layer. WavLLM's language
model is left out: attentive statistics pooling and a linear head give arousal, dominance and valence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.metrics import DIMENSIONS
from wavllm_teacher import checkpoint
from wavllm_teacher.adapters import Branch
from wavllm_teacher.device import best_device
from wavllm_teacher.encoder import WhisperStates, load_encoder
from wavllm_teacher.pooling import AttentiveStatistics, length_mask
from wavllm_teacher.wavlm_states import WavLMStates, load_wavlm

KIND = "dual-encoder"
ADAPTERS_FILE = "adapters.safetensors"

Clips = Mapping[str, Sequence[torch.Tensor]]
"""Encoder to the (S, T, D) hidden states of each clip."""


@dataclass(frozen=True)
class DualShape:
    """Sizes of what is trained.

    Attributes:
        whisper_mix: Mix all hidden states of Whisper; without it, the last alone is used.
        whisper_hidden: Channels of the first subsampling convolution on Whisper.
        wavlm_hidden: The same on WavLM.
        channels: Channels after subsampling.
        bottleneck: Features in the bottleneck.
        projection: Features that each encoder brings to the fusion.
        fusion: Features after the fusion.
        attention: Features in the hidden layer of the pooling's attention.
    """

    whisper_mix: bool = True
    whisper_hidden: int = 128
    wavlm_hidden: int = 128
    channels: int = 64
    bottleneck: int = 32
    projection: int = 64
    fusion: int = 128
    attention: int = 32

    def to_dict(self) -> dict[str, Any]:
        """Return the sizes, JSON-ready."""
        return asdict(self)


SIZES = {
    "small": DualShape(),
    "paper": DualShape(
        whisper_mix=False,
        whisper_hidden=1280,
        wavlm_hidden=512,
        channels=1024,
        bottleneck=512,
        projection=2048,
        fusion=4096,
        attention=1024,
    ),
}
"""`small` learns from a few hours of speech; `paper` has the sizes of WavLLM, on Whisper's last state."""

Encoder = WhisperStates | WavLMStates
LOADERS: dict[str, Callable[[Path], Encoder]] = {"whisper": load_encoder, "wavlm": load_wavlm}
"""Encoders in the order in which they are concatenated."""


def load_encoders(folders: Mapping[str, Path]) -> dict[str, Encoder]:
    """Load the encoders of some folders, in the order of `LOADERS`.

    Raises:
        ArtifactError: If an encoder is missing, damaged or of another kind.
    """
    return {name: load(folders[name]) for name, load in LOADERS.items() if name in folders}


def used_states(name: str, encoder: Encoder, shape: DualShape, samples: NDArray[np.float32]) -> torch.Tensor:
    """Return the (S, T, D) states of a clip that the adapter of this encoder reads."""
    states: torch.Tensor = encoder(samples)
    return states[-1:] if name == "whisper" and not shape.whisper_mix else states


class DualEncoder(nn.Module):
    """What is trained: adapters, fusion, pooling and head.

    Args:
        shape: The sizes.
        encoders: `whisper`, `wavlm` or both, each with the number of its hidden states and their width.
        dropout: Share of features dropped in training, after the mix and before the head.
    """

    def __init__(
        self, shape: DualShape, encoders: Mapping[str, tuple[int, int]], dropout: float = 0.0
    ) -> None:
        super().__init__()
        hidden = {"whisper": shape.whisper_hidden, "wavlm": shape.wavlm_hidden}
        sizes = (shape.channels, shape.bottleneck, shape.projection)
        self.branches = nn.ModuleDict(
            {
                name: Branch(*encoders[name], hidden[name], *sizes, dropout)
                for name in LOADERS
                if name in encoders
            }
        )
        self.fusion = nn.Linear(len(self.branches) * shape.projection, shape.fusion)
        self.pool = AttentiveStatistics(shape.fusion, shape.attention)
        self.norm = nn.LayerNorm(2 * shape.fusion)
        self.drop = nn.Dropout(dropout)
        # A layer for each dimension: one that a task leaves out has no gradient, and is not touched.
        self.heads = nn.ModuleDict({name: _constant_head(2 * shape.fusion) for name in DIMENSIONS})

    def embed(self, clips: Clips) -> torch.Tensor:
        """Return the (B, 2 * fusion) embedding that the heads read."""
        found = [branch(clips[name]) for name, branch in self.branches.items()]
        valid = torch.stack([lengths for _, lengths in found]).amin(dim=0)
        most = int(valid.max())
        frames = self.fusion(torch.cat([frames[:, :most] for frames, _ in found], dim=2))
        embedding: torch.Tensor = self.norm(self.pool(frames, length_mask(valid)))
        return embedding

    def forward(self, clips: Clips, dimensions: Sequence[str] = DIMENSIONS) -> torch.Tensor:
        """Return (B, len(dimensions)) values of clips."""
        embedding = self.drop(self.embed(clips))
        return torch.cat([self.heads[name](embedding) for name in dimensions], dim=1)


def _constant_head(width: int) -> nn.Linear:
    # 1 - CCC punishes a wide output: starting from the constant 0.5 keeps the first steps small.
    head = nn.Linear(width, 1)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, 0.5)
    return head


class DualTeacher:
    """Encoders and what was trained on them together, for prediction."""

    def __init__(self, shape: DualShape, encoders: Mapping[str, Encoder]) -> None:
        self.shape = shape
        self.encoders = encoders
        self.trained = DualEncoder(shape, state_sizes(encoders, shape)).train(mode=False)

    @torch.no_grad()
    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) arousal, dominance, valence of (N,) 16 kHz clips.

        Clips go one at a time: the encoders have no mask, so padding would change the result.
        """
        rows = [self.trained(self._states(samples))[0].numpy() for samples in clips]
        return np.array(rows, np.float32).reshape(-1, len(DIMENSIONS))

    def _states(self, samples: NDArray[np.float32]) -> Clips:
        return {
            name: [used_states(name, encoder, self.shape, samples)] for name, encoder in self.encoders.items()
        }


def state_sizes(encoders: Mapping[str, Encoder], shape: DualShape) -> dict[str, tuple[int, int]]:
    """Return how many hidden states of each encoder are used, and their width."""
    return {
        name: (1 if name == "whisper" and not shape.whisper_mix else encoder.state_count, encoder.width)
        for name, encoder in encoders.items()
    }


def load(folder: Path, facts: dict[str, Any]) -> DualTeacher:
    """Load a folder that `edgekit teach` wrote; its encoders run on the best device.

    Args:
        folder: Holds `adapters.safetensors`, and a folder for each encoder.
        facts: Content of its `teacher.json`.

    Raises:
        ArtifactError: If weights are missing or damaged; names the tensor that does not fit.
        TypeError: If the shape has an unknown size.
        ValueError: If the encoders are unknown, or there is none.
    """
    names = facts["encoders"]
    if not names or not set(names) <= set(LOADERS):
        raise ValueError(f"encoders are {names}, not some of {', '.join(LOADERS)}")
    encoders = load_encoders({name: folder / name for name in names})
    for encoder in encoders.values():
        encoder.run_on(best_device())
    teacher = DualTeacher(DualShape(**facts["shape"]), encoders)
    checkpoint.load_into(teacher.trained, folder / ADAPTERS_FILE)
    return teacher
