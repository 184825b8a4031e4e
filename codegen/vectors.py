"""Weights in vectors of 16 bytes, as the kernels for Helium (MVE) read them."""

import numpy as np
from numpy.typing import NDArray

VECTOR_BYTES = 16
POSITIONS = 3
"""Positions of a convolution's row that are multiplied at a time."""
SUMS_BEHIND = 7
"""Sums are read by eights: so many more may be read behind them."""


def vectors_of(values: int, bits: int) -> int:
    """Return how many vectors hold that many weights.

    Example:
        >>> vectors_of(169, 8), vectors_of(169, 4)
        (11, 6)
    """
    return -(-values * bits // (8 * VECTOR_BYTES))


def vector_weights(rows: NDArray[np.integer], block: int, bits: int) -> NDArray[np.uint8]:
    """Return (rows, values) weights by blocks of rows: (blocks, vectors, block, 16) bytes, zeros behind.

    Args:
        rows: int8 weights, or int4: of each 32, the first 16 are the low nibbles of a vector.
        block: Rows that are multiplied together.
        bits: 8 or 4.
    """
    count, values = rows.shape
    vectors = vectors_of(values, bits)
    per_vector = 8 * VECTOR_BYTES // bits
    padded = np.pad(rows, ((0, -count % block), (0, vectors * per_vector - values))).astype(np.int8)
    halves = padded.view(np.uint8).reshape(-1, block, vectors, 8 // bits, VECTOR_BYTES)
    packed = halves[..., 0, :] if bits == 8 else halves[..., 0, :] & 0xF | halves[..., 1, :] << 4
    return np.ascontiguousarray(np.moveaxis(packed, 1, 2), np.uint8)


def channel_vectors(weights: NDArray[np.integer]) -> NDArray[np.int8]:
    """Return (KH, KW, O) depthwise weights by four channels: (fours of O, KH, KW, 4), zeros behind."""
    padded = np.pad(weights, ((0, 0), (0, 0), (0, -weights.shape[2] % 4)))
    fours = padded.reshape(*weights.shape[:2], -1, 4)
    return np.ascontiguousarray(np.moveaxis(fours, 2, 0), np.int8)
