"""The trainable graph: the integers of the reference, and gradients of what they stand for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support import noise, small_graph
from unit.quantize.graphs import random_student

import edgekit
from distill.config import DistillConfig
from edgekit.audio import read_audio, to_pcm16
from edgekit.graph import FRONT_END_KINDS, run
from edgekit.graph.reference import OPERATORS
from quantize.finetuning import Examples, finetune
from quantize.importer import import_onnx
from quantize.layers import front_end_graph
from quantize.trainable import LINEAR_KINDS, SMOOTH, TrainableGraph

WINDOW_SAMPLES = 6400


def real_weights(folder):
    return {layer.name: layer.weights for layer in import_onnx(folder / "student.onnx").layers}


def inputs_of(graph, clips):
    """Return (N, ...) int8 inputs of the network."""
    front = front_end_graph(graph)
    return np.stack([run(front, {"pcm": clip})[front.outputs[0]] for clip in clips])


def check_exact(graph, weights, clips):
    """Every activation of a batch is the reference's, integer for integer."""
    trainable = TrainableGraph(graph, weights)
    found = trainable(torch.from_numpy(inputs_of(graph, clips).astype(np.float32)))
    for row, clip in enumerate(clips):
        for name, values in run(graph, {"pcm": clip}).items():
            if name in found:
                np.testing.assert_array_equal(found[name][row].detach().numpy(), values, name)
    assert {op.outputs[0] for op in graph.ops if op.kind not in FRONT_END_KINDS} < set(found)
    untouched = trainable.integer_graph()
    for name, values in graph.constants.items():
        np.testing.assert_array_equal(untouched.constants[name], values, name)


@pytest.mark.parametrize("int4", [True, False])
@pytest.mark.parametrize("level", ["causal", "utterance"])
def test_forward_is_the_integer_graph(tmp_path, int4, level):
    graph = small_graph(tmp_path, channels=13, bands=26, int4=int4, level=level)
    check_exact(graph, real_weights(tmp_path), [noise(0.4, seed) for seed in range(3)])


@pytest.mark.parametrize(
    "student", ["wav2small", "wav2small2", "mobilenetv3-small", "mobilenetv4-small", "mobilenetv4-medium"]
)
def test_forward_of_every_student(tmp_path, student):
    files = sorted((Path(edgekit.__file__).parent / "data" / "speech" / "clips").glob("*.opus"))[:6]
    clips = [read_audio(file)[4000 : 4000 + WINDOW_SAMPLES] for file in files]
    config = DistillConfig(student=student, level="utterance", warm_start=False)
    graph = random_student(config, clips, tmp_path, settled=6, observed=6, window_samples=WINDOW_SAMPLES)
    check_exact(graph, real_weights(tmp_path), [to_pcm16(clip) for clip in clips[:2]])


def test_every_operator_has_a_gradient():
    assert {*LINEAR_KINDS, *SMOOTH} == set(OPERATORS) - set(FRONT_END_KINDS)


def test_gradients_are_those_of_the_float_network(tmp_path):
    """With steps this small, moving all biases of a layer moves the result as the gradient says."""
    graph = small_graph(tmp_path, channels=13, bands=26)
    inputs = torch.from_numpy(inputs_of(graph, [noise(0.6, seed) for seed in range(4)]).astype(np.float32))
    trainable = TrainableGraph(graph, real_weights(tmp_path))
    trainable.outputs(inputs).sum().backward()
    for layer in ("l2", "lin", "adv"):
        bias, predicted = trainable.biases[layer], float(trainable.biases[layer].grad.sum())
        with torch.no_grad():
            bias += 4
            higher = float(trainable.outputs(inputs).sum())
            bias -= 8
            lower = float(trainable.outputs(inputs).sum())
            bias += 4
        assert (higher - lower) / 8 == pytest.approx(predicted, rel=0.25), layer


def answers(graph, inputs):
    with torch.no_grad():
        return TrainableGraph(graph, {}).outputs(torch.from_numpy(inputs.astype(np.float32))).numpy()


def test_finetuning_repairs_poor_rounding(tmp_path):
    """A third of the weights of two convolutions rounded down: their errors add up."""
    graph = small_graph(tmp_path, channels=13, bands=26, int4=True)
    network = import_onnx(tmp_path / "student.onnx")
    inputs = inputs_of(graph, [noise(0.3, seed) for seed in range(10)])
    wanted = answers(graph, inputs)
    for layer in ("l2", "mix"):
        name = graph.op(layer).inputs[1]
        scales = np.array(graph.tensors[name].quantization.scales)[:, None, None, None]
        down = np.clip(np.floor(real_weights(tmp_path)[layer] / scales), -128, 127)
        some = np.random.default_rng(0).random(down.shape) < 0.33
        graph.constants[name][some] = down[some]
    found = finetune(graph, network, Examples(inputs, wanted), steps=25)
    before, after = (np.abs(answers(g, inputs) - wanted).mean() for g in (graph, found))
    assert after < 0.7 * before


def test_finetuning_that_does_not_help_changes_nothing(tmp_path):
    graph = small_graph(tmp_path, channels=13, bands=26)
    network = import_onnx(tmp_path / "student.onnx")
    inputs = inputs_of(graph, [noise(0.3, seed) for seed in range(5)])
    assert finetune(graph, network, Examples(inputs, answers(graph, inputs)), steps=3) is graph
