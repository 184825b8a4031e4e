"""Graphs that run whole, in one arena: what shares memory, the C interface, windows of audio."""

import shutil
import subprocess

import numpy as np
import pytest
from networks import KINDS, Network, random_inputs, random_network
from support import consume, fill_count
from unit.quantize.graphs import noise_bursts, random_student

from codegen.arena import plan_program
from codegen.blob import build_blob
from codegen.checks import example_inputs
from codegen.emit import emit_sources, memory_facts, model_sources, plan_graph
from codegen.host import HostModel, HostNetwork, build_library, run_traced
from codegen.selftest import write_self_test
from distill.config import DistillConfig
from edgekit.audio import to_pcm16
from edgekit.errors import ParityError, UnsupportedError
from edgekit.graph import Graph, Op, Tensor, heard_pieces, run, window_samples
from edgekit.graph.parity import compare_traces, require_parity
from edgekit.toolchain import compile_host

WINDOW_SAMPLES = 4064


def grown(*kinds) -> Graph:
    """Return a chain of operators on a (6, 5, 4) map."""
    network = Network(np.random.default_rng(0))
    name = network.add_input((6, 5, 4))
    for kind in kinds:
        getattr(network, kind)(name)
        name = network.ops[-1].outputs[0]
    return network.build()


def c_of(graph, folder, sample_rate_hz=0):
    for name, text in emit_sources(graph, sample_rate_hz).items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def network():
    return random_network(5, [*KINDS, *KINDS])


@pytest.fixture(scope="module")
def library(network, tmp_path_factory):
    folder = c_of(network, tmp_path_factory.mktemp("network"))
    return build_library(folder, folder)


def pointwise(outputs: int) -> Graph:
    network = Network(np.random.default_rng(0))
    source = network.add_input((6, 5, 4))
    weights = network.rng.integers(-128, 128, (outputs, 1, 1, 4))
    window = {"kernel": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0)}
    network.linear("conv2d", source, weights, "int8", window, lambda x: x @ weights.reshape(outputs, 4).T)
    return network.build()


def test_a_pointwise_layer_overwrites_its_input_where_its_rows_are_no_longer():
    for outputs, shares in ((3, True), (4, True), (5, False)):
        program = plan_program(pointwise(outputs))
        assert (program.owner["conv2d_0_out"] == "x0") is shares


def test_values_one_by_one_need_no_memory_of_their_own():
    graph = grown("lookup", "softmax", "flatten", "lookup")
    program = plan_program(graph)
    assert {program.owner[op.outputs[0]] for op in graph.ops} == {"x0"}
    assert program.layout.size_bytes == 120
    assert [op.kind for op in program.layers] == ["lookup", "softmax", "lookup"]


def test_a_tensor_that_is_read_later_is_not_overwritten():
    network = Network(np.random.default_rng(0))
    network.add_input((4, 4, 2))
    network.lookup("x0")
    network.lookup("x0")
    program = plan_program(network.build())
    assert program.owner["lookup_0_out"] == "lookup_0_out"
    assert program.owner["lookup_1_out"] == "x0"


def test_memory_facts_name_arena_and_bound(network):
    facts = memory_facts(network)
    program = plan_graph(network)
    assert facts["arena"] == {
        "size_bytes": program.layout.size_bytes,
        "bound_bytes": max(facts["state_bytes_by_layer"].values()),
        "steps": program.steps(),
        "buffers": program.places(),
    }
    assert set(facts["state_bytes_by_layer"]) == {op.name for op in network.ops}
    alive = dict.fromkeys(range(len(facts["arena"]["steps"])), 0)
    for buffer in facts["arena"]["buffers"]:
        for life in buffer["lives"]:
            for step in range(life["first_step"], life["last_step"] + 1):
                alive[step] += life["size_bytes"]
    assert alive == program.layout.live_bytes


def test_five_axes_are_refused():
    sizes = (1, 2, 1, 2, 2)
    tensors = {name: Tensor(name, sizes, "int8") for name in ("x", "y")}
    op = Op("transpose", "turn", ("x",), ("y",), {"axes": (4, 3, 2, 1, 0)}, ("layer",))
    with pytest.raises(UnsupportedError, match="transpose 'turn' \\(from layer\\): required: at most 4 axes"):
        plan_program(Graph("g", ("x",), ("y",), tensors, {}, (op,)))


def test_a_map_of_too_many_rows_is_refused():
    tensors = {name: Tensor(name, (65_536, 1, 1), "int8") for name in ("x", "y")}
    op = Op("pad", "wide", ("x",), ("y",), {"padding": (0, 0, 0, 0), "fill": 0}, ("layer",))
    with pytest.raises(UnsupportedError, match="at most 65,535 rows, columns and channels in C"):
        plan_program(Graph("g", ("x",), ("y",), tensors, {}, (op,)))


def test_an_input_of_any_length_is_refused():
    tensors = {name: Tensor(name, (-1, 4), "int8") for name in ("x", "y")}
    op = Op("softmax", "soft", ("x",), ("y",), {}, ("layer",))
    with pytest.raises(UnsupportedError, match="input 'x' has no fixed length"):
        plan_program(Graph("g", ("x",), ("y",), tensors, {}, (op,)))


def test_runs_do_not_disturb_each_other(network, library):
    model = HostNetwork(library)
    for number in range(3):
        inputs = random_inputs(network, number)
        expected = run(network, inputs)
        for name, found in zip(network.outputs, model.invoke(network, inputs), strict=True):
            np.testing.assert_array_equal(found, expected[name])
    model.reset()
    assert not any(output.any() for output in [model._output(network, 0)])


