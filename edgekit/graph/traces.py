"""Layer results as running code reports them: rows of bytes, operator by operator."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edgekit.graph.reference import storage_dtype
from edgekit.graph.types import TIME, Graph


def collect(graph: Graph, rows: Iterable[tuple[int, bytes]]) -> dict[str, NDArray[np.integer]]:
    """Join traced rows to one array for each tensor.

    Args:
        graph: The graph that the code was generated from.
        rows: (operator's place in the graph, bytes of one time step or of a whole result), in time order.

    Returns:
        Tensor name to values in the tensor's shape. Operators that were not traced are missing.
    """
    joined: dict[int, list[bytes]] = {}
    for index, data in rows:
        joined.setdefault(index, []).append(data)
    results = {}
    for index, parts in sorted(joined.items()):
        tensor = graph.output(graph.ops[index])
        # A result that is no stream is computed anew at each reading: the last one counts.
        data = b"".join(parts) if TIME in tensor.shape else parts[-1]
        values = np.frombuffer(data, storage_dtype(tensor.dtype))
        results[tensor.name] = values.reshape([-1 if size == TIME else size for size in tensor.shape])
    return results
