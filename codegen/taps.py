"""Weights of windows: taps that lie apart along mel, and rows two at a time."""

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Op
from edgekit.graph.linear_ops import dilation_of


def mel_reach(op: Op) -> int:
    """Return the mel positions that a window spans."""
    return (op.integers("kernel")[1] - 1) * dilation_of(op)[1] + 1


def spread_taps(op: Op, weights: NDArray[np.integer], axis: int) -> NDArray[np.integer]:
    """Return weights with zeros between the taps of a dilated window: kernels know windows without gaps."""
    gap = dilation_of(op)[1]
    shape = [mel_reach(op) if i == axis else size for i, size in enumerate(weights.shape)]
    spread = np.zeros(shape, weights.dtype)
    np.moveaxis(spread, axis, 0)[::gap] = np.moveaxis(weights, axis, 0)
    return spread


def padded_positions(op: Op, width: int) -> int:
    """Return the positions that windows cover whose count is rounded up to a multiple of four."""
    fours = -(-width // 4) * 4
    return (fours - 1) * op.integers("stride")[1] + mel_reach(op)


def paired_rows(op: Op, weights: NDArray[np.integer]) -> NDArray[np.int16]:
    """Return (KH, KW, O) depthwise weights as the kernel reads them: (O, pairs of KH, KW, 2) int16."""
    spread = spread_taps(op, weights, 1).astype(np.int16)
    even = np.pad(spread, ((0, len(spread) % 2), (0, 0), (0, 0)))
    pairs = even.reshape(-1, 2, *spread.shape[1:])
    return np.ascontiguousarray(np.transpose(pairs, (3, 0, 2, 1)))
