"""The full teacher: frozen Whisper states, a learned layer mix, attentive pooling, an A/D/V head."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.metrics import DIMENSIONS
from wavllm_teacher.encoder import WhisperStates
from wavllm_teacher.pooling import AttentiveStatistics, length_mask

BOTTLENECK = 64
MIXES = 2
"""Layer mixes side by side, K."""


class Head(nn.Module):
    """Hidden states to arousal, dominance, valence.

    Every state is standardised per feature first, with statistics of the training speech: in Whisper
    base, states 4 and 5 reach 490 where the others stay below 25, and would drown them in the mix.

    Args:
        states: Number of hidden states, S.
        width: Features of each, D.
        dropout: Share of pooled features dropped in training.
        noise: Standard deviation of noise added to the normalised pooled features in training.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    pooled_mean: torch.Tensor
    pooled_scale: torch.Tensor

    def __init__(self, states: int, width: int, dropout: float = 0.0, noise: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(states, width))
        self.register_buffer("scale", torch.ones(states, width))
        self.mix = nn.Parameter(torch.zeros(MIXES, states))
        self.pool = AttentiveStatistics(MIXES * width, BOTTLENECK)
        self.register_buffer("pooled_mean", torch.zeros(2 * MIXES * width))
        self.register_buffer("pooled_scale", torch.ones(2 * MIXES * width))
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(2 * MIXES * width, len(DIMENSIONS))
        self.noise = noise
        # 1 - CCC punishes a wide output: starting from the constant 0.5 keeps the first steps small.
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.out.bias, 0.5)

    def frames(self, states: torch.Tensor) -> torch.Tensor:
        """Mix the (S, T, D) states of one clip into (T, K D) frames."""
        return torch.cat([self._mixed(states, weight) for weight in torch.softmax(self.mix, dim=1)], dim=1)

    def _mixed(self, states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        # sum_s w_s (x_s - mean_s) / scale_s, without a standardised copy of all states.
        factor = weight[:, None] / self.scale
        mixed = -(self.mean * factor).sum(dim=0).expand(states.shape[1:])
        for state, gain in zip(states, factor, strict=True):
            mixed = torch.addcmul(mixed, state, gain)
        return mixed

    def embed(self, frames: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Pool (B, T, K D) frames into the (B, 2 K D) embedding that `out` reads."""
        embedding: torch.Tensor = (self.pool(frames, valid) - self.pooled_mean) / self.pooled_scale
        return embedding

    def forward(self, frames: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) arousal, dominance, valence of mixed frames."""
        embedding = self.embed(frames, valid)
        if self.training:
            embedding = embedding + self.noise * torch.randn_like(embedding)
        adv: torch.Tensor = self.out(self.drop(embedding))
        return adv


class WhisperTeacher(nn.Module):
    """Encoder and head together, for prediction."""

    def __init__(self, states: WhisperStates, head: Head) -> None:
        super().__init__()
        self.states = states
        self.head = head
        self.eval()

    @torch.no_grad()
    def frames(self, samples: NDArray[np.float32]) -> torch.Tensor:
        """Return the (T, K D) mixed frames of one clip, 50 a second."""
        return self.head.frames(self.states(samples))

    @torch.no_grad()
    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) arousal, dominance, valence of (N,) 16 kHz clips.

        Clips go one at a time: the encoder has no mask, so padding would change the result.
        """
        rows = []
        for samples in clips:
            frames = self.frames(samples)[None]
            rows.append(self.head(frames, length_mask(torch.tensor([frames.shape[1]])))[0].numpy())
        return np.array(rows, np.float32).reshape(-1, len(DIMENSIONS))
