"""Pooling over windows, over whole maps, and over time by attention.

Letters: T time, W mel positions, C channels, F features.
"""

import numpy as np

from edgekit.graph.fixedpoint import (
    EXP_BITS,
    POOL_BITS,
    WEIGHT_LIMIT_BITS,
    Int64,
    multiply_by_quantized_multiplier,
    multiply_int16x8,
)
from edgekit.graph.linear_ops import clamped, patches
from edgekit.graph.types import Op


def max_pool2d(op: Op, x: Int64) -> Int64:
    """Return the maximum over each window of (T, W, C); padding never wins."""
    return np.asarray(patches(x, op, -128).max(axis=(2, 3)), np.int64)


def average_pool2d(op: Op, x: Int64) -> Int64:
    """Return the mean over each window of (T, W, C), padding left out, halves rounded away from zero.

    Source: TFLite's integer average pool; it rounds the integers as they are, zero point included.
    """
    inside = patches(np.ones_like(x[..., :1]), op, 0).sum(axis=(2, 3))
    sums = patches(x, op, 0).sum(axis=(2, 3))
    return clamped(op, _divided(sums, inside))


def _divided(sums: Int64, counts: Int64 | int) -> Int64:
    """Return sums / counts, halves rounded away from zero."""
    return np.asarray(np.sign(sums) * ((np.abs(sums) + np.asarray(counts) // 2) // counts), np.int64)


def mean(op: Op, x: Int64) -> Int64:
    """Return the (1, 1, C) mean over T and W of a (T, W, C) map, in the output's own scale.

    The count goes into the multiplier, as in TFLite's integer mean.
    """
    sums = (x - op.integer("input_zero_point")).sum(axis=(0, 1), keepdims=True)
    scaled = multiply_by_quantized_multiplier(sums, op.integer("multiplier"), op.integer("shift"))
    return clamped(op, scaled + op.integer("output_zero_point"))


def attention_pool(op: Op, value: Int64, score: Int64, table: Int64) -> Int64:
    """Return (F,) int16: for each feature the mean of (T, F) values weighted by softmax over time of scores.

    Online softmax: a running maximum, and sums rescaled whenever it rises, so that any length needs
    constant memory (Milakov and Gimelshein, arXiv 1805.02867). The weights exp(score - maximum) come
    from a table of the 256 possible differences, Q15. Both sums are halved before they could overflow.
    The result's unit is the value's over 2^7.
    """
    half, features = 1 << (EXP_BITS - 1), value.shape[1]
    maximum = np.full(features, -128, np.int64)
    numerator, denominator = np.zeros(features, np.int64), np.zeros(features, np.int64)
    for values, scores in zip(value - op.integer("value_zero_point"), score, strict=True):
        higher = np.maximum(maximum, scores)
        rescale, weight = table[higher - maximum], table[higher - scores]
        numerator = ((numerator * rescale + half) >> EXP_BITS) + weight * values
        denominator = ((denominator * rescale + half) >> EXP_BITS) + weight
        full = denominator >> WEIGHT_LIMIT_BITS
        numerator, denominator, maximum = numerator >> full, denominator >> full, higher
    magnitude = ((np.abs(numerator) << POOL_BITS) + denominator // 2) // denominator
    return np.asarray(np.sign(numerator) * magnitude, np.int64)


def second_order(op: Op, x: Int64) -> Int64:
    """Return (M * C + C * C,) int16: pooled int16 values (M, C), then their products summed over M, (C, C).

    Both in the output's scale: x times `multipliers[0]`, products times `multipliers[1]`, as in
    `edgekit.graph.fixedpoint.multiply_int16x8`. The pooling of Wav2Small2.0.
    """
    maps = x.reshape(-1, op.integer("channels"))
    products = (maps.T @ maps).ravel()
    parts = [
        multiply_int16x8(part, np.int64(multiplier), np.int64(shift))
        for part, multiplier, shift in zip(
            (x, products), op.integers("multipliers"), op.integers("shifts"), strict=True
        )
    ]
    return np.clip(np.concatenate(parts), -32768, 32767)
