"""Tables that operators look functions up in, computed as the TFLite kernels compute the functions."""

import math
from collections.abc import Callable

import numpy as np

from edgekit.graph.fixedpoint import (
    Int64,
    multiply_by_quantized_multiplier,
    one_over_one_plus_x,
    quantize_multiplier,
    rounding_divide_by_pot,
    rounding_doubling_high_mul,
)
from edgekit.graph.types import Quantization

INT8 = np.arange(-128, 128, dtype=np.int64)
LARGEST_EXPONENT = 88.0
"""Beyond it exp overflows float32."""
DIFFERENCE_BITS = 5
"""Integer bits of a scaled difference of two softmax inputs: exp(-32) and less counts as 0."""
EXP_OF_MINUS_EIGHTH_Q31 = 1895147668
THIRD_Q31 = 715827883
EXPONENTIALS_Q31 = {
    -2: 1672461947,
    -1: 1302514674,
    0: 790015084,
    1: 290630308,
    2: 39332535,
    3: 720401,
    4: 242,
}
"""Exponent k to exp(-2^k)."""
UNIT_Q31 = 1 << 31
MICRO_BITS = 4
"""Integer bits that TFLite Micro's logistic and tanh have for their input: 15 and more is infinite."""


def function_table(
    function: Callable[[float], float | np.float32], source: Quantization, result: Quantization
) -> Int64:
    """Return (256,) int8 values of a function of an int8 tensor, in another scale.

    Rounded as TFLite's LUT of logistic and tanh: in float32, halves away from zero.
    """
    reals = [
        function(float(np.float32(source.scales[0]) * np.float32(value - source.zero_point)))
        for value in INT8
    ]
    scaled = np.array(reals, np.float32) * np.float32(1 / np.float32(result.scales[0]))
    rounded = np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))
    return np.asarray(np.clip(rounded.astype(np.int64) + result.zero_point, -128, 127), np.int64)


def rescale_table(source: Quantization, result: Quantization, low: float, high: float) -> Int64:
    """Return (256,) int8 values of min(max(x, low), high), in another scale: Relu, Relu6 and the like.

    Source: TFLite's integer ReluX: one multiplication with double rounding.
    """
    multiplier, shift = quantize_multiplier(_ratio(source.scales[0], result.scales[0]))
    scaled = multiply_by_quantized_multiplier(INT8 - source.zero_point, multiplier, shift) + result.zero_point
    first, last = (_quantized(bound, result) for bound in (low, high))
    return np.clip(scaled, first, last)


def relu_table(source: Quantization, result: Quantization) -> Int64:
    """Return `rescale_table` of max(x, 0)."""
    return rescale_table(source, result, 0.0, math.inf)


def relu6_table(source: Quantization, result: Quantization) -> Int64:
    """Return `rescale_table` of min(max(x, 0), 6)."""
    return rescale_table(source, result, 0.0, 6.0)


def logistic_table(source: Quantization, result: Quantization) -> Int64:
    """Return `function_table` of 1 / (1 + exp(-x)), each step in float32."""
    one = np.float32(1)
    return function_table(
        lambda x: one / (one + np.float32(math.exp(min(-x, LARGEST_EXPONENT)))), source, result
    )


def tanh_table(source: Quantization, result: Quantization) -> Int64:
    """Return `function_table` of tanh."""
    return function_table(math.tanh, source, result)


def micro_logistic_table(source: Quantization, result: Quantization) -> Int64:
    """Return (256,) int8 values of 1 / (1 + exp(-x)) as TFLite Micro computes them, in fixed point.

    It takes too much for infinite where scales are large: from an input scale of 2 on that costs a step,
    from 4 on up to 5, and from 8 on 0 itself counts as minus infinity.

    Args:
        source: The input's scale, from 2^-28 on.
        result: 1/256 with zero point -128.

    Source: TFLite Micro's CalculateOpDataLogistic, TFLite's int8 Logistic.
    """
    return _micro_table(_logistic_q31, source, result)


def micro_tanh_table(source: Quantization, result: Quantization) -> Int64:
    """Return (256,) int8 values of tanh as TFLite Micro computes them; see `micro_logistic_table`.

    Args:
        source: The input's scale, from 2^-28 on; from 8 on, 0 counts as minus infinity.
        result: 1/128 with zero point 0.
    """
    return _micro_table(_tanh_q31, source, result)


def _micro_table(function_q31: Callable[[Int64], Int64], source: Quantization, result: Quantization) -> Int64:
    fraction_bits = 31 - MICRO_BITS
    multiplier, shift = quantize_multiplier(float(np.float32(source.scales[0])) * (1 << fraction_bits))
    radius = math.floor(((1 << MICRO_BITS) - 1) * 2.0**fraction_bits / 2.0**shift)
    steps = INT8 - source.zero_point
    near = np.abs(steps) < radius
    scaled = multiply_by_quantized_multiplier(np.where(near, steps, 0), multiplier, shift)
    to_result = 31 + round(math.log2(result.scales[0]))
    values = rounding_divide_by_pot(function_q31(scaled), to_result) + result.zero_point
    return np.clip(np.where(near, values, np.where(steps > 0, 127, -128)), -128, 127)


