"""The full teacher: a few hidden states of a frozen Whisper encoder, their statistics, an emotion head."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.metrics import DIMENSIONS
from wavllm_teacher.encoder import WhisperStates
from wavllm_teacher.head import EmotionHead, mean_and_deviation

LAYERS = (2, 3, 4)
"""Hidden states of Whisper base that tell most of the emotion: earlier ones know sounds, later ones words."""


class WhisperTeacher(nn.Module):
    """Encoder and head together, for prediction.

    Args:
        states: The encoder.
        head: Fitted on pooled states; reads 2 * width features of each layer.
        layers: The hidden states that it reads.
    """

    def __init__(self, states: WhisperStates, head: EmotionHead, layers: Sequence[int] = LAYERS) -> None:
        super().__init__()
        self.states = states
        self.head = head
        self.layers = tuple(layers)
        self.eval()

    @torch.no_grad()
    def frames(self, samples: NDArray[np.float32]) -> torch.Tensor:
        """Return (S, T, D): the states of `layers` of one clip, 50 frames a second."""
        states: torch.Tensor = self.states(samples, max(self.layers))
        return states[list(self.layers)]

    @torch.no_grad()
    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) arousal, dominance, valence of (N,) 16 kHz clips.

        Clips go one at a time: the encoder has no mask, so padding would change the result.
        """
        rows = [self.head(pool_states(self.frames(samples)))[0].numpy() for samples in clips]
        return np.array(rows, np.float32).reshape(-1, len(DIMENSIONS))


def pool_states(frames: torch.Tensor) -> torch.Tensor:
    """Return the (1, 2 S D) features of the (S, T, D) states of one clip: all means, then all deviations."""
    side_by_side = frames.permute(1, 0, 2).flatten(1)[None]
    return mean_and_deviation(side_by_side, torch.ones(side_by_side.shape[:2], dtype=torch.bool))
