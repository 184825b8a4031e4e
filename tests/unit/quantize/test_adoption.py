"""Importing a .tflite as an artifact: what it writes, and that a wrong integer is found."""

import json

import numpy as np
import pytest
from unit.quantize.test_tflite_malformed import changed, setting
from unit.quantize.test_tflite_reader import written

from edgekit.errors import ArtifactError, ParityError, UnsupportedError
from edgekit.graph import Quantization, load_graph, run
from quantize import runtime_parity, tflite_operators
from quantize.adoption import adopt
from quantize.runtime_parity import LitertModel, MicroModel
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
    parity = parity_of(made)
    backends = {"micro": "tflite-micro", "litert": "litert"}
    assert parity["follows"] == backends[runtime]
    rows = {(row["backend"], row["layer"]): (row["elements"], row["mismatches"]) for row in parity["layers"]}
    layers = {"add_0": (120, 0), "fully_connected_1": (80, 0)}
    expected = {(backend, name): row for backend in backends.values() for name, row in layers.items()}
    assert rows == {**expected, (backends[runtime], "whole"): (80, 0)}
    nothing = {"largest": 0, "mean": 0.0, "inputs": 20}
    assert parity["end_to_end"] == dict.fromkeys(backends.values(), nothing)
    assert parity["not_compared"] == {}


def parity_of(made):
    return json.loads(made.file("parity.json").read_text())


@pytest.fixture
def deep_model(tmp_path):
    """Three wide fully connected layers, which the runtimes round differently."""
    file, rng = TfliteFile(), np.random.default_rng(0)
    scale = Quantization((0.05,), 3)
    first = now = file.tensor((8, 64), "int8", scale, "x")
    for number in range(3):
        weights = rng.integers(-127, 128, (64, 64)).astype(np.int8)
        constant = file.constant(weights, quantization=Quantization((0.0017,)))
        output = file.tensor((8, 64), "int8", scale, f"y{number}")
        now = file.operator("FULLY_CONNECTED", 4, [now, constant, -1], output, "FullyConnectedOptions")
    return written(tmp_path, file, [first], now)


@pytest.mark.parametrize("runtime", ["micro", "litert"])
def test_parity_is_that_of_the_graph_that_is_saved(deep_model, tmp_path, runtime):
    """Exact where it is followed; a step a layer in the other runtime, which adds up from input to output."""
    made = adopt(deep_model, tmp_path / "graph", runtime)
    graph, parity = load_graph(made.path), parity_of(made)
    runtimes = {"litert": LitertModel(deep_model, graph), "tflite-micro": MicroModel(deep_model, graph)}
    (other,) = set(runtimes) - {parity["follows"]}
    rows = [row for row in parity["layers"] if row["backend"] == parity["follows"]]
    assert [row["layer"] for row in rows][-1] == "whole"
    assert all(row["mismatches"] == row["allowed_lsb"] == row["allowed_fraction"] == 0 for row in rows)
    rows = [row for row in parity["layers"] if row["backend"] == other]
    assert [row["layer"] for row in rows] == [op.name for op in graph.ops]
    assert sum(row["mismatches"] for row in rows) > 10
    assert {(row["max_lsb"], row["allowed_lsb"], row["allowed_fraction"]) for row in rows} == {(1, 1, 1.0)}
    for name, model in runtimes.items():
        steps = []
        for seed in range(20):
            fed = {"x": np.random.default_rng(seed).integers(-128, 128, (8, 64)).astype(np.int8)}
            output = graph.outputs[0]
            steps.append(np.abs(run(graph, fed)[output].astype(int) - model(fed)[output]))
        found = parity["end_to_end"][name]
        assert found == {"largest": np.max(steps), "mean": pytest.approx(np.mean(steps)), "inputs": 20}
        assert (found["largest"] > 0) == (name == other)
    spread = parity["end_to_end"][other]["mean"] * rows[-1]["elements"]
    assert spread > 3 * rows[-1]["mismatches"], "the last layer alone differs less"


def test_two_steps_are_too_many_in_the_other_runtime(deep_model, tmp_path, monkeypatch):
    """Which is LiteRT: it is compared first."""
    right = tflite_operators.requantization

    def wrong(*arguments):
        multiplier, shift = right(*arguments)
        return multiplier + (1 << 25), shift

    monkeypatch.setattr(tflite_operators, "requantization", wrong)
    with pytest.raises(ParityError, match="litert differs from the integer graph at layer fully_connected_0"):
        adopt(deep_model, tmp_path / "graph")


