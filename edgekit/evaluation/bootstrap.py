"""Intervals for agreement figures: whole clusters of clips are drawn again, as clips of one voice are alike.

Percentile bootstrap over clusters (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13;
Davison and Hinkley, Bootstrap Methods and their Application, 1997, sec. 3.8), with percentiles further out
the fewer the clusters are: the expanded percentile interval (Hesterberg, What Teachers Should Know About the
Bootstrap, The American Statistician 69, 2015). Every figure follows from sums over clips, so each cluster is
summed once and a resample is a weighted sum of clusters.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

METHOD = "expanded percentile bootstrap"
CONFIDENCE_PERCENT = 95
MOST_UNDEFINED = 0.05
"""Share of resamples in which a figure may be undefined before its interval is."""
DRAWS_AT_ONCE = 4_000_000
CONSTANT = 1e-13
"""A variance this small beside the mean square is rounding: the values are the same."""


def intervals(
    prediction: NDArray[np.float64],
    reference: NDArray[np.float64],
    cluster: NDArray[np.intp],
    resamples: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Return the bootstrap intervals of CCC, Pearson, RMSE and mean absolute difference.

    Args:
        prediction: (N, D) values.
        reference: (N, D) values.
        cluster: (N,) index of each row's cluster, 0 to K - 1.
        resamples: How often K clusters are drawn, with replacement.
        seed: Of the draws.

    Returns:
        For `ccc`, `pearson`, `rmse` and `mae`: (2, D) lower and upper limit; NaN where the interval is
        undefined: with one cluster, or if more than 5 % of the resamples leave the figure undefined.
    """
    sums = _sums(prediction, reference, cluster)
    if len(sums) < 2:
        undefined = np.full((2, prediction.shape[1]), np.nan)
        return dict.fromkeys(("ccc", "pearson", "rmse", "mae"), undefined)
    drawn = [_figures(counts @ sums.reshape(len(sums), -1)) for counts in _counts(len(sums), resamples, seed)]
    tail = tail_share(len(sums))
    return {name: _limits(np.concatenate([part[name] for part in drawn]), tail) for name in drawn[0]}


def tail_share(clusters: int) -> float:
    """Return the share of resamples beyond either limit.

    Resampling K clusters understates the spread by sqrt((K - 1) / K), and normal percentiles are too narrow
    for a spread that K clusters tell; Student's t with K - 1 degrees of freedom mends both (Hesterberg 2015).

    Example:
        >>> round(tail_share(10), 4), round(tail_share(1_000_000), 4)
        (0.0086, 0.025)
    """
    from scipy import special

    t = special.stdtrit(clusters - 1, (1 - CONFIDENCE_PERCENT / 100) / 2)
    return float(special.ndtr(t * np.sqrt(clusters / (clusters - 1))))


def _sums(
    prediction: NDArray[np.float64], reference: NDArray[np.float64], cluster: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return (K, 8, D): count and sums of p, r, p², r², pr, (p - r)² and |p - r| of every cluster."""
    # A common shift changes no figure, and keeps the variances from cancelling.
    p, r = prediction - reference.mean(axis=0), reference - reference.mean(axis=0)
    terms = np.stack([np.ones_like(p), p, r, p * p, r * r, p * r, (p - r) ** 2, np.abs(p - r)], axis=1)
    sums = np.zeros((int(cluster.max()) + 1, *terms.shape[1:]))
    np.add.at(sums, cluster, terms)
    return sums


def _counts(clusters: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield (M, K) how often each cluster is in each of M resamples, as many at once as memory allows."""
    rng = np.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // clusters)
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        draws = rng.integers(clusters, size=(count, clusters))
        draws += np.arange(count)[:, None] * clusters
        flat = np.bincount(draws.ravel(), minlength=count * clusters)
        yield flat.reshape(count, clusters).astype(np.float64)


def _figures(totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return (R, D) figures of (R, 8 D) sums; NaN where a series is constant."""
    n, *sums = np.moveaxis(totals.reshape(len(totals), 8, -1), 1, 0)
    p, r, pp, rr, pr, dd, apart = (total / n for total in sums)
    var_p, var_r, covariance = pp - p * p, rr - r * r, pr - p * r
    defined = (var_p > CONSTANT * pp) & (var_r > CONSTANT * rr)
    var_p, var_r = (np.where(defined, variance, np.nan) for variance in (var_p, var_r))
    return {
        "ccc": 2 * covariance / (var_p + var_r + (p - r) ** 2),
        "pearson": np.clip(covariance / np.sqrt(var_p * var_r), -1, 1),
        "rmse": np.sqrt(dd),
        "mae": apart,
    }


def _limits(drawn: NDArray[np.float64], tail: float) -> NDArray[np.float64]:
    usable = np.isnan(drawn).mean(axis=0) <= MOST_UNDEFINED
    limits = np.full((2, drawn.shape[1]), np.nan)
    limits[:, usable] = np.nanquantile(drawn[:, usable], [tail, 1 - tail], axis=0)
    return limits
