"""Importing a .tflite as an artifact: what it writes, and that a wrong integer is found."""

import json

import numpy as np
import pytest
from unit.quantize.test_tflite_reader import written

from edgekit.errors import ArtifactError, ParityError
from edgekit.graph import Quantization, load_graph, run
from quantize import tflite_operators
from quantize.adoption import adopt
from quantize.tflite_file import TfliteFile


@pytest.fixture
def model(tmp_path):
    """Two inputs, summed; then a fully connected layer."""
    file, half = TfliteFile(), Quantization((0.5,), 3)
    one, other = (file.tensor((1, 6), "int8", half, name) for name in ("one", "other"))
    total = file.tensor((1, 6), "int8", Quantization((1.0,), -2), "sum")
    file.operator("ADD", 2, [one, other], total, "AddOptions")
    rng = np.random.default_rng(0)
    weights = file.constant(
        rng.integers(-127, 128, (4, 6)).astype(np.int8), quantization=Quantization((0.1,))
    )
    bias = file.constant(np.arange(4, dtype=np.int32), quantization=Quantization((0.1,)))
    output = file.tensor((1, 4), "int8", Quantization((17.0,), 5), "result")
    file.operator("FULLY_CONNECTED", 4, [total, weights, bias], output, "FullyConnectedOptions")
    return written(tmp_path, file, [one, other], output)


@pytest.mark.parametrize("runtime", ["micro", "litert"])
def test_it_writes_a_graph_and_the_proof(model, tmp_path, runtime):
    made = adopt(model, tmp_path / "graph", runtime)
    assert set(made.manifest.files) == {
        *("graph.json", "weights.npz", "graph.txt"),
        *("model.tflite", "parity.json"),
    }
    assert made.file("model.tflite").read_bytes() == model.read_bytes()
    graph = load_graph(made.path)
    assert [op.name for op in graph.ops] == ["add_0", "fully_connected_1"]
    assert ("rounding" in graph.ops[1].attributes) == (runtime == "litert")
    fed = {name: np.full((1, 6), 3, np.int8) for name in graph.inputs}
    assert run(graph, fed)["add_0_out"].tolist() == [[-2] * 6], "the zero points"
    rows = json.loads(made.file("parity.json").read_text())["layers"]
    found = {(row["backend"], row["layer"]): (row["elements"], row["mismatches"]) for row in rows}
    assert found == {
        ("litert", "add_0"): (120, 0),
        ("litert", "fully_connected_1"): (80, 0),
        ("tflite-micro", "whole"): (80, 0),
    }


def test_another_integer_is_found(model, tmp_path, monkeypatch):
    right = tflite_operators.sum_attributes

    def wrong(*arguments):
        return right(*arguments) | {"output_zero_point": -1}

    monkeypatch.setattr(tflite_operators, "sum_attributes", wrong)
    with pytest.raises(ParityError, match="litert differs from the integer graph at layer add_0"):
        adopt(model, tmp_path / "graph")
    assert not (tmp_path / "graph").exists()


def test_a_missing_file(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.tflite: no such file"):
        adopt(tmp_path / "none.tflite", tmp_path / "graph")
