"""The whole firmware of a Wav2Small on a Cortex-M33: unicorn's counts against QEMU's own."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from support import needs_qemu, noise, small_graph, target_of

from codegen.emit import emit_sources, model_sources
from codegen.toolchain import BOARD, compile_firmware, compile_program
from edgekit.errors import SimulationError
from edgekit.target import Target
from firmware_sim import default_regions
from firmware_sim.debug_info import DebugInfo
from firmware_sim.places import Places, by_function
from firmware_sim.program import read_program
from firmware_sim.qemu import run_in_qemu
from firmware_sim.result import SimResult
from firmware_sim.simulator import profile

pytestmark = needs_qemu

BLOCK = 64
BLOCKS = (10, 20, 30)
BOARD_FUNCTIONS = {"board_read_audio", "board_begin_block", "board_write_adv", "board_exit", "start"}
"""What the boards do differently: registers here, semihosting there, and variables of their own to clear."""


class Counted(NamedTuple):
    result: SimResult
    functions: dict[str, int]
    """Instructions."""


def counted(result: SimResult, places: Places) -> Counted:
    return Counted(result, {row.name: row.instructions for row in by_function(places, result.program)})


@pytest.fixture(scope="module")
def m33() -> Target:
    """The core with memories that QEMU's machine has."""
    target = target_of("cortex-m33")
    return replace(target, memory=replace(target.memory, flash_origin=0x1000_0000, ram_origin=0x3800_0000))


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory, m33: Target) -> tuple[Path, Path]:
    """The same engine for unicorn's board and for QEMU's."""
    folder = tmp_path_factory.mktemp("wav2small")
    graph = small_graph(folder, bands=26, channels=13, depth=(3, 4), int4=True)
    for name, text in emit_sources(graph, 16_000, m33.core.instructions).items():
        (folder / name).write_text(text)
    sources = model_sources(folder)
    here = compile_firmware(sources, [folder], m33, folder / "unicorn.elf")
    board = [BOARD / "main.c", BOARD / "board_semihosting.c"]
    defines = {"EDGEKIT_BOARD_BLOCK_SAMPLES": f"{BLOCK}u"}
    there = compile_program([*board, *sources], [folder], m33, folder / "qemu.elf", defines)
    return here, there


def in_qemu(elf: Path, target: Target, pcm: np.ndarray) -> Counted:
    program = read_program(elf)
    regions = default_regions(program)
    return counted(*run_in_qemu(program, DebugInfo(elf, program), target, pcm, regions, 10**9, trace=False))


@pytest.fixture(scope="module")
def both(firmware: tuple[Path, Path], m33: Target) -> list[tuple[Counted, Counted]]:
    """(in unicorn, in QEMU) for three lengths of audio."""
    found = []
    for blocks in BLOCKS:
        pcm = noise(1.0)[: BLOCK * blocks]
        made = profile(firmware[0], m33, pcm)
        found.append((counted(made.result, made.places), in_qemu(firmware[1], m33, pcm)))
    return found


def test_every_function_of_the_engine_executes_the_same_instructions(both) -> None:
    for here, there in both:
        assert here.result.adv == there.result.adv
        assert here.result.results == there.result.results
        engine = here.functions.keys() - BOARD_FUNCTIONS
        assert len(engine) > 20
        assert {name: here.functions[name] for name in engine} == {
            name: there.functions[name] for name in engine
        }
        for region in here.result.regions.keys() - {"board"}:
            assert here.result.regions[region].instructions == there.result.regions[region].instructions


def test_the_difference_is_the_fixed_cost_of_the_boards(both) -> None:
    """`run_in_qemu` has required already that QEMU's own count is the sum of these."""
    for here, there in both:
        total = there.result.instructions - here.result.instructions
        names = here.functions.keys() | there.functions.keys()
        by_name = {name: there.functions.get(name, 0) - here.functions.get(name, 0) for name in names}
        assert total == sum(by_name.values())
        different = {name for name, difference in by_name.items() if difference}
        assert different <= BOARD_FUNCTIONS


@pytest.mark.parametrize("place", [0, 1], ids=["unicorn", "qemu"])
def test_the_boards_cost_the_same_for_every_block_and_every_result(place: int, both) -> None:
    runs = [pair[place] for pair in both]
    reading = [run.functions["board_read_audio"] + run.functions.get("board_begin_block", 0) for run in runs]
    assert reading[2] - reading[1] == reading[1] - reading[0]
    per_block = (reading[1] - reading[0]) // (BLOCKS[1] - BLOCKS[0])
    if place == 0:
        # By hand: eleven instructions for four samples, and 21 for the block.
        assert per_block == 11 * BLOCK // 4 + 21
    results = np.diff([len(run.result.results) for run in runs])
    writing = np.diff([run.functions["board_write_adv"] for run in runs])
    per_result = {0: 11, 1: 25}[place]
    assert writing.tolist() == (per_result * results).tolist()
    for name in ("start", "board_exit"):
        assert len({run.functions[name] for run in runs}) == 1


def test_a_count_that_is_not_qemus_own_is_an_error(firmware, m33, monkeypatch) -> None:
    from firmware_sim import qemu

    original = qemu.cost_table

    def one_too_many(*arguments):
        table = original(*arguments)
        table.instructions_before[len(table.instructions_before) // 2 :] += 1
        return table

    monkeypatch.setattr(qemu, "cost_table", one_too_many)
    with pytest.raises(SimulationError, match="were counted, and QEMU executed"):
        in_qemu(firmware[1], m33, noise(1.0)[:640])
