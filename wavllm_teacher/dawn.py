"""The teacher `dawn`: wav2vec2-large-robust, 12 layers, mean over time (Wagner et al., arXiv 2203.07378).

Letters: B clips, N samples, T hidden frames (50 a second), D width.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.metrics import DIMENSIONS
from wavllm_teacher.public import PublicTeacher, Regressor, encoder_settings, load_public

VARIANCE_FLOOR = 1e-7
"""Added to the variance of the audio."""


class RegressionHead(nn.Module):
    """Two linear layers with a tanh between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, len(DIMENSIONS))

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return the (B, 3) outputs of (B, D) pooled frames."""
        outputs: torch.Tensor = self.out_proj(torch.tanh(self.dense(pooled)))
        return outputs


class Dawn(Regressor):
    """The network, in the layout of audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim.

    Args:
        config: Content of its `config.json`.
    """

    encoder = "wav2vec2"

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import Wav2Vec2Config, Wav2Vec2Model

        self.settings = Wav2Vec2Config(**encoder_settings(config))
        self.wav2vec2: Any = Wav2Vec2Model(self.settings)
        self.classifier = RegressionHead(self.settings.hidden_size)

    def normalise(self, samples: torch.Tensor) -> torch.Tensor:
        """Return one (N,) clip with mean 0 and variance 1."""
        return (samples - samples.mean()) / torch.sqrt(samples.var(correction=0) + VARIANCE_FLOOR)

    def regress(self, frames: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return the (B, 3) outputs of (B, T, D) frames, of which `valid` (B, T) are speech."""
        mean = (frames * valid[..., None]).sum(dim=1) / valid.sum(dim=1, keepdim=True)
        outputs: torch.Tensor = self.classifier(mean)
        return outputs


def load(folder: Path) -> PublicTeacher:
    """Load a folder that holds the public checkpoint, or one like it.

    Raises:
        ArtifactError: If a file is missing or damaged, the config is wrong, or a tensor does not fit.
    """
    return load_public(folder, Dawn)
