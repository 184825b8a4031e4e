import json

import pytest
import soundfile
from unit.wavllm_teacher.public_tiny import checkpoint, write_folder
from unit.wavllm_teacher.tiny import voice

from edgekit.errors import ArtifactError
from wavllm_teacher.device import best_device
from wavllm_teacher.labelling import LabelConfig, label
from wavllm_teacher.record import teacher_record

FACTS = {"kind": "compact", "name": "mine", "licence": "none", "shape": {}}
CCC = {"arousal": 0.7, "dominance": 0.6, "valence": 0.5}


def write(folder, metrics=None, facts=FACTS):
    (folder / "teacher.json").write_text(json.dumps(facts))
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return str(folder)


def test_states_the_held_out_accuracy(tmp_path):
    metrics = {"held_out_speakers": {"compact_vs_pseudo_labels": {"clips": 12, "ccc": CCC}}}
    assert teacher_record(write(tmp_path, metrics)) == {
        "name": "mine",
        "licence": "none",
        "precision": "float32",
        "teacher_vs_reference": CCC,
        "measured_on": "its card: 12 EmoDB clips, pseudo-labels",
    }


def test_is_none_where_nothing_was_measured(tmp_path):
    record = teacher_record(write(tmp_path))
    assert (record["teacher_vs_reference"], record["measured_on"]) == (None, "no metrics.json")


def test_of_a_dual_encoder(tmp_path):
    metrics = {"held_out_speakers": {"dual_vs_labels": {"clips": 7, "ccc": CCC}}}
    facts = FACTS | {"kind": "dual-encoder", "encoders": ["whisper"]}
    record = teacher_record(write(tmp_path, metrics, facts))
    assert record["teacher_vs_reference"] == CCC
    assert record["measured_on"] == "its card: 7 test clips of its corpora"


def test_metrics_that_edgekit_did_not_write_are_none_of_its_concern(tmp_path):
    record = teacher_record(write(tmp_path, {"loss": 1}, FACTS | {"kind": "dawn"}))
    assert record["teacher_vs_reference"] is None


@pytest.mark.parametrize("metrics", [[], {}, {"held_out_speakers": {}}])
def test_damage_is_an_artifact_error(tmp_path, metrics):
    with pytest.raises(ArtifactError, match="damaged"):
        teacher_record(write(tmp_path, metrics))


def test_a_label_set_states_the_licence_of_its_teacher(tmp_path):
    teacher = write_folder(tmp_path / "teacher", "dawn", checkpoint("dawn")[0])
    (tmp_path / "audio").mkdir()
    for seed in range(3):
        soundfile.write(tmp_path / f"audio/{seed}.wav", voice(0.5, seed), 16000)
    made = label(LabelConfig((tmp_path / "audio",), str(teacher)), tmp_path / "labels")
    record = made.manifest.params["teacher"]
    assert (record["name"], record["licence"]) == ("dawn", "CC-BY-NC-SA-4.0")
    assert record["precision"] == best_device().precision
