"""Operators of graphs that see a whole clip: what makes each legal, one broken constraint at a time."""

import dataclasses

import numpy as np
import pytest

from edgekit.errors import UnsupportedError
from edgekit.graph import Graph, Op, Tensor, run, verify
from edgekit.graph.tables import softmax_table

WINDOW = {"kernel": (2, 2), "stride": (1, 1), "padding": (0, 0, 0, 0)}
POINTS = {"input_zero_point": 0, "output_zero_point": 0}
CLAMP = {"clamp": (-128, 127)}
SCALED = {"multiplier": 1 << 30, "shift": 0, "output_zero_point": 0, **CLAMP}
SUM = {
    "left_shift": 20,
    "input_zero_points": (0, 0),
    "multipliers": (1 << 30, 1 << 30),
    "shifts": (0, 0),
    "output_multiplier": 1 << 30,
    "output_shift": -19,
    "output_zero_point": 0,
    **CLAMP,
}
MAP = (4, 3, 2)


def graph_of(kind, attributes, output, shapes=(MAP,), constants=(), dtype="int8"):
    """Return a graph of one operator, named `it`."""
    names = tuple(f"x{number}" for number in range(len(shapes)))
    tensors = {name: Tensor(name, shape, dtype) for name, shape in zip(names, shapes, strict=True)}
    values = {f"c{number}": value for number, value in enumerate(constants)}
    tensors |= {name: Tensor(name, value.shape, value.dtype.name) for name, value in values.items()}
    tensors["y"] = Tensor("y", output, dtype)
    op = Op(kind, "it", (*names, *values), ("y",), attributes)
    return Graph("g", names, ("y",), tensors, values, (op,))


def kernels(weights):
    rows = weights.shape[-1]
    return (
        weights,
        np.zeros(rows, np.int32),
        np.full(rows, 1 << 30, np.int32),
        np.zeros(rows, np.int32),
    )


