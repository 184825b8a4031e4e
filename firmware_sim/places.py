"""Counts of every instruction of a firmware, and their sums by function and by source line."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_sim.debug_info import DebugInfo
from firmware_sim.program import Program
from firmware_sim.timing import CostTable, Waits


@dataclass(frozen=True)
class Places:
    """What each instruction took.

    Attributes:
        addresses: Of each instruction, int64 (n,).
        executions: How often it was executed, int64 (n,).
        cycles: Estimated cycles of all its executions, its taken branches included, float64 (n,): waits are
            fractions.
    """

    addresses: npt.NDArray[np.int64]
    executions: npt.NDArray[np.int64]
    cycles: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """The sum of some instructions.

    Attributes:
        name: Of the function or of the line.
        function: The function that they lie in.
        instructions: How many were executed.
        cycles: Their estimated cycles.
    """

    name: str
    function: str
    instructions: int
    cycles: int


def count_places(
    origin: int, costs: CostTable, counted: npt.NDArray[np.void], taken_branch: int, waits: Waits
) -> Places:
    """Return the counts of every instruction.

    Args:
        origin: Address of the code.
        costs: What its instructions cost.
        counted: What the block counter noted at each halfword, `counter.PLACE`.
        taken_branch: Cycles of a taken branch, added to those of its instruction.
        waits: For memory; those for data are added to the first instruction of their block.
    """
    begins = np.flatnonzero(np.diff(costs.instructions_before))
    executions = np.cumsum(counted["executions"], dtype=np.int64)[begins]
    straight = costs.cycles_before[begins + 1] - costs.cycles_before[begins]
    cycles = executions.astype(np.float64) * straight
    cycles += counted["entries"][begins] * costs.entry_cycles[begins].astype(np.float64)
    left = np.flatnonzero(counted["exits"])
    # An exit is noted behind the instruction that branched.
    branched = np.searchsorted(begins, left) - 1
    np.add.at(cycles, branched, counted["exits"][left] * (taken_branch + waits.fetch_cycles))
    cycles += counted["flash_reads"][begins] * waits.data_cycles
    return Places(origin + 2 * begins.astype(np.int64), executions, cycles)


def by_function(places: Places, program: Program) -> list[Row]:
    """Return what each function took by itself, without those that it calls; the most cycles first."""
    return _sums(places, program, program.function_at)


def by_line(places: Places, program: Program, info: DebugInfo) -> list[Row]:
    """Return what each source line took; the most cycles first."""
    return _sums(places, program, lambda address: str(info.line_of(address) or "no source line"))


def _sums(places: Places, program: Program, name_of: Callable[[int], str]) -> list[Row]:
    sums: dict[tuple[str, str], tuple[int, float]] = {}
    executed = np.flatnonzero(places.executions)
    for address, instructions, cycles in zip(
        places.addresses[executed].tolist(),
        places.executions[executed].tolist(),
        places.cycles[executed].tolist(),
        strict=True,
    ):
        key = (name_of(address), program.function_at(address))
        before = sums.get(key, (0, 0.0))
        sums[key] = (before[0] + instructions, before[1] + cycles)
    rows = [
        Row(name, function, instructions, round(cycles))
        for (name, function), (instructions, cycles) in sums.items()
    ]
    return sorted(rows, key=lambda row: (-row.cycles, row.name, row.function))
