"""A very short training on recordings and the real encoder."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from unit.wavllm_teacher.teaching.tiny_corpora import config_of

from edgekit.audio import read_audio
from wavllm_teacher.registry import load_teacher
from wavllm_teacher.teaching.corpus import read_corpora
from wavllm_teacher.teaching.stage import teach

CLIPS = {"train": 12, "dev": 3, "test": 3}


def excerpt(corpus: Path, folder: Path) -> Path:
    """Copy EmoDB clips evenly out of each split, with their rows of the table."""
    folder.mkdir()
    with (corpus / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["corpus"] == "emodb"]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        for split, count in CLIPS.items():
            listed = [row for row in rows if row["split"] == split]
            for row in listed[:: len(listed) // count][:count]:
                name = Path(row["path"]).name
                shutil.copyfile(corpus / row["path"], folder / name)
                table.writerow({**row, "path": name})
    return folder


@pytest.mark.shared
def test_learns_its_clips_in_a_few_steps(shared, tmp_path):
    folder = excerpt(shared / "corpus", tmp_path / "clips")
    config = config_of(
        folder,
        whisper=shared / "weights/whisper-base-encoder",
        copies=1,
        single_steps=6,
        joint_steps=12,
        learning_rate=3e-3,
        crop_frames=60,
        evaluate_every=18,
    )
    teacher = load_teacher(str(teach(config, tmp_path / "out").path))
    assert teacher.licence == "Apache-2.0 (adapters and head); MIT (OpenAI Whisper encoder)"
    (corpus,) = read_corpora([folder])
    assert corpus.name == "emodb"
    assert {split: len(clips) for split, clips in corpus.clips.items()} == CLIPS
    predicted = teacher.predict([read_audio(clip.file) for clip in corpus.clips["train"]])
    labels = np.array([clip.labels for clip in corpus.clips["train"]])
    assert np.corrcoef(predicted[:, 0], labels[:, 0])[0, 1] > 0.8
