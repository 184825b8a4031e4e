"""The report as data, and its JSON form.

In JSON, every figure is an object `{"value", "basis", "how"}` under a key that ends in its unit: `basis` is
`measured` or `estimated`, `how` says by what. An estimate whose error is known has an `interval`. Rows carry
`basis` themselves. A figure that is undefined (a CCC over constant values) has the value null, and `how` says
why. `report.schema.json` has all of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.report.figures import Figures, Verdict
from edgekit.report.rows import (
    Arena,
    LayerCost,
    LayerError,
    Learning,
    Parity,
    Remedy,
    Schedule,
    Symbol,
    Timing,
)

SCHEMA = 3


@dataclass(frozen=True)
class Memory:
    """What lies where on the device.

    Attributes:
        figures: RAM in all, and of what it is made.
        state_bytes_by_layer: RAM that each layer needs, in execution order: of a stream what it keeps between
            blocks of audio, of a network that runs whole what is in use while it runs.
        ram_symbols: Variables, the largest first.
        flash_sections: Sections of the flash to their bytes.
        flash_symbols: Functions and tables, the largest first.
        arena: What lies where and when in the arena of a network that runs whole; None of a stream.
    """

    figures: Figures
    state_bytes_by_layer: Mapping[str, int]
    ram_symbols: tuple[Symbol, ...]
    flash_sections: Mapping[str, int]
    flash_symbols: tuple[Symbol, ...]
    arena: Arena | None

    @property
    def peak_layer(self) -> str:
        """The layer that needs most RAM."""
        return max(self.state_bytes_by_layer, key=lambda name: self.state_bytes_by_layer[name])

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            **_plain(self.figures),
            "peak_layer": self.peak_layer,
            "state_bytes_by_layer": dict(self.state_bytes_by_layer),
            "ram_symbols": [symbol.to_dict() for symbol in self.ram_symbols],
            "flash_sections": dict(self.flash_sections),
            "flash_symbols": [symbol.to_dict() for symbol in self.flash_symbols],
            **({"arena": self.arena.to_dict()} if self.arena else {}),
        }


@dataclass(frozen=True)
class QuantizationError:
    """How far the integer graph is from the float student, layer by layer.

    Attributes:
        how: On what it was measured.
        layers: In execution order.
    """

    how: str
    layers: tuple[LayerError, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"how": self.how, "layers": [layer.to_dict() for layer in self.layers]}


@dataclass(frozen=True)
class Report:
    """Everything that a build knows about its result.

    Attributes:
        target: Facts of the target, for people.
        verdicts: One per budget.
        remedies: What would meet the budgets; empty where all hold.
        accuracy: Comparison to one CCC per dimension.
        size: Parameters and file sizes.
        memory: RAM and flash on the device.
        latency: Cycles, instructions and load.
        timing: What turns instructions into cycles, and its error.
        schedule: When the core works on what it hears.
        layers: The cost of every layer, in execution order.
        energy: Power and battery life.
        assumptions: What the energy rests on: each assumption to its value, or a sentence.
        parity: Back end to its agreement with the integer graph.
        quantization: How far each layer is from the float student's.
        learning: How the student learned.
        provenance: Versions and digests of what went in.
    """

    target: Mapping[str, Any]
    verdicts: tuple[Verdict, ...]
    remedies: tuple[Remedy, ...]
    accuracy: Mapping[str, Figures]
    size: Figures
    memory: Memory
    latency: Figures
    timing: Timing
    schedule: Schedule
    layers: tuple[LayerCost, ...]
    energy: Figures
    assumptions: Mapping[str, float | str]
    parity: Mapping[str, Parity]
    quantization: QuantizationError
    learning: Learning
    provenance: Mapping[str, Any]

    @property
    def exceeded(self) -> tuple[Verdict, ...]:
        """The budgets that the build does not hold."""
        return tuple(v for v in self.verdicts if not v.held)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: `report.json`."""
        return {
            "schema": SCHEMA,
            "target": dict(self.target),
            "verdict": {v.budget: v.to_dict() for v in self.verdicts},
            "remedies": [remedy.to_dict() for remedy in self.remedies],
            "accuracy": {name: _plain(figures) for name, figures in self.accuracy.items()},
            "size": _plain(self.size),
            "memory": self.memory.to_dict(),
            "latency": {
                **_plain(self.latency),
                "timing": self.timing.to_dict(),
                "schedule": self.schedule.to_dict(),
                "layers": [layer.to_dict() for layer in self.layers],
            },
            "energy": {**_plain(self.energy), "assumptions": dict(self.assumptions)},
            "parity": {backend: parity.to_dict() for backend, parity in self.parity.items()},
            "quantization_error": self.quantization.to_dict(),
            "learning": self.learning.to_dict(),
            "provenance": dict(self.provenance),
        }


def _plain(figures: Figures) -> dict[str, object]:
    return {name: figure.to_dict() for name, figure in figures.items()}
