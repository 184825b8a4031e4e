"""Kernels for Helium on random layers: in QEMU and in their portable form they are the reference."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from layers import Layer, build_for, conv, dense, depthwise, pool, results_of, run_on_host
from support import needs_qemu

from edgekit.targets import load_target
from firmware_sim import simulate

M55 = load_target("corstone-300")
LAYERS = 48


def random_layers(seed: int) -> list[Layer]:
    """Return layers of all kinds and sizes, every other one with scales that no calibration chooses."""
    rng = np.random.default_rng(seed)
    found: list[Layer] = []
    for place in range(LAYERS):
        odd = bool(place % 2)
        kernel, stride = tuple(rng.integers(1, 4, 2).tolist()), tuple(rng.integers(1, 3, 2).tolist())
        width, channels, outputs = (int(rng.integers(1, most)) for most in (30, 40, 20))
        rows = int(rng.integers(1, 4))
        sizes = {"width": width, "channels": channels, "kernel": kernel, "stride": stride}
        if place % 8 < 2:
            found.append(
                depthwise(rng, width=width, channels=channels, kernel=kernel, stride=stride[1], odd=odd)
            )
        elif place % 8 < 5:
            found.append(conv(rng, outputs=outputs, rows=rows, odd=odd, **sizes))
        elif place % 8 < 7:
            bits = 4 if rng.random() < 0.5 else 8
            inputs = int(rng.integers(1, 200 if rng.random() < 0.5 else 5))
            found.append(dense(rng, inputs=inputs, outputs=outputs, bits=bits, rows=rows, odd=odd))
        else:
            found.append(pool(rng, **sizes))
    return found


def _taps(layer: Layer) -> int:
    """Return the products of one result."""
    weights = layer.graph.constants["w"]
    return weights[..., 0].size if layer.op.kind == "depthwise_conv2d" else weights[0].size


def require_equal(layers: list[Layer], results: list[np.ndarray]) -> None:
    for layer, result in zip(layers, results, strict=True):
        assert result.tolist() == layer.expected.tolist(), (layer.op, layer.x.shape, layer.expected.shape)


@pytest.mark.parametrize("seed", range(4))
def test_portable_form_equals_the_reference(seed, tmp_path):
    layers = random_layers(seed)
    require_equal(layers, run_on_host(layers, tmp_path))


@needs_qemu
@pytest.mark.parametrize("seed", range(2))
def test_vectors_equal_the_reference(seed, tmp_path):
    layers = random_layers(seed)
    run = simulate(
        build_for(layers, M55, tmp_path), M55, np.zeros(128, np.int16), {"all": ["main"]}, trace=True
    )
    require_equal(layers, results_of(layers, run.traces))


@needs_qemu
def test_instructions_per_multiply_accumulate():
    """The best published need 0.487, 0.396, 1.35, 2.32 (a map, not a row) and 0.572, counted alike."""
    rng = np.random.default_rng(0)
    bars = {
        "conv 13 to 13": (conv(rng, width=26, channels=13, outputs=13, rows=4), 0.35),
        "pointwise 64 to 64": (conv(rng, width=25, channels=64, outputs=64, kernel=(1, 1)), 0.35),
        "pointwise 13 to 13": (conv(rng, width=26, channels=13, outputs=13, kernel=(1, 1), rows=4), 1.0),
        "depthwise 64": (depthwise(rng, width=5, channels=64, kernel=(3, 3), stride=1), 2.8),
        "dense 169 to 169": (dense(rng, inputs=169, outputs=169), 0.5),
        "dense 169 to 169, int4": (dense(rng, inputs=169, outputs=169, bits=4), 0.5),
    }
    layers = [layer for layer, _ in bars.values()]
    regions = {"rest": ["main", "edgekit_trace"]} | {
        name: [f"layer_{place}"] for place, name in enumerate(bars)
    }
    with tempfile.TemporaryDirectory() as folder:
        run = simulate(build_for(layers, M55, Path(folder)), M55, np.zeros(128, np.int16), regions)
    for name, (layer, bar) in bars.items():
        macs = layer.expected.size * _taps(layer)
        assert run.regions[name].instructions <= bar * macs, name
