import json

import numpy as np
import pyarrow
import pytest
import soundfile
from pyarrow import parquet

from edgekit import artifact, labels
from edgekit.errors import ArtifactError, AudioError


def write_artifact(out, columns, root=None):
    with artifact.writing(out, "label", {}, {}) as work:
        parquet.write_table(pyarrow.table(columns), work / "labels.parquet")
    if root is not None:
        labels.write_audio_root(out, root)
    return out


def columns(samples, **changes):
    values = {
        "file": ["a.wav", "a.wav"],
        "start_s": [0.0, 0.5],
        "end_s": [0.5, 1.0],
        "arousal": [0.1, 0.2],
        "dominance": [0.3, 0.4],
        "valence": [0.5, 0.6],
        "teacher": ["t", "t"],
        "split": ["train", "test"],
        "audio_sha256": [labels.audio_sha256(samples[:8000]), labels.audio_sha256(samples[8000:])],
    }
    return values | changes


@pytest.fixture
def samples(tmp_path):
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio/a.wav", np.linspace(-0.5, 0.5, 16000), 16000)
    return soundfile.read(tmp_path / "audio/a.wav", dtype="float32")[0]


def test_rows_and_their_audio(tmp_path, samples):
    found = labels.read_labels(write_artifact(tmp_path / "labels", columns(samples), tmp_path / "audio"))
    assert len(found) == 2
    assert found.indices("test") == [1]
    np.testing.assert_allclose(found.adv, [[0.1, 0.3, 0.5], [0.2, 0.4, 0.6]], rtol=1e-6)
    np.testing.assert_array_equal(found.clip(1), samples[8000:])
    assert found.digest == artifact.read(tmp_path / "labels", "label").digest


def test_shards_are_one_table(tmp_path, samples):
    values = columns(samples)
    with artifact.writing(tmp_path / "labels", "label", {}, {}) as work:
        (work / "labels.parquet").mkdir()
        for row in range(2):
            shard = {name: column[row : row + 1] for name, column in values.items()}
            parquet.write_table(pyarrow.table(shard), work / f"labels.parquet/part-{row:05d}.parquet")
    labels.write_audio_root(tmp_path / "labels", tmp_path / "audio")
    found = labels.read_labels(tmp_path / "labels")
    assert found.audio_sha256 == values["audio_sha256"]
    np.testing.assert_array_equal(found.clip(1), samples[8000:])
    (tmp_path / "labels/labels.parquet/part-00001.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"part-00001\.parquet is missing"):
        labels.read_labels(tmp_path / "labels")


def test_an_artifact_without_a_label_table(tmp_path):
    with artifact.writing(tmp_path / "labels", "label", {}, {}) as work:
        (work / "labels.parquet.txt").write_text("not it")
    with pytest.raises(ArtifactError, match=r"label artifact without labels\.parquet"):
        labels.read_labels(tmp_path / "labels")


def test_changed_audio_is_noticed(tmp_path, samples):
    found = labels.read_labels(write_artifact(tmp_path / "labels", columns(samples), tmp_path / "audio"))
    soundfile.write(tmp_path / "audio/a.wav", np.zeros(16000), 16000)
    with pytest.raises(AudioError, match=r"a\.wav: its audio changed since it was labelled"):
        found.clip(0)


def test_same_audio_in_another_container_is_the_same(samples, tmp_path):
    soundfile.write(tmp_path / "a.flac", samples, 16000)
    again = soundfile.read(tmp_path / "a.flac", dtype="float32")[0]
    assert labels.audio_sha256(again) == labels.audio_sha256(samples)


def test_unknown_or_moved_audio_folder(tmp_path, samples):
    out = write_artifact(tmp_path / "labels", columns(samples))
    with pytest.raises(ArtifactError, match="does not say where its audio lies") as caught:
        labels.read_labels(out).clip(0)
    assert "edgekit label" in caught.value.hint
    labels.write_audio_root(out, tmp_path / "audio")
    (tmp_path / "audio").rename(tmp_path / "moved")
    with pytest.raises(ArtifactError, match="audio is gone") as caught:
        labels.read_labels(out).clip(0)
    assert "edgekit label" in caught.value.hint


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"audio_root": null}'])
def test_damaged_location(tmp_path, samples, content):
    out = write_artifact(tmp_path / "labels", columns(samples))
    (out / "location.json").write_text(content)
    with pytest.raises(ArtifactError, match="does not say where"):
        labels.audio_root(out)


def test_location_is_not_part_of_the_artifact(tmp_path, samples):
    out = write_artifact(tmp_path / "labels", columns(samples))
    before = artifact.read(out, "label").digest
    labels.write_audio_root(out, tmp_path)
    assert artifact.read(out, "label").digest == before
    assert json.loads((out / "location.json").read_text()) == {"audio_root": str(tmp_path)}


def test_labels_that_are_no_numbers(tmp_path, samples):
    out = write_artifact(tmp_path / "labels", columns(samples, valence=[0.5, float("nan")]))
    with pytest.raises(AudioError, match=r"1 of 2 labels are NaN or infinite \(first: a\.wav\)"):
        labels.read_labels(out)


def test_other_columns(tmp_path, samples):
    values = columns(samples)
    values["mood"] = values.pop("valence")
    with pytest.raises(ArtifactError, match=r"has columns .*mood"):
        labels.read_labels(write_artifact(tmp_path / "labels", values))


def test_no_rows(tmp_path, samples):
    empty = pyarrow.table(columns(samples)).slice(0, 0).to_pydict()
    with pytest.raises(AudioError, match="holds no label"):
        labels.read_labels(write_artifact(tmp_path / "labels", empty))


def test_not_a_table(tmp_path):
    with artifact.writing(tmp_path / "labels", "label", {}, {}) as work:
        (work / "labels.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ArtifactError, match="is not a Parquet file"):
        labels.read_labels(tmp_path / "labels")
