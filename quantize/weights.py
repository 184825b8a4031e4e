"""Weights to integers: per-channel symmetric scales, and rounding that knows the inputs."""

import numpy as np
from numpy.typing import NDArray

from quantize.network import Array

Scales = NDArray[np.float32]
SMALLEST_POWER = 1e-12
"""Of inputs that are all 0: then nothing is known of them, and rounding is plain."""
LARGEST_BLOCK = 1024
"""Columns that are rounded together: what is known of their inputs takes the square of it."""
DAMPING = 0.01
"""Share of the mean diagonal added to the input correlations, so that they can be inverted."""


def channel_scales(weights: Array, largest: int, search_steps: int = 1) -> Scales:
    """Return (O,) float32 scales, one for each output channel.

    Args:
        weights: (O, ...) real weights.
        largest: 127 for int8, 7 for int4.
        search_steps: 1 covers the largest weight; more tries ranges down to half of it and keeps
            the one of least square error: worth it at 4 bits, where the largest weight costs the rest.
    """
    rows = weights.reshape(len(weights), -1)
    full = np.maximum(np.abs(rows).max(axis=1), 1e-8) / largest
    candidates = full[:, None] * np.linspace(1.0, 0.5, search_steps)
    stored = np.clip(np.rint(rows[:, None, :] / candidates[..., None]), -largest - 1, largest)
    errors = ((stored * candidates[..., None] - rows[:, None, :]) ** 2).sum(axis=2)
    best = candidates[np.arange(len(rows)), errors.argmin(axis=1)]
    return np.asarray(best, np.float32)


def round_weights(weights: Array, scales: Scales, largest: int) -> NDArray[np.int8]:
    """Return weights as integers, each rounded to nearest and clamped."""
    shape = (-1,) + (1,) * (weights.ndim - 1)
    stored = np.rint(weights / scales.astype(np.float64).reshape(shape))
    return np.asarray(np.clip(stored, -largest - 1, largest), np.int8)


def round_with_compensation(weights: Array, scales: Scales, largest: int, inputs: Array) -> NDArray[np.int8]:
    """Return (O, K) integers whose layer output, not whose weights, is closest to the float one.

    Columns are rounded one by one; the error each leaves is spread over the columns still to come in
    proportion to how the inputs correlate (optimal brain quantization in the column order of GPTQ,
    Frantar et al., arXiv 2210.17323). Of a wide layer, each block of columns is on its own.

    Args:
        weights: (O, K).
        scales: (O,).
        largest: 127 or 7.
        inputs: (N, K) real inputs of the layer.
    """
    starts = range(0, weights.shape[1], LARGEST_BLOCK)
    blocks = [slice(start, start + LARGEST_BLOCK) for start in starts]
    step = scales.astype(np.float64)
    return np.concatenate(
        [_rounded_block(weights[:, block], step, largest, inputs[:, block]) for block in blocks], axis=1
    )


def _rounded_block(weights: Array, step: Array, largest: int, inputs: Array) -> NDArray[np.int8]:
    correlation = inputs.T @ inputs / len(inputs)
    mean = max(float(np.trace(correlation)) / len(correlation), SMALLEST_POWER)
    correlation += np.eye(len(correlation)) * DAMPING * mean
    factor = np.linalg.cholesky(np.linalg.inv(correlation)).T
    remaining = weights.copy()
    stored = np.empty(weights.shape, np.int8)
    for column in range(weights.shape[1]):
        stored[:, column] = np.clip(np.rint(remaining[:, column] / step), -largest - 1, largest)
        error = (remaining[:, column] - stored[:, column] * step) / factor[column, column]
        remaining[:, column:] -= np.outer(error, factor[column, column:])
    return stored
