"""Counts of single instructions: their sums by function and by line are those of the run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import needs_qemu, target_of

from firmware_sim.debug_info import DebugInfo
from firmware_sim.places import by_function, by_line
from firmware_sim.program import read_program
from firmware_sim.simulator import Profile, profile

PCM = np.random.default_rng(7).integers(-3000, 3000, 1000).astype(np.int16)
SOURCE = Path(__file__).parent / "programs" / "loops.c"
CORES = ["cortex-m33", "cortex-m4", pytest.param("cortex-m55", marks=needs_qemu)]
LOOPS = ("countdown", "dot", "copy", "over_data")


@pytest.fixture(scope="module")
def profiled(build_program: Callable[..., Path]) -> Callable[[str], Profile]:
    def run(core: str) -> Profile:
        regions = {"rest": ["main"]} | {name: [f"loop_{name}"] for name in LOOPS}
        return profile(build_program("loops", target_of(core)), target_of(core), PCM[:192], regions)

    return run


@pytest.mark.parametrize("core", CORES)
def test_functions_are_those_of_the_regions(core: str, profiled: Callable[[str], Profile]) -> None:
    made = profiled(core)
    rows = {row.name: (row.instructions, row.cycles) for row in by_function(made.places, made.result.program)}
    for name in LOOPS:
        count = made.result.regions[name]
        assert rows[f"loop_{name}"] == (count.instructions, count.cycles)


@pytest.mark.parametrize("core", CORES)
def test_everything_is_in_a_function_and_a_line(core: str, profiled: Callable[[str], Profile]) -> None:
    made = profiled(core)
    program = made.result.program
    for rows in (by_function(made.places, program), by_line(made.places, program, made.info)):
        assert sum(row.instructions for row in rows) == made.result.instructions
        # Waits are fractions of cycles, rounded in every sum.
        assert sum(row.cycles for row in rows) == pytest.approx(made.result.cycles, abs=len(rows))
        assert [row.cycles for row in rows] == sorted((row.cycles for row in rows), reverse=True)


@pytest.mark.parametrize("core", CORES)
def test_a_line_has_the_instructions_that_it_was_compiled_to(
    core: str, profiled: Callable[[str], Profile]
) -> None:
    made = profiled(core)
    text = SOURCE.read_text().splitlines()
    # The assembly of a loop is one statement: the line that it begins in.
    begins = next(
        i for i, line in enumerate(text, 1) if "void loop_countdown(void)" in line and ";" not in line
    )
    rows = by_line(made.places, made.result.program, made.info)
    (row,) = [row for row in rows if row.function == "loop_countdown"]
    assert row.name == f"loops.c:{begins + 2}"
    assert row.instructions == 3 * (1 + 100 * 2 + 1)


def test_counts_are_deterministic(fake_firmware: Path, target) -> None:
    first, second = (profile(fake_firmware, target, PCM) for _ in range(2))
    for name in ("addresses", "executions", "cycles"):
        assert np.array_equal(getattr(first.places, name), getattr(second.places, name))


def test_lines_of_code_that_the_linker_left_out_are_no_lines(build_program: Callable[..., Path]) -> None:
    """Their addresses are 0, where the code of a Cortex-M55 begins."""
    elf = build_program("loops", target_of("cortex-m55"))
    program = read_program(elf)
    info = DebugInfo(elf, program)
    assert info.line_of(0) is None
    reset = next(function for function in program.functions if function.name == "Reset_Handler")
    assert str(info.line_of(reset.address)).startswith("startup.c:")
