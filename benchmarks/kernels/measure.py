"""Running generated C on the simulated cores: instructions, memory, and that the results are the graph's."""

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.blob import build_blob
from codegen.checks import shipped_speech
from codegen.emit import emit_sources, memory_facts, model_sources
from codegen.toolchain import BOARD, compile_firmware
from edgekit.graph import Graph, run
from edgekit.graph.parity import compare_traces, require_parity
from edgekit.graph.traces import collect
from edgekit.target import InstructionSet, Target
from edgekit.targets import load_target
from firmware_sim.result import SimResult
from firmware_sim.simulator import simulate

CORES = ("m4", "m33", "m55")
FLASH_BYTES = 1 << 21
AUDIO_S = 1
INITIALIZED = "    edgekit_init(&state, edgekit_model_data);\n"
MAIN = "int main(void)\n{\n"
AFTER_HOURS = """__attribute__((noinline)) static void let_hours_pass(void)
{
    for (uint32_t i = 0; i < sizeof state.maximum; i++) {
        state.maximum[i] = 127;
        state.above[i] = 100;
        state.denominator[i] = i * 0x01800000u;
        state.numerator[i] = ((i & 1u) != 0u ? -255 : 254) * ((int64_t)i << 31);
    }
}

"""
"""What hours of audio make of a stream: sums of more than 32 bits, maxima that rise no more."""


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
        modelled_later: The same of a stream after hours, of a student only.
        worst_by_mean: The slowest block of audio by the mean one.
    """

    instructions: int
    arena_bytes: int
    ram_bytes: int
    code_bytes: int
    weight_bytes: int
    modelled: str
    worst_by_mean: float
    modelled_later: str = ""


@dataclass(frozen=True)
class BuildTime:
    """How long it took to write the C of a model and to compile it.

    Attributes:
        wall_s: By the clock.
        cpu_s: On processors, the compilers' included.
    """

    wall_s: float
    cpu_s: float


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


def _write(graph: Graph, target: Target, instructions: InstructionSet, folder: Path) -> None:
    """Write the C of a graph into a folder, and nothing else."""
    for old in folder.iterdir():
        old.unlink()
    for name, text in emit_sources(graph, target.audio.sample_rate_hz, instructions).items():
        (folder / name).write_text(text, encoding="utf-8")


def _compile(target: Target, folder: Path, main: str, *, plain: bool = False, traced: bool = False) -> Path:
    """Compile what `_write` wrote."""
    defines = {"EDGEKIT_TRACE": "1"} if traced else {}
    defines |= {"EK_DSP": "0"} if plain else {}
    return compile_firmware(model_sources(folder), [folder], target, folder / "firmware.elf", defines, main)


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
    """Run a student on a second of speech, the first one and one after hours.

    Arguments and errors as `run_network`. The figures of memory and of blocks are the larger ones of both.
    """
    target = where.target
    pcm = np.concatenate(shipped_speech(AUDIO_S))[: AUDIO_S * target.audio.sample_rate_hz]
    first = _measured(graph, target, pcm, run(graph, {"pcm": pcm}), work, "main.c", portable=False)
    later = simulate(_compile(target, work, str(_main_after_hours(work))), target, pcm)
    return replace(
        first,
        ram_bytes=max(first.ram_bytes, _ram_bytes(later)),
        worst_by_mean=max(first.worst_by_mean, _worst_by_mean(later)),
        modelled_later=_modelled(later),
    )


def _main_after_hours(work: Path) -> Path:
    """Write the board's main loop with a stream that begins with sums of hours; return its path."""
    text = (BOARD / "main.c").read_text(encoding="utf-8")
    for place, changed in {
        MAIN: AFTER_HOURS + MAIN,
        INITIALIZED: f"{INITIALIZED}    let_hours_pass();\n",
    }.items():
        if text.count(place) != 1:
            raise ValueError(f"the board's main.c has no {place!r}")
        text = text.replace(place, changed)
    path = work.resolve() / "main_after_hours.c"
    path.write_text(text, encoding="utf-8")
    return path


def build_time(graph: Graph, where: Core, work: Path) -> BuildTime:
    """Write and compile the C of a graph once, with empty caches of the compiler."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as caches:
        os.environ |= {"ZIG_GLOBAL_CACHE_DIR": caches, "ZIG_LOCAL_CACHE_DIR": caches}
        try:
            wall, cpu = time.perf_counter(), sum(os.times()[:4])
            _write(graph, where.target, where.target.core.instructions, work)
            _compile(where.target, work, "main.c")
            return BuildTime(time.perf_counter() - wall, sum(os.times()[:4]) - cpu)
        finally:
            os.environ.clear()
            os.environ.update(before)


def _modelled(result: SimResult) -> str:
    return f"{sum(count.cycles for name, count in result.regions.items() if name != 'board') / 1e6:.2f}"


def _ram_bytes(result: SimResult) -> int:
    """Return RAM of variables and stack, with one block of the audio that may wait."""
    queue = result.audio_buffer_bytes // result.target.policy.buffer_blocks
    return result.static_bytes + result.stack_bytes + queue


def _worst_by_mean(result: SimResult) -> float:
    return max(result.block_cycles) / result.mean_block_cycles


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
    instructions: InstructionSet = "portable" if portable else target.core.instructions
    _write(graph, target, instructions, work)
    traced = _compile(target, work, main, plain=portable, traced=True)
    traces = simulate(traced, target, samples, trace=True).traces
    require_parity(compare_traces(target.core.cpu, graph, expected, collect(graph, traces)))
    result = simulate(_compile(target, work, main, plain=portable), target, samples)
    counted = [count for name, count in result.regions.items() if name != "board"]
    weights = len(build_blob(graph, instructions))
    arena = memory_facts(graph, instructions).get("arena")
    return Cost(
        instructions=sum(count.instructions for count in counted),
        arena_bytes=arena["size_bytes"] if isinstance(arena, dict) else 0,
        ram_bytes=_ram_bytes(result),
        code_bytes=result.flash_bytes - weights,
        weight_bytes=weights,
        modelled=_modelled(result),
        worst_by_mean=_worst_by_mean(result),
    )
