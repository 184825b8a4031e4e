"""Whether another back end computes the graph's integers, layer by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import write_json
from edgekit.errors import ParityError
from edgekit.graph.types import TIME, VIEWS, Graph


@dataclass(frozen=True)
class LayerParity:
    """One layer of one back end against the reference.

    Attributes:
        backend: `c-host`, `simulated-core` or `native-program`, `tflite`, `tflite-micro`, `onnx`; `litert` of
            an imported file.
        layer: Operator name.
        elements: Values compared.
        mismatches: How many differ.
        max_lsb: Largest difference.
        allowed_lsb: Largest difference that this back end may have here.
        allowed_fraction: Largest share of the values that may differ.
    """

    backend: str
    layer: str
    elements: int
    mismatches: int
    max_lsb: int
    allowed_lsb: int = 0
    allowed_fraction: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the differences stay within what is allowed."""
        return self.max_lsb <= self.allowed_lsb and self.mismatches <= self.allowed_fraction * self.elements

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return asdict(self)


def compare(
    backend: str,
    layer: str,
    expected: NDArray[np.integer],
    found: NDArray[np.integer],
    allowed_lsb: int = 0,
    allowed_fraction: float = 0.0,
) -> LayerParity:
    """Compare one layer's values.

    Raises:
        ParityError: If the shapes differ.

    Example:
        >>> compare("c-host", "l1", np.array([1, 2]), np.array([1, 4])).max_lsb
        2
    """
    if expected.shape != found.shape:
        raise ParityError(
            f"{backend}: layer {layer} gives shape {found.shape}, the graph {expected.shape}",
            "re-run edgekit build",
        )
    difference = np.abs(expected.astype(np.int64) - found.astype(np.int64))
    largest = int(difference.max()) if difference.size else 0
    mismatches = int((difference > 0).sum())
    return LayerParity(backend, layer, difference.size, mismatches, largest, allowed_lsb, allowed_fraction)


def compare_traces(
    backend: str,
    graph: Graph,
    expected: Mapping[str, NDArray[np.integer]],
    found: Mapping[str, NDArray[np.integer]],
) -> list[LayerParity]:
    """Compare every layer that was traced with the reference, tolerance 0.

    A device that computes two rows at once lacks the last rows of a map that no token depends on: those that
    exist are compared, and it must have all that a later layer reads.

    Args:
        backend: Name for the rows.
        graph: The graph.
        expected: What `edgekit.graph.run` returned.
        found: What `edgekit.graph.traces.collect` returned.

    Raises:
        ParityError: If a layer that computes something was not traced, or a shape differs.
    """
    computing = [op for op in graph.ops if op.kind not in VIEWS]
    for op in computing:
        if op.outputs[0] not in found:
            raise ParityError(f"{backend}: layer {op.name} was not traced", "re-run edgekit build")
    read = rows_read(graph, {name: len(values) for name, values in expected.items()})
    rows = []
    for op in computing:
        wanted, got = expected[op.outputs[0]], found[op.outputs[0]]
        exist = len(got) if read[op.outputs[0]] <= len(got) < len(wanted) else len(wanted)
        rows.append(compare(backend, op.name, wanted[:exist], got))
    return rows


def rows_read(graph: Graph, rows: Mapping[str, int]) -> dict[str, int]:
    """Return how many rows of each tensor the graph's results depend on.

    Args:
        graph: The graph.
        rows: How many rows each tensor has.
    """
    read = {op.outputs[0]: 0 for op in graph.ops} | {name: rows[name] for name in graph.outputs}
    for op in reversed(graph.ops):
        count = read[op.outputs[0]]
        for name in op.inputs:
            if name not in read:
                continue
            if TIME not in graph.output(op).shape:
                last = rows[name]
            elif "kernel" in op.attributes and count:
                last = (
                    (count - 1) * op.integers("stride")[0]
                    + op.integers("kernel")[0]
                    - op.integers("padding")[0]
                )
            else:
                last = count
            read[name] = max(read[name], min(last, rows[name]))
    return read


def merge(rows: Sequence[LayerParity]) -> list[LayerParity]:
    """Return one row for each back end and layer: counts summed, differences at their largest."""
    merged: dict[tuple[str, str], LayerParity] = {}
    for row in rows:
        key = (row.backend, row.layer)
        before = merged.get(key)
        merged[key] = (
            row
            if before is None
            else LayerParity(
                *key,
                before.elements + row.elements,
                before.mismatches + row.mismatches,
                max(before.max_lsb, row.max_lsb),
                row.allowed_lsb,
                row.allowed_fraction,
            )
        )
    return list(merged.values())


def require_parity(rows: Sequence[LayerParity], folder: Path | None = None) -> None:
    """Check that no layer differs more than allowed.

    Args:
        rows: What was compared.
        folder: Where they are written as parity.json if one does.

    Raises:
        ParityError: Naming the first layer that does.
    """
    for row in rows:
        if row.ok:
            continue
        evidence = "the build directory"
        if folder is not None:
            write_json(folder / "parity.json", {"layers": [each.to_dict() for each in rows]})
            evidence = str(folder / "parity.json")
        raise ParityError(
            f"{row.backend} differs from the integer graph at layer {row.layer}: "
            f"{row.mismatches} of {row.elements} values, by up to {row.max_lsb} LSB",
            f"a defect of edgekit or of that runtime's version: report it with {evidence}",
        )
