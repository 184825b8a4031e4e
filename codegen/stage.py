"""The codegen stages: an integer graph to C99 that is proved equal to it, and the C to firmware."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.errors import TargetError
from edgekit.progress import Progress, silent
from edgekit.target import Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.graph import Graph
    from edgekit.graph.parity import LayerParity

GENERATE = "codegen"
FIRMWARE = "firmware"
SELF_TEST_SAMPLES = 4096
PARITY_AUDIO_S = 20.0
Identity = tuple[dict[str, str], dict[str, Any]]


def generate_identity(graph_digest: str, target: Target) -> Identity:
    """Return the inputs and settings that decide the C."""
    return {"graph": graph_digest}, {"target": target.digest}


def generate(graph_dir: Path, target: Target, out: Path, progress: Progress = silent) -> Artifact:
    """Write the C of a graph, build it for this machine, and compare every layer with the reference.

    Writes the generated and the kernel sources, a Makefile, a self-test with its vectors, model.bin (the
    weights blob), memory.json (state by layer) and parity.json (backend `c-host`, on 20 s of the speech that
    ships with edgekit).

    Args:
        graph_dir: Folder of a quantize artifact.
        target: The device.
        out: Folder to write.
        progress: Told how much is done.

    Raises:
        ArtifactError: If the graph is damaged.
        TargetError: If the target's audio has another sample rate than the model.
        UnsupportedError: If the streaming engine cannot run the graph.
        ConfigError: If there is no C compiler for this machine.
        ParityError: If the C differs from the graph anywhere.
    """
    from codegen.blob import build_blob
    from codegen.emit import DEFAULT_WINDOW_FRAMES, emit_sources
    from codegen.plan import plan_stream, state_bytes
    from edgekit.graph import load_graph

    source = artifact.read(graph_dir, "quantize")
    graph = load_graph(graph_dir)
    instructions = target.core.instructions
    plan = plan_stream(graph, instructions)
    sample_rate_hz = _sample_rate_hz(graph, target)
    inputs, params = generate_identity(source.digest, target)
    with artifact.writing(out, GENERATE, inputs, params) as work:
        progress("write C", 0, 1)
        for name, text in emit_sources(graph, sample_rate_hz, instructions).items():
            artifact.write_text(work / name, text)
        artifact.write_bytes(work / "model.bin", build_blob(graph, instructions))
        needed = state_bytes(plan, DEFAULT_WINDOW_FRAMES)
        artifact.write_json(work / "memory.json", {"state_bytes_by_layer": needed})
        rows = _check_on_host(graph, work, progress)
        artifact.write_json(work / "parity.json", {"layers": [row.to_dict() for row in rows]})
    return artifact.read(out, GENERATE)


def _sample_rate_hz(graph: "Graph", target: Target) -> int:
    import json

    wanted = int(json.loads(graph.metadata["front_end"])["sample_rate_hz"])
    if target.audio.sample_rate_hz != wanted:
        raise TargetError(
            f"target {target.name}: audio at {target.audio.sample_rate_hz} Hz, the model hears {wanted} Hz",
            f"set sample_rate_hz = {wanted} under [audio] of the target",
        )
    return wanted


def _check_on_host(graph: "Graph", work: Path, progress: Progress) -> "list[LayerParity]":
    """Build the C for this machine; require every layer to equal the reference; write the self-test."""
    import tempfile

    from codegen.host import HostModel, build_library, run_traced
    from codegen.selftest import write_self_test
    from edgekit.graph import run
    from edgekit.graph.parity import compare_traces, merge, require_parity

    clips = shipped_speech(PARITY_AUDIO_S, longest_samples(graph))
    rows: list[LayerParity] = []
    with tempfile.TemporaryDirectory() as folder:
        model = HostModel(build_library(work, Path(folder)))
        for done, pcm in enumerate(clips):
            progress("compare C with the graph", done, len(clips))
            rows += compare_traces("c-host", graph, run(graph, {"pcm": pcm}), run_traced(model, graph, pcm))
    progress("compare C with the graph", len(clips), len(clips))
    rows = merge(rows)
    require_parity(rows, work)
    write_self_test(graph, clips[0][:SELF_TEST_SAMPLES], work)
    return rows


def longest_samples(graph: "Graph") -> int | None:
    """Return the longest audio that gives one result: an utterance's window, or None for a causal stream."""
    from codegen.emit import DEFAULT_WINDOW_FRAMES
    from codegen.plan import plan_stream

    plan = plan_stream(graph)
    frame = plan.front_end["frame"]
    window = frame.integer("n_fft") + (DEFAULT_WINDOW_FRAMES - 1) * frame.integer("hop")
    return None if plan.causal else window


def shipped_speech(duration_s: float, longest: int | None) -> "list[NDArray[np.int16]]":
    """Return shipped clips as 16 kHz PCM, cut to `longest` samples each, `duration_s` or more in all."""
    from edgekit.audio import DEFAULT_AUDIO, SAMPLE_RATE_HZ, find_audio, read_audio, to_pcm16

    clips: list[NDArray[np.int16]] = []
    for path in find_audio([DEFAULT_AUDIO]):
        if sum(map(len, clips)) >= duration_s * SAMPLE_RATE_HZ:
            break
        clips.append(to_pcm16(read_audio(path))[:longest])
    return clips


def firmware_identity(c_digest: str, graph_digest: str, target: Target) -> Identity:
    """Return the inputs and settings that decide the firmware."""
    return {"c": c_digest, "graph": graph_digest}, {"target": target.digest}


def build_firmware(
    c_dir: Path, graph_dir: Path, target: Target, out: Path, progress: Progress = silent
) -> Artifact:
    """Compile the C for the target's core.

    Writes firmware.elf, firmware.bin (the flash image), model.bin (the weights blob alone) and
    firmware_traced.elf, the same with every layer's results reported, for parity checks.

    Args:
        c_dir: Folder of a codegen artifact.
        graph_dir: Folder of the quantize artifact that it was generated from.
        target: The device.
        out: Folder to write.
        progress: Told how much is done.

    Raises:
        ArtifactError: If an input is damaged.
        ConfigError: If there is no cross compiler, or the C does not compile or fit the target's memory.
    """
    from codegen.emit import model_sources
    from codegen.toolchain import compile_firmware, elf_to_binary

    source, graph = artifact.read(c_dir, GENERATE), artifact.read(graph_dir, "quantize")
    inputs, params = firmware_identity(source.digest, graph.digest, target)
    sources = model_sources(c_dir)
    builds: Mapping[str, dict[str, str]] = {"firmware": {}, "firmware_traced": {"EDGEKIT_TRACE": "1"}}
    with artifact.writing(out, FIRMWARE, inputs, params) as work:
        for done, (name, defines) in enumerate(builds.items()):
            progress("compile firmware", done, len(builds))
            compile_firmware(sources, [c_dir], target, work / f"{name}.elf", defines)
        elf_to_binary(work / "firmware.elf", work / "firmware.bin")
        artifact.write_bytes(work / "model.bin", source.file("model.bin").read_bytes())
        progress("compile firmware", len(builds), len(builds))
    return artifact.read(out, FIRMWARE)
