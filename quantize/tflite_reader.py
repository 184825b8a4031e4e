"""From an int8 .tflite to the integer graph: the same integers, so the same results as TFLite's kernels."""

import dataclasses
import re
from pathlib import Path
from typing import Literal

from edgekit.graph import Graph, Tensor
from quantize.graph_builder import GraphBuilder
from quantize.tflite_contents import Contents
from quantize.tflite_operators import read_operator

MAP_RANK = 4
Runtime = Literal["micro", "litert"]


def read_tflite(path: Path, runtime: Runtime = "litert") -> Graph:
    """Return the integer graph of an int8 .tflite.

    Maps (1, T, W, C) lose the leading 1, a single number is a row of one; every other tensor keeps its shape.

    Args:
        path: The file.
        runtime: Whose results are to be had, to the last bit: those of LiteRT's reference kernels (`litert`),
            which since 2.3.0 round once in fully connected layers, or TFLite Micro's (`micro`).

    Raises:
        UnsupportedError: If it is not a .tflite with one subgraph, or an operator cannot be imported; the
            message names it and the constraint.
    """
    return Reader(Contents(path), re.sub(r"\W", "_", path.stem), runtime).graph()


class Reader:
    """A file being read: its tensors, and the graph that they become part of.

    Args:
        contents: The file.
        name: Of the graph.
        runtime: See `read_tflite`.
    """

    def __init__(self, contents: Contents, name: str, runtime: Runtime) -> None:
        self.contents = contents
        self.runtime = runtime
        self.builder = GraphBuilder(name)
        self.computed: set[int] = set()
        self._names: dict[int, str] = {}

    def graph(self) -> Graph:
        """Return the whole graph."""
        for index in self.contents.inputs:
            self._add_input(index)
        for entry in self.contents.operators:
            read_operator(self, entry)
            self.computed.update(entry.outputs)
        for index in self.contents.outputs:
            if index not in self.computed:
                raise self.contents.unsupported(index, "an output of the model that nothing computes")
        self.builder.metadata["source"] = self.contents.description
        # Where a runtime has what the graph computes.
        self.builder.metadata |= {f"tensor:{name}": str(index) for index, name in self._names.items()}
        return self.builder.build(tuple(self._names[index] for index in self.contents.outputs))

    def _add_input(self, index: int) -> None:
        self.name(index, self.contents.tensor_name(index) or "tensor")
        tensor = self.tensor(index)
        if tensor.dtype != "int8":
            raise self.contents.unsupported(index, f"{tensor.dtype}, only int8 activations are supported")
        if index in self.computed:
            raise self.contents.unsupported(index, "listed twice among the model's inputs")
        self.builder.add_input(tensor)
        self.computed.add(index)

    def name(self, index: int, wanted: str) -> None:
        """Name a tensor: a C identifier, the wanted one where no other tensor has it."""
        word = re.sub(r"\W+", "_", wanted, flags=re.ASCII).strip("_") or "tensor"
        word = f"t_{word}" if word[0].isdigit() else word
        self._names[index] = word if word not in self._names.values() else f"{word}_{index}"

    def tensor(self, index: int) -> Tensor:
        """Return a tensor of the file that has a name as one of the graph."""
        tensor = self.contents.tensor(index)
        is_map = len(tensor.shape) == MAP_RANK and tensor.shape[0] == 1
        shape = tensor.shape[1:] if is_map else tensor.shape or (1,)
        return dataclasses.replace(tensor, name=self._names[index], shape=shape)
