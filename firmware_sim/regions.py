"""The parts of a firmware that are counted apart, and what a run's errors say about them."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgekit.errors import SimulationError
from firmware_sim.counter import SAME_REGION
from firmware_sim.program import Program

LAYER_PREFIX = "edgekit_layer_"
"""Functions of the engine with this prefix are its layers, each a region of its own."""
BUG_HINT = "a bug in the firmware's C: build its traced host version with sanitizers and run that"

_BOARD = (
    "Reset_Handler",
    "Default_Handler",
    "main",
    "audio_interrupt",
    "audio_next",
    "board_read_audio",
    "board_skip_audio",
    "board_start_audio",
    "board_take_audio",
    "board_wait",
    "board_write_adv",
    "board_exit",
)
_ENGINE = ("edgekit_init", "edgekit_push", "edgekit_read", "edgekit_heard", "edgekit_reset", "edgekit_step")


def default_regions(program: Program) -> dict[str, list[str]]:
    """Return the regions of an edgekit firmware: board, engine, and each layer in the order of the code."""
    names = [function.name for function in program.functions]
    regions = {
        "board": [name for name in _BOARD if name in names],
        "engine": [name for name in _ENGINE if name in names],
    }
    layers = [name for name in names if name.startswith(LAYER_PREFIX)]
    return regions | {name.removeprefix(LAYER_PREFIX): [name] for name in layers}


def region_table(program: Program, regions: Mapping[str, Sequence[str]]) -> npt.NDArray[np.uint16]:
    """Return the region that starts at each halfword of the code, or `SAME_REGION`.

    Raises:
        SimulationError: If the firmware has no function of that name.
    """
    table = np.full((len(program.code) + 1) // 2, SAME_REGION, np.uint16)
    functions = {function.name: function for function in program.functions}
    for index, (region, names) in enumerate(regions.items()):
        for name in names:
            if name not in functions:
                raise SimulationError(
                    f"region {region}: the firmware has no function {name}", "correct the regions"
                )
            start = (functions[name].address - program.code_origin) >> 1
            table[start : start + (functions[name].size_bytes + 1) // 2] = index
    return table
