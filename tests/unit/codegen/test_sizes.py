"""Layers of uncommon sizes: wider and deeper than 16 bits count, or than assembly reaches."""

from dataclasses import replace

import numpy as np
import pytest
from networks import Network

from benchmarks.kernels.measure import Core, core, run_network
from codegen.arena import plan_program
from codegen.emit import emit_sources
from codegen.host import HostNetwork, build_library
from edgekit.errors import UnsupportedError
from edgekit.graph import Graph, Op, Tensor, run


def add_layer(network, kind, shape, weights):
    """Add a layer with an input of its own; its weights are small, so that its sums fit."""
    spread = 60 * np.sqrt(np.prod(weights[1:]))
    window = {"kernel": weights[1:3], "stride": (1, 1), "padding": (0, 0, 0, 0)}
    network.linear(
        kind,
        network.add_input(shape),
        network.rng.integers(-1, 2, weights),
        "int8",
        window if kind == "conv2d" else {},
        lambda _: np.array([-spread, spread]),
    )


def layers_of(*layers) -> Graph:
    network = Network(np.random.default_rng(2))
    for layer in layers:
        add_layer(network, *layer)
    return network.build()


DEEP = {
    "fully connected 270,000 to 4": ("fully_connected", (1, 270_000), (4, 270_000)),
    "5 by 5 of 8,192 channels": ("conv2d", (5, 6, 8_192), (2, 5, 5, 8_192)),
}


@pytest.mark.parametrize("instructions", ["portable", "mve"])
@pytest.mark.parametrize("name", DEEP)
def test_a_layer_deeper_than_16_bits_equals_the_reference(name, instructions, tmp_path):
    graph = layers_of(DEEP[name])
    for file, text in emit_sources(graph, instructions=instructions).items():
        (tmp_path / file).write_text(text)
    network = HostNetwork(build_library(tmp_path, tmp_path))
    x = np.random.default_rng(1).integers(-128, 128, graph.tensors["x0"].shape).astype(np.int8)
    expected = run(graph, {"x0": x})[graph.outputs[0]]
    np.testing.assert_array_equal(network.invoke(graph, {"x0": x})[0], expected)
    assert np.unique(expected).size > 1


def test_what_assembly_does_not_reach_equals_the_reference_on_a_simulated_core(tmp_path):
    """Rows of 1,100 positions, columns of 30,000 pairs, 5,000 inputs: beyond its reach."""
    graph = layers_of(
        ("conv2d", (1, 1_102, 1), (2, 1, 3, 1)),
        ("conv2d", (5, 5, 2_400), (1, 5, 5, 2_400)),
        ("fully_connected", (1, 5_000), (8, 5_000)),
    )
    target = core("m33").target
    large = replace(target, memory=replace(target.memory, ram_bytes=1 << 20))
    assert run_network(graph, Core("large", large), tmp_path).instructions > 0


def test_padding_counts_for_the_sizes_of_a_map():
    shapes = {"x": (2, 65_535, 1), "y": (2, 65_535, 1)}
    tensors = {name: Tensor(name, shape, "int8") for name, shape in shapes.items()}
    window = {"kernel": (1, 3), "stride": (1, 1), "padding": (0, 0, 1, 1)}
    op = Op("max_pool2d", "wide", ("x",), ("y",), window, ("layer",))
    with pytest.raises(UnsupportedError, match="at most 65,535 rows, columns and channels in C, padding"):
        plan_program(Graph("g", ("x",), ("y",), tensors, {}, (op,)))
