import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pyarrow import parquet
from unit.wavllm_teacher.tiny import voice, write_corpus

from edgekit import artifact, labels
from edgekit.errors import ArtifactError, AudioError, ConfigError
from wavllm_teacher import labelling
from wavllm_teacher.labelling import LabelConfig, identity, label
from wavllm_teacher.registry import LoadedTeacher


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    (folder / "sub").mkdir(parents=True)
    for seed, name in enumerate(["b.wav", "a.flac", "sub/c.wav"]):
        soundfile.write(folder / name, voice(0.3 + 0.1 * seed, seed), 16000)
    return folder


@pytest.fixture
def config(audio, compact_dir):
    return LabelConfig((audio,), str(compact_dir))


def table(out):
    return parquet.read_table(out / "labels.parquet")


def test_one_row_per_clip_with_the_teachers_prediction(config, audio, tmp_path):
    made = label(config, tmp_path / "labels")
    rows = table(made.path)
    assert rows.column_names == list(labels.COLUMNS)
    assert rows["file"].to_pylist() == ["a.flac", "b.wav", "sub/c.wav"]
    assert set(rows["teacher"].to_pylist()) == {"compact"}
    from wavllm_teacher.registry import load_teacher

    found = labels.read_labels(made.path)
    expected = load_teacher(config.teacher).predict([found.clip(i) for i in range(3)])
    np.testing.assert_array_equal(found.adv, expected)


def test_same_audio_elsewhere_gives_the_same_bytes(config, audio, tmp_path):
    first = label(config, tmp_path / "one")
    moved = shutil.copytree(audio, tmp_path / "far/away")
    second = label(LabelConfig((moved,), config.teacher), tmp_path / "two")
    assert first.digest == second.digest
    assert (first.path / "labels.parquet").read_bytes() == (second.path / "labels.parquet").read_bytes()
    assert "location.json" not in first.manifest.files
    assert str(tmp_path) not in (first.path / "manifest.json").read_text()


def test_identity_is_that_of_the_artifact_and_follows_the_audio(config, audio, tmp_path):
    made = label(config, tmp_path / "labels")
    assert artifact.is_current(made.path, "label", *identity(config))
    soundfile.write(audio / "b.wav", voice(0.3, 9), 16000)
    assert not artifact.is_current(made.path, "label", *identity(config))


def test_a_changed_split_column_makes_the_labels_stale(compact_dir, tmp_path):
    folder = write_corpus(tmp_path / "corpus", [("a.wav", "train"), ("b.wav", "test")])
    config = LabelConfig((folder,), str(compact_dir))
    before = identity(config)
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("train", "dev"))
    assert identity(config) != before


def test_long_clips_are_cut_into_equal_pieces(compact_dir, tmp_path):
    soundfile.write(tmp_path / "long.wav", voice(24.5, 0), 16000)
    made = label(LabelConfig((tmp_path / "long.wav",), str(compact_dir)), tmp_path / "labels")
    rows = table(made.path)
    lengths = [
        end - start for start, end in zip(*(rows[c].to_pylist() for c in ("start_s", "end_s")), strict=True)
    ]
    assert len(lengths) == 3
    assert max(lengths) - min(lengths) <= 1 / 16000 + 1e-9
    assert rows["end_s"].to_pylist()[-1] == 24.5
    assert len(set(rows["split"].to_pylist())) == 1


def test_split_column_beside_the_audio_is_used(compact_dir, tmp_path):
    rows = [("a.wav", "test"), ("b.wav", "dev"), ("c.wav", "train"), ("d.wav", "unlabelled")]
    folder = write_corpus(tmp_path / "corpus", rows)
    made = label(LabelConfig((folder,), str(compact_dir)), tmp_path / "labels")
    assert table(made.path)["split"].to_pylist() == ["test", "dev", "train", "train"]


