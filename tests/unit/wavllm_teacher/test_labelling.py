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
from edgekit.errors import AudioError, ConfigError
from wavllm_teacher import labelling
from wavllm_teacher.labelling import LabelConfig, identity, label, summarize
from wavllm_teacher.labelling import plan as planning
from wavllm_teacher.labelling.shards import BATCH
from wavllm_teacher.registry import LoadedTeacher, load_teacher


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
    found = labels.read_labels(made.path)
    expected = load_teacher(config.teacher).predict([found.clip(i) for i in range(3)])
    np.testing.assert_array_equal(found.adv, expected)


def test_same_audio_elsewhere_gives_the_same_bytes(config, audio, tmp_path):
    first = label(config, tmp_path / "one")
    moved = shutil.copytree(audio, tmp_path / "far/away")
    second = label(LabelConfig((moved,), config.teacher), tmp_path / "two")
    assert first.digest == second.digest
    assert first.manifest == second.manifest
    assert "location.json" not in first.manifest.files
    assert str(tmp_path) not in (first.path / "manifest.json").read_text()


def test_identity_is_that_of_the_artifact_and_follows_the_audio(config, audio, tmp_path):
    made = label(config, tmp_path / "labels")
    assert artifact.is_current(made.path, "label", *identity(config, made.path))
    soundfile.write(audio / "b.wav", voice(0.3, 9), 16000)
    assert not artifact.is_current(made.path, "label", *identity(config, made.path))


def test_a_changed_split_column_makes_the_labels_stale(compact_dir, tmp_path):
    folder = write_corpus(tmp_path / "corpus", [("a.wav", "train"), ("b.wav", "test")])
    config = LabelConfig((folder,), str(compact_dir))
    before = identity(config, tmp_path / "labels")
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("train", "dev"))
    assert identity(config, tmp_path / "labels") != before


def test_the_pieces_of_a_long_recording_fall_into_one_split(compact_dir, tmp_path):
    for seed in range(4):
        soundfile.write(tmp_path / f"{seed}.wav", voice(24.5, seed), 16000)
    config = LabelConfig((tmp_path,), str(compact_dir))
    rows = table(label(config, tmp_path / "out/labels").path).to_pandas()
    assert (rows.groupby("file").size() >= 3).all()
    assert (rows.groupby("file")["split"].nunique() == 1).all()
    assert ((rows.end_s - rows.start_s).between(2, 12)).all()


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
    assert identity(relative, tmp_path / "labels") == identity(config, tmp_path / "labels")
    assert str(Path.cwd()) not in json.dumps(identity(relative, tmp_path / "labels"))


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


@pytest.fixture
def heard(monkeypatch):
    """The length of every clip that a teacher hears, by call."""
    calls = []
    predict = LoadedTeacher.predict

    def listening(self, clips):
        calls.append([clip.size for clip in clips])
        return predict(self, clips)

    monkeypatch.setattr(LoadedTeacher, "predict", listening)
    return calls


def test_batches_are_sorted_by_length_and_rows_by_file(compact_dir, tmp_path, heard):
    lengths = np.random.default_rng(0).permutation(40)
    for number, extra in enumerate(lengths):
        soundfile.write(tmp_path / f"{number:02d}.wav", voice((1600.5 + 160 * extra) / 16000, number), 16000)
    config = LabelConfig((tmp_path,), str(compact_dir))
    made = label(config, tmp_path / "out/labels")
    expected = [sorted(1600 + 160 * x for x in lengths[i : i + 8]) for i in range(0, 40, 8)]
    assert heard == expected
    assert max(map(len, heard)) <= BATCH
    found = labels.read_labels(made.path)
    assert found.file == sorted(found.file)
    teacher = load_teacher(config.teacher)
    for row in (0, 7, 39):
        np.testing.assert_array_equal(found.adv[row], teacher.predict([found.clip(row)])[0])


def test_labels_do_not_depend_on_the_number_of_threads(config, tmp_path, monkeypatch):
    """Sums split over threads end in other bits: a teacher hears in one, whatever was set."""
    import torch

    used = []
    predict = LoadedTeacher.predict

    def listening(self, clips):
        used.append(torch.get_num_threads())
        return predict(self, clips)

    monkeypatch.setattr(LoadedTeacher, "predict", listening)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        label(config, tmp_path / "labels")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(used) == {1}


def test_the_manifest_names_the_teacher_and_its_licence(config, tmp_path):
    made = label(config, tmp_path / "labels")
    facts = json.loads((Path(config.teacher) / "teacher.json").read_text())
    record = made.manifest.params["teacher"]
    assert (record["name"], record["licence"]) == (facts["name"], facts["licence"])
    assert made.manifest.inputs["teacher"] == load_teacher(config.teacher).digest
    assert json.loads((made.path / "teacher.json").read_text()) == record


