"""The last bias of a graph, moved until its results agree with the float model's on average."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Graph, run
from edgekit.progress import Progress, silent
from quantize.attention import ADV_QUANTIZATION


def correct_outputs(
    graph: Graph,
    clips: Sequence[NDArray[np.int16]],
    wanted: NDArray[np.floating],
    progress: Progress = silent,
) -> Graph:
    """Return the graph with its last bias moved so that it agrees with the float model on average.

    What all roundings together shift A/D/V by is nearly the same for every clip; on speech of little
    variety it would cost more agreement than the rest of the quantization.

    Args:
        graph: The graph.
        clips: Calibration audio as PCM.
        wanted: (N, 3) the float model's A/D/V of each.
        progress: Told how many clips are done.
    """
    found = []
    for done, clip in enumerate(clips):
        progress("correct the outputs", done, len(clips))
        found.append(ADV_QUANTIZATION.dequantize(run(graph, {"pcm": clip})[graph.outputs[0]]))
    progress("correct the outputs", len(clips), len(clips))
    bias = graph.ops[-1].inputs[2]
    quantization = graph.tensors[bias].quantization
    assert quantization is not None, "biases carry their scales"
    steps = np.rint((wanted - np.array(found)).mean(axis=0) / np.array(quantization.scales))
    corrected = (graph.constants[bias] + steps).astype(np.int32)
    return dataclasses.replace(graph, constants={**graph.constants, bias: corrected})
