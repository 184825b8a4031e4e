"""Sigmoid and tanh of float ONNX models: a scale that LiteRT and TFLite Micro compute alike."""

import json

import numpy as np
import pytest
from onnx_by_hand import Model

from edgekit.errors import UnsupportedError
from edgekit.graph import load_graph
from quantize.config import QuantizeConfig
from quantize.foreign import quantize_model

INT8 = QuantizeConfig(weights="int8")


def quantized(tmp_path, model, examples=None):
    """Return the graph and its parity."""
    model.write(tmp_path)
    if examples is not None:
        np.save(tmp_path / "d.npy", examples.astype(np.float32))
    made = quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")
    return load_graph(made.path), json.loads(made.file("parity.json").read_text())


@pytest.mark.parametrize("function", ["Sigmoid", "Tanh"])
def test_a_layer_that_only_saturates_is_told_apart_where_it_does_not(tmp_path, function):
    model = Model((8,))
    model.node("Gemm", "x", model.weights(8, 8, spread=300.0), model.weights(8))
    model.node(function)
    graph, parity = quantized(tmp_path, model, np.random.default_rng(0).normal(size=(200, 8)))
    assert [op.kind for op in graph.ops] == ["fully_connected", "lookup"]
    assert graph.tensors[graph.ops[1].inputs[0]].quantization.scales[0] == pytest.approx(16 / 255)
    assert parity["quantized_vs_float"]["mean"] < 0.02


def test_a_layer_that_another_reads_too_is_rescaled(tmp_path):
    """A wide SiLU: the sum keeps its range, the sigmoid of it gets its own."""
    model = Model((8,))
    wide = model.node("Gemm", "x", model.weights(8, 8, spread=1000.0), model.weights(8))
    model.node("Mul", wide, model.node("Sigmoid"))
    graph, parity = quantized(tmp_path, model)
    assert [op.attributes.get("function") for op in graph.ops] == [None, "rescale", "sigmoid", None]
    assert graph.tensors[graph.ops[0].outputs[0]].quantization.scales[0] > 8
    assert {row["backend"] for row in parity["layers"]} >= {"tflite", "tflite-micro", "onnx"}
    found = parity["quantized_vs_float"]
    assert found["mean"] < 0.02 * found["float_spread"]


def test_a_scale_that_meets_halves_is_left(tmp_path):
    """A power of two: tanh is a line there, and the runtimes round its halves differently."""
    examples = np.tile(np.arange(-128, 128)[:, None] * 2.0**-9, 4)
    model = Model((4,))
    model.node("Tanh")
    graph, parity = quantized(tmp_path, model, examples)
    scales = [graph.tensors[op.inputs[0]].quantization.scales[0] for op in graph.ops]
    assert scales[0] == 2.0**-9
    assert scales[0] < scales[1] < 1.1 * scales[0]
    assert parity["quantized_vs_float"]["mean"] < 0.005


def test_an_input_beyond_every_shift_is_refused(tmp_path):
    model = Model((4,))
    model.node("Sigmoid")
    with pytest.raises(UnsupportedError, match=r"layer 'Sigmoid0' \(sigmoid, from Sigmoid0\): its input"):
        quantized(tmp_path, model, np.random.default_rng(0).normal(size=(20, 4)) * 1e12)
