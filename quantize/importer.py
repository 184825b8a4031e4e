"""From a float ONNX file to a `Network`: layouts resolved, batch norms folded, activations fused.

ONNX maps are (batch, channel, time, mel); the graph's are (time, mel, channel).
"""

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekit.errors import UnsupportedError
from quantize.network import Layer, Network
from quantize.onnx_operators import read_node
from quantize.onnx_shapes import reads_channels_last

MAP_AXES = (1, 2, 0)
"""Time, mel and channel in an ONNX map, without its batch."""


class Importer:
    """Walks the nodes once; each node becomes a layer, joins the layer before it, or is an error."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = [node for node in model.graph.node if node.op_type != "Constant"]
        self.constants: dict[str, NDArray[Any]] = {
            item.name: numpy_helper.to_array(item) for item in model.graph.initializer
        }
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.opset = max((item.version for item in model.opset_import if not item.domain), default=1)
        inputs = [item.name for item in model.graph.input if item.name not in self.constants]
        outputs = [item.name for item in model.graph.output]
        if len(inputs) != 1 or len(outputs) != 1:
            raise UnsupportedError(
                f"model has {len(inputs)} inputs and {len(outputs)} outputs, one of each is supported",
                "export it with one input and one output",
            )
        if not self.nodes:
            raise UnsupportedError("model has no operators", "export it again")
        self.input, self.output = inputs[0], outputs[0]
        self.shapes = _shapes(model)
        self.layers: dict[str, Layer] = {}
        self.alias: dict[str, str] = {self.input: self.input}
        self.has_one_channel = False
        self.as_they_are = {self.input} if reads_channels_last(self.nodes, self.input) else set()
        self.input_axes = MAP_AXES if self.is_map(self.input) else ()
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
        # What lies in the graph as in ONNX has its channels last there too.
        layers = tuple(
            dataclasses.replace(layer, channels_last=layer.output in self.as_they_are)
            for layer in self.layers.values()
        )
        last = self.nodes[-1]
        self.require(last, bool(layers), "a layer that computes something")
        whole = self.alias.get(self.output) == layers[-1].output
        self.require(last, whole, "the model's output is the result of its last layer")
        self.require(
            last,
            self.output not in self.channels_first,
            "an output in ONNX's order: end with a layer that reads all features",
        )
        shape = self.shapes[self.input]
        axes = self.input_axes or tuple(range(len(shape)))
        sizes = (*(shape[axis] for axis in axes), *([1] if self.has_one_channel else []))
        # One row of features is a row of one token.
        sizes = (1, *sizes) if len(sizes) == 1 else sizes
        last = self.shapes.get(self.output, ())
        output_axes = MAP_AXES if self.is_map(self.output) else tuple(range(len(last)))
        return Network(self.input, layers[-1].output, layers, sizes, shape, axes, output_axes, self.output)

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

    def constant(self, node: onnx.NodeProto, index: int) -> NDArray[Any]:
        """Return a constant input of the node."""
        name = node.input[index] if index < len(node.input) else ""
        self.require(node, name in self.constants, f"input {name or index!r} is a constant")
        found = self.constants[name]
        finite = found.dtype.kind != "f" or bool(np.isfinite(found).all())
        self.require(node, finite, f"input {name!r} holds finite numbers")
        return found

    def add(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Append a layer that the node starts."""
        self.layers[layer.output] = layer
        self.alias[node.output[0]] = layer.output

    def add_hidden(self, layer: Layer) -> str:
        """Append a layer whose result has no ONNX tensor of its own, and return its name."""
        self.layers[layer.output] = layer
        return layer.output

    def is_only_reader(self, node: onnx.NodeProto, index: int = 0) -> bool:
        """Return whether no other node reads an input of the node, and the model does not return it."""
        source = self.alias.get(node.input[index])
        same = {node.input[index], *(name for name, layer in self.alias.items() if layer == source)}
        readers = [other for other in self.nodes if same & set(other.input)]
        # Nodes that only gave the tensor another name have been read already.
        seen = [other for other in readers if other is not node and not set(other.output) & same]
        return not seen and self.output not in same

    def layer_name(self, node: onnx.NodeProto) -> str:
        """Return a C identifier that no layer has: `/l1/conv` becomes l1, or l1_conv if l1 is taken."""
        parts = [part for part in (node.name or node.output[0]).split("/") if part] or [node.op_type]
        stem = "_".join(parts[:-1]) if len(parts) > 1 else parts[0]
        words = (stem, "_".join(parts))
        names = [re.sub(r"\W", "_", word if not word[0].isdigit() else f"n{word}") for word in words]
        taken = {layer.name for layer in self.layers.values()}
        numbered = (f"{names[1]}_{number}" for number in itertools.count(2))
        return next(name for name in itertools.chain(names, numbered) if name not in taken)

    def shape(self, node: onnx.NodeProto, name: str) -> tuple[int, ...]:
        """Return the sizes of an ONNX tensor that the node reads or makes, without the batch."""
        known = name in self.shapes and min(self.shapes[name], default=1) > 0
        self.require(node, known, "sizes that are known: fix those of the input")
        return self.shapes[name]

    def is_map(self, name: str) -> bool:
        """Return whether an ONNX tensor is (batch, channel, time, mel), which the graph has the other way."""
        return len(self.shapes.get(name, ())) == len(MAP_AXES) and name not in self.as_they_are

    def extend(self, node: onnx.NodeProto, index: int = 0, **changes: Any) -> None:
        """Let the node join the layer that computes an input of it, which nothing else may read."""
        source = self.source(node, index)
        alone = source in self.layers and self.is_only_reader(node, index)
        self.require(node, alone, "what joins the layer before it is the only reader of its result")
        layer = self.layers.pop(source)
        output = node.output[0]
        self.layers[output] = dataclasses.replace(
            layer, output=output, origin=(*layer.origin, node.name), **changes
        )
        self.alias[output] = output


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the sizes of every tensor whose axes are known, without the batch; 0 for one that is not."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = (*graph.input, *graph.value_info, *graph.output)
    return {
        item.name: tuple(size.dim_value for size in item.type.tensor_type.shape.dim[1:])
        for item in known
        if item.type.tensor_type.HasField("shape")
    }


def import_onnx(path: Path) -> Network:
    """Read a float ONNX model: a student, log-mel in, A/D/V out, or any other of one input and one output.

    Raises:
        UnsupportedError: If the file is not ONNX, or a node is not supported; it names the node.
    """
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise UnsupportedError(f"{path}: not a valid ONNX model ({error})", "export it again") from error
    return Importer(model).run()
