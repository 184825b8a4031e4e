"""How far each layer of the integer graph is from the float student's."""

import dataclasses

import numpy as np
import pytest
from unit.quantize.graphs import noise_bursts, random_student

from distill.config import DistillConfig
from quantize.layer_error import CLIPS, Sums, layer_errors

WINDOW_SAMPLES = 8000
AUDIO = [np.resize(noise_bursts(0.7, seed=seed), WINDOW_SAMPLES) for seed in range(6)]


@pytest.fixture(scope="module", params=["wav2small", "wav2small2", "mobilenetv3-small"])
def student(request, tmp_path_factory):
    """A student with random weights: its graph, and a function that compares a graph with it."""
    level = "utterance" if request.param.startswith("mobilenet") else "causal"
    config = DistillConfig(student=request.param, level=level, warm_start=False)
    folder = tmp_path_factory.mktemp(request.param)
    graph = random_student(config, AUDIO, folder, settled=6, observed=6, window_samples=WINDOW_SAMPLES)

    def compared(graph, **choices):
        return layer_errors(
            graph,
            folder / "student.onnx",
            config.front_end,
            AUDIO,
            "test",
            **({"equalized": False} | choices),
        )

    return graph, compared


def by_layer(found):
    return {row["layer"]: row for row in found["layers"]}


def test_every_layer_has_a_small_error_the_front_end_first(student):
    graph, compared = student
    rows = by_layer(compared(graph))
    kinds = {op.name: op.kind for op in graph.ops}
    assert kinds[next(iter(rows))] == "level_normalize"
    assert list(rows) == [name for name in kinds if name in rows]
    weighted = [op.name for op in graph.ops if op.kind in ("conv2d", "fully_connected")]
    assert weighted
    assert set(weighted) <= set(rows)
    # Nothing is compared in another order of channels: that would be an error of about 140 %.
    assert max(row["error_percent"] for row in rows.values()) < 40
    assert all(row["elements"] > 0 for row in rows.values())


def test_an_error_shows_at_its_layer_and_behind(student):
    graph, compared = student
    rows = by_layer(compared(graph))
    op = next(op for op in graph.ops if op.kind == "conv2d" and op.name != next(iter(rows)))
    weights = graph.constants[op.inputs[1]]
    broken = dataclasses.replace(graph, constants={**graph.constants, op.inputs[1]: -weights})
    changed = by_layer(compared(broken))
    before = list(rows)[: list(rows).index(op.name)]
    assert {name: changed[name] for name in before} == {name: rows[name] for name in before}
    assert changed[op.name]["error_percent"] > 3 * rows[op.name]["error_percent"] + 10


def test_says_what_was_compared(student):
    graph, compared = student
    assert compared(graph)["how"] == f"{CLIPS} test clips, 2.0 s"
    assert "equalisation" in compared(graph, equalized=True)["how"]


class TestSums:
    WANTED = np.array([[1.0, 10.0], [-2.0, 0.0], [3.0, 5.0]])

    def row(self, found, **free):
        sums = Sums(**free)
        sums.add(found, self.WANTED)
        return sums.to_dict("l1")

    def test_an_error_is_a_share_of_the_values(self):
        row = self.row(self.WANTED * 1.1)
        assert row["error_percent"] == pytest.approx(10)
        assert row["signal_to_noise_db"] == pytest.approx(20)
        assert (row["layer"], row["elements"]) == ("l1", 6)

    def test_no_error_has_no_ratio(self):
        assert self.row(self.WANTED) == {
            "layer": "l1",
            "error_percent": 0,
            "signal_to_noise_db": None,
            "elements": 6,
        }

    def test_of_channels_whose_scale_is_free_a_scale_is_no_error(self):
        scaled = self.WANTED * [0.5, 4.0]
        assert self.row(scaled, scaled=True)["error_percent"] == pytest.approx(0, abs=1e-5)
        assert self.row(scaled)["error_percent"] > 100
        assert self.row(scaled + self.WANTED[::-1], scaled=True)["error_percent"] > 5

    def test_of_scores_a_mean_is_no_error(self):
        moved = self.WANTED + np.array([100.0, -3.0])
        assert self.row(moved, centred=True)["error_percent"] == pytest.approx(0, abs=1e-5)

    def test_what_is_nothing_but_error(self):
        sums = Sums()
        sums.add(np.ones((2, 1)), np.zeros((2, 1)))
        assert sums.to_dict("l1")["error_percent"] == 100

    def test_a_layer_that_gives_nothing_but_zeros(self):
        sums = Sums(scaled=True)
        sums.add(np.zeros((2, 1)), np.zeros((2, 1)))
        assert sums.to_dict("l1")["signal_to_noise_db"] is None
