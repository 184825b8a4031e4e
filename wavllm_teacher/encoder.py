"""The frozen Whisper encoder, run on clips as long as they are (Radford et al., arXiv 2212.04356).

Letters: N samples, F mel frames (100 a second), T hidden frames (50 a second), D width, L blocks.
Whisper was trained on windows padded to 30 s, and `WhisperEncoder.forward` accepts nothing else. The
padding changes the features of the speech itself, so here every clip is encoded unpadded; a head fitted
on these features must be used with these features.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 -- the name PyTorch users know

from edgekit.audio import SAMPLE_RATE_HZ
from edgekit.errors import ArtifactError
from wavllm_teacher import checkpoint
from wavllm_teacher.device import CPU, Device

N_FFT = 400
HOP = 160
WINDOW_SAMPLES = 30 * SAMPLE_RATE_HZ
LEAST_SAMPLES = SAMPLE_RATE_HZ // 10
SAMPLES_PER_FRAME = 2 * HOP


def pad_to_least(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the clip, followed by silence if it is shorter than a tenth of a second."""
    return np.pad(samples, (0, max(0, LEAST_SAMPLES - samples.size)))


def whisper_log_mel(samples: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Return Whisper's log-mel input of one clip.

    Args:
        samples: (N,) samples, N a multiple of 2 * HOP so that hidden frames are whole.
        filters: (n_fft // 2 + 1, M) Slaney mel filters.

    Returns:
        (M, N / HOP): log10 power, its lower end 8 below the clip's maximum, scaled to about [-1, 1].
    """
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(samples, N_FFT, HOP, window=window, return_complex=True)
    # Whisper drops the last frame, which is centred on the end of the clip.
    power = spectrum[:, :-1].abs() ** 2
    mel = torch.log10(torch.clamp(filters.T @ power, min=1e-10))
    return (torch.maximum(mel, mel.max() - 8) + 4) / 4


class WhisperStates(nn.Module):
    """All hidden states of a Whisper encoder.

    Args:
        config: Content of the encoder's `config.json` (a transformers `WhisperConfig`).
    """

    filters: torch.Tensor

    def __init__(self, config: dict[str, object]) -> None:
        super().__init__()
        from transformers import WhisperConfig
        from transformers.audio_utils import mel_filter_bank
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        # The file may say float16; arithmetic here is float32 on any processor.
        settings = WhisperConfig.from_dict({**config, "dtype": "float32", "torch_dtype": None})
        # transformers is not typed.
        self.encoder: Any = WhisperEncoder(settings).requires_grad_(False)
        self.encoder.train(mode=False)
        self.width: int = settings.d_model
        self.state_count: int = settings.encoder_layers + 1
        bins, bands = N_FFT // 2 + 1, settings.num_mel_bins
        filters = mel_filter_bank(bins, bands, 0.0, 8000.0, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney")
        self.filters = torch.from_numpy(filters).float()
        self.device = CPU

    def run_on(self, device: Device) -> None:
        """Compute there from now on; hidden states come back to the processor."""
        self.device = device
        self.encoder.to(device.name)

    def _window_states(self, samples: torch.Tensor, last: int) -> torch.Tensor:
        """Return (last + 1, T, D) hidden states of at most 30 s."""
        encoder = self.encoder
        mel = whisper_log_mel(samples, self.filters)[None].to(self.device.name)
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        x = x + encoder.embed_positions.weight[: x.shape[1]]
        states = [x]
        for block in encoder.layers[:last]:
            x = block(x, None)
            states.append(x)
        if last == len(encoder.layers):
            states[-1] = encoder.layer_norm(x)
        return torch.cat(states)

    @torch.no_grad()
    def forward(self, samples: NDArray[np.float32], last: int | None = None) -> torch.Tensor:
        """Return the hidden states of one clip; longer than 30 s, it is encoded in windows of 30 s.

        Args:
            samples: (N,) at 16 kHz.
            last: Index of the last state wanted; all L blocks without it.

        Returns:
            (last + 1, T, D), T = ceil(N / 320); state 0 is the input of the first block, the last of all
            is layer-normalised as in transformers.
        """
        last = len(self.encoder.layers) if last is None else last
        padded = pad_to_least(samples)
        padded = np.pad(padded, (0, -padded.size % SAMPLES_PER_FRAME))
        starts = range(0, padded.size, WINDOW_SAMPLES)
        windows = [pad_to_least(padded[start : start + WINDOW_SAMPLES]) for start in starts]
        with self.device.autocast():
            states = [self._window_states(torch.from_numpy(w), last).float().cpu() for w in windows]
        return torch.cat(states, dim=1)


def load_encoder(path: Path) -> WhisperStates:
    """Load `config.json` and `model.safetensors` in the layout of transformers' WhisperEncoder.

    Raises:
        ArtifactError: If a file is missing or damaged, the config is not Whisper's, or a tensor does not fit.
    """
    file = path / "config.json"
    if not file.is_file():
        raise ArtifactError(f"{path}: no Whisper encoder here (config.json is missing)", checkpoint.REPAIR)
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise ArtifactError(f"{file}: damaged ({error})", checkpoint.REPAIR) from error
    if config.get("model_type") != "whisper":
        found = config.get("model_type")
        raise ArtifactError(f"{file}: model_type is {found!r}, not 'whisper'", checkpoint.REPAIR)
    states = WhisperStates(config)
    checkpoint.load_into(states.encoder, path / "model.safetensors")
    return states
