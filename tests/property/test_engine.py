"""Random students through the real quantizer and code generator: the C is the graph, whatever the shape."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support import noise, small_graph

from codegen.emit import emit_sources
from codegen.host import HostModel, build_library, run_traced
from edgekit.graph import run
from edgekit.graph.parity import compare_traces, require_parity

SHAPES = st.fixed_dictionaries(
    {
        "bands": st.integers(3, 26),
        "channels": st.integers(1, 13),
        "depth": st.tuples(st.integers(1, 2), st.integers(0, 2)),
        "level": st.sampled_from(["causal", "utterance"]),
        "int4": st.booleans(),
        "memory_frames": st.sampled_from([1, 50, 2048]),
        "seed": st.integers(0, 1000),
    }
)


@settings(max_examples=8, derandomize=True)
@given(
    SHAPES,
    st.sampled_from(["portable", "mve"]),
    st.integers(0, 1000),
    st.lists(st.integers(1, 900), min_size=1, max_size=30),
)
def test_c_equals_reference_for_any_student_and_any_split(shape, instructions, audio_seed, blocks):
    pcm = noise(0.6, audio_seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        graph = small_graph(folder, **shape)
        for file, text in emit_sources(graph, 16_000, instructions).items():
            (folder / file).write_text(text)
        model = HostModel(build_library(folder, folder))
    expected = run(graph, {"pcm": pcm})
    require_parity(compare_traces("c-host", graph, expected, run_traced(model, graph, pcm)))
    model.reset()
    ends = np.minimum(np.cumsum(blocks), pcm.size).tolist()
    for start, end in zip([0, *ends], [*ends, pcm.size], strict=True):
        model.push(pcm[start:end])
    if shape["level"] == "utterance":
        model.finish()
    assert model.read().tolist() == expected["adv_out"].tolist()
