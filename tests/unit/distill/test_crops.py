"""What is drawn for training: which clips, what is done to them, and the labels that they get."""

from dataclasses import replace

import numpy as np
import pytest

from distill.clips import Clips
from distill.crops import Drawing, balanced, draw

PLAIN = Drawing(1600, augment=False)


def noise_clips(*lengths: int) -> Clips:
    rng = np.random.default_rng(0)
    audio = [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in lengths]
    return Clips(audio, rng.random((len(lengths), 3)).astype(np.float32))


def drawn(clips: Clips, drawing: Drawing, count: int = 32):
    return [draw(clips, balanced(clips.targets), number, drawing) for number in range(count)]


@pytest.mark.parametrize("drawing", [PLAIN, Drawing(1600, mixup=0.5, speed=True)])
def test_a_crop_follows_from_seed_and_number_alone(drawing):
    clips = noise_clips(500, 3200, 20000)
    for one, again in zip(drawn(clips, drawing), drawn(clips, drawing), strict=True):
        assert one.heard.shape == one.dry.shape == (1600,)
        assert one.heard.dtype == one.dry.dtype == one.target.dtype == np.float32
        np.testing.assert_array_equal(one.heard, again.heard)
        np.testing.assert_array_equal(one.dry, again.dry)
        np.testing.assert_array_equal(one.target, again.target)
    others = drawn(clips, replace(drawing, seed=1))
    assert not np.array_equal(drawn(clips, drawing)[0].heard, others[0].heard)


def test_without_changes_a_crop_is_a_part_of_its_clip():
    clips = Clips([np.arange(n, dtype=np.float32) for n in (2000, 3000)], np.eye(3, dtype=np.float32)[:2])
    for crop in drawn(clips, PLAIN):
        np.testing.assert_array_equal(np.diff(crop.heard), 1)
        np.testing.assert_array_equal(crop.heard, crop.dry)
        row = int(crop.target[1])
        np.testing.assert_array_equal(crop.target, clips.targets[row])
        assert crop.heard[-1] < clips.audio[row].size


def test_a_short_clip_is_repeated():
    clips = Clips([np.arange(7, dtype=np.float32)], np.zeros((1, 3), np.float32))
    assert set(np.diff(draw(clips, np.ones(1), 0, PLAIN).heard)) == {1, -6}


def test_labels_stay_with_their_clips_when_crops_are_changed():
    """A silent clip and a loud one: what is heard tells which clip was drawn."""
    loud = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    clips = Clips([np.zeros(4000, np.float32), loud], np.array([[0, 0, 0], [1, 1, 1]], np.float32))
    crops = drawn(clips, Drawing(1600))
    assert {crop.target[0] for crop in crops} == {0, 1}
    for crop in crops:
        for samples in (crop.heard, crop.dry):
            assert (np.abs(samples).max() > 1e-3) == (crop.target[0] == 1)


def test_the_talker_alone_comes_before_rooms_noise_and_level():
    """A pulse train: what is dry holds pulses, pauses and their faint noise; most of what is heard more."""
    pulses = np.zeros(8000, np.float32)
    pulses[::400] = 0.5
    crops = drawn(Clips([pulses], np.zeros((1, 3), np.float32)), Drawing(4000), 64)
    quiet = np.array([[np.mean(np.abs(s) < 0.02 * np.abs(s).max()) for s in (c.heard, c.dry)] for c in crops])
    heard, dry = (quiet < 0.95).mean(axis=0)
    assert dry < 0.15
    assert heard > dry + 0.2


def test_pauses_leave_a_part_of_the_speech():
    loud = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    crops = drawn(Clips([loud], np.zeros((1, 3), np.float32)), Drawing(4000), 64)
    shares = np.array([np.mean(np.abs(crop.dry) > 0.1) for crop in crops]) / 0.92
    assert 0.2 < np.mean(shares < 0.97) < 0.6
    assert 0.3 < shares.min() < 0.5
    assert all(np.abs(crop.dry).min() > 0 or np.mean(crop.dry == 0) < 0.5 for crop in crops)


def test_mixup_mixes_labels_as_it_mixes_clips():
    tones = [np.sin(2 * np.pi * hz * np.arange(4000) / 16000).astype(np.float32) for hz in (500, 2000)]
    clips = Clips(tones, np.array([[0, 0, 0], [1, 1, 1]], np.float32))
    shares = []
    for crop in drawn(clips, replace(PLAIN, mixup=1.0)):
        low, high = np.abs(np.fft.rfft(crop.heard))[[50, 200]]
        assert high / (low + high) == pytest.approx(crop.target[0], abs=0.02)
        shares.append(crop.target[0])
    assert len({round(float(share), 3) for share in shares}) > 8


def test_speed_changes_what_is_heard():
    tone = np.sin(2 * np.pi * 1000 * np.arange(40000) / 16000).astype(np.float32)
    clips = Clips([tone], np.zeros((1, 3), np.float32))

    def peaks(drawing):
        return {int(np.abs(np.fft.rfft(crop.heard)).argmax()) for crop in drawn(clips, drawing)}

    assert peaks(PLAIN) == {100}
    assert len(peaks(replace(PLAIN, speed=True))) > 10


def test_rare_labels_are_drawn_more_often_than_they_come():
    targets = np.array([[0.5, 0.5, 0.5]] * 9 + [[0.9, 0.5, 0.1]], np.float32)
    found = balanced(targets)
    assert found.sum() == pytest.approx(1)
    assert found[-1] == pytest.approx(3 * found[0])
