"""The report as data, and its JSON form.

In JSON, every figure is an object `{"value", "basis", "how"}` under a key that ends in its unit: `basis` is
`measured` or `estimated`, `how` says by what. Rows (layers, parity, verdicts) carry `basis` themselves. A
figure that is undefined (a CCC over constant values) has the value null, and `how` says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA = 1

Basis = Literal["measured", "estimated"]


@dataclass(frozen=True)
class Figure:
    """One number and where it comes from.

    Attributes:
        value: The number, in the unit that its name ends in; None where it is undefined.
        basis: Whether it was measured or estimated.
        how: By what it was measured, or with which model it was estimated.
    """

    value: float | None
    basis: Basis
    how: str

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"value": self.value, "basis": self.basis, "how": self.how}


@dataclass(frozen=True)
class Verdict:
    """One budget and what the build made of it.

    Attributes:
        budget: Name of the budget; ends in its unit.
        limit: The most that the target allows.
        actual: What the build needs.
    """

    budget: str
    limit: float
    actual: Figure

    @property
    def held(self) -> bool:
        """Whether the build stays within the budget."""
        return self.actual.value is not None and self.actual.value <= self.limit

    @property
    def margin_percent(self) -> float:
        """What is left of the budget in percent of it; negative by how much it is exceeded.

        Example:
            >>> Verdict("flash_bytes", 200, Figure(150, "measured", "")).margin_percent
            25.0
        """
        return 100 * (1 - (self.actual.value or 0) / self.limit)

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        verdict = "pass" if self.held else "fail"
        figures = {"limit": self.limit, "actual": self.actual.value, "margin_percent": self.margin_percent}
        return {"verdict": verdict, **figures, "basis": self.actual.basis, "how": self.actual.how}


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs for a second of audio.

    Attributes:
        layer: Its name in the integer graph.
        instructions_per_second_of_audio: Instructions, counted.
        cycles_per_second_of_audio: Cycles, by the timing model.
        macs_per_second_of_audio: Multiply-accumulates; None where the layer has none to count.
    """

    layer: str
    instructions_per_second_of_audio: float
    cycles_per_second_of_audio: float
    macs_per_second_of_audio: float | None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "layer": self.layer,
            "instructions_per_second_of_audio": self.instructions_per_second_of_audio,
            "cycles_per_second_of_audio": self.cycles_per_second_of_audio,
            "macs_per_second_of_audio": self.macs_per_second_of_audio,
            "basis": {"instructions": "measured", "cycles": "estimated", "macs": "measured"},
        }


@dataclass(frozen=True)
class Parity:
    """How one back end compares with the integer graph, over all layers.

    Attributes:
        layers: Layers compared.
        elements: Values compared.
        mismatches: Values that differ.
        max_lsb: Largest difference in units of the last place.
        allowed_lsb: Largest difference that this back end is allowed in any layer.
        held: Whether something was compared, and every layer stays within what it is allowed.
    """

    layers: int
    elements: int
    mismatches: int
    max_lsb: int
    allowed_lsb: int
    held: bool

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        counts = {"layers": self.layers, "elements": self.elements, "mismatches": self.mismatches}
        largest = {"max_lsb": self.max_lsb, "allowed_lsb": self.allowed_lsb}
        verdict = "pass" if self.held else "fail"
        return {"verdict": verdict, **counts, **largest, "basis": "measured"}


Figures = Mapping[str, Figure]


@dataclass(frozen=True)
class Report:
    """Everything that a build knows about its result.

    Attributes:
        target: Facts of the target, for people.
        verdicts: One per budget.
        accuracy: Comparison to one CCC per dimension.
        size: Parameters and file sizes.
        memory: RAM on the device.
        state_bytes_by_layer: How much of the static RAM each layer needs between blocks of audio.
        latency: Cycles, instructions and load.
        layers: The cost of every layer, in execution order.
        energy: Power and battery life.
        parity: Back end to its agreement with the integer graph.
        provenance: Versions and digests of what went in.
    """

    target: Mapping[str, Any]
    verdicts: tuple[Verdict, ...]
    accuracy: Mapping[str, Figures]
    size: Figures
    memory: Figures
    state_bytes_by_layer: Mapping[str, int]
    latency: Figures
    layers: tuple[LayerCost, ...]
    energy: Figures
    parity: Mapping[str, Parity]
    provenance: Mapping[str, Any]

    @property
    def exceeded(self) -> tuple[Verdict, ...]:
        """The budgets that the build does not hold."""
        return tuple(v for v in self.verdicts if not v.held)

    @property
    def peak_layer(self) -> str:
        """The layer that needs most of the state."""
        return max(self.state_bytes_by_layer, key=lambda name: self.state_bytes_by_layer[name])

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form: `report.json`."""
        return {
            "schema": SCHEMA,
            "target": dict(self.target),
            "verdict": {v.budget: v.to_dict() for v in self.verdicts},
            "accuracy": {name: _plain(figures) for name, figures in self.accuracy.items()},
            "size": _plain(self.size),
            "memory": {
                **_plain(self.memory),
                "peak_layer": self.peak_layer,
                "state_bytes_by_layer": dict(self.state_bytes_by_layer),
            },
            "latency": {**_plain(self.latency), "layers": [layer.to_dict() for layer in self.layers]},
            "energy": _plain(self.energy),
            "parity": {backend: parity.to_dict() for backend, parity in self.parity.items()},
            "provenance": dict(self.provenance),
        }


def _plain(figures: Figures) -> dict[str, object]:
    return {name: figure.to_dict() for name, figure in figures.items()}
