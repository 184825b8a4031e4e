"""Splits and batches."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from distill.clips import Clips, load_splits
from edgekit.errors import AudioError


@dataclass
class Labels:
    """As much of a label set as reading splits needs: clip i holds the value i."""

    split: list[str]
    samples: int = 1000
    file: list[str] = field(init=False)
    audio_sha256: list[str] = field(init=False)

    def __post_init__(self):
        self.file = [f"{i}.wav" for i in range(len(self.split))]
        self.audio_sha256 = [f"{i:064x}" for i in range(len(self.split))]
        self.adv = np.arange(len(self.split), dtype=np.float32)[:, None].repeat(3, axis=1)

    def __len__(self):
        return len(self.split)

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


def test_the_order_is_that_of_the_audio_not_of_the_paths():
    labels = Labels(["train", "dev", "train", "test", "train"])
    labels.audio_sha256 = ["cc", "dd", "bb", "ee", "aa"]
    found = load_splits(labels, 448)
    assert [values(s) for s in (found.train, found.dev, found.test)] == [[4, 2, 0], [1], [3]]


def test_one_clip_serves_for_both():
    found = load_splits(Labels(["train"]), 448)
    assert values(found.train) == values(found.dev) == [0]


def test_nothing_to_train_on():
    with pytest.raises(AudioError, match="no clip of split train"):
        load_splits(Labels(["test", "dev"]), 448)


def test_too_short_a_clip_is_named():
    with pytest.raises(AudioError, match=r"0\.wav: 447 samples"):
        load_splits(Labels(["train"], samples=447), 448)
