"""The teacher `msp-wavlm`: WavLM-large, attentive statistics, one hidden layer (Odyssey 2024 baseline).

Letters: B clips, N samples, T hidden frames (50 a second), D width.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.errors import UnsupportedError
from edgekit.metrics import DIMENSIONS
from wavllm_teacher.public import PublicTeacher, Regressor, encoder_settings, load_public, required

BACKBONE = "microsoft/wavlm-large"
WAVLM_LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
"""Where WavLM-large differs from transformers' defaults; the checkpoint's config does not say."""
VARIANCE_FLOOR = 1e-5
SCALE_FLOOR = 1e-6


class SelfAttentivePooling(nn.Module):
    """Weighted mean and standard deviation over time (Okabe et al., arXiv 1803.10963)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sap_linear = nn.Linear(width, width)
        self.attention = nn.Parameter(torch.zeros(width, 1))

    def forward(self, frames: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Pool (B, T, D) frames, of which `valid` (B, T) are speech, into (B, 2 D)."""
        score = torch.tanh(self.sap_linear(frames)) @ self.attention
        weight = torch.softmax(score.masked_fill(~valid[..., None], float("-inf")), dim=1)
        mean = (weight * frames).sum(dim=1)
        variance = (weight * frames**2).sum(dim=1) - mean**2
        return torch.cat([mean, torch.sqrt(variance.clamp(min=VARIANCE_FLOOR))], dim=1)


class RegressionHead(nn.Module):
    """A hidden layer with normalisation, and a linear output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = nn.Sequential(nn.Linear(2 * width, width), nn.LayerNorm(width), nn.ReLU())
        self.fc = nn.ModuleList([hidden])
        self.out = nn.Sequential(nn.Linear(width, len(DIMENSIONS)))

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return the (B, 3) outputs of (B, 2 D) pooled frames."""
        outputs: torch.Tensor = self.out(self.fc[0](pooled))
        return outputs


class MspWavLM(Regressor):
    """The network, in the layout of 3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes.

    The public code counts a frame of padding as speech where a clip is padded in a batch. Here it is not: a
    batch gives what its clips give alone, which is what the public pipeline computes.

    Args:
        config: Content of its `config.json`; sizes of the encoder in it replace those of WavLM-large.

    Raises:
        UnsupportedError: If it is built on another model than WavLM.
    """

    encoder = "ssl_model"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import WavLMConfig, WavLMModel

        backbone = required(config, "ssl_type")
        if backbone != BACKBONE:
            raise UnsupportedError(f"msp-wavlm: ssl_type is {backbone!r}", f"edgekit reads {BACKBONE}")
        self.mean = float(required(config, "mean"))
        self.scale = float(required(config, "std")) + SCALE_FLOOR
        self.settings = WavLMConfig(**WAVLM_LARGE | encoder_settings(config))
        self.ssl_model: Any = WavLMModel(self.settings)
        self.pool_model = SelfAttentivePooling(self.settings.hidden_size)
        self.ser_model = RegressionHead(self.settings.hidden_size)

    def normalise(self, samples: torch.Tensor) -> torch.Tensor:
        """Return one (N,) clip, shifted and scaled as all of the training speech was."""
        return (samples - self.mean) / self.scale

    def frames(self, samples: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return the last hidden state, (B, T, D), of (B, N) samples, of which `valid` (B, N) are speech."""
        with warnings.catch_warnings():
            # WavLM hands torch a mask of truth values beside its position bias; torch reads both correctly.
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
            return super().frames(samples, valid)

    def regress(self, frames: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return the (B, 3) outputs of (B, T, D) frames, of which `valid` (B, T) are speech."""
        outputs: torch.Tensor = self.ser_model(self.pool_model(frames, valid))
        return outputs


def load(folder: Path) -> PublicTeacher:
    """Load a folder that holds the public checkpoint, or one like it.

    Raises:
        ArtifactError: If a file is missing or damaged, the config is wrong, or a tensor does not fit.
        UnsupportedError: If it is built on another model than WavLM-large.
    """
    return load_public(folder, MspWavLM)
