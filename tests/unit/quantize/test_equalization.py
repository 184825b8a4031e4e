"""Equalisation changes nothing but how alike channels are."""

import dataclasses

import numpy as np
import pytest
from support import OnnxStudent, noise

from edgekit.audio import FrontEnd, log_mel
from edgekit.graph import run
from quantize.calibration import observe
from quantize.equalization import equalize
from quantize.importer import import_onnx
from quantize.network import Network
from quantize.quantizer import quantize_network
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
