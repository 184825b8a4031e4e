"""ONNX nodes that slide a window over a map: convolutions and pools."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from quantize.network import Layer
from quantize.onnx_shapes import attributes_of

if TYPE_CHECKING:
    from quantize.importer import Importer


def read_conv(importer: "Importer", node: onnx.NodeProto) -> None:
    """Add a convolution, of one group or of one for each channel."""
    attributes = attributes_of(node)
    source = importer.source(node)
    weights = importer.constant(node, 1).astype(np.float64)
    importer.require(node, weights.ndim == 4, "two-dimensional kernels")
    groups = attributes.get("group", 1)
    depthwise = groups > 1
    importer.require(node, not depthwise or weights.shape[1] == 1, "group 1, or one group for each channel")
    has_bias = len(node.input) > 2 and node.input[2]
    bias = importer.constant(node, 2) if has_bias else np.zeros(len(weights))
    kernel, dilation = _pair(weights.shape[2:]), _pair(attributes.get("dilations", [1, 1]))
    padding = _padding(importer, node, attributes)
    reach = [(size - 1) * step for size, step in zip(kernel, dilation, strict=True)]
    if max(padding[:2]) > reach[0] or max(padding[2:]) > reach[1]:
        source, padding = _padded_first(importer, node, source, padding), (0, 0, 0, 0)
    layer = Layer(
        "depthwise_conv2d" if depthwise else "conv2d",
        importer.layer_name(node),
        (source,),
        node.output[0],
        (node.name,),
        np.moveaxis(weights[:, 0], 0, -1) if depthwise else np.transpose(weights, (0, 2, 3, 1)),
        bias.astype(np.float64),
        kernel=kernel,
        stride=_pair(attributes.get("strides", [1, 1])),
        dilation=dilation,
        padding=padding,
    )
    importer.add(node, layer)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    return values[0], values[1]


def _padded_first(
    importer: "Importer", node: onnx.NodeProto, source: str, padding: tuple[int, int, int, int]
) -> str:
    """Add a layer that pads a node's input with zeros, and return its output's name."""
    name, output = importer.layer_name(node), f"{node.output[0]}:padded"
    return importer.add_hidden(Layer("pad", name, (source,), output, (node.name,), padding=padding))


def _padding(
    importer: "Importer", node: onnx.NodeProto, attributes: Mapping[str, Any]
) -> tuple[int, int, int, int]:
    auto_pad = attributes.get("auto_pad", b"NOTSET")
    importer.require(node, auto_pad == b"NOTSET", "explicit pads instead of auto_pad")
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    return top, bottom, left, right


def read_max_pool(importer: "Importer", node: onnx.NodeProto) -> None:
    """Add a maximum over windows."""
    _pool(importer, node, "max_pool2d", importer.source(node), _padding(importer, node, attributes_of(node)))


def read_average_pool(importer: "Importer", node: onnx.NodeProto) -> None:
    """Add a mean over windows."""
    attributes, source = attributes_of(node), importer.source(node)
    padding = _padding(importer, node, attributes)
    if any(padding):
        # TFLite has no mean that leaves out padding of this kind; one that counts it is a pad and a mean.
        counted = attributes.get("count_include_pad", 0) == 1
        importer.require(node, counted, "no padding, or count_include_pad 1")
        source, padding = _padded_first(importer, node, source, padding), (0, 0, 0, 0)
    _pool(importer, node, "average_pool2d", source, padding)


def _pool(
    importer: "Importer", node: onnx.NodeProto, kind: str, source: str, padding: tuple[int, int, int, int]
) -> None:
    attributes = attributes_of(node)
    importer.require(node, attributes.get("ceil_mode", 0) == 0, "ceil_mode 0")
    importer.require(node, set(attributes.get("dilations", [1])) == {1}, "dilations 1")
    importer.require(node, len(attributes["kernel_shape"]) == 2, "two-dimensional windows")
    layer = Layer(
        kind,
        importer.layer_name(node),
        (source,),
        node.output[0],
        (node.name,),
        kernel=_pair(attributes["kernel_shape"]),
        stride=_pair(attributes.get("strides", [1, 1])),
        padding=padding,
    )
    importer.add(node, layer)
