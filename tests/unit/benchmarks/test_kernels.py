"""The layers that are compared with other engines are theirs: sizes, and results that fill eight bits."""

import numpy as np
import pytest
from support import small_graph

from benchmarks.kernels import peers
from benchmarks.kernels.graphs import layers
from benchmarks.kernels.measure import CORES, core, run_student
from edgekit.graph import run
from edgekit.graph.cost import macs

MACS = {
    "conv 3x3 13->13, 26x100": 3_954_600,
    "conv 3x3 1->13, 26x100": 304_200,
    "conv 3x3 16->16, 26x100": 5_990_400,
    "pointwise 64->64, 25x5": 512_000,
    "pointwise 13->13, 26x100": 439_400,
    "depthwise 3x3 64, 25x5": 72_000,
    "depthwise 3x3 13, 26x100": 304_200,
    "fully connected 169x169": 28_561,
    "fully connected 64x12": 768,
}


@pytest.mark.parametrize("title", MACS)
def test_a_layer_is_the_peers_and_its_results_are_spread(title):
    graph = layers()[title]
    x = np.random.default_rng(1).integers(-128, 128, graph.tensors["x"].shape).astype(np.int8)
    values = run(graph, {"x": x})
    assert macs(graph, values) == {"layer": MACS[title]}
    assert values["y"].shape == graph.tensors["y"].shape
    assert 20 < values["y"].std() < 90
    assert set(peers.LAYERS[title].cmsis_nn) == set(CORES)


@pytest.mark.parametrize("n_fft", [64, 128])
def test_a_student_keeps_its_budgets_after_hours_too(n_fft, tmp_path):
    """Of its shape, random weights: 16 KB, at hop 32 24 KB of code, no more cycles than at first."""
    shape = {"bands": 26, "channels": 13, "depth": (3, 4), "int4": True, "n_fft": n_fft}
    (tmp_path / "student").mkdir()
    (tmp_path / "c").mkdir()
    cost = run_student(small_graph(tmp_path / "student", **shape), core("m33"), tmp_path / "c")
    assert cost.ram_bytes <= 16_384
    assert n_fft > 64 or cost.code_bytes <= 24_576
    assert float(cost.modelled_later) <= float(cost.modelled)
    assert n_fft > 64 or float(cost.modelled_later) < 90


def test_every_layer_of_the_peers_is_measured_on_every_core():
    assert set(layers()) == set(peers.LAYERS) == set(MACS)
    assert [core(name).target.core.cpu for name in CORES] == ["cortex-m4", "cortex-m33", "cortex-m55"]
