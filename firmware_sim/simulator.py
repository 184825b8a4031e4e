"""Running a firmware on a simulated core, instruction by instruction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.errors import AudioError
from edgekit.target import Target
from firmware_sim.clock import Clock
from firmware_sim.debug_info import DebugInfo
from firmware_sim.flips import Flip, flip_loaded
from firmware_sim.native import refuse_counting, run_natively
from firmware_sim.places import Places
from firmware_sim.program import read_program
from firmware_sim.qemu import run_in_qemu
from firmware_sim.regions import default_regions
from firmware_sim.result import SimResult
from firmware_sim.run import Run
from firmware_sim.schedule import LEAST_WINDOWS, core_of

LIMIT = 4_000_000_000
"""Instructions within one block of audio that are a runaway, if nothing else is said."""


def simulate(
    elf: Path,
    target: Target,
    pcm: npt.NDArray[np.int16],
    regions: Mapping[str, Sequence[str]] | None = None,
    *,
    trace: bool = False,
    block_instruction_limit: int = LIMIT,
) -> SimResult:
    """Run a firmware on audio and count what it executes.

    Args:
        elf: A firmware with its symbol table.
        target: The device: core, memories, block size.
        pcm: Audio at the target's rate, int16 (samples,).
        regions: Region name to the functions that begin it. A function of none counts for the region that
            called it, and start-up code for the first region. None takes `default_regions`. On this computer
            itself nothing is counted apart.
        trace: Keep the layer outputs that a firmware built with EDGEKIT_TRACE reports.
        block_instruction_limit: More instructions than this within one block of audio are a runaway; on this
            computer itself, time is limited instead.

    Returns:
        The run; equal inputs give equal counts, but not equal times on this computer itself.

    Raises:
        AudioError: If there is no audio.
        ConfigError: If unicorn (for a Cortex-M55: QEMU) or a C compiler for this machine is missing.
        SimulationError: If the firmware faults, hangs, stops without an exit code, or does not fit the
            target.
        TargetError: If the target names no known timing table.
    """
    if target.core.simulator == "native":
        _require_audio(pcm)
        return run_natively(elf, target, pcm, trace=trace)
    return profile(
        elf, target, pcm, regions, trace=trace, block_instruction_limit=block_instruction_limit
    ).result


@dataclass(frozen=True)
class Profile:
    """A run and what each place of its code took.

    Attributes:
        result: The run.
        places: Counts of every instruction.
        info: The firmware's debug information.
    """

    result: SimResult
    places: Places
    info: DebugInfo


def profile(
    elf: Path,
    target: Target,
    pcm: npt.NDArray[np.int16],
    regions: Mapping[str, Sequence[str]] | None = None,
    *,
    trace: bool = False,
    block_instruction_limit: int = LIMIT,
    flips: Sequence[Flip] = (),
) -> Profile:
    """Run a firmware as `simulate` does, and count every instruction of it.

    Args:
        elf: As for `simulate`, and so are all arguments but the last.
        target: The device.
        pcm: Audio.
        regions: What is counted apart.
        trace: Keep traces.
        block_instruction_limit: The limit of one block of audio.
        flips: Bits of its memory that are inverted.

    Raises:
        ConfigError: Also if what simulates the target cannot invert a bit there, or is this computer itself.
    """
    refuse_counting(target, "a count of every instruction")
    _require_audio(pcm)
    program = read_program(elf)
    info = DebugInfo(elf, program)
    chosen = regions or default_regions(program)
    program = flip_loaded(program, flips)
    if target.core.simulator == "qemu":
        result, places = run_in_qemu(program, info, target, pcm, chosen, block_instruction_limit, trace=trace)
    else:
        run = Run(program, info, target, pcm, chosen, trace, block_instruction_limit, flips)
        result, places = run.result(), run.places()
    return Profile(result, places, info)


def run_in_time(result: SimResult, elf: Path, pcm: npt.NDArray[np.int16]) -> SimResult:
    """Run a firmware once more, with audio that arrives by the target's clock and interrupts the model.

    The audio path, which is not ours, is not executed: at each interrupt the clock is set forward by what it
    takes. Audio that finds no place is lost, as on the device. Under a window policy the audio is that of
    each of `LEAST_WINDOWS` windows, and silence is between them.

    Args:
        result: What `simulate` found, where audio waits until the firmware wants it.
        elf: The firmware.
        pcm: The audio.

    Returns:
        The same with `in_time`; as it was where nothing can interrupt: in QEMU, on this computer itself, and
        for a firmware that waits for its audio without the interrupt.

    Raises:
        SimulationError: As `simulate`.
    """
    target = result.target
    if target.core.simulator != "unicorn":
        return result
    program = result.program
    run = Run(
        program,
        DebugInfo(elf, program),
        target,
        _in_windows(pcm, target) if target.every_blocks else pcm,
        default_regions(program),
        trace=False,
        block_instruction_limit=LIMIT,
        flips=(),
        clock=Clock(core_of(target)),
    )
    made = run.result()
    if not run.audio.is_enabled:
        return result
    return replace(result, in_time=run.in_time(len(made.results)))


def _in_windows(pcm: npt.NDArray[np.int16], target: Target) -> npt.NDArray[np.int16]:
    """Return the audio of some windows, up to the end of the last one."""
    block = target.audio.block_samples
    period = np.zeros(target.every_blocks * block, np.int16)
    window = target.window_blocks * block
    period[:window] = np.resize(pcm, window)
    return np.tile(period, LEAST_WINDOWS)[: (LEAST_WINDOWS - 1) * len(period) + window]


def _require_audio(pcm: npt.NDArray[np.int16]) -> None:
    if pcm.dtype != np.int16 or pcm.ndim != 1 or pcm.size == 0:
        raise AudioError(
            f"the simulator wants int16 samples, got {pcm.dtype} {pcm.shape}", "pass one channel"
        )
