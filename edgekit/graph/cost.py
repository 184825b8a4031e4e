"""What a graph costs by its shapes alone."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.types import Graph

WITH_WEIGHTS = ("conv2d", "depthwise_conv2d", "fully_connected", "fully_connected_int16")


def macs(graph: Graph, values: Mapping[str, NDArray[np.integer]]) -> dict[str, int]:
    """Return the multiply-accumulates of each layer with weights, for one run.

    Args:
        graph: The graph.
        values: What `edgekit.graph.run` returned; only the shapes count.

    Returns:
        Operator name to multiply-accumulates: results times weights that each of them takes.
    """
    counts = {}
    for op in graph.ops:
        if op.kind in WITH_WEIGHTS:
            outputs = graph.output(op).shape[-1]
            counts[op.name] = values[op.outputs[0]].size * (graph.constants[op.inputs[1]].size // outputs)
    return counts
