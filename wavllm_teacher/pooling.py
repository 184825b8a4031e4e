"""From frames to one vector: attentive statistics pooling (Okabe et al., arXiv 1803.10963)."""

import torch
from torch import nn

VARIANCE_FLOOR = 1e-5


class AttentiveStatistics(nn.Module):
    """Weighted mean and standard deviation over time, weights from a small attention network.

    Args:
        width: Features a frame, D.
        bottleneck: Width of the attention's hidden layer.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, bottleneck)
        self.score = nn.Linear(bottleneck, 1)

    def forward(self, frames: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Pool (B, T, D) frames, of which `valid` (B, T) are speech, into (B, 2 D)."""
        score = self.score(torch.tanh(self.hidden(frames))).squeeze(-1)
        weight = torch.softmax(score.masked_fill(~valid, float("-inf")), dim=1)
        mean = torch.einsum("bt,btd->bd", weight, frames)
        spread = torch.einsum("bt,btd->bd", weight, (frames - mean[:, None]) ** 2)
        return torch.cat([mean, torch.sqrt(spread.clamp(min=VARIANCE_FLOOR))], dim=1)


def length_mask(lengths: torch.Tensor) -> torch.Tensor:
    """Return (B, max length) truth values: the first `lengths[b]` frames of row b are valid.

    Example:
        >>> length_mask(torch.tensor([1, 2])).tolist()
        [[True, False], [True, True]]
    """
    return torch.arange(int(lengths.max()), device=lengths.device)[None] < lengths[:, None]
