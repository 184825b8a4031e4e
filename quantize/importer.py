"""From a float ONNX file to a `Network`: layouts resolved, batch norms folded, activations fused.

ONNX maps are (batch, channel, time, mel); the graph's are (time, mel, channel).
"""

import dataclasses
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekit.errors import UnsupportedError
from quantize.network import Layer, Network
from quantize.onnx_operators import read_node


class Importer:
    """Walks the nodes once; each node becomes a layer, joins the layer before it, or is an error."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.constants: dict[str, NDArray[Any]] = {
            item.name: numpy_helper.to_array(item) for item in model.graph.initializer
        }
        inputs = [item.name for item in model.graph.input if item.name not in self.constants]
        outputs = [item.name for item in model.graph.output]
        if len(inputs) != 1 or len(outputs) != 1:
            raise UnsupportedError(
                f"model has {len(inputs)} inputs and {len(outputs)} outputs, one of each is supported",
                "export it with one log-mel input and one A/D/V output",
            )
        self.input, self.output = inputs[0], outputs[0]
        self.layers: dict[str, Layer] = {}
        self.alias: dict[str, str] = {self.input: self.input}
        self.channels_first: dict[str, int] = {}
        self.weights_of_time: dict[str, str] = {}
        self.squeezed: set[str] = set()
        self.attended_channels: dict[str, int] = {}
        self.pooled_channels: dict[str, int] = {}
        self.turned: dict[str, str] = {}
        self.products: dict[str, str] = {}

    def run(self) -> Network:
        """Return the network; UnsupportedError names the first node that cannot be imported."""
        for node in self.nodes:
            read_node(self, node)
        layers = tuple(self.layers.values())
        if not layers or self.alias.get(self.output) != layers[-1].output:
            raise UnsupportedError(
                "the model's output is not the result of its last layer", "export it again"
            )
        return Network(self.input, self.output, layers)

    def unsupported(self, node: onnx.NodeProto, constraint: str) -> UnsupportedError:
        """Return the error that names a node and what it would have to be."""
        return UnsupportedError(
            f"ONNX node {node.name or node.output[0]!r} ({node.op_type}): {constraint}",
            "change the model there, or build the student wav2small",
        )

    def require(self, node: onnx.NodeProto, holds: bool, constraint: str) -> None:
        """Raise the node's UnsupportedError unless the constraint holds."""
        if not holds:
            raise self.unsupported(node, f"required: {constraint}")

    def source(self, node: onnx.NodeProto, index: int = 0) -> str:
        """Return the layer output (or network input) that an input of the node stands for."""
        name = node.input[index]
        self.require(node, name in self.alias, f"input {name!r} comes from a layer")
        return self.alias[name]

    def plain_source(self, node: onnx.NodeProto, index: int = 0) -> str:
        """Return `source` of a node that cannot undo a gain."""
        name = self.source(node, index)
        plain = self.gain(name) == 1
        self.require(node, plain, "inputs that no HardSigmoid made: only Conv and Mul read those")
        return name

    def constant(self, node: onnx.NodeProto, index: int) -> NDArray[Any]:
        """Return a constant input of the node."""
        name = node.input[index]
        self.require(node, name in self.constants, f"input {name!r} is a constant")
        return self.constants[name]

    def add(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Append a layer that the node starts."""
        self.layers[layer.output] = layer
        self.alias[node.output[0]] = layer.output

    def is_only_reader(self, node: onnx.NodeProto) -> bool:
        """Return whether no other node reads the node's first input, and the model does not return it."""
        readers = [other for other in self.nodes if node.input[0] in other.input]
        return len(readers) == 1 and node.input[0] != self.output

    def gain(self, name: str) -> float:
        """Return how many times an ONNX tensor its layer's results are."""
        return self.layers[name].gain if name in self.layers else 1.0

    def extend(self, node: onnx.NodeProto, **changes: Any) -> None:
        """Let the node join the layer that computes its input, which nothing else may read."""
        source = self.source(node)
        alone = source in self.layers and self.is_only_reader(node)
        self.require(node, alone, "it alone reads a layer's result")
        layer = self.layers.pop(source)
        output = node.output[0]
        self.layers[output] = dataclasses.replace(
            layer, output=output, origin=(*layer.origin, node.name), **changes
        )
        self.alias[output] = output


def import_onnx(path: Path) -> Network:
    """Read a float ONNX student (log-mel in, A/D/V out).

    Raises:
        UnsupportedError: If the file is not ONNX, or a node is not supported; it names the node.
    """
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise UnsupportedError(f"{path}: not a valid ONNX model ({error})", "export it again") from error
    return Importer(model).run()
