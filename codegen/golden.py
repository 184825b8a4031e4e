"""The golden vector of a model: what it makes of noise that a device can make too.

It is part of the signed image, behind the weights, so that a device tests every model on its own vector
(`codegen/board/update.c`).
"""

import struct

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Graph, run, window_samples

MAGIC = b"EKG1"
SEED = 1
SAMPLES = 2048
"""Enough for a result of every stream; a model of windows hears a whole one."""
_VECTOR = struct.Struct("<4sII3hH")
VECTOR_BYTES = _VECTOR.size
_MULTIPLIER, _INCREMENT = 1_664_525, 1_013_904_223


def noise(samples: int, seed: int = SEED) -> NDArray[np.int16]:
    """Return noise of -8192 to 8191, int16 (samples,): a linear congruential generator modulo 2^32.

    The constants are those of Numerical Recipes; each sample is its 14 highest bits.
    """
    state, values = seed, np.empty(samples, np.int16)
    for index in range(samples):
        state = (state * _MULTIPLIER + _INCREMENT) & 0xFFFF_FFFF
        values[index] = (state >> 18) - 8192
    return values


def golden_vector(graph: Graph) -> bytes:
    """Return the vector of a graph that hears audio, little-endian: magic, seed, samples, A/D/V in Q14."""
    samples = window_samples(graph) or SAMPLES
    adv = run(graph, {"pcm": noise(samples)})[graph.outputs[0]]
    return _VECTOR.pack(MAGIC, SEED, samples, *map(int, adv), 0)


def golden_samples(data: bytes) -> int:
    """Return how many samples a vector hears that data begin with."""
    return int(_VECTOR.unpack_from(data)[2])
