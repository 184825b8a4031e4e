"""Collects tensors, constants and operators, and makes a verified graph of them."""

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Graph, Op, Quantization, Tensor, verify
from edgekit.graph.reference import storage_dtype


class GraphBuilder:
    """A graph in the making; operators are added in execution order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: list[str] = []
        self.tensors: dict[str, Tensor] = {}
        self.constants: dict[str, NDArray[np.integer]] = {}
        self.ops: list[Op] = []
        self.metadata: dict[str, str] = {}

    def add_input(self, tensor: Tensor) -> None:
        """Declare a tensor that is fed from outside."""
        self.inputs.append(tensor.name)
        self.tensors[tensor.name] = tensor

    def add_constant(
        self, name: str, dtype: str, values: NDArray[np.integer], quantization: Quantization | None = None
    ) -> str:
        """Add a constant tensor and return its name."""
        self.tensors[name] = Tensor(name, values.shape, dtype, quantization)
        self.constants[name] = values.astype(storage_dtype(dtype))
        return name

    def add_op(self, op: Op, output: Tensor) -> str:
        """Append an operator with its result and return the result's name."""
        self.ops.append(op)
        self.tensors[output.name] = output
        return output.name

    def build(self, outputs: tuple[str, ...]) -> Graph:
        """Return the graph.

        Raises:
            UnsupportedError: If it is not legal.
        """
        graph = Graph(
            self.name,
            tuple(self.inputs),
            outputs,
            self.tensors,
            self.constants,
            tuple(self.ops),
            self.metadata,
        )
        verify(graph)
        return graph
