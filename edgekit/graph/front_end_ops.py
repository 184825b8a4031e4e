"""The operators from PCM to int8 log-mels. Letters: T time, M mel bands."""

import numpy as np

from edgekit.graph.fixedpoint import Int64, log2_q9, multiply_by_quantized_multiplier, running_average_q
from edgekit.graph.types import Op


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
