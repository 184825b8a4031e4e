"""The timing profile of a board with flash wait states, fitted to published latencies.

Cycles = those of the core's table without wait states
       + fetch_wait_cycles x taken branches + data_wait_cycles x words of weights read from flash.

Prefetching hides the flash as long as code runs straight on; a taken branch finds it unprepared. Data of
activations lie in RAM; weights are read from flash, again for every output that they are needed for. How
often that is follows from the kernels (CMSIS-NN, both in the counted and in the published runs).
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import lsq_linear

BOARD, OTHER_BOARD = "NUCLEO-L4R5ZI", "nRF5340 DK"
SOFTWARE = "microTVM + CMSIS-NN 51263182"
"""Published software whose kernels are those that the instruction mixes were counted with."""
MIX = "m4cmsis"
FLASH_WAIT_STATES = 5
"""Of the board at 120 MHz (STM32L4R5 reference manual, RM0432): no read waits longer."""
TITLES = {
    "ad": "anomaly detection",
    "kws": "keyword spotting",
    "ic": "image classification",
    "vww": "visual wake words",
}
SMLAD_PER_WORD = {"ad": 2, "kws": 4, "ic": 4, "vww": 4}
"""SMLADs that a word of four weights serves: 2 for the one output of a linear layer, 4 for two pixels."""
MLA_PER_WORD = 4
"""In depthwise convolutions, which multiply one weight at a time."""


@dataclass(frozen=True)
class Network:
    """One counted network and what a board takes for it.

    Attributes:
        name: As the calibration data call it.
        table_cycles: By the core's table, without wait states.
        taken: Taken branches.
        flash_words: Words of weights read from flash.
        measured_cycles: On the board.
    """

    name: str
    table_cycles: float
    taken: float
    flash_words: float
    measured_cycles: float

    def predicted(self, waits: Sequence[float]) -> float:
        """Return the cycles with (fetch, data) wait cycles."""
        return self.table_cycles + waits[0] * self.taken + waits[1] * self.flash_words

    def error_percent(self, waits: Sequence[float]) -> float:
        """Return how far the prediction is above the measurement."""
        return 100 * (self.predicted(waits) / self.measured_cycles - 1)


@dataclass(frozen=True)
class Fold:
    """One network predicted from the others.

    Attributes:
        network: The network left out.
        waits: (fetch, data) wait cycles fitted to the others.
    """

    network: Network
    waits: tuple[float, float]

    @property
    def error_percent(self) -> float:
        """How far the prediction is above the measurement."""
        return self.network.error_percent(self.waits)


def read_networks(folder: Path, board: str) -> list[Network]:
    """Return the networks that a board has published latencies of.

    Args:
        folder: With `mlperf_tiny_mix.json` and `mlperf_tiny_latency.csv`.
        board: As the latencies name it.
    """
    counted = json.loads((folder / "mlperf_tiny_mix.json").read_text())
    with (folder / "mlperf_tiny_latency.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["board"] == board and r["software"] == SOFTWARE]
    return [_network(row["benchmark"], counted[f"{MIX}/{row['benchmark']}"], _cycles(row)) for row in rows]


def _cycles(row: dict[str, str]) -> float:
    return float(row["latency_ms"]) * 1000 * float(row["clock_mhz"])


def _network(name: str, counted: dict[str, object], measured_cycles: float) -> Network:
    mix = counted["mix"]
    assert isinstance(mix, dict)
    words = mix["simdmac"] / SMLAD_PER_WORD[name] + mix.get("mla", 0) / MLA_PER_WORD
    return Network(
        name, float(str(counted["model_cycles"])), float(str(counted["taken"])), words, measured_cycles
    )


def fit(networks: Sequence[Network]) -> tuple[float, float]:
    """Return the (fetch, data) wait cycles with the least squared relative error.

    Neither is negative, nor above what the flash itself waits.
    """
    measured = np.array([network.measured_cycles for network in networks])
    waits = np.array([[network.taken, network.flash_words] for network in networks])
    missing = 1 - np.array([network.table_cycles for network in networks]) / measured
    fetch, data = lsq_linear(waits / measured[:, None], missing, (0, FLASH_WAIT_STATES)).x
    return float(fetch), float(data)


def folds(networks: Sequence[Network]) -> list[Fold]:
    """Return every network with what the others predict for it."""
    return [Fold(left, fit([other for other in networks if other is not left])) for left in networks]
