"""Fixed-point arithmetic that every operator shares: requantization, log2, exponential tables.

Arrays are int64 throughout, so that numpy neither wraps nor promotes; the ranges in each docstring say
what the C holds in narrower types.
"""

import math

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

LOG2_FRACTION_BITS = 9
"""Logarithms are int16 in Q9: -64 to 63.998, a step of 0.006 dB."""
LOG2_OF_ZERO = -32768
ALPHA_BITS = 20
"""Weights of running averages are Q20."""
EXP_BITS = 15
"""Exponentials are uint16 in Q15; 1.0 is 32768."""
WEIGHT_LIMIT_BITS = 39
"""Both sums of an online softmax are halved when the sum of weights reaches 2^39 (18 hours at weight 1)."""
NEWTON_48_OVER_17_Q29 = 1515870810
NEWTON_32_OVER_17_Q29 = 1010580540
POOL_BITS = 7
"""A pooled value is the int8 value's unit divided by 2^7."""


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Return (multiplier, shift) with real = multiplier / 2^31 * 2^shift, multiplier in [2^30, 2^31).

    Source: TFLite's QuantizeMultiplier.

    Raises:
        ValueError: If `real` is not positive and finite.

    Example:
        >>> quantize_multiplier(0.75)
        (1610612736, 0)
        >>> quantize_multiplier(0.25)
        (1073741824, -1)
    """
    if not (real > 0 and math.isfinite(real)):
        raise ValueError(f"a multiplier is positive and finite, got {real}")
    fraction, shift = math.frexp(real)
    multiplier = round(fraction * (1 << 31))
    if multiplier == 1 << 31:
        multiplier, shift = multiplier // 2, shift + 1
    # Below 2^-31 every int32 accumulator rounds to 0.
    return (0, 0) if shift < -31 else (multiplier, shift)


def multiply_by_quantized_multiplier(x: Int64, multiplier: Int64 | int, shift: Int64 | int) -> Int64:
    """Return round(x * multiplier / 2^31 * 2^shift), rounded twice as gemmlowp does.

    First the high half of the doubled product, to nearest; then a right shift, to nearest with ties away
    from zero.

    Args:
        x: int32 accumulators; x * 2^shift must fit int32 for positive shifts.
        multiplier: [0, 2^31), scalar or broadcastable.
        shift: [-31, 30], likewise.

    Source: gemmlowp SaturatingRoundingDoublingHighMul and RoundingDivideByPOT, as in TFLite Micro.

    Example:
        >>> multiply_by_quantized_multiplier(np.array([10, -10, 11]), 1 << 30, -1).tolist()
        [3, -3, 3]
    """
    exponent = np.asarray(shift, np.int64)
    left, right = np.maximum(exponent, 0), np.maximum(-exponent, 0)
    high = rounding_doubling_high_mul(np.asarray(x, np.int64) * (np.int64(1) << left), multiplier)
    return rounding_divide_by_pot(high, right)


def rounding_doubling_high_mul(x: Int64, y: Int64 | int) -> Int64:
    """Return round(x * y / 2^31) of int32 values, halves up; -2^31 times itself is not asked for.

    Source: gemmlowp SaturatingRoundingDoublingHighMul. That rounds negative halves away from zero by
    truncating a nudged product, which gives the same.

    Example:
        >>> rounding_doubling_high_mul(np.array([3, -3]), 1 << 30).tolist()
        [2, -1]
    """
    return np.asarray((np.asarray(x * y, np.int64) + (1 << 30)) >> 31, np.int64)


def rounding_divide_by_pot(x: Int64, bits: Int64 | int) -> Int64:
    """Return round(x / 2^bits), halves away from zero.

    Source: gemmlowp RoundingDivideByPOT.

    Example:
        >>> rounding_divide_by_pot(np.array([6, -6, 5]), 2).tolist()
        [2, -2, 1]
    """
    mask: Int64 = (np.int64(1) << np.asarray(bits, np.int64)) - 1
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> bits) + ((x & mask) > threshold), np.int64)


def one_over_one_plus_x(sums: Int64, integer_bits: int) -> tuple[Int64, Int64]:
    """Return 1 / sum as a Q31 mantissa, and how many bits the sum is over 1.

    Three Newton steps from the best linear start, in 2 integer bits.

    Args:
        sums: Positive fixed-point values with that many integer bits, at least 1/2.
        integer_bits: 31 less the fraction bits.

    Source: gemmlowp one_over_one_plus_x_for_x_in_0_1, TFLite GetReciprocal.

    Example:
        >>> mantissa, bits = one_over_one_plus_x(np.array([1 << 20]), 12)  # 2.0: 1/2 is 1.0 over 1 bit
        >>> round(int(mantissa[0]) / 2**31, 6), int(bits[0])
        (1.0, 1)
    """
    headroom = 31 - _floor_log2(sums)
    fraction = (sums << headroom) - (1 << 31)
    half = (fraction + (1 << 31)) >> 1
    x = NEWTON_48_OVER_17_Q29 + rounding_doubling_high_mul(half, -NEWTON_32_OVER_17_Q29)
    for _ in range(3):
        rest = (1 << 29) - rounding_doubling_high_mul(half, x)
        x = x + (rounding_doubling_high_mul(x, rest) << 2)
    return np.minimum(x << 1, (1 << 31) - 1), integer_bits - headroom


def multiply_int16x8(x: Int64, multiplier: Int64 | np.int64, shift: Int64 | np.int64) -> Int64:
    """Return round(x * multiplier / 2^31 * 2^shift), the multiplier first reduced to 16 bits.

    The rule of TFLite Micro where activations are int16 and accumulators int64: one rounding, ties up.

    Args:
        x: Accumulators, |x| < 2^47.
        multiplier: [0, 2^31).
        shift: [-31, 14].

    Example:
        >>> multiply_int16x8(np.array([10, -10]), np.array(1 << 30), np.array(-1)).tolist()
        [3, -2]
    """
    reduced = np.where(multiplier < 0x7FFF0000, (multiplier + (1 << 15)) >> 16, 0x7FFF)
    total = 15 - shift
    return np.asarray((x * reduced + (np.int64(1) << (total - 1))) >> total, np.int64)


def multiply_rounding_once(x: Int64, multiplier: Int64, shift: Int64) -> Int64:
    """Return round(x * multiplier / 2^31 * 2^shift), halves up.

    The rule of TFLite's builds with single rounding, and of fully connected layers in LiteRT 2.3.0.

    Args:
        x: int32 accumulators.
        multiplier: [0, 2^31).
        shift: [-31, 30].

    Example:
        >>> multiply_rounding_once(np.array([10, -10]), np.array(1 << 30), np.array(-1)).tolist()
        [3, -2]
    """
    total = 31 - shift
    return np.asarray((x * multiplier + (np.int64(1) << (total - 1))) >> total, np.int64)


def log2_table() -> NDArray[np.uint16]:
    """Return log2(1 + i / 128) in Q15 for i = 0..128."""
    return np.asarray(np.rint(np.log2(1 + np.arange(129) / 128) * (1 << 15)), np.uint16)


def log2_q9(x: Int64, table: NDArray[np.integer]) -> Int64:
    """Return log2 in Q9 of non-negative integers, by table with linear interpolation.

    Args:
        x: [0, 2^63).
        table: `log2_table()`.

    Returns:
        int16 values; `LOG2_OF_ZERO` for 0. Error at most 0.0011 (0.0034 dB).

    Example:
        >>> log2_q9(np.array([0, 1, 2, 3, 1 << 40]), log2_table()).tolist()
        [-32768, 0, 512, 812, 20480]
    """
    exponent = _floor_log2(x)
    mantissa = np.where(exponent >= 15, x >> np.maximum(exponent - 15, 0), x << np.maximum(15 - exponent, 0))
    fraction = mantissa & 0x7FFF
    index, rest = fraction >> 8, fraction & 0xFF
    low, high = table.astype(np.int64)[index], table.astype(np.int64)[index + 1]
    log = (exponent << 15) + low + (((high - low) * rest + 128) >> 8)
    return np.where(x == 0, LOG2_OF_ZERO, (log + 32) >> 6)


def _floor_log2(x: Int64) -> Int64:
    """Return the position of the highest set bit; 0 for 0."""
    exponent = np.zeros_like(x)
    for step in (32, 16, 8, 4, 2, 1):
        larger = (x >> (exponent + step)) > 0
        exponent = np.where(larger, exponent + step, exponent)
    return exponent


def exp_table(score_scale: float) -> NDArray[np.uint16]:
    """Return exp(-k * score_scale) in Q15 for the 256 differences k of two int8 scores."""
    return np.asarray(np.rint(np.exp(-np.arange(256) * score_scale) * (1 << EXP_BITS)), np.uint16)


def running_average_q(values: Int64, memory_frames: int) -> Int64:
    """Return the integer form of `edgekit.audio.running_average`: y += (x - y) / min(t + 1, memory).

    Args:
        values: (T,) below 2^42.
        memory_frames: Time constant; the count saturates there.

    Example:
        >>> running_average_q(np.array([256, 768, 1280]), 2).tolist()
        [256, 512, 896]
    """
    average, averages = 0, np.empty_like(values)
    for t, value in enumerate(values.tolist()):
        alpha = (1 << ALPHA_BITS) // min(t + 1, memory_frames)
        average += ((value - average) * alpha + (1 << (ALPHA_BITS - 1))) >> ALPHA_BITS
        averages[t] = average
    return averages


def pack_int4(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return int4 values two to a byte, the first in the low half; an odd last one is padded with 0.

    Example:
        >>> pack_int4(np.array([1, -1, 7], np.int8)).tolist()
        [241, 7]
    """
    nibbles = values.astype(np.int8).ravel().view(np.uint8) & 0xF
    nibbles = np.append(nibbles, np.zeros(nibbles.size % 2, np.uint8))
    return np.asarray(nibbles[::2] | nibbles[1::2] << 4, np.uint8)


def unpack_int4(packed: NDArray[np.uint8], count: int) -> NDArray[np.int8]:
    """Return the first `count` values of what `pack_int4` packed.

    Example:
        >>> unpack_int4(np.array([241, 7], np.uint8), 3).tolist()
        [1, -1, 7]
    """
    nibbles = np.stack([packed & 0xF, packed >> 4], axis=1).ravel()[:count].astype(np.int8)
    return np.asarray((nibbles ^ 8) - 8, np.int8)
