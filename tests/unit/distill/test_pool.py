"""The pool: made once, resumed, and drawn from without repetition."""

import numpy as np
import pytest
from unit.distill.test_crops import noise_clips

from distill import pool as pooling
from distill.crops import Drawing, balanced, draw
from distill.pool import make_pool, rows_of_step
from edgekit.audio import FrontEnd, log_mel

DRAWING = Drawing(1600, seed=3)


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(pooling, "CHUNK", 4)


def make(folder, labeller=None, progress=lambda *_: None, size=10):
    return make_pool(noise_clips(3200, 4000), size, DRAWING, FrontEnd(), labeller, folder, progress)


def test_features_and_labels_are_those_of_the_crops(tmp_path):
    made, clips = make(tmp_path), noise_clips(3200, 4000)
    assert len(made) == 10
    features, targets = made.batch(np.array([7, 0, 9]))
    assert features.dtype == np.float32
    for frames, target, number in zip(features, targets, (7, 0, 9), strict=True):
        crop = draw(clips, balanced(clips.targets), number, DRAWING)
        np.testing.assert_allclose(frames, log_mel(crop.heard, FrontEnd()), atol=0.04)
        np.testing.assert_array_equal(target, crop.target)


def test_a_labeller_gets_the_crops(tmp_path):
    got = []

    def loudness(crops):
        got.extend(crops)
        return np.array([[np.abs(crop.heard).max()] * 3 for crop in crops], np.float32)

    made = make(tmp_path, loudness)
    clips = noise_clips(3200, 4000)
    assert len(got) == 10
    for number, crop in enumerate(got):
        again = draw(clips, balanced(clips.targets), number, DRAWING)
        np.testing.assert_array_equal(crop.heard, again.heard)
        assert made.targets[number, 0] == np.abs(crop.heard).max()


def test_an_interrupted_pool_goes_on_where_it_was(tmp_path):
    def interrupt(what, done, total):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "parts", progress=interrupt)
    labelled = []
    resumed = make(tmp_path / "parts", lambda crops: labelled.append(len(crops)) or np.zeros((len(crops), 3)))
    assert labelled == [2]
    whole, rows = make(tmp_path / "whole"), np.arange(10)
    np.testing.assert_array_equal(resumed.batch(rows)[0], whole.batch(rows)[0])
    np.testing.assert_array_equal(resumed.targets[:8], whole.targets[:8])


def test_every_round_draws_all_of_it_in_another_order():
    rounds = [
        np.concatenate([rows_of_step(12, 4, 0, step) for step in range(3 * n, 3 * n + 3)]) for n in (0, 1)
    ]
    assert sorted(rounds[0]) == sorted(rounds[1]) == list(range(12))
    assert list(rounds[0]) != list(rounds[1])
    assert list(rows_of_step(12, 4, 1, 0)) != list(rows_of_step(12, 4, 0, 0))


def test_a_pool_smaller_than_a_batch_is_drawn_whole():
    assert sorted(rows_of_step(3, 64, 0, 5)) == [0, 1, 2]
