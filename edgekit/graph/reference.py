"""The reference interpreter: the definition of every operator, in numpy.

Not fast and not clever: this is what the C, the simulated core and the .tflite are compared with,
tolerance 0. Letters: T time, W mel positions, C channels, O output channels, K inputs, F features.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import AudioError
from edgekit.graph.fixedpoint import (
    EXP_BITS,
    POOL_BITS,
    WEIGHT_LIMIT_BITS,
    Int64,
    log2_q9,
    multiply_by_quantized_multiplier,
    multiply_int16x8,
    running_average_q,
)
from edgekit.graph.types import Graph, Op

Array = NDArray[np.integer]


def run(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run the graph and return every tensor that it computes.

    Args:
        graph: A verified graph.
        inputs: One array for each name in `graph.inputs`, or for any tensors to start from: an operator
            whose outputs are all given is not run, so that a part of the graph can be run alone.

    Returns:
        Tensor name to values, in each tensor's dtype, the inputs included.

    Raises:
        AudioError: If the audio is too short to give a single token.
    """
    values: dict[str, Array] = {**graph.constants, **inputs}
    for op in graph.ops:
        if all(name in inputs for name in op.outputs):
            continue
        result = OPERATORS[op.kind](op, *(values[name].astype(np.int64) for name in op.inputs))
        if result.shape[0] == 0:
            raise AudioError(
                f"audio too short: {op.name} computes nothing from it",
                "give longer audio (30 ms at the least)",
            )
        values[op.outputs[0]] = result.astype(storage_dtype(graph.output(op).dtype))
    return {name: value for name, value in values.items() if name not in graph.constants}


def storage_dtype(dtype: str) -> np.dtype[np.integer]:
    """Return the numpy type that holds a graph dtype; int4 values lie in int8."""
    return np.dtype("int8" if dtype == "int4" else dtype)


