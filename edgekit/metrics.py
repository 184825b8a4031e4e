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
    p, r = _series("ccc", prediction, reference)
    denominator = p.var() + r.var() + (p.mean() - r.mean()) ** 2
    if denominator == 0:
        return float("nan")
    return float(2 * np.mean((p - p.mean()) * (r - r.mean())) / denominator)


def pearson(prediction: ArrayLike, reference: ArrayLike) -> float:
    """Return Pearson's correlation coefficient of two series.

    cov / (std_p std_r) (Pearson 1895): unlike `ccc`, blind to a shift and to a scale.

    Args:
        prediction: (N,) values.
        reference: (N,) values.

    Returns:
        A value in [-1, 1]; NaN when either series is constant, where correlation is undefined.

    Raises:
        ValueError: If the shapes differ or are not one-dimensional.

    Example:
        >>> round(pearson([0.5, 1.0, 1.5], [0.0, 0.5, 1.0]), 6)
        1.0
    """
    p, r = _series("pearson", prediction, reference)
    if is_constant(p) or is_constant(r):
        return float("nan")
    p, r = p - p.mean(), r - r.mean()
    # Rounding may carry a perfect correlation past 1.
    return float(np.clip(p @ r / np.sqrt((p @ p) * (r @ r)), -1, 1))


def rmse(prediction: ArrayLike, reference: ArrayLike) -> float:
    """Return the root of the mean squared difference of two series, in their unit.

    Args:
        prediction: (N,) values.
        reference: (N,) values.

    Returns:
        A value from 0; NaN when there are no values.

    Raises:
        ValueError: If the shapes differ or are not one-dimensional.

    Example:
        >>> round(rmse([0.5, 1.0, 1.5], [0.0, 0.5, 1.0]), 6)
        0.5
    """
    p, r = _series("rmse", prediction, reference)
    return float(np.sqrt(np.mean((p - r) ** 2))) if p.size else float("nan")


def mae(prediction: ArrayLike, reference: ArrayLike) -> float:
    """Return the mean absolute difference of two series, in their unit.

    Args:
        prediction: (N,) values.
        reference: (N,) values.

    Returns:
        A value from 0; NaN when there are no values.

    Raises:
        ValueError: If the shapes differ or are not one-dimensional.

    Example:
        >>> mae([0.5, 1.0, 1.5], [0.0, 0.5, 2.0])
        0.5
    """
    p, r = _series("mae", prediction, reference)
    return float(np.mean(np.abs(p - r))) if p.size else float("nan")


def is_constant(values: NDArray[np.generic]) -> bool:
    """Return whether all values of a series are the same; true of an empty one."""
    return bool((values == values[:1]).all())


def _series(name: str, prediction: ArrayLike, reference: ArrayLike) -> list[NDArray[np.float64]]:
    p, r = (np.asarray(x, dtype=np.float64) for x in (prediction, reference))
    if p.shape != r.shape or p.ndim != 1:
        raise ValueError(f"{name} needs two series of one length, got shapes {p.shape} and {r.shape}")
    return [p, r]


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
