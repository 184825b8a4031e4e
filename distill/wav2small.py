"""Wav2Small, the 72,659-parameter student (arXiv 2408.13920), as a torch module.

Letters: B clips, N samples, T frames, M = 26 mel bands, S tokens (half the frame rate).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.audio import FrontEnd, mel_filters
from edgekit.metrics import DIMENSIONS

CHANNELS = 13
NORM_MOMENTUM = 0.01
"""Weight of a new batch in the running statistics; small, because training feeds a few clips at a time."""
MIN_STREAMING_FRAMES = 13
"""Frames that the first token of a stream needs: it sees 12 frames ahead of its own."""


class ConvBlock(nn.Module):
    """3x3 convolution without bias, batch normalisation, ReLU; keeps (T, M), or (T - 1, M) in a stream."""

    def __init__(self, inputs: int, outputs: int, *, end_padding: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM)
        self.end_padding = end_padding

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, T, M) to (B, outputs, T or T - 1, M)."""
        x = self.conv(x)
        # The last frame is the only one that saw the padding after the end.
        x = x if self.end_padding else x[:, :, :-1]
        # In place: nothing else reads the normalised value, and memory traffic is what training waits for.
        return torch.relu_(self.norm(x))


class Wav2Small(nn.Module):
    """Seven convolutions, then a softmax-weighted sum over time, then three outputs.

    Args:
        front_end: The features that the network is made for; `forward` needs level `utterance`.
        end_padding: True pads time on both sides, as the paper does. False pads only before the first
            frame: a stream has no end, so this is what runs on the device. The two differ only in the
            tokens that see the last 12 frames.
    """

    def __init__(self, front_end: FrontEnd, *, end_padding: bool = True) -> None:
        super().__init__()
        self.front_end = front_end
        self.end_padding = end_padding
        cosine, sine = _fourier_kernels(front_end)
        self.conv_real = _frozen_conv(cosine, front_end.hop)
        self.conv_imag = _frozen_conv(sine, front_end.hop)
        self.mel = nn.Parameter(torch.from_numpy(mel_filters(front_end)).float(), requires_grad=False)
        self.l1 = ConvBlock(1, CHANNELS, end_padding=end_padding)
        self.l2, self.l3, self.l4, self.l5, self.l6, self.l7 = (
            ConvBlock(CHANNELS, CHANNELS, end_padding=end_padding) for _ in range(6)
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.mix = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.features = CHANNELS * ((front_end.mel_bands + 1) // 2)
        self.lin = nn.Linear(self.features, self.features)
        self.sof = nn.Linear(self.features, self.features)
        self.adv = nn.Linear(self.features, len(DIMENSIONS))

    def forward(self, wave: Tensor) -> Tensor:
        """Return (B, 3) arousal, dominance, valence of (B, N) 16 kHz clips, level `utterance`."""
        return self.forward_logmel(self.log_mel(wave))

    def forward_logmel(self, logmel: Tensor) -> Tensor:
        """Return (B, 3) arousal, dominance, valence (nominally 0..1) of (B, T, M) log-mel frames in dB."""
        return self.attend(self.tokens(logmel))

    def log_mel(self, wave: Tensor) -> Tensor:
        """Return (B, T, M) log-mel frames of (B, N) clips: `edgekit.audio.log_mel`, level `utterance`."""
        wave = wave - wave.mean(dim=1, keepdim=True)
        level = wave.square().mean(dim=1, keepdim=True) + self.front_end.level_epsilon
        frames = (wave / level.sqrt()).unsqueeze(1)
        power = self.conv_real(frames).square() + self.conv_imag(frames).square()
        mel = power.transpose(1, 2) @ self.mel
        logmel: Tensor = 10 * mel.clamp(min=self.front_end.floor_power).log10()
        return logmel

    def tokens(self, logmel: Tensor) -> Tensor:
        """Return the (B, S, 169) tokens of (B, T, M) log-mel frames."""
        x = self.l3(self.l2(self.l1(logmel.unsqueeze(1))))
        frames = x.shape[2]
        x = self.pool(x)
        # With an odd count the last window reaches over the end.
        x = x if self.end_padding else x[:, :, : frames // 2]
        tokens: Tensor = self.mix(self.l7(self.l6(self.l5(self.l4(x)))))
        return tokens.transpose(1, 2).flatten(start_dim=2)

    def attend(self, tokens: Tensor) -> Tensor:
        """Return (B, 3): each feature summed over time with its own softmax weights, then `adv`."""
        pooled = (self.lin(tokens) * self.sof(tokens).softmax(dim=1)).sum(dim=1)
        output: Tensor = self.adv(pooled)
        return output


def _frozen_conv(kernels: NDArray[np.float64], hop: int) -> nn.Conv1d:
    conv = nn.Conv1d(1, kernels.shape[0], kernels.shape[1], stride=hop, bias=False)
    conv.weight = nn.Parameter(torch.from_numpy(kernels).float().unsqueeze(1), requires_grad=False)
    return conv


def _fourier_kernels(front_end: FrontEnd) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return real and imaginary rows (bins, n_fft) of the Fourier matrix under a periodic Hann window."""
    phase = 2 * np.pi * np.arange(front_end.n_fft) / front_end.n_fft
    window = 0.5 - 0.5 * np.cos(phase)
    angle = np.arange(front_end.n_fft // 2 + 1)[:, None] * phase
    return np.cos(angle) * window, -np.sin(angle) * window
