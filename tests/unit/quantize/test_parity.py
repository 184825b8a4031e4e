import dataclasses
from pathlib import Path

import pytest
from unit.quantize.graphs import noise_bursts, student

from edgekit.errors import ParityError
from edgekit.graph import Graph
from edgekit.graph.parity import require_parity
from quantize.onnx_writer import write_onnx
from quantize.parity import MICRO, Feed, check_copies
from quantize.tflite_writer import write_tflite

FEEDS = [Feed.of_clip(noise_bursts(length, seed=seed)) for length, seed in ((0.3, 6), (0.5, 7))]


def write_copies(graph: Graph, folder: Path) -> None:
    write_onnx(graph, folder / "model.onnx")
    write_tflite(graph, folder / "model.tflite")


def with_changed(graph: Graph, name: str, offset: int) -> Graph:
    """Return the graph with one constant's first element changed."""
    constant = graph.constants[name].copy()
    constant.ravel()[0] += offset
    return dataclasses.replace(graph, constants={**graph.constants, name: constant})


def test_untouched_copies_agree(tmp_path: Path) -> None:
    graph = student()
    write_copies(graph, tmp_path)
    steps: list[tuple[str, int, int]] = []
    found = check_copies(graph, tmp_path, FEEDS, lambda *step: steps.append(step))
    assert all(row.ok for row in found.layers)
    require_parity(found.layers)
    layers = {
        backend: [row.layer for row in found.layers if row.backend == backend]
        for backend in ("tflite", "onnx")
    }
    assert layers["onnx"] == ["l1", "pool", "l2", "mix", "lin", "sof"]
    assert layers["tflite"] == [*layers["onnx"], "adv"]
    assert steps == [("compare copies", done, 2) for done in (0, 1, 2)]


def test_rows_sum_over_clips(tmp_path: Path) -> None:
    graph = student()
    write_copies(graph, tmp_path)
    both = elements(check_copies(graph, tmp_path, FEEDS).layers)
    single = [elements(check_copies(graph, tmp_path, [feed]).layers) for feed in FEEDS]
    for (backend, layer), count in both.items():
        assert count == sum(part[backend, layer] for part in single)
    assert {backend for backend, _ in both} == {"tflite", "onnx", MICRO}


def elements(rows) -> dict[tuple[str, str], int]:
    return {(row.backend, row.layer): row.elements for row in rows}


@pytest.mark.parametrize("name", ["l1_bias", "l2_weights", "sof_weights"])
def test_a_layer_that_differs_is_the_only_one_blamed(name: str, tmp_path: Path) -> None:
    graph = student("int8")
    write_copies(with_changed(graph, name, 40 if name.endswith("weights") else 3000), tmp_path)
    rows = check_copies(graph, tmp_path, FEEDS).layers
    layer = name.split("_")[0]
    assert [(row.backend, row.layer) for row in rows if not row.ok] == [("tflite", layer), ("onnx", layer)]
    with pytest.raises(
        ParityError, match=f"tflite differs from the integer graph at layer {layer}"
    ) as caught:
        require_parity(rows)
    assert caught.value.exit_code == 8


def test_last_layer_of_the_tflite_is_compared(tmp_path: Path) -> None:
    graph = student()
    write_copies(with_changed(graph, "adv_bias", 500_000), tmp_path)
    found = check_copies(graph, tmp_path, FEEDS)
    assert [row.layer for row in found.layers if not row.ok] == ["adv"]
    # Float in the .onnx: seen end to end.
    assert found.end_to_end["onnx"].largest > 0.01


def test_end_to_end_differences_are_small_and_in_units_of_adv(tmp_path: Path) -> None:
    graph = student()
    write_copies(graph, tmp_path)
    differences = check_copies(graph, tmp_path, FEEDS).end_to_end
    assert differences["tflite"].largest <= 2 * 2.0**-14
    assert differences["onnx"].largest < 0.002
    assert differences["onnx"].to_dict().keys() == {"largest", "mean", "elements", "mismatches", "clips"}
    assert all(0 <= item.mean <= item.largest and item.clips == 2 for item in differences.values())
    assert all(item.elements == 6 and item.mismatches <= 6 for item in differences.values())
