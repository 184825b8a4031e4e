"""Float ONNX models of every way to lay values out: the graph's answers are theirs, each in its place."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_by_hand import Model

from edgekit.errors import EdgekitError, UnsupportedError
from quantize.config import QuantizeConfig
from quantize.foreign import quantize_model

INT8 = QuantizeConfig(weights="int8")
MAP, ROW, TOKENS = (2, 6, 7), (10,), (6, 10)


def flatten_then(kind):
    def build(m):
        m.conv()
        m.node("Flatten")
        m.node(kind)
        m.gemm(80)

    return build


def two_flattened(m):
    one = m.conv()
    a = m.node("Flatten", one)
    b = m.node("Flatten", m.conv(source="x"))
    m.node("Add", a, b)
    m.gemm(80)


def flatten_last(m):
    m.conv()
    m.node("Flatten")


def flatten_softmax(m):
    m.conv()
    m.node("Flatten")
    m.node("Softmax", axis=1)


def channels_last_function(m):
    m.conv()
    m.turn(0, 2, 3, 1)
    m.node("Tanh")
    m.node("Flatten")
    m.gemm(80)


def there_and_back(m):
    m.conv()
    m.turn(0, 2, 3, 1)
    m.node("Tanh")
    m.turn(0, 3, 1, 2)
    m.conv(3, 4, 1)


def channels_last_output(m):
    m.conv()
    m.turn(0, 2, 3, 1)
    m.node("Tanh")


def turned_map(m):
    m.conv()
    m.turn(0, 1, 3, 2)


def pad_axes(m):
    pads, axes = (m.constant(np.array(v, np.int64)) for v in ([0, 1, 1, 0], [3, 2]))
    m.node("Pad", "x", pads, "", axes)
    m.conv()


def pad_more_than_the_kernel(m):
    m.node("Pad", "x", m.constant(np.array([0, 0, 3, 2, 0, 0, 0, 4], np.int64)))
    m.conv()


def dilated_same(m):
    m.conv(dilations=[3, 3], pads=[3, 3, 3, 3])


def pointwise_with_padding(m):
    m.conv(kernel=1, pads=[1, 1, 1, 1])


def counted_padding(m):
    m.conv()
    m.node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)


def tokens_function(m):
    m.conv()
    m.turn(0, 2, 1, 3)
    m.reshape(0, 0, -1)
    m.node("Tanh")
    m.matmul(20)


def tokens_of_depthwise(m):
    m.conv()
    m.conv(8, 4, 1, group=4)
    m.turn(0, 2, 1, 3)
    m.reshape(0, 0, -1)
    m.matmul(40)


def gate_first(m):
    c = m.conv()
    mean = m.node("GlobalAveragePool", c)
    gate = m.node("Sigmoid", mean)
    m.node("Mul", gate, c)


def twice_itself(m):
    c = m.conv()
    m.node("Add", c, c)


def rows_gated(m):
    a = m.gemm(10, 6)
    t = m.node("Tanh", a)
    m.node("Mul", a, t)


def constant_first(m):
    m.matmul(10)
    m.node("Add", m.weights(3), m.last)


def constant_of_higher_rank(m):
    m.matmul(10)
    m.node("Add", m.last, m.weights(1, 1, 3))


def attention(m):
    value = m.matmul(10, 8)
    m.last = "x"
    shares = m.node("Softmax", m.matmul(10, 8), axis=1)
    weighted = m.node("Mul", value, shares)
    m.node("ReduceSum", weighted, m.constant(np.array([1], np.int64)), keepdims=0)
    m.node("Gemm", m.last, m.weights(8, 3, spread=0.1), m.weights(3, spread=0.1))


def relu6_alone(m):
    m.conv()
    m.node("MaxPool", kernel_shape=[2, 2])
    limits = [m.constant(np.float32(value)) for value in (0, 6)]
    m.node("Clip", m.last, *limits)


def pruned_channel(m):
    w = np.random.default_rng(1).normal(size=(4, 2, 3, 3)).astype(np.float32)
    w[1] = 0
    m.node("Conv", "x", m.constant(w), m.constant(np.array([1, 5, -3, 2], np.float32)))


def alias_read_twice(m):
    c = m.conv()
    t = m.turn(0, 2, 3, 1)
    m.node("Relu", t)
    back = m.turn(0, 3, 1, 2)
    m.node("Add", back, c)


def squeezed_output(m):
    m.conv(4, 2, 7, pads=[3, 0, 3, 0])
    m.node("Squeeze", m.last, m.constant(np.array([3], np.int64)))
    m.node("Tanh")


RIGHT = {
    **{f"flatten, {kind}": (MAP, flatten_then(kind)) for kind in ("Relu", "Tanh")},
    "two flattened": (MAP, two_flattened),
    "flatten last": (MAP, flatten_last),
    "flatten, softmax": (MAP, flatten_softmax),
    "channels last, function, flatten": (MAP, channels_last_function),
    "there and back": (MAP, there_and_back),
    "channels last output": (MAP, channels_last_output),
    "turned map": (MAP, turned_map),
    "pad of some axes": (MAP, pad_axes),
    "pad beyond the kernel": (MAP, pad_more_than_the_kernel),
    "dilated same": (MAP, dilated_same),
    "pointwise, padded": (MAP, pointwise_with_padding),
    "counted padding": (MAP, counted_padding),
    "tokens, function": (MAP, tokens_function),
    "tokens of a depthwise layer": (MAP, tokens_of_depthwise),
    "gate first": (MAP, gate_first),
    "twice itself": (MAP, twice_itself),
    "rows gated": (ROW, rows_gated),
    "constant first": (TOKENS, constant_first),
    "constant of higher rank": (TOKENS, constant_of_higher_rank),
    "attention": (TOKENS, attention),
    "relu6 alone": (MAP, relu6_alone),
    "pruned channel": (MAP, pruned_channel),
    "alias read twice": (MAP, alias_read_twice),
    "squeezed output": (MAP, squeezed_output),
}


@pytest.mark.parametrize("name", RIGHT)
def test_answers_are_the_float_models(name, tmp_path):
    shape, build = RIGHT[name]
    model = Model(shape)
    build(model)
    model.write(tmp_path)
    made = quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")
    found = json.loads((made.path / "parity.json").read_text())
    error = found["quantized_vs_float"]
    assert error["mean"] < 0.04 * error["float_spread"], error
    assert found["end_to_end"]["onnx"]["mean"] < 0.02 * error["float_spread"]


def test_a_model_of_channels_last_with_a_shortcut(tmp_path):
    model = Model((6, 7, 2))
    model.node("Relu")
    first = model.last
    model.turn(0, 3, 1, 2)
    model.conv(2, 2, pads=[1, 1, 1, 1])
    model.node("Add", model.turn(0, 2, 3, 1), first)
    model.write(tmp_path)
    made = quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")
    error = json.loads((made.path / "parity.json").read_text())["quantized_vs_float"]
    assert error["mean"] < 0.04 * error["float_spread"], error


def relu_then_bias(m):
    m.matmul(10, 6)
    m.node("Relu")
    m.node("Add", m.last, m.weights(6))


def token_norm(m):
    m.matmul(10, 6)
    m.node("BatchNormalization", m.last, *(m.constant(np.full(6, v, np.float32)) for v in (2, 1, 0.5, 3)))


def dilated_pool(m):
    m.conv()
    m.node("MaxPool", kernel_shape=[2, 2], dilations=[2, 2])


def pad_of_channels_last(m):
    m.conv()
    m.turn(0, 2, 3, 1)
    m.node("Pad", m.last, m.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64)))


def map_softmax(m):
    m.conv()
    m.node("Softmax", axis=-1)


def map_times_matrix(m):
    m.conv()
    m.matmul(5)


def flat_pool(m):
    m.node("MaxPool", kernel_shape=[2])


REFUSED = {
    "a constant after a MatMul": (TOKENS, relu_then_bias),
    "channels, or features of one row": (TOKENS, token_norm),
    "dilations 1": (MAP, dilated_pool),
    "a map": (MAP, pad_of_channels_last),
    "rows or tokens": (MAP, map_softmax),
    "tokens \\(batch, time, features\\) or rows": (MAP, map_times_matrix),
    "maps \\(batch, channel": ((3, 10), flat_pool),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_would_be_wrong_is_refused(message, tmp_path):
    shape, build = REFUSED[message]
    model = Model(shape)
    build(model)
    model.write(tmp_path)
    with pytest.raises(UnsupportedError, match=rf"\(\w+\): required: .*{message}") as caught:
        quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")
    assert caught.value.exit_code == 6


def test_softmax_of_old_models_spans_all_axes(tmp_path):
    model = Model((5, 10), opset=11)
    model.matmul(10, 6)
    model.node("Softmax")
    model.write(tmp_path)
    with pytest.raises(UnsupportedError, match="opset 13 or later"):
        quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")


@pytest.mark.parametrize("kind", ["batch", "double", "open size", "same names", "channels"])
def test_models_that_cannot_run_are_one_line(kind, tmp_path):
    model = Model(MAP)
    model.conv(inputs=3 if kind == "channels" else 2)
    model.node("Relu")
    model.write(tmp_path)
    proto = onnx.load(str(tmp_path / "m.onnx"))
    tensor = proto.graph.input[0].type.tensor_type
    if kind == "batch":
        tensor.shape.dim[0].dim_value = 4
    elif kind == "double":
        tensor.elem_type = TensorProto.DOUBLE
    elif kind == "open size":
        tensor.shape.dim[2].dim_param = "rows"
    elif kind == "same names":
        proto.graph.node[1].name = proto.graph.node[0].name
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(EdgekitError) as caught:
        quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")
    assert caught.value.exit_code == 6
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]


def test_a_batch_that_is_left_open(tmp_path):
    model = Model(MAP)
    model.conv()
    model.node("Flatten")
    model.gemm(80)
    model.write(tmp_path)
    proto = onnx.load(str(tmp_path / "m.onnx"))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]
    onnx.save(proto, tmp_path / "m.onnx")
    assert quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph").path.is_dir()


@pytest.mark.parametrize(
    "values", [np.zeros((3, 10), np.complex64), np.full((3, 10), 1e300), np.array([["a"] * 10])]
)
def test_examples_that_are_no_real_numbers(values, tmp_path):
    model = Model(ROW)
    model.gemm(10)
    model.write(tmp_path)
    np.save(tmp_path / "d.npy", values)
    with pytest.raises(EdgekitError, match="values") as caught:
        quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")
    assert caught.value.exit_code == 2


def test_examples_of_nothing_but_zeros(tmp_path):
    model = Model(ROW)
    model.gemm(10)
    model.write(tmp_path)
    np.save(tmp_path / "d.npy", np.zeros((3, 10), np.float32))
    assert quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph").path.is_dir()


def test_a_file_in_the_place_of_the_folder_stays(tmp_path):
    model = Model(ROW)
    model.gemm(10)
    model.write(tmp_path)
    (tmp_path / "graph").write_text("precious")
    with pytest.raises(EdgekitError, match="is a file"):
        quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")
    assert (tmp_path / "graph").read_text() == "precious"