def _new_samples_mean_q8(frames: Int64, hop: int) -> Int64:
    """Mean over the samples that no earlier frame held, Q8; the counts are powers of two up to 256."""
    n_fft = frames.shape[1]
    sums = frames[:, -hop:].sum(axis=1) * (256 // hop)
    sums[:1] = frames[:1].sum(axis=1) * (256 // n_fft)
    return np.asarray(sums, np.int64)


def frame(op: Op, pcm: Int64) -> Int64:
    """Cut (N,) PCM into (T, n_fft) frames `hop` apart and take the running mean from them, saturated."""
    n_fft, hop = op.integer("n_fft"), op.integer("hop")
    if pcm.size < n_fft:
        return np.empty((0, n_fft), np.int64)
    frames = np.lib.stride_tricks.sliding_window_view(pcm, n_fft)[::hop]
    mean_q8 = running_average_q(_new_samples_mean_q8(frames, hop), op.integer("memory_frames"))
    return np.clip(frames - ((mean_q8 + 128) >> 8)[:, None], -32768, 32767)


def frame_level(op: Op, frames: Int64, table: Int64) -> Int64:
    """Return log2 of the mean square in Q9: (T,) running, or (1,) over all when `memory_frames` is 0."""
    hop, memory_frames = op.integer("hop"), op.integer("memory_frames")
    if memory_frames:
        level_q8 = running_average_q(_new_samples_mean_q8(frames**2, hop), memory_frames)
    else:
        count = frames.shape[1] + (frames.shape[0] - 1) * hop
        total = int((frames[1:, -hop:] ** 2).sum() + (frames[0] ** 2).sum())
        level_q8 = np.array([total * 256 // count], np.int64)
    return log2_q9(level_q8 + op.integer("epsilon_q8"), table)


def power_spectrum(op: Op, frames: Int64, basis: Int64) -> Int64:
    """Return (T, bins) re^2 + im^2 of the windowed DFT given by its (2, bins, n_fft) Q15 basis."""
    shift_bits = op.integer("shift_bits")
    half = 1 << (shift_bits - 1)
    real, imaginary = ((frames @ part.T + half) >> shift_bits for part in basis)
    return np.asarray(real**2 + imaginary**2, np.int64)


def mel_filter(op: Op, power: Int64, first_bin: Int64, bin_count: Int64, weights: Int64) -> Int64:
    """Return (T, M) sums of each band's `bin_count` bins from `first_bin`, times its fixed-point weights."""
    mel = np.zeros((power.shape[0], first_bin.size), np.int64)
    used = 0
    for band, (first, count) in enumerate(zip(first_bin.tolist(), bin_count.tolist(), strict=True)):
        mel[:, band] = power[:, first : first + count] @ weights[used : used + count]
        used += count
    return mel


def log2(op: Op, x: Int64, table: Int64) -> Int64:
    """Return log2 in Q9 (see `edgekit.graph.fixedpoint.log2_q9`)."""
    return log2_q9(x, table)


def level_normalize(op: Op, log_mel: Int64, level: Int64) -> Int64:
    """Take the level from (T, M) log-mels, raise to the floor, quantize to (T, M, 1) int8."""
    relative = np.maximum(log_mel - level[:, None] + op.integer("offset_q9"), op.integer("floor_q9"))
    scaled = multiply_by_quantized_multiplier(relative, op.integer("multiplier"), op.integer("shift"))
    return np.clip(scaled + op.integer("output_zero_point"), -128, 127)[:, :, None]


def _patches(x: Int64, op: Op, fill: int) -> Int64:
    """Return (T', W', KH, KW, C) windows of a (T, W, C) map padded with `fill`."""
    top, bottom, left, right = op.integers("padding")
    (kernel_t, kernel_w), (stride_t, stride_w) = op.integers("kernel"), op.integers("stride")
    padded = np.pad(x, ((top, bottom), (left, right), (0, 0)), constant_values=fill)
    if padded.shape[0] < kernel_t:
        return np.empty((0, 1, kernel_t, kernel_w, x.shape[2]), np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel_t, kernel_w), axis=(0, 1))
    return np.moveaxis(windows[::stride_t, ::stride_w], 2, -1)


def _products(x: Int64, weights: Int64) -> Int64:
    """Return x @ weights.T, exactly: float64 holds sums below 2^31, and BLAS is quick."""
    return np.asarray(x.astype(np.float64) @ weights.T.astype(np.float64), np.int64)


def _requantize(op: Op, accumulator: Int64, multiplier: Int64, shift: Int64) -> Int64:
    scaled = multiply_by_quantized_multiplier(accumulator, multiplier, shift)
    low, high = op.integers("clamp")
    return np.clip(scaled + op.integer("output_zero_point"), low, high)


def conv2d(op: Op, x: Int64, weights: Int64, bias: Int64, multiplier: Int64, shift: Int64) -> Int64:
    """Convolve (T, W, C) int8 with (O, KH, KW, C) int8 weights; the input's zero point pads."""
    zero_point = op.integer("input_zero_point")
    patches = _patches(x, op, zero_point) - zero_point
    rows = patches.reshape(*patches.shape[:2], weights[0].size)
    accumulator = _products(rows, weights.reshape(len(weights), -1)) + bias
    return _requantize(op, accumulator, multiplier, shift)


def max_pool2d(op: Op, x: Int64) -> Int64:
    """Return the maximum over each window of (T, W, C); padding never wins."""
    return np.asarray(_patches(x, op, -128).max(axis=(2, 3)), np.int64)


def flatten(op: Op, x: Int64) -> Int64:
    """Return (T, W * C) tokens of a (T, W, C) map."""
    return np.asarray(x.reshape(x.shape[0], -1), np.int64)


def fully_connected(op: Op, x: Int64, weights: Int64, bias: Int64, multiplier: Int64, shift: Int64) -> Int64:
    """Return (T, O) int8 from (T, K) int8 and (O, K) int8 or int4 weights."""
    accumulator = _products(x - op.integer("input_zero_point"), weights) + bias
    return _requantize(op, accumulator, multiplier, shift)


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


def fully_connected_int16(
    op: Op, x: Int64, weights: Int64, bias: Int64, multiplier: Int64, shift: Int64
) -> Int64:
    """Return (O,) int16 from (K,) int16 and (O, K) int8 weights, both with zero point 0."""
    scaled = multiply_int16x8(weights @ x + bias, multiplier, shift)
    return np.clip(scaled, -32768, 32767)


OPERATORS: Mapping[str, Callable[..., Int64]] = {
    function.__name__: function
    for function in (
        frame,
        frame_level,
        power_spectrum,
        mel_filter,
        log2,
        level_normalize,
        conv2d,
        max_pool2d,
        flatten,
        fully_connected,
        attention_pool,
        fully_connected_int16,
    )
}
