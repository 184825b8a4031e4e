"""Running generated C on the simulated cores: instructions, memory, and that the results are the graph's."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.blob import build_blob
from codegen.checks import shipped_speech
from codegen.emit import emit_sources, memory_facts, model_sources
from codegen.toolchain import compile_firmware
from edgekit.graph import Graph, run
from edgekit.graph.parity import compare_traces, require_parity
from edgekit.graph.traces import collect
from edgekit.target import InstructionSet, Target, load_target
from firmware_sim.simulator import simulate

CORES = ("m4", "m33", "m55")
FLASH_BYTES = 1 << 21
AUDIO_S = 1


@dataclass(frozen=True)
class Core:
    """A core that is measured.

    Attributes:
        label: Its name, for people.
        target: A target with it.
    """

    label: str
    target: Target


@dataclass(frozen=True)
class Cost:
    """What one run took.

    Attributes:
        instructions: Without start-up and what feeds the inputs.
        arena_bytes: Memory of tensors and scratch.
        ram_bytes: State and stack.
        code_bytes: Flash without the weights blob.
        weight_bytes: The blob.
        modelled: Cycles by the core's timing table, in millions; for a core without one, from and to.
        worst_by_mean: The slowest block of audio by the mean one.
    """

    instructions: int
    arena_bytes: int
    ram_bytes: int
    code_bytes: int
    weight_bytes: int
    modelled: str
    worst_by_mean: float


def core(name: str) -> Core:
    """Return one of `CORES`."""
    label, target = {
        "m4": ("Cortex-M4", "nucleo-l4r5zi"),
        "m33": ("Cortex-M33", "hearing-aid"),
        "m55": ("Cortex-M55", "corstone-300"),
    }[name]
    found = load_target(target)
    flash = max(found.memory.flash_bytes, FLASH_BYTES) if name != "m55" else found.memory.flash_bytes
    return Core(label, replace(found, memory=replace(found.memory, flash_bytes=flash)))


def _build(graph: Graph, target: Target, folder: Path, main: str, *, plain: bool, traced: bool) -> Path:
    instructions: InstructionSet = "portable" if plain else target.core.instructions
    for name, text in emit_sources(graph, target.audio.sample_rate_hz, instructions).items():
        (folder / name).write_text(text, encoding="utf-8")
    defines = {"EDGEKIT_TRACE": "1"} if traced else {}
    defines |= {"EK_DSP": "0"} if plain else {}
    sources = model_sources(folder)
    return compile_firmware(sources, [folder], target, folder / "firmware.elf", defines, main)


def run_network(graph: Graph, where: Core, work: Path, *, portable: bool = False) -> Cost:
    """Run a network once on random inputs.

    Args:
        graph: Without audio.
        where: The core.
        work: A folder that may be overwritten.
        portable: Whether its special instructions are left out of the kernels.

    Raises:
        ParityError: If a layer differs from the reference.
    """
    rng = np.random.default_rng(1)
    shapes = {name: graph.tensors[name].shape for name in graph.inputs}
    inputs = {name: rng.integers(-128, 128, shape).astype(np.int8) for name, shape in shapes.items()}
    samples = np.concatenate([values.ravel() for values in inputs.values()]).astype(np.int16)
    target = replace(where.target, audio=replace(where.target.audio, block_samples=samples.size))
    expected = run(graph, inputs)
    return _measured(graph, target, samples, expected, work, "network_main.c", portable=portable)


def run_student(graph: Graph, where: Core, work: Path) -> Cost:
    """Run a student on a second of speech; arguments and errors as `run_network`."""
    pcm = np.concatenate(shipped_speech(AUDIO_S))[: AUDIO_S * where.target.audio.sample_rate_hz]
    expected = run(graph, {"pcm": pcm})
    return _measured(graph, where.target, pcm, expected, work, "main.c", portable=False)


def _measured(
    graph: Graph,
    target: Target,
    samples: NDArray[np.int16],
    expected: dict[str, NDArray[np.integer]],
    work: Path,
    main: str,
    *,
    portable: bool,
) -> Cost:
    for old in work.iterdir():
        old.unlink()
    traced = _build(graph, target, work, main, plain=portable, traced=True)
    traces = simulate(traced, target, samples, trace=True).traces
    require_parity(compare_traces(target.core.cpu, graph, expected, collect(graph, traces)))
    result = simulate(_build(graph, target, work, main, plain=portable, traced=False), target, samples)
    counted = [count for name, count in result.regions.items() if name != "board"]
    instructions: InstructionSet = "portable" if portable else target.core.instructions
    weights = len(build_blob(graph, instructions))
    arena = memory_facts(graph, instructions).get("arena")
    return Cost(
        instructions=sum(count.instructions for count in counted),
        arena_bytes=arena["size_bytes"] if isinstance(arena, dict) else 0,
        ram_bytes=result.static_bytes + result.stack_bytes,
        code_bytes=result.flash_bytes - weights,
        weight_bytes=weights,
        modelled=f"{sum(count.cycles for count in counted) / 1e6:.1f}",
        worst_by_mean=max(result.block_cycles) / result.mean_block_cycles,
    )
