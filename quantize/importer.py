"""From a float ONNX file to a `Network`: layouts resolved, batch norms folded, activations fused.

ONNX maps are (batch, channel, time, mel); the graph's are (time, mel, channel).
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekit.errors import UnsupportedError
from quantize.network import Array, Layer, Network

TIME_AXIS = 1
"""Of (batch, time, feature) tokens."""


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

    def run(self) -> Network:
        """Return the network; UnsupportedError names the first node that cannot be imported."""
        for node in self.nodes:
            handler = HANDLERS.get(node.op_type)
            if handler is None:
                raise self.unsupported(node, f"operator {node.op_type}, supported: {', '.join(HANDLERS)}")
            handler(self, node)
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

    def constant(self, node: onnx.NodeProto, index: int) -> NDArray[Any]:
        """Return a constant input of the node."""
        name = node.input[index]
        self.require(node, name in self.constants, f"input {name!r} is a constant")
        return self.constants[name]

    def add(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Append a layer that the node starts."""
        taken = {other.name for other in self.layers.values()}
        self.require(node, layer.name not in taken, f"a layer name other than {layer.name!r}, which is taken")
        self.layers[layer.output] = layer
        self.alias[node.output[0]] = layer.output

    def extend(self, node: onnx.NodeProto, **changes: Any) -> None:
        """Let the node join the layer that computes its input, which nothing else may read."""
        source = self.source(node)
        readers = [other for other in self.nodes if node.input[0] in other.input]
        self.require(node, source in self.layers and len(readers) == 1, "it alone reads a layer's result")
        layer = self.layers.pop(source)
        output = node.output[0]
        self.layers[output] = dataclasses.replace(
            layer, output=output, origin=(*layer.origin, node.name), **changes
        )
        self.alias[output] = output


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def _layer_name(node: onnx.NodeProto) -> str:
    """Return a C identifier: `/l1/conv` becomes l1, `conv_3` stays."""
    parts = [part for part in (node.name or node.output[0]).split("/") if part]
    stem = "_".join(parts[:-1]) if len(parts) > 1 else parts[0]
    return re.sub(r"\W", "_", stem if not stem[0].isdigit() else f"n{stem}")


def _conv(importer: Importer, node: onnx.NodeProto) -> None:
    attributes = _attributes(node)
    weights = importer.constant(node, 1).astype(np.float64)
    importer.require(node, weights.ndim == 4, "two-dimensional kernels")
    importer.require(node, attributes.get("group", 1) == 1, "group 1")
    importer.require(node, max(attributes.get("dilations", [1])) == 1, "dilation 1")
    bias = importer.constant(node, 2) if len(node.input) > 2 else np.zeros(len(weights))
    layer = Layer(
        "conv2d",
        _layer_name(node),
        (importer.source(node),),
        node.output[0],
        (node.name,),
        np.transpose(weights, (0, 2, 3, 1)),
        bias.astype(np.float64),
        kernel=(weights.shape[2], weights.shape[3]),
        stride=_pair(attributes.get("strides", [1, 1])),
        padding=_padding(importer, node, attributes),
    )
    importer.add(node, layer)


def _pair(values: list[int]) -> tuple[int, int]:
    return values[0], values[1]


def _padding(
    importer: Importer, node: onnx.NodeProto, attributes: Mapping[str, Any]
) -> tuple[int, int, int, int]:
    auto_pad = attributes.get("auto_pad", b"NOTSET")
    importer.require(node, auto_pad == b"NOTSET", "explicit pads instead of auto_pad")
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    return top, bottom, left, right


def _batch_norm(importer: Importer, node: onnx.NodeProto) -> None:
    gamma, beta, mean, variance = (importer.constant(node, i).astype(np.float64) for i in range(1, 5))
    layer = importer.layers.get(importer.source(node))
    importer.require(
        node, layer is not None and layer.kind == "conv2d" and not layer.relu, "it follows a Conv"
    )
    assert layer is not None
    gain = gamma / np.sqrt(variance + _attributes(node).get("epsilon", 1e-5))
    importer.extend(
        node,
        weights=layer.weights * gain[:, None, None, None],
        bias=(layer.bias - mean) * gain + beta,
    )


def _relu(importer: Importer, node: onnx.NodeProto) -> None:
    layer = importer.layers.get(importer.source(node))
    importer.require(
        node, layer is not None and layer.kind in ("conv2d", "fully_connected"), "it follows a layer"
    )
    importer.extend(node, relu=True)


def _max_pool(importer: Importer, node: onnx.NodeProto) -> None:
    attributes = _attributes(node)
    importer.require(node, attributes.get("ceil_mode", 0) == 0, "ceil_mode 0")
    layer = Layer(
        "max_pool2d",
        _layer_name(node),
        (importer.source(node),),
        node.output[0],
        (node.name,),
        kernel=_pair(attributes["kernel_shape"]),
        stride=_pair(attributes.get("strides", [1, 1])),
        padding=_padding(importer, node, attributes),
    )
    importer.add(node, layer)


