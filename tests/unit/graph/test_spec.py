"""Every constraint is broken once: the error names operator and constraint."""

import dataclasses

import numpy as np
import pytest

from edgekit.errors import UnsupportedError
from edgekit.graph import Graph, Op, Tensor, verify
from edgekit.graph.reference import OPERATORS
from edgekit.graph.spec import CONSTRAINTS


def with_attributes(graph: Graph, name: str, **attributes) -> Graph:
    ops = tuple(
        dataclasses.replace(op, attributes={**op.attributes, **attributes}) if op.name == name else op
        for op in graph.ops
    )
    return dataclasses.replace(graph, ops=ops)


def with_constant(graph: Graph, name: str, values) -> Graph:
    return dataclasses.replace(graph, constants={**graph.constants, name: values})


def with_dtype(graph: Graph, name: str, dtype: str) -> Graph:
    tensor = dataclasses.replace(graph.tensors[name], dtype=dtype)
    return dataclasses.replace(graph, tensors={**graph.tensors, name: tensor})


def scaled(graph: Graph, name: str, factor: int):
    return with_constant(graph, name, graph.constants[name] * np.array(factor, graph.constants[name].dtype))


def with_scores(graph: Graph, name: str) -> Graph:
    ops = tuple(
        dataclasses.replace(op, inputs=(op.inputs[0], name, *op.inputs[2:])) if op.name == "attend" else op
        for op in graph.ops
    )
    return dataclasses.replace(graph, ops=ops)


BROKEN = {
    "values and scores have one shape": lambda g: with_scores(g, "log_mel"),
    "powers of two": lambda g: with_attributes(g, "frame", hop=24),
    "memory_frames": lambda g: with_attributes(g, "frame", memory_frames=0),
    "stays below 2\\^51": lambda g: with_attributes(g, "spectrum", shift_bits=2),
    "mel band's bins": lambda g: with_constant(
        g, "mel_first_bin", g.constants["mel_first_bin"] + np.uint8(40)
    ),
    "kernel and stride": lambda g: with_attributes(g, "l1", stride=(0, 1)),
    "a stream has no end": lambda g: with_attributes(g, "l1", padding=(1, 1, 1, 1)),
    "weights are int8 or int4": lambda g: with_dtype(
        with_constant(g, "lin_weights", g.constants["lin_weights"].astype(np.int16)), "lin_weights", "int16"
    ),
    "weights are int8\\.": lambda g: with_dtype(
        with_constant(g, "l1_weights", g.constants["l1_weights"].astype(np.int16)), "l1_weights", "int16"
    ),
    "stay below": lambda g: with_constant(g, "l1_bias", np.full(4, 2**31 - 5, np.int32)),
    "2\\^shift": lambda g: with_constant(
        with_constant(g, "l1_bias", np.full(4, 1 << 26, np.int32)), "l1_shift", np.full(4, 5, np.int8)
    ),
    "multiplier is 0": lambda g: with_constant(g, "l1_multiplier", np.full(4, 5, np.int32)),
    "shift in": lambda g: with_constant(g, "l1_shift", np.full(4, 9, np.int8)),
    "one row for each output": lambda g: dataclasses.replace(
        with_constant(g, "l1_bias", np.zeros(3, np.int32)),
        tensors={**g.tensors, "l1_bias": Tensor("l1_bias", (3,), "int32")},
    ),
    "clamp is two int8": lambda g: with_attributes(g, "l1", clamp=(5, 4)),
    "exponential table": lambda g: with_constant(g, "attend_exp", g.constants["attend_exp"][::-1].copy()),
    "first input is int16": lambda g: with_dtype(g, "pcm", "int32"),
    "the output is int16": lambda g: with_dtype(g, "level_log2", "int32"),
}


@pytest.mark.parametrize("constraint", BROKEN)
def test_a_broken_constraint_is_named(graph, constraint):
    verify(graph)
    with pytest.raises(UnsupportedError, match=constraint) as caught:
        verify(BROKEN[constraint](graph))
    assert caught.value.exit_code == 6


STRUCTURE = {
    "share a name": lambda g: dataclasses.replace(g, ops=(*g.ops, g.ops[-1])),
    "unknown kind 'gelu'": lambda g: dataclasses.replace(
        g, ops=(*g.ops, Op("gelu", "new", ("pcm",), ("y",)))
    ),
    "before anything computes it": lambda g: dataclasses.replace(g, ops=g.ops[1:]),
    "computed by nothing": lambda g: dataclasses.replace(g, outputs=("nothing",)),
    "not int32 \\(4,\\)": lambda g: with_constant(g, "l1_bias", np.zeros(3, np.int32)),
    "leaves int4": lambda g: with_dtype(g, "lin_weights", "int4"),
}


@pytest.mark.parametrize("problem", STRUCTURE)
def test_a_broken_structure_is_named(graph, problem):
    with pytest.raises(UnsupportedError, match=problem):
        verify(STRUCTURE[problem](graph))


def test_every_operator_has_constraints_and_every_constraint_a_sentence():
    assert set(CONSTRAINTS) == set(OPERATORS)
    for constraints in CONSTRAINTS.values():
        assert all(
            constraint.__doc__ and constraint.__doc__.rstrip().endswith((".", "time)."))
            for constraint in constraints
        )
