"""Each operator against plain loops over its definition."""

import numpy as np
import pytest
from support import noise, small_graph

from edgekit.audio import FrontEnd, log_mel, to_pcm16
from edgekit.errors import AudioError
from edgekit.graph import Op, run
from edgekit.graph.fixedpoint import exp_table, multiply_by_quantized_multiplier
from edgekit.graph.linear_ops import conv2d, fully_connected, fully_connected_int16
from edgekit.graph.pooling_ops import attention_pool, max_pool2d

rng = np.random.default_rng(5)


def window_op(kind, **attributes):
    points = {"input_zero_point": -7, "output_zero_point": 4, "clamp": (-100, 120)}
    return Op(
        kind,
        "x",
        (),
        (),
        {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0, 1, 0), **points, **attributes},
    )


def padded(x, fill):
    return np.pad(x, ((1, 0), (1, 0), (0, 0)), constant_values=fill)


def requantized(op, value, multiplier, shift):
    scaled = int(multiply_by_quantized_multiplier(np.array([value]), multiplier, shift)[0]) + 4
    return min(max(scaled, op.integers("clamp")[0]), op.integers("clamp")[1])


def test_conv2d_equals_loops():
    op, x = window_op("conv2d"), rng.integers(-128, 128, (7, 5, 3))
    weights, bias = rng.integers(-127, 128, (4, 3, 2, 3)), rng.integers(-999, 999, 4)
    multiplier, shift = np.full(4, 1 << 30), np.array([-6, -7, -8, -9])
    result, wide = conv2d(op, x, weights, bias, multiplier, shift), padded(x, -7)
    assert result.shape == (3, 5, 4)
    for t, w, o in np.ndindex(result.shape):
        window = wide[2 * t : 2 * t + 3, w : w + 2] + 7
        total = int((window * weights[o]).sum()) + int(bias[o])
        assert result[t, w, o] == requantized(op, total, 1 << 30, int(shift[o]))


def test_max_pool2d_equals_loops_and_padding_never_wins():
    op, x = window_op("max_pool2d"), rng.integers(-128, -100, (6, 5, 2))
    result, wide = max_pool2d(op, x), padded(x, -128)
    assert result.shape == (3, 5, 2)
    for t, w, c in np.ndindex(result.shape):
        assert result[t, w, c] == wide[2 * t : 2 * t + 3, w : w + 2, c].max()


def test_fully_connected_equals_loops():
    op = window_op("fully_connected")
    x, weights, bias = rng.integers(-128, 128, (3, 6)), rng.integers(-8, 8, (2, 6)), rng.integers(-99, 99, 2)
    result = fully_connected(op, x, weights, bias, np.full(2, 1 << 30), np.full(2, -3))
    for t, o in np.ndindex(result.shape):
        total = int(((x[t] + 7) * weights[o]).sum()) + int(bias[o])
        assert result[t, o] == requantized(op, total, 1 << 30, -3)


def test_fully_connected_int16_saturates():
    weights, zeros = np.array([[127, 127], [-127, -127]]), np.zeros(2, np.int64)
    x = np.array([32767, 32767])
    result = fully_connected_int16(
        Op("fully_connected_int16", "", (), ()), x, weights, zeros, np.full(2, 1 << 30), zeros
    )
    assert result.tolist() == [32767, -32768]


def test_attention_pool_is_a_softmax_weighted_mean():
    scale, value, score = 0.05, rng.integers(-128, 128, (400, 9)), rng.integers(-128, 128, (400, 9))
    found = attention_pool(
        Op("", "", (), (), {"value_zero_point": 11}), value, score, exp_table(scale).astype(np.int64)
    )
    weight = np.exp(scale * score.astype(float))
    exact = ((value - 11) * weight).sum(axis=0) / weight.sum(axis=0) * 128
    assert np.abs(found - exact).max() < 8


def test_attention_pool_halves_full_sums(monkeypatch):
    op, table = Op("", "", (), (), {"value_zero_point": 0}), exp_table(0.01).astype(np.int64)
    value, score = np.tile([[100], [-20]], (50, 1)), np.zeros((100, 1), np.int64)
    plain = attention_pool(op, value, score, table)
    monkeypatch.setattr("edgekit.graph.pooling_ops.WEIGHT_LIMIT_BITS", 18)
    halved = attention_pool(op, value, score, table)
    assert abs(int(plain[0]) - 40 * 128) <= 1
    # The older half of the sums counts half: the mean stays, to within the weight of one pair.
    assert abs(int(halved[0]) - 40 * 128) < 20 * 128


def test_front_end_agrees_with_the_float_definition(graph):
    pcm = noise(2.0)
    values = run(graph, {"pcm": pcm})
    front_end = FrontEnd(mel_bands=8, memory_frames=64)
    exact = log_mel(pcm / 32768, front_end)
    quantization = graph.tensors["log_mel"].quantization
    found = quantization.dequantize(values["log_mel"])[:, :, 0]
    inside = exact < quantization.scales[0] * (127 - quantization.zero_point)
    assert np.abs(found - exact)[inside].mean() < 0.3 * quantization.scales[0]
    assert np.abs(found - exact)[inside].max() < 2 * quantization.scales[0]


def test_utterance_level_agrees_with_the_float_definition(tmp_path):
    utterance, pcm = small_graph(tmp_path, level="utterance"), noise(2.0)
    pcm = (pcm - pcm.mean()).astype(np.int16)
    values = run(utterance, {"pcm": pcm})
    assert values["level_log2"].shape == (1,)
    exact = np.log2(np.mean((pcm / 32768) ** 2) + 1e-7) + 38
    # The graph takes a running mean from the samples, the paper the mean of the whole clip.
    assert abs(values["level_log2"][0] / 512 - exact) < 0.02


def test_silence_and_full_scale_stay_in_range(graph):
    square = np.where(np.arange(16000) // 20 % 2, 32767, -32768).astype(np.int16)
    for pcm in (np.zeros(16000, np.int16), square, np.eye(1, 16000, 8000, dtype=np.int16)[0] * 32767):
        values = run(graph, {"pcm": pcm})
        assert values["mel_power"].min() >= 0
        assert values["power"].max() < 1 << 51


def test_a_part_of_the_graph_runs_from_given_tensors(graph):
    whole = run(graph, {"pcm": noise()})
    names = [
        name
        for op in graph.ops
        if op.kind in ("frame", "frame_level", "power_spectrum", "mel_filter", "log2")
        for name in op.outputs
    ]
    part = run(graph, {name: whole[name] for name in (*names, "log_mel")})
    assert part["adv_out"].tolist() == whole["adv_out"].tolist()


@pytest.mark.parametrize("samples", [0, 10, 63, 64, 100])
def test_audio_too_short_for_a_token_is_an_error(graph, samples):
    with pytest.raises(AudioError, match="audio too short"):
        run(graph, {"pcm": np.zeros(samples, np.int16)})


def test_float_audio_and_pcm_are_one_scale():
    assert to_pcm16(np.array([0.5], np.float32))[0] == 16384
