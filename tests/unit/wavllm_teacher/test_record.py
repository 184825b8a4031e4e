import json

import pytest

from edgekit.errors import ArtifactError
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
        "teacher_vs_reference": CCC,
        "measured_on": "its card: 12 EmoDB clips, pseudo-labels",
    }


def test_is_none_where_nothing_was_measured(tmp_path):
    record = teacher_record(write(tmp_path))
    assert (record["teacher_vs_reference"], record["measured_on"]) == (None, "no metrics.json")


@pytest.mark.parametrize("metrics", [[], {}, {"held_out_speakers": {}}])
def test_damage_is_an_artifact_error(tmp_path, metrics):
    with pytest.raises(ArtifactError, match="damaged"):
        teacher_record(write(tmp_path, metrics))
