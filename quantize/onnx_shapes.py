"""ONNX nodes that only move values: what each is in the graph's order, (time, mel, channel)."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from quantize.network import Layer

if TYPE_CHECKING:
    from quantize.importer import Importer

MAP_RANK = 3
"""Of (channel, time, mel), without the batch."""
TO_ONNX_ORDER = (2, 0, 1)
"""Axes of a graph's map that make it ONNX's."""
TO_GRAPH_ORDER = (1, 2, 0)


KEEP_ORDER = (
    *("Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Add", "Mul", "Identity", "Dropout"),
    *("Softmax", "BatchNormalization"),
)
"""Operators whose results lie as what they read does."""


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes by name."""
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def reads_channels_last(nodes: list[onnx.NodeProto], name: str) -> bool:
    """Return whether a model turns its input from (time, mel, channel) to ONNX's order of a map."""
    same = {name}
    for node in nodes:
        if node.input and node.input[0] in same:
            perm = [list(item.ints) for item in node.attribute if item.name == "perm"]
            if node.op_type == "Transpose" and perm == [[0, 3, 1, 2]]:
                return True
            if node.op_type in KEEP_ORDER:
                same.update(node.output)
    return False


def add_row(importer: "Importer", node: onnx.NodeProto, source: str) -> None:
    """Lay a tensor out as one row; ONNX's row of a map is channel by channel, the graph's is not."""
    shape = importer.shape(node, node.input[0])
    output, row = node.output[0], (1, math.prod(shape))
    readers = [other.op_type for other in importer.nodes if output in other.input]
    if importer.is_map(node.input[0]):
        if readers and set(readers) <= {"Gemm", "MatMul"} and output != importer.output:
            # Its columns take another order instead.
            importer.channels_first[output] = shape[0]
        else:
            turned = _layer(importer, node, "transpose", source, f"{output}:turned", axes=TO_ONNX_ORDER)
            source = importer.add_hidden(turned)
    importer.add(node, _layer(importer, node, "reshape", source, output, shape=row))


def add_reshape(importer: "Importer", node: onnx.NodeProto) -> None:
    """Give a tensor another shape: the values keep ONNX's order, so maps are turned to it and back."""
    source = importer.source(node)
    before, after = (importer.shape(node, name) for name in (node.input[0], node.output[0]))
    importer.require(node, math.prod(before) == math.prod(after), "it keeps the batch")
    if len(after) <= 1:
        add_row(importer, node, source)
        return
    importer.require(node, len(after) <= MAP_RANK, "at most three axes beside the batch")
    output = node.output[0]
    if importer.is_map(node.input[0]):
        turned = f"{output}:turned"
        layer = _layer(importer, node, "transpose", source, turned, axes=TO_ONNX_ORDER)
        source = importer.add_hidden(layer)
    if len(after) < MAP_RANK:
        importer.add(node, _layer(importer, node, "reshape", source, output, shape=after))
        return
    layer = _layer(importer, node, "reshape", source, f"{output}:row", shape=after)
    source = importer.add_hidden(layer)
    importer.add(node, _layer(importer, node, "transpose", source, output, axes=TO_GRAPH_ORDER))


def add_transpose(importer: "Importer", node: onnx.NodeProto, axes: list[int]) -> None:
    """Exchange axes; between ONNX's order and (time, mel, channel) the graph need not do anything."""
    source, output = importer.source(node), node.output[0]
    importer.require(node, axes[0] == 0, "the batch axis stays first")
    moved = tuple(axis - 1 for axis in axes[1:])
    if importer.is_map(node.input[0]):
        moved = tuple(TO_GRAPH_ORDER.index(axis) for axis in moved)
    if node.input[0] in importer.as_they_are and axes == [0, 3, 1, 2]:
        importer.alias[output] = source
        return
    if len(moved) == MAP_RANK:
        importer.as_they_are.add(output)
    if moved == tuple(range(len(moved))):
        importer.alias[output] = source
        return
    importer.add(node, _layer(importer, node, "transpose", source, output, axes=moved))


def add_padding(importer: "Importer", node: onnx.NodeProto) -> None:
    """Surround a map with zeros."""
    attributes = attributes_of(node)
    importer.require(node, attributes.get("mode", b"constant") == b"constant", "mode constant")
    amounts = attributes["pads"] if "pads" in attributes else importer.constant(node, 1).tolist()
    importer.require(node, importer.is_map(node.input[0]), "a map (batch, channel, time, mel)")
    if len(node.input) > 3 and node.input[3]:
        amounts = _of_all_axes(importer.constant(node, 3).tolist(), amounts)
    value = importer.constant(node, 2) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    importer.require(node, float(value.ravel()[0]) == attributes.get("value", 0.0) == 0, "padding with 0")
    rows_and_columns = len(amounts) == 8 and not any(amounts[i] for i in (0, 1, 4, 5)) and min(amounts) >= 0
    importer.require(node, rows_and_columns, "padding of the rows and columns of a map")
    padding = (amounts[2], amounts[6], amounts[3], amounts[7])
    source = importer.source(node)
    name, output = importer.layer_name(node), node.output[0]
    importer.add(node, Layer("pad", name, (source,), output, (node.name,), padding=padding))


def _of_all_axes(axes: list[int], amounts: list[int]) -> list[int]:
    """Return amounts before and after each of four axes, from those of some."""
    found = [0] * 8
    for place, axis in enumerate(axes):
        found[axis % 4], found[axis % 4 + 4] = amounts[place], amounts[place + len(axes)]
    return found


def _layer(
    importer: "Importer",
    node: onnx.NodeProto,
    kind: str,
    source: str,
    output: str,
    shape: tuple[int, ...] = (),
    axes: tuple[int, ...] = (),
) -> Layer:
    name = importer.layer_name(node)
    return Layer(kind, name, (source,), output, (node.name,), shape=shape, axes=axes)
