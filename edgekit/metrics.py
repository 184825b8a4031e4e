"""Agreement between two sets of arousal/dominance/valence values."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

DIMENSIONS = ("arousal", "dominance", "valence")


def ccc(prediction: ArrayLike, reference: ArrayLike) -> float:
    """Return Lin's concordance correlation coefficient of two series.

    2 cov / (var_p + var_r + (mean_p - mean_r)^2) with population variances (Lin 1989).

    Args:
        prediction: (N,) values.
        reference: (N,) values.

    Returns:
        A value in [-1, 1]; NaN when both series are the same constant, where agreement is undefined.

    Raises:
        ValueError: If the shapes differ or are not one-dimensional.

    Example:
        >>> round(ccc([0.0, 0.5, 1.0], [0.0, 0.5, 1.0]), 6)
        1.0
        >>> round(ccc([0.5, 1.0, 1.5], [0.0, 0.5, 1.0]), 6)
        0.571429
    """
    p, r = (np.asarray(x, dtype=np.float64) for x in (prediction, reference))
    if p.shape != r.shape or p.ndim != 1:
        raise ValueError(f"ccc needs two series of one length, got shapes {p.shape} and {r.shape}")
    denominator = p.var() + r.var() + (p.mean() - r.mean()) ** 2
    if denominator == 0:
        return float("nan")
    return float(2 * np.mean((p - p.mean()) * (r - r.mean())) / denominator)


def adv_ccc(prediction: NDArray[np.floating], reference: NDArray[np.floating]) -> dict[str, float]:
    """Return one CCC per dimension of two (N, 3) arrays in the order arousal, dominance, valence."""
    if prediction.ndim != 2 or prediction.shape[1] != len(DIMENSIONS):
        raise ValueError(f"expected (N, 3) arousal/dominance/valence, got shape {prediction.shape}")
    return {name: ccc(prediction[:, i], reference[:, i]) for i, name in enumerate(DIMENSIONS)}


def defined_adv_ccc(
    prediction: NDArray[np.floating], reference: NDArray[np.floating]
) -> dict[str, float | None]:
    """Return `adv_ccc` with None where agreement is undefined: a constant, or fewer than two rows.

    Example:
        >>> defined_adv_ccc(np.zeros((1, 3)), np.ones((1, 3)))
        {'arousal': None, 'dominance': None, 'valence': None}
    """
    if len(prediction) < 2:
        return dict.fromkeys(DIMENSIONS)
    values = adv_ccc(prediction, reference)
    return {name: None if np.isnan(value) else value for name, value in values.items()}
