"""Equalisation changes nothing but how alike channels are."""

import dataclasses

import numpy as np
import pytest
import torch
from support import OnnxStudent, noise
from torch import nn

from edgekit.audio import FrontEnd, log_mel
from edgekit.graph import run
from quantize.calibration import observe
from quantize.equalization import equalize
from quantize.importer import import_onnx
from quantize.network import Network
from quantize.quantizer import quantize_network, quantize_plain
from quantize.runtime import OnnxModel

FRONT_END = FrontEnd(mel_bands=8, memory_frames=64)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A student whose channels differ a lot, what was seen of it, and the float model."""
    path = OnnxStudent(seed=4).write(tmp_path_factory.mktemp("student") / "student.onnx")
    features = [log_mel(noise(seed=seed) / 32768, FRONT_END) for seed in range(3)]
    network = import_onnx(path)
    return network, observe(path, network, features), OnnxModel(path)


def uneven(network: Network, seen, factors):
    """Return the same function with the first layer's channels scaled apart, and what would be seen of it."""
    first, second = network.layers[0], network.layers[2]
    layers = {layer.output: layer for layer in network.layers}
    layers[first.output] = dataclasses.replace(
        first, weights=first.weights * factors[:, None, None, None], bias=first.bias * factors
    )
    layers[second.output] = dataclasses.replace(second, weights=second.weights / factors)
    observed = dict(seen)
    for layer in network.layers[:2]:
        observed[layer.output] = seen[layer.output].divided(1 / factors)
    return dataclasses.replace(network, layers=tuple(layers.values())), observed


def error(network, seen, model) -> float:
    graph = quantize_network(network, FRONT_END, seen, int4_linears=False)
    errors = []
    for seed in range(10, 13):
        pcm = noise(seed=seed)
        found = run(graph, {"pcm": pcm})["adv_out"] / 2**14
        errors.append(np.abs(found - model(log_mel(pcm / 32768, FRONT_END)[None])).mean())
    return float(np.mean(errors))


def test_equalized_channels_reach_alike(student):
    network, seen, _ = student
    broken = uneven(network, seen, np.array([1.0, 6.0, 0.2, 2.0]))
    name = network.layers[0].output
    before, after = (np.log(observed[name].feature_high) for _, observed in (broken, equalize(*broken)))
    assert np.ptp(after) < 0.5 * np.ptp(before)


def test_equalization_repairs_uneven_channels(student):
    network, seen, model = student
    broken = uneven(network, seen, np.array([1.0, 30.0, 0.03, 2.0]))
    before, after = error(*broken, model), error(*equalize(*broken), model)
    assert after < 0.6 * before


def test_what_is_alike_stays_alike(student):
    """Whatever it does, the float function is the same: int8 errors stay small."""
    network, seen, model = student
    assert error(*equalize(network, seen), model) < 2 * error(network, seen, model) + 1e-3
    assert [layer.name for layer in equalize(network, seen)[0].layers] == [
        layer.name for layer in network.layers
    ]


class Separable(nn.Module):
    """Convolution, depthwise, pointwise, tokens: one channel much larger than the others, one smaller."""

    def __init__(self, outputs: int = 6) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first = nn.Conv2d(1, 6, 3)
        self.depth = nn.Conv2d(6, outputs, 3, groups=6)
        self.point = nn.Conv2d(outputs, 5, 1)
        self.last = nn.Linear(5 * 4 * 3, 4)
        apart = torch.tensor([1.0, 40.0, 0.02, 1.0, 1.0, 1.0])
        with torch.no_grad():
            self.first.weight *= apart[:, None, None, None]
            self.first.bias *= apart
            self.depth.weight /= apart.repeat_interleave(outputs // 6)[:, None, None, None]

    def forward(self, x):
        x = torch.relu(self.point(torch.relu(self.depth(torch.relu(self.first(x))))))
        return self.last(x.flatten(1))


def separable_error(outputs: int, folder, equalized: bool) -> float:
    """Return how far a separable network's graph is from it, on the examples that calibrate it."""
    rng = np.random.default_rng(3)
    path, examples = folder / "separable.onnx", rng.normal(size=(40, 1, 8, 7)).astype(np.float32)
    model = Separable(outputs).eval()
    torch.onnx.export(model, torch.from_numpy(examples[:1]), path, dynamo=False)
    network = import_onnx(path)
    seen = observe(path, network, list(examples))
    graph = quantize_plain(*(equalize(network, seen) if equalized else (network, seen)), int4_linears=False)
    to, back = (graph.tensors[name].quantization for name in (graph.inputs[0], graph.outputs[0]))
    integers = np.clip(np.rint(examples[:, 0, :, :, None] / to.scales[0]) + to.zero_point, -128, 127)
    found = [
        back.dequantize(run(graph, {graph.inputs[0]: one.astype(np.int8)})[graph.outputs[0]])
        for one in integers
    ]
    with torch.no_grad():
        wanted = model(torch.from_numpy(examples)).numpy()
    return float(np.abs(np.stack(found).reshape(wanted.shape) - wanted).mean())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_factor_passes_through_depthwise_convolutions(tmp_path):
    assert separable_error(6, tmp_path, equalized=True) < 0.6 * separable_error(6, tmp_path, equalized=False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_factor_stops_where_a_channel_becomes_two(tmp_path):
    plain, equalized = (separable_error(12, tmp_path, equalized=way) for way in (False, True))
    assert equalized < 1.2 * plain