def test_a_second_run_labels_nothing(config, tmp_path, heard):
    made = label(config, tmp_path / "labels")
    heard.clear()
    assert label(config, tmp_path / "labels").digest == made.digest
    assert heard == []


def test_interrupted_labelling_goes_on_where_it_was(config, tmp_path, monkeypatch, heard):
    monkeypatch.setattr(planning, "SMALLEST_SHARD", 1)
    reference = label(config, tmp_path / "reference")
    heard.clear()

    def interrupt(what, done, total):
        if what.startswith("labelling") and len(heard) == 2:
            raise KeyboardInterrupt

    out = tmp_path / "labels"
    with pytest.raises(KeyboardInterrupt):
        label(config, out, interrupt)
    assert not out.exists()
    assert label(config, out).digest == reference.digest
    assert len(heard) == 3
    assert sorted(p.name for p in out.iterdir()) == [
        *("files.parquet", "hashes.jsonl", "labels.parquet", "location.json", "manifest.json", "teacher.json")
    ]
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_progress_counts_files_then_seconds_of_audio(config, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "SMALLEST_SHARD", 1)
    said = []
    label(config, tmp_path / "labels", lambda *words: said.append(words))
    assert said[-1] == ("labelling (seconds of audio)", 1, 1)
    assert [words for words in said if words[0] == "reading audio"] == [
        ("reading audio", done, 3) for done in range(4)
    ]


def bad_files(folder):
    for name in ("x1.wav", "x2.wav", "x3.wav"):
        (folder / name).write_bytes(b"not audio")
    soundfile.write(folder / "short.wav", np.zeros(63), 16000)


def test_bad_files_are_listed_and_the_others_labelled(config, audio, tmp_path):
    bad_files(audio)
    shutil.copy(audio / "b.wav", audio / "copy.wav")
    said = []
    made = label(config, tmp_path / "labels", lambda what, *_: said.append(what))
    assert table(made.path)["file"].to_pylist() == ["a.flac", "b.wav", "sub/c.wav"]
    found = summarize(made)
    assert (found.files, found.pieces, found.duplicates) == (8, 3, 1)
    assert found.hours == pytest.approx((0.3 + 0.4 + 0.5) / 3600)
    assert found.unreadable == {
        "short.wav": "63 samples at 16 kHz, shorter than one frame of 64",
        **dict.fromkeys(["x1.wav", "x2.wav", "x3.wav"], "not readable as audio (Format not recognised)"),
    }
    assert said[-1] == "4 of 8 files cannot be used, see files.parquet"
    files = parquet.read_table(made.path / "files.parquet").to_pandas().set_index("file")
    assert files.loc["copy.wav"].duplicate_of == "b.wav"
    assert files.loc["b.wav"].sha256 == artifact.sha256_file(audio / "b.wav")


@pytest.mark.parametrize("labelled_before", [False, True])
def test_strict_makes_bad_files_an_error(config, audio, tmp_path, labelled_before):
    bad_files(audio)
    if labelled_before:
        label(config, tmp_path / "labels")
    with pytest.raises(AudioError) as caught:
        label(config, tmp_path / "labels", strict=True)
    text = str(caught.value)
    assert "4 of 7 audio files cannot be used" in text
    assert "short.wav: 63 samples at 16 kHz, shorter than one frame of 64" in text
    assert "x1.wav: not readable as audio" in text
    assert "x3.wav" not in text
    assert text.endswith("; and 1 more")
    assert (tmp_path / "labels").exists() == labelled_before


def test_no_usable_file_is_an_error(compact_dir, tmp_path):
    (tmp_path / "a.wav").write_text("no audio")
    with pytest.raises(AudioError, match="1 of 1 audio files cannot be used"):
        label(LabelConfig((tmp_path / "a.wav",), str(compact_dir)), tmp_path / "labels")
    assert not (tmp_path / "labels").exists()


def test_audio_that_changes_between_scan_and_labelling_is_noticed(config, audio, tmp_path):
    def change(what, done, total):
        if what.startswith("labelling"):
            soundfile.write(audio / "b.wav", voice(0.3, 7), 16000)

    with pytest.raises(AudioError, match=r"b\.wav: its audio changed while it was labelled"):
        label(config, tmp_path / "labels", change)


def test_pandas_reads_a_label_set_in_one_line(config, tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    monkeypatch.setattr(planning, "SMALLEST_SHARD", 1)
    out = label(config, tmp_path / "labels").path
    rows = pandas.read_parquet(out / "labels.parquet")
    assert len(list((out / "labels.parquet").iterdir())) == 3
    assert list(rows.columns) == list(labels.COLUMNS)
    assert rows["file"].tolist() == ["a.flac", "b.wav", "sub/c.wav"]
