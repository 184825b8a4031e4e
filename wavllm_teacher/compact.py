"""The compact teacher: log-mel, a small convolution and attention network, attentive statistics pooling.

Letters: B clips, N samples, F mel frames (100 a second), T frames of the network (25 a second), D width.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 -- the name PyTorch users know

from edgekit.audio import FrontEnd, mel_filters
from edgekit.metrics import DIMENSIONS
from wavllm_teacher.encoder import pad_to_least
from wavllm_teacher.pooling import AttentiveStatistics, length_mask

N_FFT = 400
HOP = 160
STRIDE = 4
"""Mel frames per frame of the network."""
BAND_STRIDE = 8
DYNAMIC_RANGE = 8.0
"""Powers of ten kept below a clip's loudest mel value."""


@dataclass(frozen=True)
class CompactShape:
    """Sizes of the network.

    Raises:
        ValueError: If a size is below 1, the width is no multiple of the heads, or `mel_bands` none of 8.
    """

    mel_bands: int = 64
    stem: tuple[int, int, int] = (16, 32, 48)
    width: int = 256
    expansion: int = 512
    kernel: int = 9
    blocks: int = 3
    heads: int = 4
    bottleneck: int = 64

    def __post_init__(self) -> None:
        sizes = [*self.stem, *(value for value in asdict(self).values() if not isinstance(value, tuple))]
        if min(sizes) < 1 or self.width % self.heads or self.mel_bands % BAND_STRIDE:
            raise ValueError(f"impossible sizes: {self}")

    def to_dict(self) -> dict[str, object]:
        """Return all sizes, JSON-ready."""
        return {**asdict(self), "stem": list(self.stem)}


def _masked(x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return x * valid[..., None]


class ConvBlock(nn.Module):
    """Depth-wise convolution over time, then a two-layer network per frame, added to the input."""

    def __init__(self, shape: CompactShape, dropout: float) -> None:
        super().__init__()
        self.over_time = nn.Conv1d(
            shape.width, shape.width, shape.kernel, padding=shape.kernel // 2, groups=shape.width
        )
        self.norm = nn.LayerNorm(shape.width)
        self.expand = nn.Linear(shape.width, shape.expansion)
        self.reduce = nn.Linear(shape.expansion, shape.width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Map (B, T, D) frames, zero where not valid, to the same."""
        local = self.over_time(x.transpose(1, 2)).transpose(1, 2)
        change = self.reduce(F.gelu(self.expand(self.norm(local))))
        return _masked(x + self.drop(change), valid)


class AttentionBlock(nn.Module):
    """Self-attention over the whole clip, added to the input."""

    def __init__(self, shape: CompactShape, dropout: float) -> None:
        super().__init__()
        self.heads = shape.heads
        self.norm = nn.LayerNorm(shape.width)
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Map (B, T, D) frames, zero where not valid, to the same."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None, None, :])
        change = self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return _masked(x + self.drop(change), valid)


class CompactTeacher(nn.Module):
    """16 kHz waveform to arousal, dominance, valence with fewer than two million parameters."""

    filters: torch.Tensor

    def __init__(self, shape: CompactShape, dropout: float = 0.0) -> None:
        super().__init__()
        front_end = FrontEnd(n_fft=N_FFT, hop=HOP, mel_bands=shape.mel_bands)
        # Computed, not stored: a checkpoint holds trained numbers only.
        self.register_buffer("filters", torch.from_numpy(mel_filters(front_end)).float(), persistent=False)
        first, second, third = shape.stem
        self.stem = nn.Sequential(
            *_stem_layer(1, first, (2, 2)),
            *_stem_layer(first, second, (2, 2)),
            *_stem_layer(second, third, (1, 2)),
        )
        self.join = nn.Linear(third * shape.mel_bands // BAND_STRIDE, shape.width)
        self.blocks = nn.ModuleList(ConvBlock(shape, dropout) for _ in range(shape.blocks))
        self.attention = AttentionBlock(shape, dropout)
        self.norm = nn.LayerNorm(shape.width)
        self.pool = AttentiveStatistics(shape.width, shape.bottleneck)
        self.pooled_norm = nn.BatchNorm1d(2 * shape.width)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(2 * shape.width, len(DIMENSIONS))
        nn.init.constant_(self.out.bias, 0.5)

    def log_mel(self, samples: torch.Tensor) -> torch.Tensor:
        """Return (F, M) log10 mel powers of one (N,) clip, its mean removed and its range bounded."""
        window = torch.hann_window(N_FFT)
        power = torch.stft(samples, N_FFT, HOP, window=window, return_complex=True).abs() ** 2
        mel = torch.log10(torch.clamp(power.T @ self.filters, min=1e-10))
        bounded = torch.maximum(mel, mel.max() - DYNAMIC_RANGE)
        return (bounded - bounded.mean()) / 2

    def frames(self, mel: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Map (B, F, M) log-mel frames to (B, T, D); `valid` is (B, T)."""
        maps = self.stem(mel[:, None])
        x = _masked(self.join(maps.permute(0, 2, 1, 3).flatten(2)), valid)
        for index, block in enumerate(self.blocks):
            x = block(x, valid)
            if index == 0:
                x = self.attention(x, valid)
        frames: torch.Tensor = self.norm(x)
        return frames

    def embed(self, frames: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Pool (B, T, D) frames into the (B, 2 D) embedding that `out` reads."""
        embedding: torch.Tensor = self.pooled_norm(self.pool(frames, valid))
        return embedding

    def forward(self, mel: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) arousal, dominance, valence of (B, F, M) log-mel frames."""
        adv: torch.Tensor = self.out(self.drop(self.embed(self.frames(mel, valid), valid)))
        return adv

    @torch.no_grad()
    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) arousal, dominance, valence of (N,) 16 kHz clips, one clip at a time."""
        rows = []
        for samples in clips:
            mel = self.log_mel(torch.from_numpy(pad_to_least(samples)))[None]
            rows.append(self(mel, length_mask(torch.tensor([frame_count(mel.shape[1])])))[0].numpy())
        return np.array(rows, np.float32).reshape(-1, len(DIMENSIONS))


def frame_count(mel_frames: int) -> int:
    """Return how many network frames `mel_frames` mel frames give.

    Example:
        >>> frame_count(100), frame_count(101)
        (25, 26)
    """
    return -(-mel_frames // STRIDE)


def _stem_layer(inputs: int, outputs: int, stride: tuple[int, int]) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Return a 3 x 3 convolution over (time, band) with normalisation and activation."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.GELU()
