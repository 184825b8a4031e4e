"""One firmware on a Cortex-M33, counted by unicorn and by QEMU."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.emit import emit_sources, model_sources
from codegen.toolchain import BOARD, board_defines, compile_firmware, compile_program
from edgekit.graph import Graph
from edgekit.target import Target
from edgekit.targets import load_target
from firmware_sim.debug_info import DebugInfo
from firmware_sim.places import Places, by_function
from firmware_sim.program import read_program
from firmware_sim.qemu import run_in_qemu
from firmware_sim.regions import default_regions
from firmware_sim.result import SimResult
from firmware_sim.simulator import LIMIT, profile

BOARD_FUNCTIONS = (
    "start",
    "audio_next",
    "board_start_audio",
    "board_wait",
    "board_read_audio",
    "board_begin_block",
    "board_take_audio",
    "board_write_adv",
    "board_exit",
)
"""What differs: a board of registers and an interrupt in unicorn, one of files in QEMU."""


@dataclass(frozen=True)
class Counted:
    """A run and its instructions.

    Attributes:
        result: The run.
        functions: Instructions of each function.
    """

    result: SimResult
    functions: dict[str, int]


@dataclass(frozen=True)
class Boards:
    """One engine, compiled for both boards.

    Attributes:
        target: The core, with memories that QEMU's machine has.
        unicorn: The firmware for unicorn's board.
        qemu: The firmware for QEMU's board.
    """

    target: Target
    unicorn: Path
    qemu: Path

    def in_unicorn(self, pcm: NDArray[np.int16]) -> Counted:
        """Run in unicorn."""
        made = profile(self.unicorn, self.target, pcm)
        return _counted(made.result, made.places)

    def in_qemu(self, pcm: NDArray[np.int16]) -> Counted:
        """Run in QEMU, whose own count is required to be ours.

        Raises:
            SimulationError: If it is not.
        """
        program = read_program(self.qemu)
        info, regions = DebugInfo(self.qemu, program), default_regions(program)
        return _counted(*run_in_qemu(program, info, self.target, pcm, regions, LIMIT, trace=False))


def both_boards(graph: Graph, folder: Path) -> Boards:
    """Compile a graph for both boards, into a folder."""
    target = load_target("hearing-aid")
    memory = replace(target.memory, flash_origin=0x1000_0000, ram_origin=0x3800_0000)
    target = replace(target, memory=memory)
    for name, text in emit_sources(graph, target.audio.sample_rate_hz, target.core.instructions).items():
        (folder / name).write_text(text, encoding="utf-8")
    sources = model_sources(folder)
    unicorn = compile_firmware(sources, [folder], target, folder / "unicorn.elf")
    board = [BOARD / name for name in ("main.c", "audio.c", "board_semihosting.c")]
    defines = board_defines(target)
    qemu = compile_program([*board, *sources], [folder], target, folder / "qemu.elf", defines)
    return Boards(target, unicorn, qemu)


def differences(here: Counted, there: Counted) -> dict[str, int]:
    """Return how many instructions more each function executed there; those with none more are left out."""
    names = here.functions.keys() | there.functions.keys()
    more = {name: there.functions.get(name, 0) - here.functions.get(name, 0) for name in names}
    return {name: more[name] for name in sorted(names) if more[name]}


def _counted(result: SimResult, places: Places) -> Counted:
    return Counted(result, {row.name: row.instructions for row in by_function(places, result.program)})