def _unsqueeze(importer: Importer, node: onnx.NodeProto) -> None:
    importer.require(node, importer.source(node) == importer.input, "it adds the channel axis to the input")
    importer.require(node, importer.constant(node, 1).tolist() == [1], "axis 1")
    importer.alias[node.output[0]] = importer.input


def _transpose(importer: Importer, node: onnx.NodeProto) -> None:
    importer.require(node, _attributes(node)["perm"] == [0, 2, 1, 3], "perm 0 2 1 3: maps to tokens")
    source = importer.source(node)
    importer.alias[node.output[0]] = source
    importer.channels_first[node.output[0]] = len(_last_weights(importer, source))


def _last_weights(importer: Importer, name: str) -> Array:
    """Return the weights of the convolution that decided a map's channels."""
    layer = importer.layers[name]
    while layer.kind != "conv2d":
        layer = importer.layers[layer.inputs[0]]
    return layer.weights


def _reshape(importer: Importer, node: onnx.NodeProto) -> None:
    importer.require(node, node.input[0] in importer.channels_first, "it follows the Transpose to tokens")
    importer.require(node, importer.constant(node, 1).tolist()[:2] == [0, 0], "it keeps batch and time")
    channels = importer.channels_first[node.input[0]]
    name = _layer_name(node)
    importer.add(node, Layer("flatten", name, (importer.source(node),), node.output[0], (node.name,)))
    importer.channels_first[node.output[0]] = channels


def _to_graph_order(weights: Array, channels: int) -> Array:
    """Reorder columns from ONNX's (channel, mel) tokens to the graph's (mel, channel)."""
    split = weights.reshape(len(weights), channels, -1)
    return np.transpose(split, (0, 2, 1)).reshape(weights.shape)


def _linear(importer: Importer, node: onnx.NodeProto, weights: NDArray[Any], bias: NDArray[Any]) -> None:
    source = importer.source(node)
    rows = weights.astype(np.float64)
    if source in importer.channels_first:
        rows = _to_graph_order(rows, importer.channels_first[source])
    layer = Layer(
        "fully_connected",
        _layer_name(node),
        (source,),
        node.output[0],
        (node.name,),
        rows,
        bias.astype(np.float64),
    )
    importer.add(node, layer)


def _matmul(importer: Importer, node: onnx.NodeProto) -> None:
    weights = importer.constant(node, 1)
    importer.require(node, weights.ndim == 2, "a matrix on the right")
    _linear(importer, node, weights.T, np.zeros(weights.shape[1]))


def _gemm(importer: Importer, node: onnx.NodeProto) -> None:
    attributes = _attributes(node)
    plain = (attributes.get("alpha", 1.0), attributes.get("beta", 1.0), attributes.get("transA", 0))
    importer.require(node, plain == (1.0, 1.0, 0), "alpha 1, beta 1, transA 0")
    weights = importer.constant(node, 1)
    rows = weights if attributes.get("transB", 0) else weights.T
    bias = importer.constant(node, 2) if len(node.input) > 2 else np.zeros(len(rows))
    _linear(importer, node, rows, bias)


def _add(importer: Importer, node: onnx.NodeProto) -> None:
    layer = importer.layers.get(importer.source(node))
    importer.require(node, layer is not None and layer.kind == "fully_connected", "it follows a MatMul")
    assert layer is not None
    importer.extend(node, bias=layer.bias + importer.constant(node, 1).astype(np.float64))


def _softmax(importer: Importer, node: onnx.NodeProto) -> None:
    importer.require(node, _attributes(node).get("axis", -1) == TIME_AXIS, "axis 1: over time")
    importer.weights_of_time[node.output[0]] = importer.source(node)


def _mul(importer: Importer, node: onnx.NodeProto) -> None:
    attention = [name for name in node.input if name in importer.weights_of_time]
    importer.require(node, len(attention) == 1, "values times a Softmax over time")
    value = node.input[1 - list(node.input).index(attention[0])]
    importer.require(node, value in importer.alias, f"input {value!r} comes from a layer")
    inputs = (importer.alias[value], importer.weights_of_time[attention[0]])
    layer = Layer("attention_pool", _layer_name(node), inputs, node.output[0], (node.name,))
    importer.add(node, layer)


def _reduce_sum(importer: Importer, node: onnx.NodeProto) -> None:
    layer = importer.layers.get(importer.source(node))
    importer.require(
        node, layer is not None and layer.kind == "attention_pool", "it sums the attended values"
    )
    importer.require(node, importer.constant(node, 1).tolist() == [TIME_AXIS], "axis 1: over time")
    importer.require(node, _attributes(node).get("keepdims", 1) == 0, "keepdims 0")
    importer.extend(node)


HANDLERS: Mapping[str, Callable[[Importer, onnx.NodeProto], None]] = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "Relu": _relu,
    "MaxPool": _max_pool,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Add": _add,
    "Softmax": _softmax,
    "Mul": _mul,
    "ReduceSum": _reduce_sum,
}


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
