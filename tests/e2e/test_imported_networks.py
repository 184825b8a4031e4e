"""Networks that nobody here made, from .tflite to C: on this machine and on a simulated core, bit for bit."""

import dataclasses

import numpy as np
import pytest

from codegen.checks import example_inputs
from codegen.emit import emit_sources, model_sources, plan_graph
from codegen.host import HostNetwork, build_library, run_network_traced
from codegen.toolchain import compile_firmware
from edgekit.graph import run
from edgekit.graph.parity import compare_traces, require_parity
from edgekit.graph.traces import collect
from edgekit.targets import load_target
from firmware_sim.simulator import simulate
from quantize.tflite_reader import read_tflite

PEER_ARENA_BYTES = {"kws_ref_model": 22_820, "ad01_int8": 2_580}


@pytest.mark.shared
@pytest.mark.parametrize("runtime", ["micro", "litert"])
@pytest.mark.parametrize("name", PEER_ARENA_BYTES)
def test_an_imported_network_is_its_graph_in_c(shared, tmp_path, name, runtime):
    graph = read_tflite(shared / "models" / f"{name}.tflite", runtime)
    for file, text in emit_sources(graph).items():
        (tmp_path / file).write_text(text)
    network, examples = HostNetwork(build_library(tmp_path, tmp_path)), example_inputs(graph)
    assert len(examples) >= 20
    for inputs in examples:
        expected = run(graph, inputs)
        require_parity(compare_traces("c", graph, expected, run_network_traced(network, graph, inputs)))
    layout = plan_graph(graph).layout
    assert layout.bound_bytes <= layout.size_bytes <= PEER_ARENA_BYTES[name]


@pytest.mark.shared
def test_an_imported_network_runs_on_the_simulated_core(shared, tmp_path):
    graph = read_tflite(shared / "models" / "kws_ref_model.tflite", "micro")
    inputs = example_inputs(graph)[2]
    samples = np.concatenate([inputs[name].ravel() for name in graph.inputs]).astype(np.int16)
    target = load_target("nucleo-l4r5zi")
    target = dataclasses.replace(target, audio=dataclasses.replace(target.audio, block_samples=samples.size))
    for file, text in emit_sources(graph, instructions=target.core.instructions).items():
        (tmp_path / file).write_text(text)
    elf = compile_firmware(
        model_sources(tmp_path),
        [tmp_path],
        target,
        tmp_path / "f.elf",
        {"EDGEKIT_TRACE": "1"},
        "network_main.c",
    )
    result = simulate(elf, target, samples, trace=True)
    require_parity(compare_traces("core", graph, run(graph, inputs), collect(graph, result.traces)))
    # TFLite Micro with CMSIS-NN: 7,845,000 (benchmarks/kernels.md).
    assert result.instructions < 7_845_000
