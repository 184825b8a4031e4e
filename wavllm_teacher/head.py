"""From pooled states to arousal, dominance, valence, by way of the emotion category.

Acted corpora are labelled by category, and their A/D/V are means of categories. A regression onto such
numbers shrinks to the middle where it is in doubt; the probabilities of the categories, turned into the
expected A/D/V, do not: on held-out speakers their CCC is higher on every dimension (benchmarks/teachers.md).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.metrics import DIMENSIONS

VARIANCE_FLOOR = 1e-5
SMALLEST_SCALE = 1e-3
MOST_ITERATIONS = 2000


def mean_and_deviation(frames: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Pool (B, T, D) frames, of which `valid` (B, T) are speech, into (B, 2 D): mean, then deviation."""
    weight = (valid / valid.sum(dim=1, keepdim=True))[..., None]
    mean = (weight * frames).sum(dim=1)
    spread = (weight * (frames - mean[:, None]) ** 2).sum(dim=1)
    return torch.cat([mean, torch.sqrt(spread.clamp(min=VARIANCE_FLOOR))], dim=1)


class EmotionHead(nn.Module):
    """Pooled features to the expectation of A/D/V over emotion categories.

    Args:
        features: Pooled features of a clip, P.
        categories: Emotion categories, K.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    adv: torch.Tensor

    def __init__(self, features: int, categories: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.score = nn.Linear(features, categories)
        self.register_buffer("adv", torch.full((categories, len(DIMENSIONS)), 0.5))

    def scores(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return (B, K) log-probabilities, up to a constant, of (B, P) pooled features."""
        scores: torch.Tensor = self.score((pooled - self.mean) / self.scale)
        return scores

    def expected(self, scores: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) expected arousal, dominance, valence of (B, K) scores."""
        return torch.softmax(scores, dim=1) @ self.adv

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) arousal, dominance, valence of (B, P) pooled features."""
        return self.expected(self.scores(pooled))


def fit_head(
    pooled: NDArray[np.float32],
    probabilities: NDArray[np.float64],
    adv: NDArray[np.float32],
    *,
    copies: int = 1,
    strength: float = 0.1,
) -> EmotionHead:
    """Fit a head by multinomial logistic regression with an L2 penalty; it has one solution and no seed.

    Minimises `|W|^2 / 2 + strength / copies * sum of cross-entropies` by L-BFGS, the penalty on weights of
    standardised features and not on the biases.

    Args:
        pooled: (N, P) pooled features.
        probabilities: (N, K) of the categories; see `one_hot` for clips with one each.
        adv: (K, 3) A/D/V that a category stands for; see `category_means`.
        copies: How many rows each clip has, so that augmented copies do not weaken the penalty.
        strength: Inverse of the penalty for one copy.
    """
    head = EmotionHead(pooled.shape[1], len(adv)).requires_grad_(False)
    mean, scale = pooled.mean(0, dtype=np.float64), pooled.std(0, dtype=np.float64) + SMALLEST_SCALE
    weight, bias = _logistic_regression((pooled - mean) / scale, probabilities, strength / copies)
    head.mean.copy_(torch.from_numpy(mean))
    head.scale.copy_(torch.from_numpy(scale))
    head.score.weight.copy_(torch.from_numpy(weight))
    head.score.bias.copy_(torch.from_numpy(bias))
    head.adv.copy_(torch.from_numpy(adv))
    return head.eval()


def one_hot(categories: Sequence[str]) -> NDArray[np.float64]:
    """Return (N, K) rows with a one at the clip's category; categories are ordered by name.

    Example:
        >>> one_hot(["sad", "angry"]).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    names = sorted(set(categories))
    return np.eye(len(names))[[names.index(name) for name in categories]]


def category_means(probabilities: NDArray[np.float64], adv: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (K, 3) means of the (N, 3) labels of each category's clips, given as (N, K) `one_hot` rows."""
    means: NDArray[np.float32] = (probabilities.T @ adv / probabilities.sum(0)[:, None]).astype(np.float32)
    return means


def _logistic_regression(
    z: NDArray[np.float64], wanted: NDArray[np.float64], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (K, P) weights and (K,) biases for standardised features and wanted probabilities."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    features = z.shape[1]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = _unflatten(flat, features)
        log_p = log_softmax(z @ weight.T + bias, axis=1)
        error = strength * (np.exp(log_p) - wanted)
        value = 0.5 * float((weight**2).sum()) - strength * float((wanted * log_p).sum())
        return value, np.concatenate([(error.T @ z + weight).ravel(), error.sum(0)])

    start = np.zeros(wanted.shape[1] * (features + 1))
    found: Any = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MOST_ITERATIONS})
    if not found.success:
        raise RuntimeError(f"the head's fit stopped before its minimum: {found.message}")
    return _unflatten(found.x, features)


def _unflatten(flat: NDArray[np.float64], features: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    categories = flat.size // (features + 1)
    return flat[: categories * features].reshape(categories, features), flat[categories * features :]