def relu_n1(tmp_path):
    file = TfliteFile()
    data, output = (file.tensor((1, 16), "int8", Quantization((0.05,)), name) for name in "xy")
    file.operator("RELU_N1_TO_1", 1, [data], output)
    return written(tmp_path, file, [data], output)


def moved(kind, shape, result, values, options="", **fields):
    """Return what adds an operator that reads axes or a shape as its second input."""

    def build(file):
        data = file.tensor(shape, "int8", Quantization((0.1,)), "x")
        output = file.tensor(result, "int8", Quantization((0.1,)), "y")
        constant = file.constant(np.array(values, np.int32))
        file.operator(kind, 1 if kind == "RESHAPE" else 2, [data, constant], output, options, **fields)
        return data, output

    return build


def linear_of(shape, result, **fields):
    def build(file):
        rng = np.random.default_rng(0)
        data = file.tensor(shape, "int8", Quantization((0.05,), 3), "x")
        weights = rng.integers(-127, 128, (40, 60)).astype(np.int8)
        constant = file.constant(weights, quantization=Quantization((0.0017,)))
        output = file.tensor(result, "int8", Quantization((0.05,)), "y")
        file.operator("FULLY_CONNECTED", 5, [data, constant, -1], output, "FullyConnectedOptions", **fields)
        return data, output

    return build


UNCOMMON = {
    "axes from behind": moved("MEAN", (1, 4, 5, 3), (1, 1, 1, 3), [-3, -2], "ReducerOptions", keepDims=True),
    "an axis twice": moved("MEAN", (1, 4, 5, 3), (1, 3), [1, 1, 2], "ReducerOptions"),
    "Transpose from behind": moved("TRANSPOSE", (1, 4, 5, 3), (1, 3, 4, 5), [0, -1, 1, 2]),
    "a single number": moved("RESHAPE", (1, 1), (), np.zeros(0)),
    "axes kept": linear_of((1, 7, 60), (1, 7, 40), keepNumDims=True),
    "axes of a map kept": linear_of((1, 2, 7, 60), (1, 2, 7, 40), keepNumDims=True),
}


@pytest.mark.parametrize("runtime", ["micro", "litert"])
@pytest.mark.parametrize("name", UNCOMMON)
def test_what_is_uncommon_is_read_all_the_same(name, runtime, tmp_path):
    file = TfliteFile()
    data, output = UNCOMMON[name](file)
    parity = parity_of(adopt(written(tmp_path, file, [data], output), tmp_path / "graph", runtime))
    rows = [row for row in parity["layers"] if row["backend"] == "litert"]
    assert rows
    assert all(row["mismatches"] == 0 for row in rows) or runtime == "micro"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (moved("TRANSPOSE", (4, 5), (5, 4), [1, 2]), "TRANSPOSE 'transpose_0': required: axes of the input"),
        (linear_of((1, 7, 60), (7, 1, 40), keepNumDims=True), "required: an output \\(rows, features\\), or"),
        (linear_of((1, 7, 60), (1, 7, 40)), "required: an output \\(rows, features\\), or the input's axes"),
    ],
)
def test_what_makes_no_sense_is_named(build, message, tmp_path):
    file = TfliteFile()
    data, output = build(file)
    with pytest.raises(UnsupportedError, match=message):
        adopt(written(tmp_path, file, [data], output), tmp_path / "graph")


@pytest.mark.parametrize("kind", ["ADD", "MUL"])
def test_a_constant_operand_is_named(kind, tmp_path):
    file, half = TfliteFile(), Quantization((0.5,))
    data, output = (file.tensor((4, 3), "int8", half, name) for name in "xy")
    constant = file.constant(np.ones((4, 3), np.int8), quantization=half)
    file.operator(kind, 2, [constant, data], output, f"{kind.title()}Options")
    with pytest.raises(UnsupportedError, match=f"{kind} '.*': required: two operands that are computed"):
        adopt(written(tmp_path, file, [data], output), tmp_path / "graph")


