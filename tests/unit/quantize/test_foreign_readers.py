"""Float ONNX models where a tensor is read in several ways: answers are theirs, or the model is refused."""

import numpy as np
import pytest
from onnx_by_hand import Model
from unit.quantize.test_foreign_faults import attend, quantized

from edgekit.errors import UnsupportedError
from edgekit.graph import load_graph
from quantize import weights

LAST, MAP, TOKENS, ROW = (7, 7, 2), (2, 7, 7), (6, 10), (10,)


def axes(m, *values):
    return m.constant(np.array(values, np.int64))


def channels_last(m, channels):
    m.turn(0, 3, 1, 2)
    m.conv(channels)
    return m.turn(0, 2, 3, 1)


def squeezed_and_turned(m):
    """Rows and columns of a map of channels last: as many, so that no size tells them apart."""
    maps = channels_last(m, 1)
    plain = m.node("Squeeze", maps, axes(m, 3))
    m.node("Squeeze", maps, axes(m, 3))
    m.turn(0, 2, 1)
    turned = m.matmul(5)
    m.node("Add", turned, m.node("MatMul", plain, m.weights(5, 3)))


def rows_of_columns(m):
    channels_last(m, 5)
    m.turn(0, 2, 1, 3)
    m.reshape(0, 0, -1)
    m.matmul(25)


def squared_columns(m):
    m.conv(5)
    m.turn(0, 2, 1, 3)
    m.node("Mul", m.last, m.last)
    m.node("Flatten")
    m.gemm(125)


def squared_columns_returned(m):
    m.conv(5)
    m.turn(0, 2, 1, 3)
    m.node("Mul", m.last, m.last)


def tokens_split_again(m):
    m.conv(6)
    m.turn(0, 2, 1, 3)
    m.reshape(0, 0, 3, 10)
    m.conv(3, 5, 1)


def tokens_of_a_fixed_size(m):
    m.conv(5)
    m.turn(0, 2, 1, 3)
    m.reshape(1, 5, 25)
    m.matmul(25)


def pooled_maps(m):
    """Values and scores that are a map's own tokens: their features lie as the graph's map does."""
    m.conv(5)
    m.turn(0, 2, 1, 3)
    tokens = m.reshape(0, 0, -1)
    attend(m, tokens, tokens)
    m.gemm(25)


def one_score_a_token(m):
    attend(m, m.matmul(10, 4), m.node("MatMul", "x", m.weights(10, 1)))
    m.gemm(4)


def map_and_tokens(m):
    """The input itself once as a map of one channel, once as tokens."""
    m.node("Unsqueeze", "x", axes(m, 1))
    m.conv(3, 1)
    m.node("Flatten")
    one = m.gemm(3 * 4 * 8, 4)
    m.node("MatMul", "x", m.weights(10, 2))
    m.node("Flatten")
    m.node("Add", one, m.gemm(12, 4))


def map_plus_tokens(m):
    m.node("Unsqueeze", "x", axes(m, 1))
    m.conv(1, 1, pads=[1, 1, 1, 1])
    m.node("Squeeze", m.last, axes(m, 1))
    m.node("Add", m.last, "x")


def row_as_tokens(m):
    m.node("Unsqueeze", "x", axes(m, 1))
    m.matmul(10)


def row_as_a_map(m):
    m.node("Unsqueeze", m.node("Unsqueeze", "x", axes(m, 1)), axes(m, 1))
    w = m.weights(3, 1, 1, 3)
    m.node("Conv", m.last, w)


def no_bias(m):
    m.node("Conv", "x", m.weights(3, 2, 3, 3), "")


RIGHT = {
    "squeezed and turned": (LAST, squeezed_and_turned),
    "rows of columns": (LAST, rows_of_columns),
    "squared columns": (MAP, squared_columns),
    "squared columns returned": (MAP, squared_columns_returned),
    "tokens split again": (MAP, tokens_split_again),
    "tokens of a fixed size": (MAP, tokens_of_a_fixed_size),
    "pooled maps": (MAP, pooled_maps),
    "one score a token": (TOKENS, one_score_a_token),
    "map and tokens": (TOKENS, map_and_tokens),
    "map plus tokens": (TOKENS, map_plus_tokens),
    "row as tokens": (ROW, row_as_tokens),
    "row as a map": (ROW, row_as_a_map),
    "no bias": (MAP, no_bias),
}


