import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import OnnxStudent, noise, small_graph

from edgekit.audio import FrontEnd, log_mel
from edgekit.errors import UnsupportedError
from edgekit.graph import TIME, run
from quantize.calibration import (
    RANGES,
    Observation,
    affine_quantization,
    best_range,
    observe,
    quantization_error,
)
from quantize.correction import correct_outputs
from quantize.importer import import_onnx
from quantize.quantizer import quantize_network
from quantize.runtime import OnnxModel
from quantize.weights import channel_scales, round_weights, round_with_compensation

rng = np.random.default_rng(3)


@given(st.floats(-200, 200), st.floats(0.01, 400))
def test_zero_is_exact_and_the_range_is_covered(low, width):
    quantization = affine_quantization(low, low + width)
    scale, zero_point = quantization.scales[0], quantization.zero_point
    assert -128 <= zero_point <= 127
    ends = scale * (np.array([-128, 127]) - zero_point)
    assert ends[0] <= min(low, 0) + scale
    assert ends[1] >= max(low + width, 0) - scale


def test_an_activation_that_never_moves_keeps_a_usable_scale():
    assert affine_quantization(0.0, 0.0).scales[0] > 1e-9


def observation(values):
    return Observation(values[:, None], values.min(keepdims=True), values.max(keepdims=True))


def test_best_range_gives_up_outliers_for_the_rest():
    values = np.append(rng.normal(size=100_000), 30.0).astype(np.float32)
    seen = observation(values)
    full = affine_quantization(seen.low, seen.high)
    found = best_range(seen)
    assert found.scales[0] < 0.95 * full.scales[0]
    assert quantization_error(values, found) < 0.95 * quantization_error(values, full)


def test_best_range_keeps_a_uniform_range():
    values = rng.uniform(-1, 1, 10_000).astype(np.float32)
    assert best_range(observation(values)).scales[0] == pytest.approx(2 / 255, rel=0.06)


def test_channel_scales_cover_each_channel():
    weights = rng.normal(size=(5, 3, 3, 2)) * np.array([1, 2, 4, 8, 16])[:, None, None, None]
    scales = channel_scales(weights, 127)
    error = np.abs(round_weights(weights, scales, 127) * scales[:, None, None, None] - weights)
    assert (error.reshape(5, -1).max(axis=1) <= scales / 2 + 1e-7).all()


def test_compensated_rounding_beats_plain_rounding_on_the_output():
    inputs = rng.normal(size=(4000, 32)) @ rng.normal(size=(32, 32))
    weights = rng.normal(size=(16, 32))
    scales = channel_scales(weights, 7, 32)
    errors = [
        np.mean((inputs @ (stored * scales[:, None] - weights).T) ** 2)
        for stored in (round_weights(weights, scales, 7), round_with_compensation(weights, scales, 7, inputs))
    ]
    assert errors[1] < 0.7 * errors[0]


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """Float student, network, features and what calibration saw."""
    path = OnnxStudent(seed=2).write(tmp_path_factory.mktemp("student") / "student.onnx")
    front_end = FrontEnd(mel_bands=8, memory_frames=64)
    features = [log_mel(noise(seed=s) / 32768, front_end) for s in range(4)]
    network = import_onnx(path)
    return path, front_end, network, observe(path, network, features)


def test_observation_holds_every_layer(student):
    _, _, network, seen = student
    assert set(seen) == {"logmel", *(layer.output for layer in network.layers)}
    assert seen["/l1/relu"].low == 0
    assert seen["/lin/add"].rows.shape[1] == seen["/lin/add"].feature_low.size == 16


@pytest.mark.parametrize(("int4", "allowed"), [(False, 0.02), (True, 0.15)])
def test_the_graph_follows_the_float_student(student, int4, allowed):
    path, front_end, network, seen = student
    graph = quantize_network(network, front_end, seen, int4_linears=int4)
    model = OnnxModel(path)
    for seed in range(20, 24):
        pcm = noise(seed=seed)
        found = run(graph, {"pcm": pcm})["adv_out"] / 2**14
        assert np.abs(found - model(log_mel(pcm / 32768, front_end)[None])).max() < allowed


def test_correction_removes_the_mean_error(student):
    path, front_end, network, seen = student
    graph = quantize_network(network, front_end, seen, int4_linears=False)
    model, clips = OnnxModel(path), [noise(seed=seed) for seed in range(30, 34)]
    wanted = np.array([model(log_mel(pcm / 32768, front_end)[None]) for pcm in clips]) + 0.05
    corrected = correct_outputs(graph, clips, wanted)
    found = np.array([run(corrected, {"pcm": pcm})["adv_out"] for pcm in clips]) / 2**14
    assert np.abs((found - wanted).mean(axis=0)).max() < 2 / 2**14


