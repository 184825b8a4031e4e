"""Models that nobody here made, read integer for integer; and files that cannot be read."""

import os
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro.python.tflite_micro import runtime

from edgekit.errors import UnsupportedError
from edgekit.graph import Quantization, load_graph, run, save_graph
from quantize.tflite_file import TfliteFile
from quantize.tflite_reader import read_tflite

MODELS = Path(os.environ.get("EDGEKIT_SHARED", Path(__file__).parents[4] / "shared")) / "models"
INPUTS = 20
HALF = Quantization((0.5,))


@pytest.fixture(params=["kws_ref_model", "ad01_int8"])
def model(request) -> Path:
    path = MODELS / f"{request.param}.tflite"
    if not path.is_file():
        pytest.skip(f"{path} is missing: set EDGEKIT_SHARED")
    return path


def random_inputs(shape):
    for seed in range(INPUTS):
        yield np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


@pytest.mark.shared
def test_every_layer_is_that_of_litert(model):
    """Which rounds once in fully connected layers (2.3.0), twice elsewhere."""
    interpreter = Interpreter(
        str(model),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    source, graph = interpreter.get_input_details()[0], read_tflite(model, "litert")
    operators = interpreter._get_ops_details()
    assert len(operators) == len(graph.ops)
    elements = 0
    for values in random_inputs(source["shape"]):
        interpreter.set_tensor(source["index"], values)
        interpreter.invoke()
        found = run(graph, {graph.inputs[0]: values.reshape(graph.tensors[graph.inputs[0]].shape)})
        for op, operator in zip(graph.ops, operators, strict=True):
            expected = interpreter.get_tensor(operator["outputs"][0])
            np.testing.assert_array_equal(found[op.outputs[0]].ravel(), expected.ravel(), op.name)
            elements += expected.size
    assert elements > 30_000


@pytest.mark.shared
def test_results_are_those_of_tflite_micro(model):
    interpreter, graph = runtime.Interpreter.from_file(str(model)), read_tflite(model)
    for values in random_inputs(interpreter.get_input_details(0)["shape"]):
        interpreter.set_input(values, 0)
        interpreter.invoke()
        found = run(graph, {graph.inputs[0]: values.reshape(graph.tensors[graph.inputs[0]].shape)})
        np.testing.assert_array_equal(found[graph.outputs[0]].ravel(), interpreter.get_output(0).ravel())


@pytest.mark.shared
def test_a_graph_that_was_read_can_be_written(model, tmp_path):
    graph = read_tflite(model)
    save_graph(graph, tmp_path)
    again = load_graph(tmp_path)
    values = np.zeros(graph.tensors[graph.inputs[0]].shape, np.int8)
    one, other = (run(g, {g.inputs[0]: values})[g.outputs[0]] for g in (graph, again))
    np.testing.assert_array_equal(one, other)


def written(tmp_path, file, inputs, output) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(file.to_bytes("test", {}, inputs, [output]))
    return path


def one_operator(tmp_path, kind, options="", quantization=HALF, dtype="int8", **values) -> Path:
    file = TfliteFile()
    data = file.tensor((1, 4, 4, 2), dtype, quantization, "x")
    output = file.tensor((1, 4, 4, 2), dtype, quantization, "y")
    file.operator(kind, 1, [data], output, options, **values)
    return written(tmp_path, file, [data], output)


@pytest.mark.parametrize(
    ("kind", "rest", "message"),
    [
        ("FLOOR", {}, r"FLOOR 'floor_0': operator FLOOR, supported: CONV_2D, DEPTHWISE_CONV_2D"),
        ("TANH", {"dtype": "float32", "quantization": None}, "tensor 'x': only integer tensors"),
        ("TANH", {"dtype": "int16"}, "TANH 'tanh_0': required: int8 activations"),
        ("TANH", {"quantization": None}, "required: one scale for each activation"),
        ("SOFTMAX", {"options": "SoftmaxOptions"}, "required: an output of scale 1/256"),
        (
            "MAX_POOL_2D",
            {"options": "Pool2DOptions", "fusedActivationFunction": 1, "strideH": 1, "strideW": 1},
            "required: no fused activation",
        ),
        (
            "AVERAGE_POOL_2D",
            {"options": "Pool2DOptions", "fusedActivationFunction": 5, "strideH": 1, "strideW": 1},
            "required: a fused activation of NONE, RELU",
        ),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path, kind, rest, message):
    path = one_operator(tmp_path, kind, **rest)
    with pytest.raises(UnsupportedError, match=message) as caught:
        read_tflite(path)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x00" * 4 + b"TFL3" + b"\xff" * 64, b"not a model at all"])
def test_a_damaged_file_is_refused(tmp_path, data):
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    with pytest.raises(UnsupportedError, match=r"model\.tflite: (not a|damaged) \.tflite"):
        read_tflite(path)