def test_another_graphs_weights_are_refused(network, library):
    foreign = HostNetwork(library, build_blob(grown("lookup", "conv2d")))
    with pytest.raises(ParityError, match="not of this graph"):
        foreign.invoke(network, random_inputs(network, 0))


def test_another_targets_weights_are_refused(network, library):
    for other in ("dsp", "mve"):
        foreign = HostNetwork(library, build_blob(network, other))
        with pytest.raises(ParityError, match="not of this graph"):
            foreign.invoke(network, random_inputs(network, 0))


def test_weights_that_are_not_there_are_refused(network, library):
    model = HostNetwork(library)
    model.begin(None)
    with pytest.raises(ParityError, match="not of this graph"):
        model.invoke(network, random_inputs(network, 0))


CONSUMER = """
#include "edgekit_model.h"
static edgekit_t state;
int main()
{
    size_t bytes;
    edgekit_init(&state, edgekit_model_data);
    return edgekit_input(&state, 0, &bytes) == NULL || edgekit_invoke(&state) != EDGEKIT_OK;
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_program_in_cpp_links_with_the_c(network, tmp_path):
    consume(CONSUMER, c_of(network, tmp_path), tmp_path)


@pytest.mark.parametrize("seed", [5, 6])
def test_self_test_passes_under_sanitizers_and_fails_for_other_results(tmp_path, seed):
    graph = random_network(seed, [*KINDS, *KINDS])
    c_of(graph, tmp_path)
    write_self_test(graph, example_inputs(graph)[2], tmp_path)
    program, test = tmp_path / "selftest", tmp_path / "edgekit_selftest.c"
    sources = [*model_sources(tmp_path), test]
    compile_host(sources, program, include=[tmp_path], shared=False, sanitize=True)
    passed = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (passed.returncode, passed.stdout.splitlines()[-1]) == (0, "PASS"), passed.stderr
    text = test.read_text()
    start = text.index("output_0[] = {\n    ") + len("output_0[] = {\n    ")
    first = text[start : text.index(",", start)]
    test.write_text(f"{text[:start]}{(int(first) + 1) % 256}{text[start + len(first) :]}")
    compile_host(sources, program, include=[tmp_path], shared=False)
    assert subprocess.run([program], capture_output=True, check=False).returncode == 1


def test_example_program_computes_outputs_from_bytes(network, tmp_path):
    c_of(network, tmp_path)
    inputs = random_inputs(network, 3)
    write_self_test(network, inputs, tmp_path)
    compile_host(
        [*model_sources(tmp_path), tmp_path / "main.c"], tmp_path / "main", include=[tmp_path], shared=False
    )
    fed = b"".join(inputs[name].tobytes() for name in network.inputs)
    done = subprocess.run([tmp_path / "main"], input=fed * 2, capture_output=True, check=True)
    expected = run(network, inputs)
    assert done.stdout == b"".join(expected[name].tobytes() for name in network.outputs) * 2


SMALL = ("mobilenetv3-small", "mobilenetv4-small")
LARGE = ("mobilenetv3-large", "mobilenetv4-medium")


@pytest.fixture(
    scope="module", params=[*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def student(request, tmp_path_factory):
    config = DistillConfig(student=request.param, level="utterance", warm_start=False)
    clips = [np.resize(noise_bursts(0.7, seed=seed), WINDOW_SAMPLES) for seed in range(3)]
    folder = tmp_path_factory.mktemp(request.param)
    graph = random_student(config, clips, folder, settled=3, observed=2, window_samples=WINDOW_SAMPLES)
    c_of(graph, folder, 16_000)
    return graph, HostModel(build_library(folder, folder)), [to_pcm16(clip) for clip in clips]


def test_a_window_of_audio_through_a_whole_network(student):
    graph, model, clips = student
    assert window_samples(graph) == WINDOW_SAMPLES
    for pcm in clips:
        expected = run(graph, {"pcm": pcm})
        require_parity(compare_traces("c-host", graph, expected, run_traced(model, graph, pcm)))


def test_windows_follow_each_other_in_any_split(student):
    graph, model, clips = student
    model.reset()
    assert (model.read(), model.heard()) == (None, 0)
    for pcm in clips[:2]:
        for start in range(0, pcm.size, 777):
            model.push(pcm[start : start + 777])
        assert model.read().tolist() == run(graph, {"pcm": pcm})["adv_out"].tolist()
    assert model.heard() == 2
    # Audio that fills no window is forgotten; the last result stays.
    model.push(clips[2][:1000])
    model.finish()
    model.push(clips[2])
    assert model.read().tolist() == run(graph, {"pcm": clips[2]})["adv_out"].tolist()


def test_a_full_count_of_windows_stays_full(student):
    graph, model, clips = student
    model.reset()
    fill_count(model, lambda: model.push(clips[0]))
    for pcm in clips[1:]:
        model.push(pcm)
        assert model.heard() == 0xFFFFFFFF
        assert model.read().tolist() == run(graph, {"pcm": pcm})["adv_out"].tolist()
    model.reset()
    assert model.heard() == 0


def test_pieces_of_a_window_are_windows(student):
    graph, _, clips = student
    pieces = heard_pieces(graph, [clips[0], clips[1][:100]])
    assert [piece.size for piece in pieces] == [WINDOW_SAMPLES] * 2
    assert pieces[1][:100].tolist() == clips[1][:100].tolist()
    assert not pieces[1][100:].any()
