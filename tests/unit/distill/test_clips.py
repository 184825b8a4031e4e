"""Splits and batches."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from distill.clips import Clips, draw_batch, load_splits
from edgekit.audio import FrontEnd
from edgekit.errors import AudioError


@dataclass
class Labels:
    """As much of a label set as reading splits needs: clip i holds the value i."""

    split: list[str]
    samples: int = 1000
    file: list[str] = field(init=False)

    def __post_init__(self):
        self.file = [f"{i}.wav" for i in range(len(self.split))]
        self.adv = np.arange(len(self.split), dtype=np.float32)[:, None].repeat(3, axis=1)

    def clip(self, index):
        return np.full(self.samples, index, np.float32)


def values(clips: Clips) -> list[int]:
    assert [int(a[0]) for a in clips.audio] == clips.targets[:, 0].tolist()
    return [int(a[0]) for a in clips.audio]


def test_named_splits_are_kept():
    found = load_splits(Labels(["test", "train", "dev", "train"]), 448)
    assert [values(s) for s in (found.train, found.dev, found.test)] == [[1, 3], [2], [0]]


def test_without_dev_every_fifth_training_clip_is_held_out():
    found = load_splits(Labels(["train"] * 11), 448)
    assert values(found.dev) == [4, 9]
    assert values(found.train) == [0, 1, 2, 3, 5, 6, 7, 8, 10]
    assert len(found.test) == 0


def test_one_clip_serves_for_both():
    found = load_splits(Labels(["train"]), 448)
    assert values(found.train) == values(found.dev) == [0]


def test_nothing_to_train_on():
    with pytest.raises(AudioError, match="no clip of split train"):
        load_splits(Labels(["test", "dev"]), 448)


def test_too_short_a_clip_is_named():
    with pytest.raises(AudioError, match=r"0\.wav: 447 samples"):
        load_splits(Labels(["train"], samples=447), 448)


def noise_clips(*lengths: int) -> Clips:
    rng = np.random.default_rng(0)
    audio = [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in lengths]
    return Clips(audio, rng.random((len(lengths), 3)).astype(np.float32))


@pytest.mark.filterwarnings("error")
def test_batch_follows_from_the_generator_alone():
    clips = noise_clips(500, 3200, 20000)
    first, again, other = (
        draw_batch(clips, 8, 3200, FrontEnd(), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first[0].shape == (8, 99, 26)
    assert first[0].dtype == np.float32
    assert first[1].shape == (8, 3)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_targets_belong_to_the_crops():
    """Silent clips and loud ones: with the level left in, features tell which clip was drawn."""
    rng = np.random.default_rng(0)
    loud, silent = rng.standard_normal(4000).astype(np.float32), np.zeros(4000, np.float32)
    clips = Clips([silent, loud], np.array([[0, 0, 0], [1, 1, 1]], np.float32))
    features, targets = draw_batch(clips, 32, 1600, FrontEnd(), np.random.default_rng(0))
    assert set(targets[:, 0]) == {0, 1}
    heard = features[:, :, 1:].mean(axis=(1, 2)) > -90
    np.testing.assert_array_equal(heard, targets[:, 0] == 1)
