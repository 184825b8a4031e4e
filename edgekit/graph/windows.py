"""How much audio a graph hears at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.types import FRONT_END_KINDS, TIME, Graph


def hears_audio(graph: Graph) -> bool:
    """Return whether the graph begins with the front end."""
    return tuple(op.kind for op in graph.ops[: len(FRONT_END_KINDS)]) == FRONT_END_KINDS


def window_samples(graph: Graph) -> int | None:
    """Return the samples of the one length that a graph hears; None where it hears any length."""
    features = graph.output(graph.ops[len(FRONT_END_KINDS) - 1])
    if features.shape[0] == TIME:
        return None
    frame = graph.ops[0]
    return frame.integer("n_fft") + (features.shape[0] - 1) * frame.integer("hop")


def heard_pieces(
    graph: Graph, clips: Sequence[NDArray[np.int16]], longest: int | None = None
) -> list[NDArray[np.int16]]:
    """Return clips as a graph can hear them.

    Args:
        graph: With a front end.
        clips: (N,) samples each.
        longest: Samples that each piece has at most, where the graph hears any length.

    Returns:
        The clips, cut to `longest`; for a graph of one length, windows of that length of all clips one
        after another, the last one filled up with silence.
    """
    window = window_samples(graph)
    if window is None:
        return [clip[:longest] for clip in clips]
    audio = np.concatenate(clips)
    padded = np.pad(audio, (0, -audio.size % window))
    return list(padded.reshape(-1, window))
