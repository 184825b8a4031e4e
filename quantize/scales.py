"""From the scales of a layer's tensors to the integers that requantize its accumulators."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.fixedpoint import quantize_multiplier

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
