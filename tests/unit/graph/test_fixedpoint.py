from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.audio import running_average
from edgekit.graph.fixedpoint import (
    LOG2_OF_ZERO,
    exp_table,
    log2_q9,
    log2_table,
    multiply_by_quantized_multiplier,
    multiply_int16x8,
    quantize_multiplier,
    running_average_q,
)

multipliers = st.one_of(st.just(0), st.integers(1 << 30, (1 << 31) - 1))


def nearest_away(x: Fraction) -> int:
    """Nearest integer, ties away from zero."""
    magnitude = int(abs(x) + Fraction(1, 2))
    return magnitude if x >= 0 else -magnitude


def truncating(x: Fraction) -> int:
    return int(x) if x >= 0 else -int(-x)


@given(st.integers(-(1 << 24), 1 << 24), multipliers, st.integers(-31, 7))
def test_double_rounding_equals_exact_rational_arithmetic(x, multiplier, shift):
    product = Fraction(x * (1 << max(shift, 0)) * multiplier)
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    high = truncating((product + nudge) / (1 << 31))
    expected = nearest_away(Fraction(high, 1 << max(-shift, 0)))
    assert int(multiply_by_quantized_multiplier(np.array([x]), multiplier, shift)[0]) == expected


@given(st.integers(-(1 << 40), 1 << 40), multipliers, st.integers(-31, 7))
def test_int16_rule_rounds_once_with_a_16_bit_multiplier(x, multiplier, shift):
    reduced = min((multiplier + (1 << 15)) // (1 << 16), 0x7FFF)
    exact = Fraction(x * reduced, 1 << (15 - shift)) + Fraction(1, 2)
    expected = exact.numerator // exact.denominator
    assert int(multiply_int16x8(np.array([x]), np.array(multiplier), np.array(shift))[0]) == expected


@given(st.floats(1e-8, 1e4))
def test_quantize_multiplier_is_exact_to_31_bits(real):
    multiplier, shift = quantize_multiplier(real)
    assert 1 << 30 <= multiplier < 1 << 31
    assert multiplier / 2**31 * 2.0**shift == pytest.approx(real, rel=2**-30)


def test_quantize_multiplier_carries_into_the_exponent_when_rounding_up():
    assert quantize_multiplier(1 - 2**-40) == (1 << 30, 1)


def test_a_multiplier_too_small_for_int32_becomes_zero():
    assert quantize_multiplier(2.0**-40) == (0, 0)


@pytest.mark.parametrize("real", [0.0, -1.0, float("inf"), float("nan")])
def test_quantize_multiplier_refuses(real):
    with pytest.raises(ValueError, match="positive and finite"):
        quantize_multiplier(real)


@given(st.integers(1, (1 << 63) - 1))
def test_log2_is_within_its_stated_error(x):
    assert abs(log2_q9(np.array([x]), log2_table())[0] / 512 - np.log2(float(x))) < 0.0011


def test_log2_of_zero_is_the_lowest_value():
    assert log2_q9(np.array([0]), log2_table())[0] == LOG2_OF_ZERO


def test_exp_table_falls_from_one():
    table = exp_table(0.05).astype(float) / 32768
    assert np.abs(table - np.exp(-0.05 * np.arange(256))).max() <= 0.5 / 32768


def test_running_average_follows_the_float_recurrence():
    values = np.random.default_rng(0).uniform(0, 1e6, 300)
    exact = running_average(values, 64)
    found = running_average_q(np.rint(values * 256).astype(np.int64), 64) / 256
    assert np.abs(found - exact).max() < 1e-3 * exact.max()