@pytest.mark.parametrize("name", RIGHT)
def test_answers_are_the_float_models(name, tmp_path):
    shape, build = RIGHT[name]
    model = Model(shape)
    build(model)
    assert quantized(model, tmp_path)[1] < 0.05


def test_scores_of_tokens_are_as_many_as_values(tmp_path):
    """As the C reads them."""
    model = Model(TOKENS)
    one_score_a_token(model)
    graph = load_graph(quantized(model, tmp_path)[0].path)
    (pool,) = (op for op in graph.ops if op.kind == "attention_pool")
    assert [graph.tensors[name].shape for name in pool.inputs[:2]] == [(6, 4), (6, 4)]


def pooled_columns(m):
    squared_columns_returned(m)
    m.node("GlobalAveragePool")


def turned_tokens(m):
    m.conv(5)
    m.turn(0, 2, 1, 3)
    m.reshape(0, 0, -1)
    m.turn(0, 2, 1)
    m.matmul(5)


def flat_tokens(m):
    m.conv(5)
    m.turn(0, 2, 1, 3)
    m.reshape(0, 0, -1)
    m.node("Flatten")
    m.gemm(125)


def scores_in_another_order(m):
    m.conv(5)
    m.turn(0, 2, 1, 3)
    tokens = m.reshape(0, 0, -1)
    attend(m, tokens, m.matmul(25, 25))


def fewer_values(m):
    scores = m.matmul(10, 6)
    attend(m, m.node("MatMul", "x", m.weights(10, 1)), scores)


def training(m):
    norm = [m.constant(np.full(4, value, np.float32)) for value in (1, 0, 0, 1)]
    m.conv()
    m.node("BatchNormalization", m.last, *norm, training_mode=1)
    m.nodes[-1].output.extend(["mean", "variance"])


def dropped(m):
    m.matmul(10)
    m.node("Dropout", m.last, m.constant(np.float32(0.5)), m.constant(np.array(True)))


def five_axes(m):
    m.node("Squeeze", m.node("Unsqueeze", "x", axes(m, 1)), axes(m, 1))
    m.conv()


REFUSED = {
    r"GlobalAveragePool.*maps \(batch, channel": (MAP, pooled_columns),
    r"Transpose\): required: a Gemm or MatMul to read what was a map": (MAP, turned_tokens),
    r"Flatten\): required: a Gemm or MatMul to read what was a map": (MAP, flat_tokens),
    r"Mul\): required: values and scores whose features lie in one order": (MAP, scores_in_another_order),
    r"Mul\): required: a score for each value": (TOKENS, fewer_values),
    r"BatchNormalization\): required: training_mode 0": (MAP, training),
    r"Dropout\): required: training_mode false": (TOKENS, dropped),
    r"Unsqueeze\): required: at most three axes": (MAP, five_axes),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_would_be_wrong_is_refused(message, tmp_path):
    shape, build = REFUSED[message]
    model = Model(shape)
    build(model)
    with pytest.raises(UnsupportedError, match=message) as caught:
        quantized(model, tmp_path)
    assert caught.value.exit_code == 6


def test_a_wide_layer_is_rounded_block_by_block(monkeypatch):
    """What is known of its inputs never takes more than the square of a block."""
    rng, sizes = np.random.default_rng(0), []
    inverse = np.linalg.inv

    def inverted(matrix):
        sizes.append(matrix.shape)
        return inverse(matrix)

    monkeypatch.setattr(np.linalg, "inv", inverted)
    real, inputs = rng.normal(size=(2, 2500)), rng.normal(size=(8, 2500))
    scales = weights.channel_scales(real, 127)
    found = weights.round_with_compensation(real, scales, 127, inputs)
    assert sizes == [(1024, 1024), (1024, 1024), (452, 452)]
    plain = weights.round_weights(real, scales, 127)
    lost, plainly_lost = ((real - stored * scales[:, None]) @ inputs.T for stored in (found, plain))
    assert np.abs(lost).mean() < np.abs(plainly_lost).mean()
