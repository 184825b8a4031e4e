"""The reference interpreter: the definition of every operator, in numpy.

Not fast and not clever: this is what the C, the simulated core and the .tflite are compared with,
tolerance 0. The operators themselves are in `front_end_ops`, `linear_ops`, `pooling_ops` and
`elementwise_ops`.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import AudioError
from edgekit.graph import elementwise_ops, front_end_ops, linear_ops, pooling_ops
from edgekit.graph.fixedpoint import Int64
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
        result = evaluate(graph, op, values)
        if result.shape[0] == 0:
            raise AudioError(
                f"audio too short: {op.name} computes nothing from it",
                "give longer audio (30 ms at the least)",
            )
        values[op.outputs[0]] = result
    return {name: value for name, value in values.items() if name not in graph.constants}


def evaluate(graph: Graph, op: Op, values: Mapping[str, Array]) -> Array:
    """Return an operator's result in its tensor's dtype, for the values of its inputs and constants."""
    result = OPERATORS[op.kind](op, *(values[name].astype(np.int64) for name in op.inputs))
    return result.astype(storage_dtype(graph.output(op).dtype))


def storage_dtype(dtype: str) -> np.dtype[np.integer]:
    """Return the numpy type that holds a graph dtype; int4 values lie in int8."""
    return np.dtype("int8" if dtype == "int4" else dtype)


OPERATORS: Mapping[str, Callable[..., Int64]] = {
    function.__name__: function
    for function in (
        front_end_ops.frame,
        front_end_ops.frame_level,
        front_end_ops.power_spectrum,
        front_end_ops.mel_filter,
        front_end_ops.log2,
        front_end_ops.level_normalize,
        linear_ops.conv2d,
        linear_ops.depthwise_conv2d,
        linear_ops.fully_connected,
        linear_ops.fully_connected_int16,
        pooling_ops.max_pool2d,
        pooling_ops.average_pool2d,
        pooling_ops.mean,
        pooling_ops.attention_pool,
        pooling_ops.second_order,
        elementwise_ops.add,
        elementwise_ops.mul,
        elementwise_ops.lookup,
        elementwise_ops.softmax,
        elementwise_ops.flatten,
        elementwise_ops.reshape,
        elementwise_ops.transpose,
        elementwise_ops.pad,
    )
}
