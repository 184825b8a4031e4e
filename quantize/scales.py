"""From the scales of a layer's tensors to the integers that requantize its accumulators."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Quantization
from edgekit.graph.fixedpoint import quantize_multiplier
from edgekit.graph.types import Attribute

ADD_LEFT_SHIFT = 20
INT8_RANGE = (-128, 127)
Int32 = NDArray[np.int32]


def requantization(
    input_scale: float, weight_scales: Sequence[float] | NDArray[np.floating], output_scale: float
) -> tuple[Int32, Int32]:
    """Return the multipliers and shifts that a TFLite runtime computes from these scales.

    A .tflite holds scales, not multipliers, and holds them in float32; the runtime forms input scale *
    weight scale / output scale in double. Taking the same steps here lets the file hold the graph's own
    integers.

    Args:
        input_scale: The input's real value of one step.
        weight_scales: (O,) one for each output channel.
        output_scale: The output's.

    Returns:
        (O,) multipliers in [2^30, 2^31), or 0, and (O,) shifts (see `quantize_multiplier`).

    Raises:
        ValueError: If a scale is not positive and finite in float32.

    Source: TFLite's PopulateConvolutionQuantizationParams.

    Example:
        >>> multiplier, shift = requantization(0.5, [0.25, 0.5], 0.5)
        >>> multiplier.tolist(), shift.tolist()
        ([1073741824, 1073741824], [-1, 0])
    """
    data, result = (float(np.float32(scale)) for scale in (input_scale, output_scale))
    weights = np.asarray(weight_scales, np.float32).astype(np.float64)
    pairs = [quantize_multiplier(float(real)) for real in data * weights / result]
    multiplier, shift = np.array(pairs, np.int32).reshape(-1, 2).T
    return np.ascontiguousarray(multiplier), np.ascontiguousarray(shift)


def clamp_of(quantization: Quantization, low: float, high: float) -> tuple[int, int]:
    """Return the int8 values of a real range's ends, as TFLite rounds those of its activations.

    Example:
        >>> clamp_of(Quantization((0.05,), -100), 0.0, 6.0), clamp_of(Quantization((1.0,)), 0.0, math.inf)
        ((-100, 20), (0, 127))
    """
    first, last = (_quantized(bound, quantization) for bound in (low, high))
    return first, last


def _quantized(real: float, quantization: Quantization) -> int:
    if math.isinf(real):
        return INT8_RANGE[real > 0]
    steps = real / _stored(quantization)
    return int(np.clip(quantization.zero_point + math.floor(steps + 0.5), *INT8_RANGE))


def _stored(quantization: Quantization) -> float:
    """Return a tensor's one scale as a file holds it."""
    return float(np.float32(quantization.scales[0]))


def sum_attributes(
    one: Quantization, other: Quantization, result: Quantization, clamp: tuple[int, int]
) -> dict[str, Attribute]:
    """Return the attributes of `add` that TFLite works out from these scales."""
    scales = (_stored(one), _stored(other))
    twice_larger = 2 * max(scales)
    pairs = [quantize_multiplier(scale / twice_larger) for scale in scales]
    multiplier, shift = quantize_multiplier(twice_larger / ((1 << ADD_LEFT_SHIFT) * _stored(result)))
    return {
        "left_shift": ADD_LEFT_SHIFT,
        "input_zero_points": (one.zero_point, other.zero_point),
        "multipliers": (pairs[0][0], pairs[1][0]),
        "shifts": (pairs[0][1], pairs[1][1]),
        "output_multiplier": multiplier,
        "output_shift": shift,
        "output_zero_point": result.zero_point,
        "clamp": clamp,
    }


def product_attributes(
    one: Quantization, other: Quantization, result: Quantization, clamp: tuple[int, int]
) -> dict[str, Attribute]:
    """Return the attributes of `mul` that TFLite works out from these scales."""
    multiplier, shift = quantize_multiplier(_stored(one) * _stored(other) / _stored(result))
    return {
        "input_zero_points": (one.zero_point, other.zero_point),
        "multiplier": multiplier,
        "shift": shift,
        "output_zero_point": result.zero_point,
        "clamp": clamp,
    }


def mean_attributes(source: Quantization, result: Quantization, count: int) -> dict[str, Attribute]:
    """Return the attributes of `mean` over a number of values that TFLite works out from these scales."""
    multiplier, shift = quantize_multiplier(_stored(source) / _stored(result))
    # TFLite divides the multiplier by the count, shifted up before as far as it goes.
    up = min(count.bit_length() - 1, 32, 31 + shift)
    return {
        "input_zero_point": source.zero_point,
        "output_zero_point": result.zero_point,
        "multiplier": (multiplier << up) // count,
        "shift": shift - up,
        "clamp": INT8_RANGE,
    }
