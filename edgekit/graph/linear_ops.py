"""Convolutions and fully connected layers.

Letters: T time, W mel positions, C channels, O output channels, K inputs, KH and KW kernel sizes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.fixedpoint import (
    Int64,
    multiply_by_quantized_multiplier,
    multiply_int16x8,
    multiply_rounding_once,
)
from edgekit.graph.types import Op

SINGLE_ROUNDING = "single"
"""`rounding` of a fully connected layer as LiteRT 2.3.0 computes it; without, it is TFLite Micro's."""


def dilation_of(op: Op) -> tuple[int, ...]:
    """Return the (time, mel) steps between a window's taps; 1 where the operator says nothing."""
    return op.integers("dilation") if "dilation" in op.attributes else (1, 1)


def patches(x: NDArray[Any], op: Op, fill: int) -> NDArray[Any]:
    """Return (T', W', KH, KW, C) windows of a (T, W, C) map padded with `fill`, taps `dilation` apart."""
    top, bottom, left, right = op.integers("padding")
    (kernel_t, kernel_w), (stride_t, stride_w) = op.integers("kernel"), op.integers("stride")
    dilation_t, dilation_w = dilation_of(op)
    reach_t, reach_w = (kernel_t - 1) * dilation_t + 1, (kernel_w - 1) * dilation_w + 1
    padded = np.pad(x, ((top, bottom), (left, right), (0, 0)), constant_values=fill)
    if padded.shape[0] < reach_t:
        return np.empty((0, 1, kernel_t, kernel_w, x.shape[2]), x.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (reach_t, reach_w), axis=(0, 1))
    return np.moveaxis(windows[::stride_t, ::stride_w, :, ::dilation_t, ::dilation_w], 2, -1)


def _products(x: NDArray[Any], weights: Int64) -> Int64:
    """Return x @ weights.T, exactly: float64 holds sums below 2^31, and BLAS is quick."""
    return np.asarray(np.asarray(x, np.float64) @ weights.T.astype(np.float64), np.int64)


def requantize(op: Op, accumulator: Int64, multiplier: Int64, shift: Int64) -> Int64:
    """Return (..., O) int32 accumulators of a linear operator as its (..., O) results."""
    if op.kind == "fully_connected_int16":
        return np.clip(multiply_int16x8(accumulator, multiplier, shift), -32768, 32767)
    once = op.attributes.get("rounding") == SINGLE_ROUNDING
    multiply = multiply_rounding_once if once else multiply_by_quantized_multiplier
    return clamped(op, multiply(accumulator, multiplier, shift) + op.integer("output_zero_point"))


def clamped(op: Op, values: Int64) -> Int64:
    """Return values within the operator's `clamp`."""
    low, high = op.integers("clamp")
    return np.clip(values, low, high)


def conv2d(op: Op, x: Int64, weights: Int64, bias: Int64, multiplier: Int64, shift: Int64) -> Int64:
    """Convolve (T, W, C) int8 with (O, KH, KW, C) int8 weights; the input's zero point pads."""
    # As floats before the windows are laid out: that copies every value nine times.
    centred = (x - op.integer("input_zero_point")).astype(np.float64)
    windows = patches(centred, op, 0)
    rows = windows.reshape(*windows.shape[:2], weights[0].size)
    accumulator = _products(rows, weights.reshape(len(weights), -1)) + bias
    return requantize(op, accumulator, multiplier, shift)


def depthwise_conv2d(op: Op, x: Int64, weights: Int64, bias: Int64, multiplier: Int64, shift: Int64) -> Int64:
    """Convolve each channel of (T, W, C) int8 with its own (KH, KW, C * N) int8 weights, N outputs a channel.

    Outputs N c to N c + N - 1 belong to channel c, as in TFLite.
    """
    zero_point = op.integer("input_zero_point")
    windows = patches(x, op, zero_point) - zero_point
    repeated = np.repeat(windows, weights.shape[2] // x.shape[2], axis=4)
    accumulator = (repeated * weights).sum(axis=(2, 3)) + bias
    return requantize(op, accumulator, multiplier, shift)


def fully_connected(op: Op, x: Int64, weights: Int64, bias: Int64, multiplier: Int64, shift: Int64) -> Int64:
    """Return (T, O) int8 from (T, K) int8 and (O, K) int8 or int4 weights."""
    accumulator = _products(x - op.integer("input_zero_point"), weights) + bias
    return requantize(op, accumulator, multiplier, shift)


def fully_connected_int16(
    op: Op, x: Int64, weights: Int64, bias: Int64, multiplier: Int64, shift: Int64
) -> Int64:
    """Return (O,) int16 from (K,) int16 and (O, K) int8 weights, both with zero point 0."""
    return requantize(op, weights @ x + bias, multiplier, shift)
