"""Training losses: disagreement by Lin's concordance, as in the MSP-Podcast challenge; squared error."""

from torch import Tensor

EPSILON = 1e-8


def ccc_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the sum over dimensions of 1 - CCC, statistics over the batch with population variances.

    Args:
        prediction: (B, D) values.
        target: (B, D) values.

    Returns:
        A scalar in [0, 2 D]; the small constant in the denominator makes a constant batch count as D.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [0.5], [1.0]])
        >>> round(ccc_loss(x + 0.5, x).item(), 6)
        0.428571
    """
    p, t = prediction - prediction.mean(dim=0), target - target.mean(dim=0)
    distance = (prediction.mean(dim=0) - target.mean(dim=0)).square()
    spread = p.square().mean(dim=0) + t.square().mean(dim=0) + distance + EPSILON
    return (1 - 2 * (p * t).mean(dim=0) / spread).sum()


def mse_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the sum over dimensions of the mean squared error of (B, D) values."""
    return (prediction - target).square().mean(dim=0).sum()


LOSSES = {"ccc": ccc_loss, "mse": mse_loss}
