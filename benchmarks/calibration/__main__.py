"""How far the simulator's cycles are off: python -m benchmarks.calibration [--out FILE].

Reads the shared instruction mixes and published latencies (EDGEKIT_SHARED, without it ../shared) and writes
benchmarks/calibration.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.calibration.fit import (
    BOARD,
    FLASH_WAIT_STATES,
    OTHER_BOARD,
    SOFTWARE,
    TITLES,
    Fold,
    Network,
    fit,
    folds,
    read_networks,
)
from benchmarks.tables import line
from benchmarks.teachers.features import shared_folder
from edgekit import artifact
from edgekit.errors import EdgekitError

NOTHING = (0.0, 0.0)


def main() -> int:
    """Fit, predict, write the page; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calibration", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "calibration.md")
    options = parser.parse_args()
    try:
        folder = shared_folder() / "calibration"
        page = markdown(read_networks(folder, BOARD), read_networks(folder, OTHER_BOARD))
        artifact.write_text(options.out, page)
    except EdgekitError as error:
        print(f"{error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


def markdown(networks: Sequence[Network], elsewhere: Sequence[Network]) -> str:
    """Return the page.

    Args:
        networks: Of the board that the waits are fitted to.
        elsewhere: Of the other board, which nothing is fitted to.
    """
    return "\n".join([_introduction(), *_folds(folds(networks)), *_fitted(networks), *_elsewhere(elsewhere)])


def _introduction() -> str:
    return f"""# Calibration: how far off the simulator's cycles are

Written by `python -m benchmarks.calibration` from instructions counted in four MLPerf Tiny networks
(TensorFlow Lite Micro with CMSIS-NN) and the latencies published for the same networks on boards
({SOFTWARE}). The instruction counts of edgekit's simulator are exact; its cycles are
this model:

    cycles = table of the core without wait states
           + fetch_wait_cycles x taken branches
           + data_wait_cycles  x words of weights read from flash

The two waits belong to the memory of a target (`[timing]` in its file). They are the only numbers fitted, by
least squares of the relative error, between 0 and the {FLASH_WAIT_STATES} wait states of the board's flash.
"""


def _folds(found: Sequence[Fold]) -> list[str]:
    errors = np.abs([fold.error_percent for fold in found])
    rows = [
        [
            TITLES[fold.network.name],
            f"{fold.network.measured_cycles / 1e6:.3f} M",
            f"{fold.network.predicted(fold.waits) / 1e6:.3f} M",
            f"{fold.error_percent:+.1f} %",
            f"{fold.waits[0]:.2f} / {fold.waits[1]:.2f}",
        ]
        for fold in found
    ]
    head = ["network left out", "measured cycles", "predicted", "error", "fetch / data wait fitted"]
    return [
        f"## {BOARD}: each network predicted from the other three",
        "",
        *_table(head, rows),
        "",
        f"Worst error **{errors.max():.1f} %** (bar 15 %), mean **{errors.mean():.1f} %** (bar 8 %).",
        "",
    ]


def _fitted(networks: Sequence[Network]) -> list[str]:
    waits = fit(networks)
    rows = [
        [TITLES[n.name], f"{n.error_percent(NOTHING):+.1f} %", f"{n.error_percent(waits):+.1f} %"]
        for n in networks
    ]
    return [
        "## Fitted to all four",
        "",
        f"`fetch_wait_cycles = {waits[0]:.3f}`, `data_wait_cycles = {waits[1]:.3f}`: what the target",
        "`nucleo-l4r5zi` has.",
        "",
        *_table(["network", "no wait states", "with both waits"], rows),
        "",
    ]


def _elsewhere(networks: Sequence[Network]) -> list[str]:
    rows = [
        [
            TITLES[n.name],
            f"{n.measured_cycles / 1e6:.3f} M",
            f"{n.predicted(NOTHING) / 1e6:.3f} M",
            f"{n.error_percent(NOTHING):+.1f} %",
        ]
        for n in networks
    ]
    return [
        f"## {OTHER_BOARD}: nothing fitted",
        "",
        "A Cortex-M33 with a cache before its flash: no wait states, the table of the Cortex-M4 (Arm",
        "publishes none for this core). Bar 12 %. Targets with this core state this error.",
        "",
        *_table(["network", "measured cycles", "predicted", "error"], rows),
        "",
        "## What is not calibrated",
        "",
        "No latency of these networks is published for a Cortex-M3 or a Cortex-M55. Targets with a Cortex-M3",
        "name no error; those with a Cortex-M55 give an interval, from one cycle per instruction to two per",
        "vector instruction.",
        "",
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [line(head), line(["---"] * len(head)), *map(line, rows)]


if __name__ == "__main__":
    sys.exit(main())
