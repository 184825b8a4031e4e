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
from quantize.tflite_writer import write_tflite

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
    source, graph = interpreter.get_input_details()[0], read_tflite(model)
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
    interpreter, graph = runtime.Interpreter.from_file(str(model)), read_tflite(model, "micro")
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


WINDOW = {"strideH": 1, "strideW": 1, "filterHeight": 1, "filterWidth": 1}


@pytest.mark.parametrize(
    ("kind", "rest", "message"),
    [
        ("FLOOR", {}, r"FLOOR 'floor_0': operator FLOOR, supported: CONV_2D, DEPTHWISE_CONV_2D"),
        (
            "DEQUANTIZE",
            {"dtype": "float32", "quantization": None},
            r"DEQUANTIZE 'dequantize_0' reads tensor 0 'x': FLOAT32, only int8 models",
        ),
        ("TANH", {"dtype": "int16"}, r"TANH 'tanh_0' reads tensor 0 'x': int16, only int8 activations"),
        ("TANH", {"quantization": None}, "required: one scale for each activation"),
        ("TANH", {}, "TANH 'tanh_0': required: an output of scale 1/128, zero 0"),
        ("TANH", {"quantization": Quantization((1 / 128,), 3)}, "required: an output of scale 1/128, zero 0"),
        ("LOGISTIC", {}, "LOGISTIC 'logistic_0': required: an output of scale 1/256, zero -128"),
        ("SOFTMAX", {"options": "SoftmaxOptions"}, "required: an output of scale 1/256"),
        (
            "MAX_POOL_2D",
            {"options": "Pool2DOptions", "fusedActivationFunction": 1, **WINDOW},
            "required: no fused activation that changes values",
        ),
        (
            "AVERAGE_POOL_2D",
            {"options": "Pool2DOptions", "fusedActivationFunction": 5, **WINDOW},
            "required: a fused activation of NONE, RELU",
        ),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path, kind, rest, message):
    path = one_operator(tmp_path, kind, **rest)
    with pytest.raises(UnsupportedError, match=message) as caught:
        read_tflite(path)
    assert caught.value.exit_code == 6


def test_names_are_c_identifiers_each_its_own(tmp_path):
    file = TfliteFile()
    names = ("1st/input:0", "\u00e9t\u00e9", "1st.input.0", "add_0_out")
    tensors = [file.tensor((1, 2), "int8", HALF, name) for name in names]
    first = file.operator("ADD", 2, tensors[:2], file.tensor((1, 2), "int8", HALF), "AddOptions")
    output = file.operator("ADD", 2, tensors[2:], file.tensor((1, 2), "int8", HALF, "y"), "AddOptions")
    path = written(tmp_path, file, tensors, output)
    graph = read_tflite(path)
    assert graph.inputs == ("t_1st_input_0", "t", "t_1st_input_0_2", "add_0_out")
    assert graph.ops[0].outputs == (f"add_0_out_{first}",)
    assert graph.metadata[f"tensor:{graph.outputs[0]}"] == str(output)


def int4(shape):
    return np.random.default_rng(4).integers(-8, 8, shape).astype(np.int8)


def fully_connected_int4(tmp_path) -> Path:
    file = TfliteFile()
    data = file.tensor((3, 7), "int8", HALF, "x")
    weights = file.constant(int4((5, 7)), "int4", Quantization((0.25,)))
    output = file.tensor((3, 5), "int8", Quantization((9.0,)), "y")
    file.operator("FULLY_CONNECTED", 5, [data, weights, -1], output, "FullyConnectedOptions")
    return written(tmp_path, file, [data], output)


def test_int4_weights_of_fully_connected_layers_stay_int4(tmp_path):
    """Their number is odd: half of the last byte is nobody's."""
    graph = read_tflite(fully_connected_int4(tmp_path))
    name = graph.ops[0].inputs[1]
    assert graph.tensors[name].dtype == "int4"
    np.testing.assert_array_equal(graph.constants[name], int4((5, 7)))


@pytest.mark.parametrize("kernel", [1, 3])
def test_int4_weights_of_convolutions(tmp_path, kernel):
    """Those of single positions stay int4 as a fully connected layer's; the others become int8."""
    file, weights = TfliteFile(), int4((5, kernel, kernel, 2))
    data = file.tensor((1, 4, 6, 2), "int8", HALF, "x")
    bias = np.arange(5, dtype=np.int32)
    constants = [file.constant(weights, "int4", Quantization((0.25,))), file.constant(bias)]
    output = file.tensor((1, 5 - kernel, 7 - kernel, 5), "int8", Quantization((1.0,)), "y")
    options = {"padding": 1, "strideH": 1, "strideW": 1}
    file.operator("CONV_2D", 7, [data, *constants], output, "Conv2DOptions", **options)
    graph = read_tflite(written(tmp_path, file, [data], output))
    op = next(op for op in graph.ops if len(op.inputs) > 1)
    found = (op.kind, graph.tensors[op.inputs[1]].dtype)
    assert found == (("fully_connected", "int4") if kernel == 1 else ("conv2d", "int8"))
    np.testing.assert_array_equal(graph.constants[op.inputs[1]].ravel(), weights.ravel())
    assert graph.tensors[graph.outputs[0]].shape == (5 - kernel, 7 - kernel, 5)


def test_int4_weights_that_edgekit_wrote_are_read_again(tmp_path):
    """As 1x1 convolutions, per channel too."""
    graph = read_tflite(fully_connected_int4(tmp_path))
    write_tflite(graph, tmp_path / "again.tflite")
    again = read_tflite(tmp_path / "again.tflite")
    values = np.random.default_rng(5).integers(-128, 128, (3, 7)).astype(np.int8)
    one = run(graph, {"x": values})[graph.outputs[0]]
    other = run(again, {"x": values.reshape(again.tensors["x"].shape)})[again.outputs[0]]
    np.testing.assert_array_equal(one.ravel(), other.ravel())
    (op,) = (op for op in again.ops if op.kind == "fully_connected")
    assert again.tensors[op.inputs[1]].dtype == "int4"


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x00" * 4 + b"TFL3" + b"\xff" * 64, b"not a model at all"])
def test_a_damaged_file_is_refused(tmp_path, data):
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    with pytest.raises(UnsupportedError, match=r"model\.tflite: (not a|damaged) \.tflite"):
        read_tflite(path)