EXPONENTIALS = softmax_table(0.1).astype(np.int32)
GRAPHS = {
    "depthwise_conv2d": graph_of(
        "depthwise_conv2d",
        {**WINDOW, **POINTS, **CLAMP, "dilation": (2, 1)},
        (2, 2, 4),
        constants=kernels(np.ones((2, 2, 4), np.int8)),
    ),
    "average_pool2d": graph_of("average_pool2d", {**WINDOW, **CLAMP}, (3, 2, 2)),
    "mean": graph_of("mean", {**SCALED, "input_zero_point": 3}, (1, 1, 2)),
    "add": graph_of("add", SUM, MAP, shapes=(MAP, (1, 1, 2))),
    "mul": graph_of("mul", {**SCALED, "input_zero_points": (0, 1)}, MAP, shapes=(MAP, (2,))),
    "lookup": graph_of("lookup", {}, MAP, constants=(np.arange(127, -129, -1).astype(np.int8),)),
    "softmax": graph_of("softmax", {}, (2, 9), shapes=((2, 9),), constants=(EXPONENTIALS,)),
    "reshape": graph_of("reshape", {"shape": (2, 12)}, (2, 12)),
    "transpose": graph_of("transpose", {"axes": (2, 0, 1)}, (2, 4, 3)),
    "second_order": graph_of(
        "second_order",
        {"channels": 2, "multipliers": (1 << 30, 1 << 30), "shifts": (0, -9)},
        (10,),
        shapes=((6,),),
        dtype="int16",
    ),
    "pad": graph_of("pad", {"padding": (1, 0, 0, 2), "fill": -5}, (5, 5, 2)),
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_legal_graph_runs_and_gives_the_shape_that_it_declares(kind):
    graph = GRAPHS[kind]
    verify(graph)
    rng = np.random.default_rng(0)
    inputs = {
        name: rng.integers(-128, 128, graph.tensors[name].shape).astype(graph.tensors[name].dtype)
        for name in graph.inputs
    }
    found = run(graph, inputs)["y"]
    assert found.shape == graph.tensors["y"].shape
    assert found.dtype == graph.tensors["y"].dtype


def attributes(kind, **changes):
    def broken():
        (op,) = GRAPHS[kind].ops
        changed = dataclasses.replace(op, attributes={**op.attributes, **changes})
        return dataclasses.replace(GRAPHS[kind], ops=(changed,))

    return broken


def shape(kind, tensor, sizes, dtype="int8"):
    def broken():
        tensors = {**GRAPHS[kind].tensors, tensor: Tensor(tensor, sizes, dtype)}
        return dataclasses.replace(GRAPHS[kind], tensors=tensors)

    return broken


def constant(kind, name, value):
    def broken():
        graph = GRAPHS[kind]
        tensors = {**graph.tensors, name: Tensor(name, value.shape, value.dtype.name)}
        return dataclasses.replace(graph, tensors=tensors, constants={**graph.constants, name: value})

    return broken


def exponentials(index, value):
    changed = EXPONENTIALS.copy()
    changed[index] = value
    return changed


BROKEN = [
    (attributes("depthwise_conv2d", dilation=(0, 1)), "dilation, where there is one, is two positive"),
    (attributes("depthwise_conv2d", dilation=(1,)), "dilation, where there is one, is two positive"),
    (constant("depthwise_conv2d", "c0", np.ones((2, 2, 3), np.int8)), "N times the input's channels"),
    (shape("depthwise_conv2d", "x0", (4, 3, 3)), "N times the input's channels"),
    (attributes("depthwise_conv2d", kernel=(3, 2)), "N times the input's channels"),
    (constant("depthwise_conv2d", "c1", np.full(4, (1 << 31) - 10, np.int32)), "accumulators stay below"),
    (attributes("average_pool2d", clamp=(3, 2)), "clamp is two int8 values in order"),
    (attributes("average_pool2d", clamp=(-129, 2)), "clamp is two int8 values in order"),
    (shape("mean", "x0", (1 << 12, (1 << 10) + 1, 2)), "at most 2\\^22 values a channel"),
    (shape("mean", "x0", (-1, 3, 2)), "map of known size"),
    (attributes("mean", multiplier=-1), "the multiplier is in"),
    (attributes("mul", shift=8), "the multiplier is in"),
    (shape("add", "x1", (1, 1, 2), "int16"), "both inputs are int8"),
    (shape("mul", "y", MAP, "int16"), "both inputs are int8"),
    (shape("add", "x1", (1, 2, 2)), "shapes agree, or one repeats"),
    (attributes("add", left_shift=21), "all that is multiplied fits int32"),
    (attributes("add", shifts=(0, 1)), "all that is multiplied fits int32"),
    (attributes("add", multipliers=(5, 1 << 30)), "all that is multiplied fits int32"),
    (constant("lookup", "c0", np.zeros(255, np.int8)), "one int8 value for each of 256"),
    (constant("lookup", "c0", np.zeros(256, np.int16)), "one int8 value for each of 256"),
    (constant("softmax", "c0", exponentials(0, 5)), "from 2\\^31 - 1"),
    (constant("softmax", "c0", exponentials(9, 1 << 30)), "never rising"),
    (constant("softmax", "c0", exponentials(255, -1)), "none negative"),
    (shape("softmax", "x0", (2, 4096)), "1 to 4095 values"),
    (shape("reshape", "y", (2, 13)), "as many values as the input"),
    (shape("reshape", "x0", (-1, 3, 2)), "as many values as the input"),
    (attributes("transpose", axes=(2, 2, 1)), "a permutation"),
    (attributes("second_order", channels=4), "channels divide the input's"),
    (attributes("second_order", channels=0), "channels divide the input's"),
    (shape("second_order", "y", (9,), "int16"), "the output has C \\* C more"),
    (attributes("second_order", shifts=(0,)), "each multiplier is in"),
    (attributes("second_order", shifts=(0, 15)), "each multiplier is in"),
    (attributes("pad", padding=(1, 0, -1, 0)), "padding is four numbers from 0"),
    (attributes("pad", fill=128), "fill an int8 value"),
]


@pytest.mark.parametrize(("broken", "sentence"), BROKEN)
def test_a_broken_constraint_is_named(broken, sentence):
    with pytest.raises(UnsupportedError, match=f"'it'.*required: .*{sentence}"):
        verify(broken())


def test_softmax_sums_to_one():
    graph = GRAPHS["softmax"]
    values = np.random.default_rng(0).integers(-128, 128, (2, 9)).astype(np.int8)
    found = run(graph, {"x0": values})["y"].astype(int) + 128
    wanted = np.exp(0.1 * values) / np.exp(0.1 * values).sum(axis=1, keepdims=True)
    assert np.abs(found / 256 - wanted).max() < 1 / 256


def test_second_order_holds_values_and_their_products():
    x = np.array([100, -200, 300, 40, -6, 8], np.int16)
    found = run(GRAPHS["second_order"], {"x0": x})["y"]
    maps = x.reshape(3, 2).astype(int)
    np.testing.assert_array_equal(found[:6], x / 2)
    np.testing.assert_array_equal(found[6:], np.floor((maps.T @ maps).ravel() / 1024 + 0.5))
