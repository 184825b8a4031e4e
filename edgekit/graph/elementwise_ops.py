"""Operators that work value by value, and those that only move values."""

import numpy as np

from edgekit.graph.fixedpoint import Int64, multiply_by_quantized_multiplier, one_over_one_plus_x
from edgekit.graph.linear_ops import clamped
from edgekit.graph.types import Op

SUM_BITS = 12
"""Integer bits of a sum of exponentials: up to 4095 of them."""


def add(op: Op, x: Int64, y: Int64) -> Int64:
    """Return the sum of two int8 tensors, each first brought to a common scale, 20 bits finer.

    Shapes are equal, or one repeats along axes of size 1. Source: TFLite's integer add.
    """
    zero_points, multipliers, shifts = (
        op.integers(name) for name in ("input_zero_points", "multipliers", "shifts")
    )
    scaled = [
        multiply_by_quantized_multiplier((value - zero_point) << op.integer("left_shift"), multiplier, shift)
        for value, zero_point, multiplier, shift in zip((x, y), zero_points, multipliers, shifts, strict=True)
    ]
    total = multiply_by_quantized_multiplier(
        scaled[0] + scaled[1], op.integer("output_multiplier"), op.integer("output_shift")
    )
    return clamped(op, total + op.integer("output_zero_point"))


def mul(op: Op, x: Int64, y: Int64) -> Int64:
    """Return the product of two int8 tensors; one may repeat along axes of size 1."""
    left, right = (
        value - zero_point for value, zero_point in zip((x, y), op.integers("input_zero_points"), strict=True)
    )
    scaled = multiply_by_quantized_multiplier(left * right, op.integer("multiplier"), op.integer("shift"))
    return clamped(op, scaled + op.integer("output_zero_point"))


def lookup(op: Op, x: Int64, table: Int64) -> Int64:
    """Return table[x + 128]: any function of one int8 value."""
    return table[x + 128]


def softmax(op: Op, x: Int64, exponentials: Int64) -> Int64:
    """Return int8 softmax over the last axis: scale 1/256, zero point -128.

    The exponentials are those of minus 0 to 255 input steps, Q31 (`edgekit.graph.tables.softmax_table`).

    Source: gemmlowp's fixed-point softmax, as in TFLite Micro.
    """
    values = exponentials[x.max(axis=-1, keepdims=True) - x]
    sums = (((values >> (SUM_BITS - 1)) + 1) >> 1).sum(axis=-1, keepdims=True)
    scale, bits_over_unit = one_over_one_plus_x(sums, SUM_BITS)
    product = (values * scale + (1 << 30)) >> 31
    shift = bits_over_unit + 23
    return np.asarray(np.minimum(((product >> (shift - 1)) + 1) >> 1, 255) - 128, np.int64)


def flatten(op: Op, x: Int64) -> Int64:
    """Return (T, W * C) tokens of a (T, W, C) map."""
    return np.asarray(x.reshape(x.shape[0], -1), np.int64)


def reshape(op: Op, x: Int64) -> Int64:
    """Return the same values, in the same order, in another shape."""
    return np.asarray(x.reshape(op.integers("shape")), np.int64)


def transpose(op: Op, x: Int64) -> Int64:
    """Return the tensor with its axes in the order `axes`."""
    return np.asarray(np.transpose(x, op.integers("axes")), np.int64)


def pad(op: Op, x: Int64) -> Int64:
    """Return a (T, W, C) map with `fill` around it."""
    top, bottom, left, right = op.integers("padding")
    return np.pad(x, ((top, bottom), (left, right), (0, 0)), constant_values=op.integer("fill"))