@pytest.mark.parametrize(("runtime", "of_zero"), [("micro", -128), ("litert", 0)])
def test_a_table_that_the_other_runtime_computes_otherwise(tmp_path, runtime, of_zero):
    """TFLite Micro takes 0 for minus infinity where an input scale is 8 or more."""
    file = TfliteFile()
    data = file.tensor((1, 64), "int8", Quantization((100.0,)), "x")
    output = file.tensor((1, 64), "int8", Quantization((1 / 256,), -128), "y")
    file.operator("LOGISTIC", 2, [data], output)
    made = adopt(written(tmp_path, file, [data], output), tmp_path / "graph", runtime)
    graph = load_graph(made.path)
    assert run(graph, {"x": np.zeros((1, 64), np.int8)})[graph.outputs[0]][0, 0] == of_zero
    parity = parity_of(made)
    allowed = {row["backend"]: row["allowed_lsb"] for row in parity["layers"]}
    assert allowed == {"litert": 128 * (runtime == "micro"), "tflite-micro": 128 * (runtime == "litert")}


def test_a_runtime_without_the_kernel_is_left_out(tmp_path):
    parity = parity_of(adopt(relu_n1(tmp_path), tmp_path / "graph"))
    assert {(row["backend"], row["layer"]) for row in parity["layers"]} == {
        ("litert", "relu_n1_to_1_0"),
        ("litert", "whole"),
    }
    assert list(parity["end_to_end"]) == ["litert"]
    assert parity["not_compared"]["tflite-micro"].startswith("it cannot run this file: ")


def test_tflite_micro_need_not_be_installed(model, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime_parity, "has_micro", lambda: False)
    parity = parity_of(adopt(model, tmp_path / "graph"))
    assert parity["follows"] == "litert", "the default"
    assert {row["backend"] for row in parity["layers"]} == {"litert"}
    assert parity["not_compared"] == {"tflite-micro": "the package tflite_micro is not installed"}


def test_a_map_larger_than_the_file_fits_tflite_micro(tmp_path):
    file, half = TfliteFile(), Quantization((0.5,))
    data = file.tensor((1, 64, 64, 1), "int8", half, "x")
    weights = file.constant(np.ones((8, 1, 1, 1), np.int8), quantization=half)
    output = file.tensor((1, 64, 64, 8), "int8", half, "y")
    inputs = [data, weights, file.constant(np.zeros(8, np.int32))]
    file.operator("CONV_2D", 3, inputs, output, "Conv2DOptions", strideH=1, strideW=1)
    parity = parity_of(adopt(written(tmp_path, file, [data], output), tmp_path / "graph"))
    assert parity["not_compared"] == {}


def test_layers_of_several_operators_are_compared_as_one(tmp_path):
    """A mean and its reshape; int4 weights of a 1x1 convolution as a fully connected layer."""
    file, rng, half = TfliteFile(), np.random.default_rng(0), Quantization((0.5,))
    data = file.tensor((1, 4, 5, 3), "int8", half, "x")
    weights = file.constant(rng.integers(-8, 8, (6, 1, 1, 3)).astype(np.int8), "int4", half)
    maps = file.tensor((1, 4, 5, 6), "int8", Quantization((2.0,)), "m")
    inputs = [data, weights, file.constant(np.arange(6, dtype=np.int32))]
    file.operator("CONV_2D", 7, inputs, maps, "Conv2DOptions", strideH=1, strideW=1)
    output = file.tensor((1, 6), "int8", Quantization((0.7,)), "y")
    file.operator("MEAN", 2, [maps, file.constant(np.array([1, 2], np.int32))], output, "ReducerOptions")
    made = adopt(written(tmp_path, file, [data], output), tmp_path / "graph")
    assert [op.kind for op in load_graph(made.path).ops] == [
        *("reshape", "fully_connected", "reshape"),
        *("mean", "reshape"),
    ]
    rows = [(row["backend"], row["layer"], row["mismatches"]) for row in parity_of(made)["layers"]]
    layers = ("conv_2d_0", "mean_1", "whole")
    assert rows == [(backend, layer, 0) for backend in ("litert", "tflite-micro") for layer in layers]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("name", b"\xff", ("tensors", 0)), r"tensor 0 \(tensor\) is of size unknown in LiteRT, 16"),
        (lambda model: setattr(model, "version", 99), r"LiteRT cannot run it \(.*schema version 99"),
    ],
)
def test_what_litert_cannot_run_is_refused(tmp_path, change, message):
    path = changed(relu_n1(tmp_path), change)
    with pytest.raises(UnsupportedError, match=message) as caught:
        adopt(path, tmp_path / "graph")
    assert "edgekit quantize" in caught.value.hint


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
