"""What a graph costs by its shapes alone."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.types import Graph

WITH_WEIGHTS = ("conv2d", "depthwise_conv2d", "fully_connected", "fully_connected_int16")


def macs(graph: Graph, values: Mapping[str, NDArray[np.integer]], results: int = 1) -> dict[str, int]:
    """Return the multiply-accumulates of each layer with weights, for one run.

    Args:
        graph: The graph.
        values: What `edgekit.graph.run` returned; only the shapes count.
        results: How often the answer was read: what lies behind attention pooling is computed each time.

    Returns:
        Operator name to multiply-accumulates: results times weights that each of them takes.
    """
    counts = {}
    times = 1
    for op in graph.ops:
        if op.kind == "attention_pool":
            times = results
        if op.kind in WITH_WEIGHTS:
            outputs = graph.output(op).shape[-1]
            counts[op.name] = (
                times * values[op.outputs[0]].size * (graph.constants[op.inputs[1]].size // outputs)
            )
    return counts
