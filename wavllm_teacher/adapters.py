"""The adapter between a frozen encoder and the fusion of two, as in WavLLM (Hu et al., arXiv 2404.00656).

Letters: B clips, S hidden states, T frames, D features of an encoder, C channels after subsampling.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 -- the name PyTorch users know

from wavllm_teacher.pooling import length_mask

KERNEL = 3
STRIDE = 2


class Conv1dSubsampler(nn.Module):
    """Two convolutions of kernel 3 and stride 2, each with a gated linear unit: a quarter of the frames.

    Args:
        width: Features a frame, D.
        hidden: Channels of the first convolution; its gate halves them.
        channels: Channels of the result, C.
    """

    def __init__(self, width: int, hidden: int, channels: int) -> None:
        super().__init__()
        sizes = ((width, hidden), (hidden // 2, 2 * channels))
        self.conv_layers = nn.ModuleList(
            nn.Conv1d(inputs, outputs, KERNEL, STRIDE, padding=KERNEL // 2) for inputs, outputs in sizes
        )

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B, ceil(T / 4), C) frames and how many are valid, of (B, T, D) frames of such lengths.

        What lies behind the end of a clip has no effect on its valid frames.
        """
        x = frames.transpose(1, 2)
        for conv in self.conv_layers:
            # Zeros behind the end: the same as the convolution's padding of a clip that is alone.
            x = F.glu(conv(x * length_mask(lengths)[:, None]), dim=1)
            lengths = (lengths - 1) // STRIDE + 1
        return x.transpose(1, 2), lengths


class Bottleneck(nn.Module):
    """y = x + LayerNorm(up(gelu(down(x)))).

    Args:
        width: Features a frame.
        bottleneck: Features between the two linear layers.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down_layer = nn.Linear(width, bottleneck)
        self.up_layer = nn.Linear(bottleneck, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x of any shape (..., width) with the bottleneck's correction added."""
        changed: torch.Tensor = self.layer_norm(self.up_layer(F.gelu(self.down_layer(x))))
        return x + changed


class Branch(nn.Module):
    """Hidden states of one encoder to frames for the fusion: mix, subsampling, bottleneck, projection.

    States are standardised per feature before the mix, with statistics of the training speech: in Whisper
    base, states 4 and 5 reach 490 where the others stay below 25, and would drown them.

    Args:
        states: Hidden states of the encoder, S; one state is taken as it is, more are mixed by a softmax.
        width: Features of each, D.
        hidden: Channels of the first convolution.
        channels: Channels after subsampling, C.
        bottleneck: Features in the bottleneck.
        projection: Features of the result.
        dropout: Share of the mixed features dropped in training.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        states: int,
        width: int,
        hidden: int,
        channels: int,
        bottleneck: int,
        projection: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(states, width))
        self.register_buffer("scale", torch.ones(states, width))
        if states > 1:
            self.output_weights = nn.Parameter(torch.ones(states))
        self.drop = nn.Dropout(dropout)
        self.subsample = Conv1dSubsampler(width, hidden, channels)
        self.adapter = Bottleneck(channels, bottleneck)
        self.projector = nn.Linear(channels, projection)

    @torch.no_grad()
    def standardise(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the (S, sum of T, D) states of clips one after the other, of mean 0 and variance 1."""
        whole = torch.empty(len(self.mean), sum(clip.shape[1] for clip in clips), self.mean.shape[1])
        torch.cat(list(clips), dim=1, out=whole)
        return whole.sub_(self.mean[:, None]).div_(self.scale[:, None])

    def mix(self, states: torch.Tensor) -> torch.Tensor:
        """Return the (T, D) weighted sum of (S, T, D) states."""
        if len(states) == 1:
            return states[0]
        weights = torch.softmax(self.output_weights, dim=0)
        return (weights @ states.flatten(1)).view(states.shape[1:])

    def forward(self, clips: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B, ceil(T / 4), projection) frames of (S, T, D) states a clip, and how many are valid."""
        lengths = torch.tensor([clip.shape[1] for clip in clips])
        # Mixed as one long clip: a mix per clip would make the backward pass ten times slower.
        mixed = self.drop(self.mix(self.standardise(clips)))
        coarse, valid = self.subsample(padded(mixed, lengths), lengths)
        return self.projector(self.adapter(coarse)), valid


def padded(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return (sum of lengths, D) frames of clips one after the other as (B, T, D), followed by zeros."""
    valid = length_mask(lengths)
    # torch's own padding copies the gradient of the whole batch once for every clip.
    places = valid.flatten().nonzero()[:, 0]
    rows = frames.new_zeros(valid.numel(), frames.shape[1]).index_copy(0, places, frames)
    return rows.view(*valid.shape, frames.shape[1])