def test_without_a_table_content_decides_and_both_splits_are_filled(compact_dir, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for seed in range(30):
        soundfile.write(folder / f"{seed:02d}.wav", voice(0.05, seed), 16000)
    config = LabelConfig((folder,), str(compact_dir))
    splits = table(label(config, tmp_path / "labels").path)["split"].to_pylist()
    assert 2 <= splits.count("test") <= 12
    assert splits.count("train") == 30 - splits.count("test")


@pytest.mark.parametrize("seeds", [(0, 1), (2, 3), (4, 5)])
def test_two_clips_train_and_test(compact_dir, tmp_path, seeds):
    for seed in seeds:
        soundfile.write(tmp_path / f"{seed}.wav", voice(0.1, seed), 16000)
    paths = tuple(tmp_path / f"{seed}.wav" for seed in seeds)
    made = label(LabelConfig(paths, str(compact_dir)), tmp_path / "labels")
    assert sorted(table(made.path)["split"].to_pylist()) == ["test", "train"]


def test_one_clip_trains(compact_dir, tmp_path):
    soundfile.write(tmp_path / "one.wav", voice(0.1, 0), 16000)
    made = label(LabelConfig((tmp_path / "one.wav",), str(compact_dir)), tmp_path / "labels")
    assert table(made.path)["split"].to_pylist() == ["train"]


def test_a_damaged_record_of_what_is_done_is_named(config, tmp_path, monkeypatch):
    monkeypatch.setattr(labelling, "BATCH", 1)

    def interrupt(what, done, total):
        if what == "labelling":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(config, tmp_path / "labels", interrupt)
    (tmp_path / ".labels.partial" / labelling.DONE_FILE).write_text("garbage\n")
    with pytest.raises(ArtifactError, match="damaged") as caught:
        label(config, tmp_path / "labels")
    assert ".labels.partial" in caught.value.hint


def test_interrupted_labelling_goes_on_where_it_was(config, audio, tmp_path, monkeypatch):
    monkeypatch.setattr(labelling, "BATCH", 1)
    reference = label(config, tmp_path / "reference")

    def interrupt(what, done, total):
        if what == "labelling" and done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "labels"
    with pytest.raises(KeyboardInterrupt):
        label(config, out, interrupt)
    assert not out.exists()
    seen = []
    predict = LoadedTeacher.predict

    def counting(self, clips):
        seen.append(len(clips))
        return predict(self, clips)

    monkeypatch.setattr(LoadedTeacher, "predict", counting)
    assert label(config, out).digest == reference.digest
    assert seen == [1]
    assert sorted(p.name for p in out.iterdir()) == [
        "labels.parquet",
        "location.json",
        "manifest.json",
        "teacher.json",
    ]


def test_a_half_written_line_is_labelled_again(config, tmp_path):
    reference = label(config, tmp_path / "reference")
    done = tmp_path / "done.jsonl"
    done.write_text('["00", [0.5, 0.5, 0.5]]\n["ab')
    assert labelling._read_done(done) == {"00": [0.5, 0.5, 0.5]}
    assert done.read_text() == '["00", [0.5, 0.5, 0.5]]\n'
    assert reference.path.is_dir()


def test_bad_files_are_listed_with_their_reasons_and_nothing_is_left(compact_dir, audio, tmp_path):
    for name in ("x1.wav", "x2.wav", "x3.wav"):
        (audio / name).write_bytes(b"not audio")
    soundfile.write(audio / "short.wav", np.zeros(63), 16000)
    with pytest.raises(AudioError) as caught:
        label(LabelConfig((audio,), str(compact_dir)), tmp_path / "labels")
    text = str(caught.value)
    assert "4 of 7 audio files cannot be used" in text
    assert "short.wav: 63 samples at 16 kHz, shorter than one frame of 64" in text
    assert "x1.wav: not readable as audio" in text
    assert "x3.wav" not in text
    assert text.endswith("; and 1 more")
    assert not (tmp_path / "labels").exists()


def test_labels_that_are_no_numbers_are_refused(config, tmp_path, monkeypatch):
    monkeypatch.setattr(
        LoadedTeacher, "predict", lambda self, clips: np.full((len(clips), 3), np.nan, np.float32)
    )
    with pytest.raises(AudioError, match=r"a\.flac|b\.wav.*not a number"):
        label(config, tmp_path / "labels")


def test_unknown_teacher_is_a_config_error(audio, tmp_path):
    with pytest.raises(ConfigError, match="unknown teacher"):
        label(LabelConfig((audio,), "compcat"), tmp_path / "labels")


def test_files_of_several_folders_are_named_from_their_common_root(compact_dir, audio, tmp_path):
    soundfile.write(tmp_path / "top.wav", voice(0.1, 5), 16000)
    config = LabelConfig((audio / "sub", tmp_path / "top.wav"), str(compact_dir))
    made = label(config, tmp_path / "labels")
    assert table(made.path)["file"].to_pylist() == ["audio/sub/c.wav", "top.wav"]
    assert labels.audio_root(made.path) == tmp_path.resolve()


def test_location_follows_moved_audio(config, audio, tmp_path):
    made = label(config, tmp_path / "labels")
    moved = shutil.move(audio, tmp_path / "moved")
    labelling.note_location(LabelConfig((tmp_path / "moved",), config.teacher), made.path)
    assert labels.audio_root(made.path) == tmp_path / "moved" == moved
    assert labels.read_labels(made.path).clip(0).size > 0


def test_relative_paths_are_the_same_audio(config, audio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = LabelConfig((audio.relative_to(tmp_path),), config.teacher)
    assert identity(relative) == identity(config)
    assert str(Path.cwd()) not in json.dumps(identity(relative))


def test_table_of_a_parent_folder_is_found(compact_dir, tmp_path):
    folder = tmp_path / "set/clips"
    folder.mkdir(parents=True)
    soundfile.write(folder / "a.wav", voice(0.1, 0), 16000)
    soundfile.write(folder / "b.wav", voice(0.1, 1), 16000)
    soundfile.write(folder / "c.wav", voice(0.1, 2), 16000)
    with (folder.parent / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["file", "split"], ["clips/a.wav", "test"], ["clips/b.wav", "train"], ["clips/c.wav", "dev"]]
        )
    made = label(LabelConfig((folder,), str(compact_dir)), tmp_path / "labels")
    assert table(made.path)["split"].to_pylist() == ["test", "train", "dev"]
