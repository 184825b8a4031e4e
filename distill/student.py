"""What all students share: the frozen front end, attention pooling over time, three outputs.

Letters: B clips, N samples, T frames, M = 26 mel bands, S tokens, D features of a token.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.audio import FrontEnd, mel_filters


class Student(nn.Module):
    """16 kHz waveform or log-mel frames to arousal, dominance, valence.

    A student defines `embed`, from log-mel frames to the features of a clip, and `adv`, from these to the
    three outputs.

    Args:
        front_end: The features that the network is made for; `forward` needs level `utterance`.

    Attributes:
        streams: Whether it can run on audio of any length as it comes; otherwise it needs the whole clip.
        least_frames: Frames that the shortest clip needs.
        token_frames: Log-mel frames from one token to the next.
    """

    streams = False
    least_frames = 1
    token_frames = 1
    adv: nn.Linear

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self.front_end = front_end
        cosine, sine = _fourier_kernels(front_end)
        self.conv_real = _frozen_conv(cosine, front_end.hop)
        self.conv_imag = _frozen_conv(sine, front_end.hop)
        self.mel = nn.Parameter(torch.from_numpy(mel_filters(front_end)).float(), requires_grad=False)

    def embed(self, logmel: Tensor) -> Tensor:
        """Return the (B, features) that `adv` reads of (B, T, M) log-mel frames in dB."""
        raise NotImplementedError

    def forward(self, wave: Tensor) -> Tensor:
        """Return (B, 3) arousal, dominance, valence of (B, N) 16 kHz clips, level `utterance`."""
        return self.forward_logmel(self.log_mel(wave))

    def forward_logmel(self, logmel: Tensor) -> Tensor:
        """Return (B, 3) arousal, dominance, valence (nominally 0..1) of (B, T, M) log-mel frames in dB."""
        outputs: Tensor = self.adv(self.embed(logmel))
        return outputs

    def log_mel(self, wave: Tensor) -> Tensor:
        """Return (B, T, M) log-mel frames of (B, N) clips: `edgekit.audio.log_mel`, level `utterance`."""
        wave = wave - wave.mean(dim=1, keepdim=True)
        level = wave.square().mean(dim=1, keepdim=True) + self.front_end.level_epsilon
        frames = (wave / level.sqrt()).unsqueeze(1)
        power = self.conv_real(frames).square() + self.conv_imag(frames).square()
        mel = power.transpose(1, 2) @ self.mel
        logmel: Tensor = 10 * mel.clamp(min=self.front_end.floor_power).log10()
        return logmel


def softmax_pool(values: Tensor, scores: Tensor) -> Tensor:
    """Return (B, ...): values of (B, S, ...) tokens summed over time, each feature with its own weights.

    The weights are the softmax over time of the scores, which have the shape of the values.
    """
    return (values * scores.softmax(dim=1)).sum(dim=1)


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