def _logistic_q31(x: Int64) -> Int64:
    """Return 1 / (1 + exp(-x)) in Q31 of Q4.27 values."""
    mantissa, _ = one_over_one_plus_x(UNIT_Q31 + _exp_of_negative(-np.abs(x), 31 - MICRO_BITS), 0)
    return np.where(x == 0, UNIT_Q31 // 2, np.where(x > 0, mantissa, UNIT_Q31 - 1 - mantissa))


def _tanh_q31(x: Int64) -> Int64:
    """Return 2 / (1 + exp(-2x)) - 1 in Q31 of Q4.27 values, which with a bit fewer are twice as large."""
    mantissa, _ = one_over_one_plus_x(UNIT_Q31 + _exp_of_negative(-np.abs(x), 30 - MICRO_BITS), 0)
    return np.asarray(np.sign(x) * np.minimum(((mantissa >> 1) - (1 << 29)) << 2, UNIT_Q31 - 1), np.int64)


def _ratio(one: float, other: float) -> float:
    return float(np.float32(one)) / float(np.float32(other))


def _quantized(real: float, quantization: Quantization) -> int:
    if math.isinf(real):
        return 127 if real > 0 else -128
    step = float(np.float32(quantization.scales[0]))
    return int(np.clip(quantization.zero_point + round(real / step), -128, 127))


def hard_swish_table(source: Quantization, result: Quantization) -> Int64:
    """Return (256,) int8 values of x * min(max(x + 3, 0), 6) / 6, in another scale.

    Source: TFLite's integer HardSwish: 16 bits throughout, the input 7 bits finer.
    """
    hires_scale = float(np.float32(source.scales[0])) / 128
    hires = (INT8 - source.zero_point) << 7
    output_multiplier, output_shift = _multiplier_int16(hires_scale / float(np.float32(result.scales[0])))
    on_output_scale = _rounding_doubling_high_mul_int16(hires, output_multiplier)
    gate_multiplier, gate_shift = _multiplier_int16(hires_scale * 32768 / 3)
    gate = hires
    if gate_shift > 0:
        gate = _saturated_int16(gate << (gate_shift - 1))
    gate = _rounding_doubling_high_mul_int16(gate, gate_multiplier)
    if gate_shift > 0:
        gate = _saturated_int16(gate << 1)
    if gate_shift < 0:
        gate = rounding_divide_by_pot(gate, -gate_shift)
    gate = (gate + (1 << 15)) >> 1
    # Towards zero, which cancels the bias of the roundings before it.
    product = gate * on_output_scale
    preshift = np.sign(product) * (np.abs(product) >> 15)
    return np.clip(rounding_divide_by_pot(preshift, -output_shift) + result.zero_point, -128, 127)


def _multiplier_int16(real: float) -> tuple[int, int]:
    """Return a multiplier of 15 bits and its shift."""
    multiplier, shift = quantize_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, 32767), shift


def _saturated_int16(x: Int64) -> Int64:
    return np.clip(x, -32768, 32767)


def _rounding_doubling_high_mul_int16(x: Int64, multiplier: int) -> Int64:
    return np.asarray((x * multiplier + (1 << 14)) >> 15, np.int64)


def softmax_table(input_scale: float, beta: float = 1.0) -> Int64:
    """Return exp(-k * input_scale * beta) in Q31 for the 256 differences k of two int8 inputs.

    Source: gemmlowp's exp_on_negative_values; TFLite's PreprocessSoftmaxScaling.
    """
    fraction_bits = 31 - DIFFERENCE_BITS
    real = min(float(np.float32(beta)) * float(np.float32(input_scale)) * (1 << fraction_bits), 2.0**31 - 1)
    multiplier, shift = quantize_multiplier(real)
    radius = math.floor(((1 << DIFFERENCE_BITS) - 1) * 2.0**fraction_bits / 2.0**shift)
    differences = -np.arange(256, dtype=np.int64)
    near = differences >= -radius
    scaled = rounding_doubling_high_mul(np.where(near, differences, 0) << shift, multiplier)
    return np.where(near, _exp_of_negative(scaled, fraction_bits), 0)


def _exp_of_negative(x: Int64, fraction_bits: int) -> Int64:
    """Return exp of non-positive values in Q31: within a quarter by polynomial, the rest by factors."""
    quarter = 1 << (fraction_bits - 2)
    remainder_in_quarter = (x & (quarter - 1)) - quarter
    result = _exp_in_quarter(remainder_in_quarter << (31 - fraction_bits))
    rest = remainder_in_quarter - x
    for exponent, factor in EXPONENTIALS_Q31.items():
        bit = 1 << (fraction_bits + exponent)
        result = np.where(rest & bit, rounding_doubling_high_mul(result, factor), result)
    return np.where(x == 0, (1 << 31) - 1, result)


def _exp_in_quarter(x: Int64) -> Int64:
    """Return exp in Q31 of Q31 values from -1/4 to 0: a polynomial of degree 4 around -1/8."""
    y = x + (1 << 28)
    y2 = rounding_doubling_high_mul(y, y)
    y3, y4 = rounding_doubling_high_mul(y2, y), rounding_doubling_high_mul(y2, y2)
    thirds = rounding_doubling_high_mul(rounding_divide_by_pot(y4, 2) + y3, THIRD_Q31) + y2
    tail = y + rounding_divide_by_pot(thirds, 1)
    scaled = rounding_doubling_high_mul(tail, EXP_OF_MINUS_EIGHTH_Q31)
    return np.asarray(EXP_OF_MINUS_EIGHTH_Q31 + scaled, np.int64)
