"""The compact teacher: the first blocks of a Whisper encoder in low rank, their statistics, an emotion head.

Letters: B clips, N samples, F mel frames (100 a second), T frames of the network (50 a second), D width.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 -- the name PyTorch users know

from edgekit.audio import SAMPLE_RATE_HZ
from edgekit.metrics import DIMENSIONS
from wavllm_teacher.encoder import N_FFT, SAMPLES_PER_FRAME, pad_to_least, whisper_log_mel
from wavllm_teacher.head import EmotionHead, mean_and_deviation

MEL_PER_FRAME = 2
KERNEL = 3
LONGEST_PERIOD = 10_000.0


@dataclass(frozen=True)
class CompactShape:
    """Sizes of the network; ranks are those of factored matrices.

    Attributes:
        mel_bands: Bands of the log-mel input.
        width: Features a frame, D.
        heads: Attention heads.
        expansion: Width inside the two-layer network of a block.
        blocks: Transformer blocks.
        stem_ranks: Of the two convolutions.
        attention_ranks: Of query, key and value together, and of the output, in every block.
        expansion_ranks: Of the two layers of the two-layer network, in every block.
        categories: Emotion categories of the head.

    Raises:
        ValueError: If a size is below 1, or the width is odd or no multiple of the heads.
    """

    mel_bands: int = 80
    width: int = 512
    heads: int = 8
    expansion: int = 2048
    blocks: int = 2
    stem_ranks: tuple[int, int] = (72, 112)
    attention_ranks: tuple[int, int] = (88, 96)
    expansion_ranks: tuple[int, int] = (96, 120)
    categories: int = 7

    def __post_init__(self) -> None:
        sizes = [value for value in asdict(self).values() if not isinstance(value, tuple)]
        if min(*sizes, *self.stem_ranks, *self.attention_ranks, *self.expansion_ranks) < 1:
            raise ValueError(f"impossible sizes: {self}")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} is odd or no multiple of {self.heads} heads")

    def to_dict(self) -> dict[str, object]:
        """Return all sizes, JSON-ready."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, sizes: dict[str, object]) -> "CompactShape":
        """Return the shape that `to_dict` described.

        Raises:
            ValueError: If a size is missing, unknown or impossible.
            TypeError: If a size is no number.
        """
        odd = {field.name for field in fields(cls)} ^ set(sizes)
        if odd:
            raise ValueError(f"missing or unknown: {', '.join(sorted(odd))}")
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in sizes.items()}
        return cls(**values)  # type: ignore[arg-type] # as JSON holds them


class LowRank(nn.Module):
    """A linear layer whose matrix is the product of two thin ones."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., inputs) to (..., outputs)."""
        y: torch.Tensor = self.up(self.down(x))
        return y


class LowRankConv(nn.Module):
    """A convolution over three frames whose matrix is the product of two thin ones."""

    def __init__(self, inputs: int, outputs: int, rank: int, stride: int) -> None:
        super().__init__()
        self.down = nn.Conv1d(inputs, rank, KERNEL, stride, padding=KERNEL // 2, bias=False)
        self.up = nn.Conv1d(rank, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, F) to (B, outputs, ceil(F / stride))."""
        y: torch.Tensor = self.up(self.down(x))
        return y


class Block(nn.Module):
    """A pre-normalised transformer block, as in Whisper, with factored matrices."""

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.attention_norm = nn.LayerNorm(shape.width)
        self.qkv = LowRank(shape.width, 3 * shape.width, shape.attention_ranks[0])
        self.out = LowRank(shape.width, shape.width, shape.attention_ranks[1])
        self.norm = nn.LayerNorm(shape.width)
        self.expand = LowRank(shape.width, shape.expansion, shape.expansion_ranks[0])
        self.reduce = LowRank(shape.expansion, shape.width, shape.expansion_ranks[1])

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Map (B, T, D) frames to the same; frames that are not `valid` (B, T) are not attended to."""
        batch, length, width = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None, None, :])
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        y: torch.Tensor = x + self.reduce(F.gelu(self.expand(self.norm(x))))
        return y


class CompactTeacher(nn.Module):
    """16 kHz waveform to arousal, dominance, valence with fewer than two million parameters."""

    filters: torch.Tensor

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        bins, nyquist_hz = N_FFT // 2 + 1, SAMPLE_RATE_HZ / 2
        bank = mel_filter_bank(
            bins, shape.mel_bands, 0.0, nyquist_hz, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney"
        )
        # Computed, not stored: a checkpoint holds trained numbers only.
        self.register_buffer("filters", torch.from_numpy(bank).float(), persistent=False)
        self.width = shape.width
        self.first = LowRankConv(shape.mel_bands, shape.width, shape.stem_ranks[0], stride=1)
        self.second = LowRankConv(shape.width, shape.width, shape.stem_ranks[1], stride=MEL_PER_FRAME)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.head = EmotionHead(2 * shape.blocks * shape.width, shape.categories)

    def log_mel(self, samples: NDArray[np.float32]) -> torch.Tensor:
        """Return the (M, F) log-mel input of one (N,) clip, as Whisper defines it."""
        padded = pad_to_least(samples)
        padded = np.pad(padded, (0, -padded.size % SAMPLES_PER_FRAME))
        return whisper_log_mel(torch.from_numpy(padded), self.filters)

    def states(self, mel: torch.Tensor, valid: torch.Tensor) -> list[torch.Tensor]:
        """Return the (B, T, D) frames after stem and every block.

        Args:
            mel: (B, M, 2 T) log-mel frames; zero where not valid.
            valid: (B, T) truth values.
        """
        within = valid.repeat_interleave(MEL_PER_FRAME, dim=1)[:, None]
        x = F.gelu(self.second(F.gelu(self.first(mel)) * within)).transpose(1, 2)
        states = [x + sinusoids(x.shape[1], self.width)]
        for block in self.blocks:
            states.append(block(states[-1], valid))
        return states

    def pool(self, states: Sequence[torch.Tensor], valid: torch.Tensor) -> torch.Tensor:
        """Return the (B, P) features that the head reads of the frames after stem and blocks."""
        return mean_and_deviation(torch.cat(list(states[1:]), dim=2), valid)

    def forward(self, mel: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) arousal, dominance, valence of (B, M, 2 T) log-mel frames."""
        adv: torch.Tensor = self.head(self.pool(self.states(mel, valid), valid))
        return adv

    @torch.no_grad()
    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) arousal, dominance, valence of (N,) 16 kHz clips, one clip at a time."""
        rows = []
        for samples in clips:
            mel = self.log_mel(samples)[None]
            valid = torch.ones(1, mel.shape[2] // MEL_PER_FRAME, dtype=torch.bool)
            rows.append(self(mel, valid)[0].numpy())
        return np.array(rows, np.float32).reshape(-1, len(DIMENSIONS))


def sinusoids(length: int, width: int) -> torch.Tensor:
    """Return the (length, width) positions of the Whisper encoder: sines, then cosines."""
    half = width // 2
    rate = torch.exp(-np.log(LONGEST_PERIOD) / (half - 1) * torch.arange(half))
    angle = torch.arange(length)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)
