"""Float ONNX models that once gave wrong answers or a traceback: right now, or refused by name."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_by_hand import Model

from edgekit.errors import UnsupportedError
from quantize.config import QuantizeConfig
from quantize.foreign import quantize_model

INT8 = QuantizeConfig(weights="int8")
MAP, ROW, TOKENS = (2, 6, 7), (10,), (6, 10)


def quantized(model, folder, config=INT8):
    """Write and quantize a model; return the artifact and its error over the spread of its answers."""
    model.write(folder)
    made = quantize_model(config, folder / "m.onnx", folder / "d.npy", folder / "graph")
    error = json.loads((made.path / "parity.json").read_text())["quantized_vs_float"]
    return made, error["mean"] / max(error["float_spread"], 1e-12)


def attend(m, values, scores):
    """Pool values by a softmax of scores over time."""
    m.node("Softmax", scores, axis=1)
    m.node("Mul", m.last, values)
    return m.node("ReduceSum", m.last, m.constant(np.array([1], np.int64)), keepdims=0)


def plain_attention(m):
    values, scores = m.matmul(10, 5), m.node("MatMul", "x", m.weights(10, 5))
    attend(m, values, scores)
    return scores


def scores_behind_relu(m):
    values = m.matmul(10, 5)
    m.node("MatMul", "x", m.weights(10, 5, spread=2))
    attend(m, values, m.node("Relu"))


def scores_that_are_the_values(m):
    m.matmul(10, 5)
    attend(m, m.last, m.last)


def large_answers_behind_attention(m):
    plain_attention(m)
    m.node("Gemm", m.last, m.weights(5, 3, spread=9))


def clip_of_old_opsets(m):
    m.opset = 10
    m.conv()
    m.node("Clip", min=0.0, max=6.0)


def squeezed_to_a_number(m):
    m.gemm(10, 1)
    m.node("Squeeze", m.last, m.constant(np.array([1], np.int64)))


def unsqueeze_of_old_opsets(m):
    m.opset = 11
    m.node("Unsqueeze", axes=[1])
    m.conv(inputs=1)


def mean_of_channels_last(m):
    m.conv()
    m.turn(0, 2, 3, 1)
    m.node("ReduceMean", m.last, m.constant(np.array([1, 2], np.int64)), keepdims=0)
    m.gemm(4)


def mean_counted_from_behind(m):
    m.conv()
    m.turn(0, 2, 3, 1)
    m.node("ReduceMean", m.last, m.constant(np.array([-3, -2], np.int64)), keepdims=1)
    m.node("Flatten")
    m.gemm(4)


def relu_of_channels_last(m):
    m.conv()
    m.turn(0, 2, 3, 1)
    m.node("Relu")
    m.turn(0, 3, 1, 2)
    m.conv(3, 4)


def tiny_results(m):
    m.node("MatMul", m.last, m.weights(10, 6, spread=1e-4))
    m.node("Relu")
    m.node("MatMul", m.last, m.weights(6, 3, spread=2))


RIGHT = {
    "attention": (TOKENS, plain_attention),
    "scores behind Relu": (TOKENS, scores_behind_relu),
    "scores that are the values": (TOKENS, scores_that_are_the_values),
    "large answers behind attention": (TOKENS, large_answers_behind_attention),
    "Clip of old opsets": (MAP, clip_of_old_opsets),
    "squeezed to a number": (ROW, squeezed_to_a_number),
    "Unsqueeze of old opsets": (TOKENS, unsqueeze_of_old_opsets),
    "mean of channels last": (MAP, mean_of_channels_last),
    "mean counted from behind": (MAP, mean_counted_from_behind),
    "Relu of channels last": (MAP, relu_of_channels_last),
    "tiny results": (TOKENS, tiny_results),
}


@pytest.mark.parametrize("name", RIGHT)
def test_answers_are_the_float_models(name, tmp_path):
    shape, build = RIGHT[name]
    model = Model(shape)
    build(model)
    assert quantized(model, tmp_path)[1] < 0.05


def bias_of_each_token(m):
    m.node("MatMul", m.last, m.weights(10, 6))
    m.node("Add", m.last, m.weights(6, 1))


def gemm_bias_of_each_row(m):
    m.node("Gemm", m.last, m.weights(10, 1), m.constant(np.ones((1, 1, 1), np.float32)))
    m.node("Add", m.last, m.weights(3, 1))


def activation_behind_the_head(m):
    plain_attention(m)
    m.gemm(5, 3)
    m.node("HardSigmoid")


def function_of_pooled_values(m):
    plain_attention(m)
    m.node("Relu")


def softmax_over_channels(m):
    m.conv()
    softmax = m.node("Softmax", m.last, axis=1)
    m.node("Mul", softmax, "t0")
    m.node("ReduceSum", m.last, m.constant(np.array([1], np.int64)), keepdims=0)


def row_on_a_map(m):
    m.conv(pads=[1, 1, 1, 1])
    m.node("GlobalAveragePool")
    m.node("Flatten")
    m.gemm(4, 7)
    m.node("Add", m.last, "t0")


def mean_of_everything(m):
    m.conv()
    m.node("ReduceMean")


def sum_of_everything(m):
    m.node("MatMul", m.last, m.weights(10, 5))
    m.node("Softmax", m.last, axis=1)
    m.node("Mul", m.last, "t0")
    m.node("ReduceSum")


def infinite_weights(m):
    m.node("MatMul", m.last, m.constant(np.full((10, 3), np.inf, np.float32)))
    m.node("Clip", m.last, m.constant(np.float32(0)), m.constant(np.float32(6)))


def empty_matrix(m):
    m.node("MatMul", m.last, m.constant(np.zeros((10, 0), np.float32)))


REFUSED = {
    "for each output": (TOKENS, bias_of_each_token),
    "no activation may follow": (TOKENS, activation_behind_the_head),
    "only a Gemm or MatMul may": (TOKENS, function_of_pooled_values),
    "time: axis 1 of tokens": (MAP, softmax_over_channels),
    "as many axes": (MAP, row_on_a_map),
    "over time and mel": (MAP, mean_of_everything),
    "over time$": (TOKENS, sum_of_everything),
    "finite numbers": (ROW, infinite_weights),
    "not empty|cannot run": (ROW, empty_matrix),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_would_be_wrong_is_refused(message, tmp_path):
    shape, build = REFUSED[message]
    model = Model(shape)
    build(model)
    with pytest.raises(UnsupportedError, match=message):
        quantized(model, tmp_path)


def test_a_model_without_weights_has_nothing_to_learn(tmp_path):
    model = Model(MAP)
    model.node("MaxPool", kernel_shape=[2, 2])
    assert quantized(model, tmp_path, QuantizeConfig())[1] < 0.05


def test_a_hard_swish_of_next_to_nothing_is_the_runtimes(tmp_path):
    model = Model(MAP)
    model.node("Conv", model.last, model.weights(4, 2, 3, 3, spread=1e-9))
    model.node("HardSwish")
    made, _ = quantized(model, tmp_path)
    rows = json.loads((made.path / "parity.json").read_text())["layers"]
    assert rows
    assert all(row["mismatches"] == 0 for row in rows if row["backend"] != "onnx")


def test_an_input_that_overflows_inside_is_named(tmp_path):
    model = Model(ROW)
    model.node("MatMul", model.last, model.weights(10, 4, spread=100))
    model.write(tmp_path)
    examples = np.load(tmp_path / "d.npy")
    examples[5] *= 1e38
    np.save(tmp_path / "d.npy", examples)
    with pytest.raises(UnsupportedError, match="not finite on input 5 of 12"):
        quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")


def test_one_example_of_one_answer_is_enough(tmp_path):
    model = Model(ROW)
    model.node("MatMul", model.last, model.weights(10, 1, spread=9))
    model.write(tmp_path)
    np.save(tmp_path / "d.npy", np.load(tmp_path / "d.npy")[:1])
    assert quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph").path.is_dir()


def test_a_transpose_without_axes_turns_all_of_them(tmp_path):
    model = Model(ROW)
    model.gemm(10, 5)
    model.node("Transpose")
    with pytest.raises(UnsupportedError, match="the batch axis stays first"):
        quantized(model, tmp_path)


@pytest.mark.parametrize("shape", [[8], [], [1, 2, 3, 4, 5]])
def test_inputs_of_other_ranks_are_refused(shape, tmp_path):
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "m", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    np.save(tmp_path / "d.npy", np.zeros((3, *shape[1:]), np.float32))
    with pytest.raises(UnsupportedError, match="axes"):
        quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")
