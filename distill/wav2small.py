"""Wav2Small, the 72,659-parameter student (arXiv 2408.13920), and Wav2Small2.0, its second-order successor.

Letters: B clips, T frames, M = 26 mel bands, S tokens (half the frame rate), C = 13 channels.
"""

import torch
from torch import Tensor, nn

from distill.student import Student, softmax_pool
from edgekit.audio import FrontEnd
from edgekit.metrics import DIMENSIONS

CHANNELS = 13
NORM_MOMENTUM = 0.01
"""Weight of a new batch in the running statistics; small, because training feeds a few clips at a time."""


class ConvBlock(nn.Module):
    """3x3 convolution without bias, batch normalisation, ReLU; keeps (T, M)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, T, M) to (B, outputs, T, M)."""
        # In place: nothing else reads the normalised value, and memory traffic is what training waits for.
        return torch.relu_(self.norm(self.conv(x)))


class Vgg7(Student):
    """Seven convolutions with a max pool after the third: what both Wav2Smalls have in common.

    Args:
        front_end: The features that the network is made for; `forward` needs level `utterance`.
        end_padding: True pads time on both sides, as the papers do. False pads only before the first
            frame: a stream has no end, so this is what runs on the device. The two differ only in the
            tokens that see the last 12 frames.
    """

    streams = True
    # The first token of a stream sees 12 frames ahead of its own.
    least_frames = 13
    token_frames = 2

    def __init__(self, front_end: FrontEnd, *, end_padding: bool = True) -> None:
        super().__init__(front_end)
        self.end_padding = end_padding
        self.l1 = ConvBlock(1, CHANNELS)
        self.l2, self.l3, self.l4, self.l5, self.l6, self.l7 = (
            ConvBlock(CHANNELS, CHANNELS) for _ in range(6)
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.token_bands = (front_end.mel_bands + 1) // 2

    def trunk(self, logmel: Tensor) -> Tensor:
        """Return (B, C, S, 13) of (B, T, M) log-mel frames."""
        maps: Tensor = self.pool(self.l3(self.l2(self.l1(logmel.unsqueeze(1)))))
        maps = self.l7(self.l6(self.l5(self.l4(maps))))
        if self.end_padding:
            return maps
        # A frame is lost by each of three layers, then a window that reaches over the end, then four tokens.
        return maps[:, :, : (logmel.shape[1] - 3) // 2 - 4]


class Wav2Small(Vgg7):
    """The trunk, a 1x1 convolution, attention pooling over tokens of 169 features, three outputs."""

    def __init__(self, front_end: FrontEnd, *, end_padding: bool = True) -> None:
        super().__init__(front_end, end_padding=end_padding)
        self.mix = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.features = CHANNELS * self.token_bands
        self.lin = nn.Linear(self.features, self.features)
        self.sof = nn.Linear(self.features, self.features)
        self.adv = nn.Linear(self.features, len(DIMENSIONS))

    def tokens(self, logmel: Tensor) -> Tensor:
        """Return the (B, S, 169) tokens of (B, T, M) log-mel frames."""
        tokens: Tensor = self.mix(self.trunk(logmel))
        return tokens.transpose(1, 2).flatten(start_dim=2)

    def embed(self, logmel: Tensor) -> Tensor:
        """Return the (B, 169) pooled features of (B, T, M) log-mel frames."""
        tokens = self.tokens(logmel)
        return softmax_pool(self.lin(tokens), self.sof(tokens))


class Wav2Small2(Vgg7):
    """Wav2Small2.0 (audeering/wav2small): values and scores by 1x1 convolutions, second-order statistics.

    The pooled (C, 13) features x stand beside their products x x^T, channel by channel.
    """

    def __init__(self, front_end: FrontEnd, *, end_padding: bool = True) -> None:
        super().__init__(front_end, end_padding=end_padding)
        self.lin = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.sof = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.features = CHANNELS * (self.token_bands + CHANNELS)
        self.adv = nn.Linear(self.features, len(DIMENSIONS))

    def embed(self, logmel: Tensor) -> Tensor:
        """Return the (B, 338) features of (B, T, M) log-mel frames: pooled ones and products, by channel."""
        maps = self.trunk(logmel)
        values, scores = (conv(maps).transpose(1, 2) for conv in (self.lin, self.sof))
        x = softmax_pool(values, scores)
        return torch.cat([x, x @ x.transpose(1, 2)], dim=2).flatten(start_dim=1)
