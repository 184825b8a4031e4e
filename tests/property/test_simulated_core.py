"""Random students as firmware on simulated cores: the assembly is the graph, whatever the shape."""

import dataclasses
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import noise, small_graph

from codegen.emit import emit_sources, model_sources
from codegen.toolchain import compile_firmware
from edgekit.graph import run
from edgekit.graph.parity import compare_traces, require_parity
from edgekit.graph.traces import collect
from edgekit.target import Policy
from edgekit.targets import load_target
from firmware_sim.simulator import simulate

SHAPES = st.fixed_dictionaries(
    {
        "bands": st.integers(3, 26),
        "channels": st.integers(1, 21),
        "depth": st.tuples(st.integers(1, 3), st.integers(0, 3)),
        "int4": st.booleans(),
        "seed": st.integers(0, 1000),
    }
)


def core(name):
    """The hearing aid with another core."""
    target = load_target("hearing-aid")
    dsp = name != "cortex-m3"
    return dataclasses.replace(
        target,
        core=dataclasses.replace(target.core, cpu=name, dsp=dsp),
        timing=dataclasses.replace(target.timing, table=name),
    )


@pytest.mark.parametrize("name", ["cortex-m33", "cortex-m4", "cortex-m3"])
@settings(max_examples=4, derandomize=True)
@given(shape=SHAPES, audio_seed=st.integers(0, 1000))
def test_every_layer_of_any_student_equals_the_reference(name, shape, audio_seed):
    pcm, target = noise(0.1, audio_seed), core(name)
    with tempfile.TemporaryDirectory() as folder:
        graph = small_graph(Path(folder), **shape)
        for file, text in emit_sources(graph, 16_000).items():
            Path(folder, file).write_text(text)
        sources, elf = model_sources(Path(folder)), Path(folder, "firmware.elf")
        compile_firmware(sources, [Path(folder)], target, elf, {"EDGEKIT_TRACE": "1"})
        result = simulate(elf, target, pcm, trace=True)
    assert result.exit_code == 0
    expected = run(graph, {"pcm": pcm})
    require_parity(compare_traces("simulated-core", graph, expected, collect(graph, result.traces)))


def test_a_window_policy_hears_the_beginning_of_every_period_alone():
    """Two blocks of 20 ms in every three: each pair gives what it gives by itself."""
    target = core("cortex-m33")
    target = dataclasses.replace(
        target,
        audio=dataclasses.replace(target.audio, block_samples=320),
        policy=Policy("window", 4, "of the test", window_s=0.04, every_s=0.06),
    )
    pcm = noise(0.17, 0)
    with tempfile.TemporaryDirectory() as folder:
        graph = small_graph(Path(folder))
        for file, text in emit_sources(graph, 16_000).items():
            Path(folder, file).write_text(text)
        elf = Path(folder, "firmware.elf")
        compile_firmware(model_sources(Path(folder)), [Path(folder)], target, elf)
        result = simulate(elf, target, pcm)
    windows = [slice(start, start + 640) for start in (0, 960, 1920)]
    last = [[adv for heard, adv in result.results if w.start < heard <= w.stop][-1] for w in windows]
    expected = [run(graph, {"pcm": pcm[window]})[graph.outputs[0]].tolist() for window in windows]
    assert [list(adv) for adv in last] == expected
    assert all(any(w.start < heard <= w.stop for w in windows) for heard, _ in result.results)
