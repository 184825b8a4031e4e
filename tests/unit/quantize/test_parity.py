import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from unit.quantize.graphs import noise_bursts, student

from edgekit.errors import ParityError
from edgekit.graph import Graph
from edgekit.graph.parity import require_parity
from quantize import onnx_writer, tflite_writer
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
    found.require(tmp_path)
    assert found.not_compared == {MICRO: "end to end: it has no axis of any length"}
    layers = {
        backend: [row.layer for row in found.layers if row.backend == backend]
        for backend in ("tflite", "onnx")
    }
    assert layers["tflite"] == ["l1", "pool", "l2", "mix", "lin", "sof", "attend", "adv"]
    assert layers["onnx"] == [*layers["tflite"], "front_end"]
    # What is float in a copy may be a few steps of 16 bits off.
    allowed = {(row.backend, row.layer): row.allowed_lsb for row in found.layers if row.allowed_lsb > 1}
    assert allowed == {
        ("tflite", "attend"): 64,
        ("onnx", "attend"): 64,
        ("onnx", "adv"): 4,
        ("onnx", "front_end"): 64,
    }
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


def swapped(emit):
    """Return an emitter that takes the scores of attention for its values."""

    def changed(target, *rest):
        *graph, op = rest
        value, score, *others = op.inputs
        return emit(target, *graph, dataclasses.replace(op, inputs=(score, value, *others)))

    return changed


@pytest.mark.parametrize("writer", [onnx_writer, tflite_writer])
def test_attention_that_is_float_in_a_copy_is_compared(writer, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(writer.EMITTERS, "attention_pool", swapped(writer.EMITTERS["attention_pool"]))
    graph = student()
    write_copies(graph, tmp_path)
    backend = writer.__name__.split(".")[1].split("_")[0]
    with pytest.raises(ParityError, match=f"{backend} differs from the integer graph at layer attend"):
        check_copies(graph, tmp_path, FEEDS).require(tmp_path)


def test_last_layer_is_compared_in_both_copies(tmp_path: Path) -> None:
    graph = student()
    write_copies(with_changed(graph, "adv_bias", 60_000), tmp_path)
    found = check_copies(graph, tmp_path, FEEDS)
    assert [(row.backend, row.layer) for row in found.layers if not row.ok] == [
        ("tflite", "adv"),
        ("onnx", "adv"),
    ]


def test_a_front_end_that_is_too_loud_is_found(tmp_path: Path, monkeypatch) -> None:
    right = onnx_writer.emit_front_end

    def loud(nodes, name, graph):
        return nodes.add("Mul", right(nodes, name, graph), nodes.number(1.15))

    monkeypatch.setattr(onnx_writer, "emit_front_end", loud)
    graph = student()
    write_copies(graph, tmp_path)
    with pytest.raises(ParityError, match="onnx differs from the integer graph at layer front_end"):
        check_copies(graph, tmp_path, FEEDS).require(tmp_path)


def test_a_copy_that_differs_end_to_end_alone_is_found(tmp_path: Path) -> None:
    """Every layer may be right, and the answers not: what is behind the last layer belongs to none."""
    graph = student()
    write_copies(graph, tmp_path)
    model = onnx.load(str(tmp_path / "model.onnx"))
    output = model.graph.output[0].name
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.005), "offset"))
    model.graph.node.append(onnx.helper.make_node("Add", [output, "offset"], ["answer"]))
    model.graph.output[0].name = "answer"
    model.graph.value_info.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [1, 3]))
    onnx.save(model, str(tmp_path / "model.onnx"))
    found = check_copies(graph, tmp_path, FEEDS)
    assert all(row.ok for row in found.layers)
    with pytest.raises(
        ParityError, match=r"onnx differs from the integer graph end to end: by 0\.00"
    ) as caught:
        found.require(tmp_path)
    assert caught.value.exit_code == 8
    assert json.loads((tmp_path / "parity.json").read_text())["end_to_end"]["onnx"]["mean"] > 64 * 2.0**-14


def test_end_to_end_differences_are_small_and_in_units_of_adv(tmp_path: Path) -> None:
    graph = student()
    write_copies(graph, tmp_path)
    differences = check_copies(graph, tmp_path, FEEDS).end_to_end
    assert differences["tflite"].largest <= 2 * 2.0**-14
    assert differences["onnx"].largest < 0.002
    assert differences["onnx"].to_dict().keys() == {
        *("largest", "mean", "elements"),
        *("mismatches", "clips", "allowed_mean"),
    }
    assert all(0 <= item.mean <= item.largest and item.clips == 2 for item in differences.values())
    assert all(item.elements == 6 and item.mismatches <= 6 for item in differences.values())
