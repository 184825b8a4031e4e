"""Scales of weights, and what is refused because its answers are not the float model's."""

import json

import numpy as np
import pytest
from onnx_by_hand import COUNT, Model
from unit.quantize.test_foreign_faults import INT8, quantized

from edgekit.errors import ParityError
from edgekit.graph import load_graph
from quantize import quantizer
from quantize.config import QuantizeConfig
from quantize.foreign import quantize_model

SIZES = np.array([0.01, 1.0, 0.1, 0.4])


def convolution(m):
    w = m.rng.normal(size=(4, 2, 3, 3)) * SIZES[:, None, None, None]
    m.node("Conv", "x", m.constant(w.astype(np.float32)))
    return w


def depthwise(m):
    w = m.rng.normal(size=(4, 1, 3, 3)) * SIZES[:, None, None, None]
    m.node("Conv", "x", m.constant(w.astype(np.float32)), group=2)
    return w


def linear(m):
    w = m.rng.normal(size=(10, 4)) * SIZES
    m.node("MatMul", "x", m.constant(w.astype(np.float32)))
    return w.T


@pytest.mark.parametrize(
    ("build", "shape"), [(convolution, (2, 6, 7)), (depthwise, (2, 6, 7)), (linear, (6, 10))]
)
def test_each_output_channel_has_its_scale(build, shape, tmp_path):
    model = Model(shape)
    weights = build(model)
    graph = load_graph(quantized(model, tmp_path)[0].path)
    found = graph.tensors[graph.ops[0].inputs[1]].quantization
    wanted = np.abs(weights.reshape(4, -1)).max(axis=1) / 127
    np.testing.assert_allclose(found.scales, wanted, rtol=1e-6)


def test_int4_weights_are_clipped_where_that_costs_less(tmp_path):
    """The largest of a row costs all others their accuracy at 4 bits."""
    model = Model((6, 10))
    weights = model.rng.normal(size=(10, 64))
    model.node("MatMul", "x", model.constant(weights.astype(np.float32)))
    made, error = quantized(model, tmp_path, QuantizeConfig(weights="mixed4", qat_steps=0))
    graph = load_graph(made.path)
    tensor = graph.tensors[graph.ops[0].inputs[1]]
    assert tensor.dtype == "int4"
    ratio = np.array(tensor.quantization.scales) / (np.abs(weights).max(axis=0) / 7)
    assert ratio.min() < 0.9
    assert ratio.max() <= 1 + 1e-6
    assert error < 0.1


def test_answers_of_another_kind_are_refused(tmp_path, monkeypatch):
    right = quantizer.round_with_compensation
    monkeypatch.setattr(quantizer, "round_with_compensation", lambda *given: right(*given) // 2)
    model = Model((6, 10))
    model.matmul(10)
    with pytest.raises(ParityError, match="otherwise than the float model: a mean error of") as caught:
        quantized(model, tmp_path)
    assert caught.value.exit_code == 8


def test_an_outlier_does_not_hide_that_the_others_are_lost(tmp_path):
    """Every other example is rounded to nothing beside it."""
    model = Model((6, 10))
    model.matmul(10)
    model.write(tmp_path)
    examples = np.random.default_rng(0).normal(size=(30, 6, 10)).astype(np.float32)
    examples[0, 0, 0] = 1e6
    np.save(tmp_path / "d.npy", examples)
    with pytest.raises(ParityError, match=r"a median error of .* where its answers spread by") as caught:
        quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")
    assert "outliers" in caught.value.hint


@pytest.mark.parametrize("count", [COUNT, 30])
def test_as_many_examples_as_promised_are_compared(count, tmp_path):
    model = Model((6, 10))
    model.matmul(10)
    model.write(tmp_path)
    np.save(tmp_path / "d.npy", np.random.default_rng(0).normal(size=(count, 6, 10)).astype(np.float32))
    made = quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")
    found = json.loads(made.file("parity.json").read_text())
    assert {row["clips"] for row in found["end_to_end"].values()} == {min(count, 20)}
    assert {row["elements"] for row in found["layers"]} == {18 * min(count, 20)}
