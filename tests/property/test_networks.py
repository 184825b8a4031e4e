"""Random networks of every operator: the C is the graph, on this machine and on simulated cores."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import KINDS, random_inputs, random_network
from support import needs_qemu

from codegen.emit import emit_sources, model_sources
from codegen.host import HostNetwork, build_library, run_network_traced
from codegen.toolchain import compile_firmware
from edgekit.graph import run
from edgekit.graph.parity import compare_traces, require_parity
from edgekit.graph.traces import collect
from edgekit.target import Timing
from edgekit.targets import load_target
from firmware_sim.simulator import simulate

SEEDS = st.integers(0, 2**32 - 1)
GROWTHS = st.lists(st.sampled_from(KINDS), min_size=1, max_size=9)


def write_c(graph, folder, instructions="portable"):
    for name, text in emit_sources(graph, instructions=instructions).items():
        (folder / name).write_text(text)


@settings(max_examples=40, derandomize=True)
@given(SEEDS, GROWTHS, st.sampled_from(["portable", "mve"]))
def test_c_equals_reference_for_any_network(seed, kinds, instructions):
    graph = random_network(seed, kinds)
    with tempfile.TemporaryDirectory() as name:
        write_c(graph, Path(name), instructions)
        network = HostNetwork(build_library(Path(name), Path(name)))
    for run_number in range(3):
        inputs = random_inputs(graph, seed + run_number)
        expected = run(graph, inputs)
        found = run_network_traced(network, graph, inputs)
        require_parity(compare_traces("c-host", graph, expected, found))
        for output in graph.outputs:
            np.testing.assert_array_equal(found[output], expected[output])


def target_of(core):
    if core == "cortex-m55":
        return load_target("corstone-300")
    target = load_target("hearing-aid")
    own = dataclasses.replace(target.core, cpu=core, dsp=core != "cortex-m3")
    return dataclasses.replace(target, core=own, timing=Timing(core, "the core's table alone"))


@pytest.mark.parametrize(
    "core", ["cortex-m33", "cortex-m4", "cortex-m3", pytest.param("cortex-m55", marks=needs_qemu)]
)
@settings(max_examples=4, derandomize=True)
@given(SEEDS, st.permutations(KINDS))
def test_the_simulated_core_equals_reference_for_any_network(core, seed, kinds):
    graph = random_network(seed, kinds)
    inputs = random_inputs(graph, seed)
    samples = np.concatenate([inputs[name].ravel() for name in graph.inputs]).astype(np.int16)
    target = target_of(core)
    target = dataclasses.replace(target, audio=dataclasses.replace(target.audio, block_samples=samples.size))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_c(graph, folder, target.core.instructions)
        defines = {"EDGEKIT_TRACE": "1"}
        elf = compile_firmware(
            model_sources(folder), [folder], target, folder / "f.elf", defines, "network_main.c"
        )
        traces = simulate(elf, target, samples, trace=True).traces
    require_parity(compare_traces("simulated-core", graph, run(graph, inputs), collect(graph, traces)))
