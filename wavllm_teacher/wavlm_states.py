"""The frozen WavLM encoder and all its hidden states (Chen et al., arXiv 2110.13900).

Letters: N samples, T hidden frames (50 a second), D width, L blocks.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.errors import ArtifactError
from wavllm_teacher import checkpoint, hub
from wavllm_teacher.device import CPU, Device
from wavllm_teacher.encoder import LEAST_SAMPLES, WINDOW_SAMPLES, pad_to_least

VARIANCE_FLOOR = 1e-7
"""Added to the variance of the audio, as transformers' feature extractor does."""
MASK = "masked_spec_embed"
"""A tensor of public checkpoints that only their own training uses."""


class WavLMStates(nn.Module):
    """All hidden states of a WavLM encoder.

    Models with layer-normalised convolutions (WavLM large) were trained on audio of mean 0 and variance 1,
    the others (base, base-plus) on audio as it is; so are they fed here.

    Args:
        config: Content of the encoder's `config.json` (a transformers `WavLMConfig`).
    """

    def __init__(self, config: dict[str, object]) -> None:
        super().__init__()
        from transformers import WavLMConfig, WavLMModel

        # The file may say float16; arithmetic here is float32 on any processor. Masking is for training only.
        fixed = {"dtype": "float32", "torch_dtype": None, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
        settings = WavLMConfig.from_dict({**config, **fixed})
        # transformers is not typed.
        self.encoder: Any = WavLMModel(settings).requires_grad_(False)
        self.encoder.train(mode=False)
        self.width: int = settings.hidden_size
        self.state_count: int = settings.num_hidden_layers + 1
        self.normalise: bool = settings.feat_extract_norm == "layer"
        self.device = CPU

    def run_on(self, device: Device) -> None:
        """Compute there from now on; hidden states come back to the processor."""
        self.device = device
        self.encoder.to(device.name)

    def frame_count(self, samples: int, window_samples: int = WINDOW_SAMPLES) -> int:
        """Return T of a clip of so many samples, as `forward` gives it."""
        starts = range(0, samples, window_samples)
        counts = [max(LEAST_SAMPLES, min(window_samples, samples - start)) for start in starts]
        config = self.encoder.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            counts = [(count - kernel) // stride + 1 for count in counts]
        return sum(counts)

    def _window_states(self, samples: NDArray[np.float32]) -> torch.Tensor:
        """Return (L + 1, T, D) hidden states of one window."""
        audio = torch.from_numpy(samples)[None].to(self.device.name)
        with self.device.autocast():
            found = self.encoder(audio, output_hidden_states=True)
        return torch.cat(found.hidden_states).float().cpu()

    @torch.no_grad()
    def forward(self, samples: NDArray[np.float32], window_samples: int = WINDOW_SAMPLES) -> torch.Tensor:
        """Return the hidden states of one clip; longer than a window, it is encoded in windows.

        Args:
            samples: (N,) at 16 kHz.
            window_samples: Length of a window, 30 s without it.

        Returns:
            (L + 1, T, D), T = floor((N - 400) / 320) + 1 of each window; state 0 is the input of the first
            block, state k the output of block k (in WavLM large before the final layer normalisation).
        """
        if self.normalise:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + VARIANCE_FLOOR)
        starts = range(0, samples.size, window_samples)
        windows = [pad_to_least(samples[start : start + window_samples]) for start in starts]
        return torch.cat([self._window_states(window) for window in windows], dim=1)


def load_wavlm(path: Path) -> WavLMStates:
    """Load a folder with `config.json` and weights in the layout of transformers' WavLMModel.

    Args:
        path: Weights may be safetensors or `pytorch_model.bin`; weight normalisation may have either name.

    Raises:
        ArtifactError: If a file is missing or damaged, the config is not WavLM's, or a tensor does not fit.
    """
    file = path / hub.CONFIG_FILE
    if not file.is_file():
        raise ArtifactError(f"{path}: no WavLM encoder here (config.json is missing)", hub.REPAIR)
    config = hub.read_json(file)
    if config.get("model_type") != "wavlm":
        found = config.get("model_type")
        raise ArtifactError(
            f"{file}: model_type is {found!r}, not 'wavlm'", "name the folder of a WavLM model"
        )
    states = WavLMStates(config)
    files = [path / name for name in hub.weight_files(path) if not name.endswith(hub.INDEX_ENDING)]
    checkpoint.load_into(states.encoder, *files, unused={MASK: (states.width,)})
    return states
