"""Proof on this machine that the C computes the graph: every layer, on speech or on random inputs."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.emit import DEFAULT_WINDOW_FRAMES
from codegen.host import HostC, HostModel, HostNetwork, build_library, run_network_traced, run_traced
from codegen.selftest import write_self_test
from edgekit.audio import DEFAULT_AUDIO, SAMPLE_RATE_HZ, find_audio, read_audio, to_pcm16
from edgekit.graph import Graph, heard_pieces, hears_audio, run
from edgekit.graph.parity import LayerParity, compare_traces, merge, require_parity
from edgekit.graph.reference import storage_dtype
from edgekit.progress import Progress

PARITY_AUDIO_S = 20.0
RANDOM_INPUTS = 20
SELF_TEST_SAMPLES = 4096

Inputs = Mapping[str, NDArray[np.integer]]


def check_on_host(graph: Graph, work: Path, progress: Progress, target: str) -> list[LayerParity]:
    """Build the C for this machine; require every layer to equal the reference; write the self-test.

    Args:
        graph: What the C was generated from.
        work: Folder with the C; the self-test is written there.
        progress: Told how much is done.
        target: Name of the target, for the comments that open the files.

    Raises:
        ConfigError: If there is no C compiler for this machine.
        ParityError: If the C differs from the graph anywhere.
    """
    examples = example_inputs(graph)
    rows: list[LayerParity] = []
    with tempfile.TemporaryDirectory() as folder:
        model = (HostModel if hears_audio(graph) else HostNetwork)(build_library(work, Path(folder)))
        for done, inputs in enumerate(examples):
            progress("compare C with the graph", done, len(examples))
            rows += compare_traces("c-host", graph, run(graph, inputs), _traced(model, graph, inputs))
    progress("compare C with the graph", len(examples), len(examples))
    rows = merge(rows)
    require_parity(rows, work)
    write_self_test(graph, _short(graph, examples[0]), work, target)
    return rows


def _traced(model: HostC, graph: Graph, inputs: Inputs) -> Inputs:
    if isinstance(model, HostModel):
        return run_traced(model, graph, np.asarray(inputs["pcm"], np.int16))
    assert isinstance(model, HostNetwork)
    return run_network_traced(model, graph, inputs)


def _short(graph: Graph, inputs: Inputs) -> Inputs:
    """Return what the self-test hears: little of a stream, all of a window."""
    if not hears_audio(graph):
        return inputs
    return {"pcm": heard_pieces(graph, [np.asarray(inputs["pcm"], np.int16)], SELF_TEST_SAMPLES)[0]}


def example_inputs(graph: Graph) -> list[Inputs]:
    """Return inputs to compare on: speech that ships with edgekit, or random values and the extreme ones."""
    if hears_audio(graph):
        pieces = heard_pieces(graph, shipped_speech(PARITY_AUDIO_S), longest_samples(graph))
        return [{"pcm": pcm} for pcm in pieces]
    rng = np.random.default_rng(0)
    return [{name: _filled(graph, name, rng, kind) for name in graph.inputs} for kind in range(RANDOM_INPUTS)]


def _filled(graph: Graph, name: str, rng: np.random.Generator, kind: int) -> NDArray[np.integer]:
    tensor = graph.tensors[name]
    dtype = storage_dtype(tensor.dtype)
    limits = np.iinfo(dtype)
    if kind < 2:
        return np.full(tensor.shape, (limits.min, limits.max)[kind], dtype)
    return np.asarray(rng.integers(limits.min, limits.max, tensor.shape, dtype, endpoint=True))


def longest_samples(graph: Graph) -> int | None:
    """Return the longest audio that gives one result: an utterance's window, or None for a causal stream."""
    if graph.op("level").integer("memory_frames") > 0:
        return None
    frame = graph.ops[0]
    return frame.integer("n_fft") + (DEFAULT_WINDOW_FRAMES - 1) * frame.integer("hop")


def shipped_speech(duration_s: float) -> list[NDArray[np.int16]]:
    """Return shipped clips as 16 kHz PCM, `duration_s` or more in all."""
    clips: list[NDArray[np.int16]] = []
    for path in find_audio([DEFAULT_AUDIO]):
        if sum(map(len, clips)) >= duration_s * SAMPLE_RATE_HZ:
            break
        clips.append(to_pcm16(read_audio(path)))
    return clips
