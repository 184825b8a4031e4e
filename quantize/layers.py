"""What both file writers need of an integer graph: its part after the front end, scales."""

import dataclasses

from edgekit.errors import UnsupportedError
from edgekit.graph import FRONT_END_KINDS, Graph, Op, Tensor


def network_ops(graph: Graph) -> tuple[Op, ...]:
    """Return the operators after the front end."""
    return tuple(op for op in graph.ops if op.kind not in FRONT_END_KINDS)


MAP_RANK = 3
"""Of (T, mel, channel)."""


def front_end_graph(graph: Graph) -> Graph:
    """Return the operators before the network as a graph of their own: PCM in, int8 log-mels out."""
    ops = tuple(op for op in graph.ops if op.kind in FRONT_END_KINDS)
    return dataclasses.replace(graph, ops=ops, outputs=(network_input(graph).name,))


def network_input(graph: Graph) -> Tensor:
    """Return the quantized tensor that the network reads: log-mels (T, mel, 1), or a model's own input.

    Raises:
        UnsupportedError: If it is not int8, or log-mels of another shape.
    """
    tensor = graph.activations(network_ops(graph)[0])[0]
    log_mels = len(tensor.shape) == MAP_RANK and tensor.shape[2] == 1
    if tensor.dtype != "int8" or not (log_mels or tensor.name in graph.inputs):
        raise UnsupportedError(
            f"graph {graph.name}: {tensor.name!r} is {tensor.dtype} {tensor.shape}, "
            "not int8 log-mels (T, mel, 1)",
            "re-run edgekit quantize",
        )
    return tensor


def scales(tensor: Tensor) -> tuple[float, ...]:
    """Return a tensor's scales.

    Raises:
        UnsupportedError: If it has none.
    """
    if tensor.quantization is None:
        raise UnsupportedError(f"tensor {tensor.name!r} has no scale", "re-run edgekit quantize")
    return tensor.quantization.scales


def zero_point(tensor: Tensor) -> int:
    """Return the integer that stands for 0; UnsupportedError if the tensor has no scale."""
    scales(tensor)
    assert tensor.quantization is not None
    return tensor.quantization.zero_point
