"""Integer arithmetic of the graph, written out a second time: exact fractions, no numpy."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from edgekit.graph import Op

FAST = settings(max_examples=60, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def nearest(value: Fraction) -> int:
    """Return the nearest integer, halves up."""
    return math.floor(value + Fraction(1, 2))


def nearest_away(value: Fraction) -> int:
    """Return the nearest integer, halves away from zero."""
    return nearest(value) if value >= 0 else -nearest(-value)


def rescaled(accumulator: int, multiplier: int, shift: int) -> int:
    """Return accumulator * multiplier / 2^31 * 2^shift, rounded at 2^31 and again by the right shift."""
    left, right = max(shift, 0), max(-shift, 0)
    high = nearest(Fraction(accumulator * 2**left * multiplier, 2**31))
    return nearest_away(Fraction(high, 2**right))


def clipped(value: int, op: Op) -> int:
    """Return a value within the operator's clamp."""
    low, high = op.attributes["clamp"]
    return min(max(value, low), high)


def scaling(rng, count, lowest=-12, highest=-3):
    """Return multipliers and shifts, two in three of them such that results differ and stay in int8."""
    multiplier = rng.integers(1 << 30, 1 << 31, count)
    # Powers of two meet halves.
    multiplier[rng.random(count) < 0.3] = 1 << 30
    usual, any_legal = rng.integers(-12, -3, count), rng.integers(lowest, highest, count)
    return multiplier, np.where(rng.random(count) < 0.67, usual, any_legal)
