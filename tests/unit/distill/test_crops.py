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
    for (one, label), (again, same) in zip(drawn(clips, drawing), drawn(clips, drawing), strict=True):
        assert one.shape == (1600,)
        assert one.dtype == label.dtype == np.float32
        np.testing.assert_array_equal(one, again)
        np.testing.assert_array_equal(label, same)
    others = drawn(clips, replace(drawing, seed=1))
    assert not np.array_equal(drawn(clips, drawing)[0][0], others[0][0])


def test_without_changes_a_crop_is_a_part_of_its_clip():
    clips = Clips([np.arange(n, dtype=np.float32) for n in (2000, 3000)], np.eye(3, dtype=np.float32)[:2])
    for samples, label in drawn(clips, PLAIN):
        np.testing.assert_array_equal(np.diff(samples), 1)
        row = int(label[1])
        np.testing.assert_array_equal(label, clips.targets[row])
        assert samples[-1] < clips.audio[row].size


def test_a_short_clip_is_repeated():
    samples, _ = draw(
        Clips([np.arange(7, dtype=np.float32)], np.zeros((1, 3), np.float32)), np.ones(1), 0, PLAIN
    )
    assert set(np.diff(samples)) == {1, -6}


def test_labels_stay_with_their_clips_when_crops_are_changed():
    """A silent clip and a loud one: what is heard tells which clip was drawn."""
    loud = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    clips = Clips([np.zeros(4000, np.float32), loud], np.array([[0, 0, 0], [1, 1, 1]], np.float32))
    crops = drawn(clips, Drawing(1600))
    assert {label[0] for _, label in crops} == {0, 1}
    for samples, label in crops:
        assert (np.abs(samples).max() > 1e-3) == (label[0] == 1)


def test_mixup_mixes_labels_as_it_mixes_clips():
    tones = [np.sin(2 * np.pi * hz * np.arange(4000) / 16000).astype(np.float32) for hz in (500, 2000)]
    clips = Clips(tones, np.array([[0, 0, 0], [1, 1, 1]], np.float32))
    shares = []
    for samples, label in drawn(clips, replace(PLAIN, mixup=1.0)):
        low, high = np.abs(np.fft.rfft(samples))[[50, 200]]
        assert high / (low + high) == pytest.approx(label[0], abs=0.02)
        shares.append(label[0])
    assert len({round(float(share), 3) for share in shares}) > 8


def test_speed_changes_what_is_heard():
    tone = np.sin(2 * np.pi * 1000 * np.arange(40000) / 16000).astype(np.float32)
    clips = Clips([tone], np.zeros((1, 3), np.float32))

    def peaks(drawing):
        return {int(np.abs(np.fft.rfft(samples)).argmax()) for samples, _ in drawn(clips, drawing)}

    assert peaks(PLAIN) == {100}
    assert len(peaks(replace(PLAIN, speed=True))) > 10


def test_rare_labels_are_drawn_more_often_than_they_come():
    targets = np.array([[0.5, 0.5, 0.5]] * 9 + [[0.9, 0.5, 0.1]], np.float32)
    found = balanced(targets)
    assert found.sum() == pytest.approx(1)
    assert found[-1] == pytest.approx(3 * found[0])