def test_mixed4_takes_wide_linears_only(tmp_path):
    # 16 features: below the width from which int4 pays.
    assert small_graph(tmp_path, int4=True).tensors["lin_weights"].dtype == "int8"
    wide = small_graph(tmp_path, bands=12, channels=11, int4=True)
    assert wide.tensors["lin_weights"].dtype == wide.tensors["sof_weights"].dtype == "int4"
    assert wide.tensors["l1_weights"].dtype == "int8"


def test_scores_are_centred_over_time(student):
    _, front_end, network, seen = student
    graph = quantize_network(network, front_end, seen, int4_linears=False)
    scores = run(graph, {"pcm": noise()})["sof_out"].astype(int)
    assert graph.tensors["sof_out"].quantization.zero_point in (-1, 0)
    middle = (scores.min(axis=0) + scores.max(axis=0)) / 2
    assert np.abs(middle).mean() < 40


def test_outputs_beyond_q14_are_refused(student):
    _, front_end, network, seen = student
    wide = dataclasses.replace(seen["adv"], feature_high=np.full(3, 3.5, np.float32))
    with pytest.raises(UnsupportedError, match="leaves"):
        quantize_network(network, front_end, {**seen, "adv": wide}, int4_linears=False)


@pytest.mark.parametrize("n_fft", [64, 128, 256])
def test_longer_windows_stay_in_range(tmp_path, n_fft):
    graph = small_graph(tmp_path, n_fft=n_fft)
    loud = np.where(np.arange(16_000) // 20 % 2, 32767, -32768).astype(np.int16)
    assert run(graph, {"pcm": loud})["power"].max() < 1 << 51


def test_a_network_that_pads_the_end_hears_one_window_at_a_time(student):
    _, front_end, network, seen = student
    layers = tuple(
        dataclasses.replace(layer, padding=(1, 1, 1, 1)) if layer.name == "l1" else layer
        for layer in network.layers
    )
    changed = dataclasses.replace(network, layers=layers)
    graph = quantize_network(changed, front_end, seen, int4_linears=False, window_samples=8000)
    frames = front_end.frame_count(8000)
    assert graph.tensors["log_mel"].shape == (frames, front_end.mel_bands, 1)
    assert graph.tensors["l1_out"].shape[0] == frames
    found = run(graph, {"pcm": np.zeros(8000, np.int16)})
    for name, values in found.items():
        if graph.tensors[name].shape[0] != TIME:
            assert values.shape == graph.tensors[name].shape


def test_ranges_cover_all_or_leave_out_the_outermost():
    values = np.append(np.random.default_rng(0).normal(size=100_000), [50.0]).astype(np.float32)
    seen = Observation(values[:, None], values.min(keepdims=True), values.max(keepdims=True))
    tops = {}
    for name, choose in RANGES.items():
        found = choose(seen)
        tops[name] = found.scales[0] * (127 - found.zero_point)
    assert tops["minmax"] == pytest.approx(50, rel=0.01)
    assert 3 < tops["percentile"] < 5
    assert 3 < tops["mse"] < 50


def test_calibration_sees_a_linear_layers_inputs_in_its_own_order(tmp_path):
    """ONNX flattens maps channel by channel, the graph mel by mel."""
    graph = small_graph(tmp_path, channels=4, bands=8)
    network = import_onnx(tmp_path / "student.onnx")
    pcm = noise(0.5)
    front_end = FrontEnd(mel_bands=8, memory_frames=64)
    seen = observe(tmp_path / "student.onnx", network, [log_mel(pcm / 32768, front_end)])
    layer = next(layer for layer in network.layers if layer.name == "lin")
    expected = seen[layer.inputs[0]].rows[:, layer.columns].mean(axis=0)
    source = graph.tensors[graph.op("lin").inputs[0]]
    found = source.quantization.dequantize(run(graph, {"pcm": pcm})[source.name]).mean(axis=0)
    np.testing.assert_allclose(found, expected, atol=0.1 * np.abs(expected).max())


def test_biases_make_up_for_what_rounding_takes(student):
    """With coarse weights, the mean of each output channel stays the float one's."""
    _, front_end, network, seen = student
    errors = []
    for correct in (False, True):
        graph = quantize_network(
            network, front_end, seen, int4_linears=True, choose_range=RANGES["minmax"], correct_biases=correct
        )
        found = run(graph, {"pcm": noise(seed=2)})
        layer = next(layer for layer in network.layers if layer.name == "lin")
        tensor = graph.output(graph.op("lin"))
        mean = tensor.quantization.dequantize(found[tensor.name]).mean(axis=0)
        errors.append(np.abs(mean - seen[layer.output].rows.mean(axis=0)).mean())
    assert errors[1] < errors[0]
