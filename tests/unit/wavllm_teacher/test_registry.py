import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from unit.wavllm_teacher.tiny import voice

from edgekit.errors import ArtifactError, ConfigError
from wavllm_teacher.assembly import assemble_full
from wavllm_teacher.catalogue import TEACHERS
from wavllm_teacher.head import EmotionHead
from wavllm_teacher.registry import built_in_folder, find_teacher, list_teachers, load_teacher, teacher_digest


def test_a_full_teacher_folder_needs_nothing_outside_it(full_dir, tmp_path):
    moved = shutil.copytree(full_dir, tmp_path / "elsewhere")
    teacher = load_teacher(str(moved))
    assert teacher.name == "whisper-base"
    assert teacher.digest == teacher_digest(str(full_dir))
    adv = teacher.predict([voice(0.5, 1), voice(0.3, 2)])
    assert adv.shape == (2, 3)
    assert adv.dtype == np.float32
    assert not np.allclose(adv[0], adv[1])


def test_prediction_does_not_depend_on_the_other_clips(full_dir, compact_dir):
    clips = [voice(0.5, 1), voice(1.3, 2)]
    for folder in (full_dir, compact_dir):
        teacher = load_teacher(str(folder))
        assert np.array_equal(teacher.predict(clips)[:1], teacher.predict(clips[:1]))


def test_digest_follows_the_weights(compact_dir, tmp_path):
    changed = shutil.copytree(compact_dir, tmp_path / "changed")
    tensors = load_file(changed / "model.safetensors")
    tensors["head.score.bias"] += 1
    save_file(tensors, changed / "model.safetensors")
    assert teacher_digest(str(changed)) != teacher_digest(str(compact_dir))


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ConfigError, match="unknown teacher 'compcat'") as caught:
        load_teacher("compcat")
    choices = (
        "teachers: compact, dawn, msp-wavlm, msp-fused, or a folder with teacher.json; see edgekit teachers"
    )
    assert caught.value.hint == f"did you mean 'compact'? {choices}"
    with pytest.raises(ConfigError) as caught:
        load_teacher("wav2vec")
    assert caught.value.hint == choices


@pytest.mark.parametrize("name", ["whisper-base", "dual-encoder", "wavllm"])
def test_what_users_make_is_named_by_its_folder(name):
    with pytest.raises(ConfigError, match=f"{name}: has to be made first") as caught:
        load_teacher(name)
    assert re.fullmatch(r"run (python|edgekit) .*, then name the folder it wrote", caught.value.hint)


def test_a_folder_without_teacher_json(tmp_path):
    with pytest.raises(ConfigError, match=r"no teacher here \(neither teacher\.json nor config\.json\)"):
        load_teacher(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged"),
        ("[]", "licence|kind is missing"),
        (json.dumps({"kind": "compact", "name": "x", "licence": "y"}), "shape is missing"),
        (
            json.dumps({"kind": "dual-encoder", "name": "x", "licence": "y", "shape": {}}),
            "encoders is missing",
        ),
        (json.dumps({"kind": "rnn", "name": "x", "licence": "y", "shape": {}}), "unknown kind 'rnn'"),
        (
            json.dumps(
                {"kind": "compact", "name": "x", "licence": "y", "shape": {"stem_ranks": [1, 2], "depth": 3}}
            ),
            "wrong shape entry",
        ),
        (json.dumps({"kind": "compact", "name": "x", "licence": "y", "shape": []}), "wrong shape entry"),
        (json.dumps({"kind": [], "name": "x", "licence": "y", "shape": {}}), "unknown kind"),
        (
            json.dumps(
                {"kind": "compact", "name": "x", "licence": "y", "shape": {"stem_ranks": [1, 2], "heads": 3}}
            ),
            "wrong shape entry",
        ),
    ],
)
def test_a_damaged_teacher_json(compact_dir, tmp_path, text, message):
    folder = shutil.copytree(compact_dir, tmp_path / "teacher")
    (folder / "teacher.json").write_text(text)
    with pytest.raises(ArtifactError, match=message):
        load_teacher(str(folder))


def test_a_misshapen_tensor_is_named(compact_dir, tmp_path):
    folder = shutil.copytree(compact_dir, tmp_path / "teacher")
    tensors = load_file(folder / "model.safetensors")
    tensors["blocks.1.expand.down.weight"] = torch.zeros(2, 2)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(
        ArtifactError, match=r"blocks\.1\.expand\.down\.weight has shape \(2, 2\), expected \(8, 16\)"
    ):
        load_teacher(str(folder))


def test_a_missing_encoder_is_named(full_dir, tmp_path):
    folder = shutil.copytree(full_dir, tmp_path / "teacher")
    (folder / "encoder/model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"encoder/model\.safetensors is missing"):
        load_teacher(str(folder))


def test_a_dual_encoder_folder_consists_of_adapters_and_the_encoders_it_uses(tmp_path, monkeypatch):
    facts = {"kind": "dual-encoder", "name": "mine", "licence": "none", "shape": {}, "encoders": ["wavlm"]}
    files = ["adapters.safetensors", "wavlm/config.json", "wavlm/model.safetensors"]
    for name in [*files, "whisper/config.json"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "teacher.json").write_text(json.dumps(facts))
    found = find_teacher(str(tmp_path)).files()
    assert [file.relative_to(tmp_path).as_posix() for file in found] == ["teacher.json", *files]
    monkeypatch.setattr("wavllm_teacher.dual_encoder.load", lambda folder, given: (folder, given))
    assert load_teacher(str(tmp_path)).network == (tmp_path, facts)
    (tmp_path / "wavlm/config.json").unlink()
    with pytest.raises(ArtifactError, match=r"wavlm/config\.json is missing"):
        teacher_digest(str(tmp_path))


def test_head_and_encoder_must_fit(full_dir, tmp_path):
    folder = shutil.copytree(full_dir, tmp_path / "teacher")
    config = json.loads((folder / "encoder/config.json").read_text()) | {"encoder_layers": 1}
    (folder / "encoder/config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "encoder/model.safetensors")
    kept = {name: t for name, t in tensors.items() if not name.startswith(("layers.1", "layers.2"))}
    save_file(kept, folder / "encoder/model.safetensors")
    with pytest.raises(ArtifactError, match="the head reads state 2 of width 16, the encoder gives 2 of 16"):
        load_teacher(str(folder))


def test_listed_teachers_are_shipped():
    for name in list_teachers():
        assert (built_in_folder(name) / "MODEL_CARD.md").is_file()
        assert load_teacher(name).name == name


def test_listed_sizes_are_those_of_the_networks():
    network = load_teacher("compact").network
    assert sum(t.numel() for t in network.state_dict().values()) == TEACHERS["compact"].parameters
    shape = json.loads((built_in_folder("whisper-base") / "teacher.json").read_text())["shape"]
    base = {"encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048, "d_model": 512}
    with torch.device("meta"):
        head = EmotionHead(2 * len(shape["layers"]) * shape["width"], shape["categories"])
        encoder = WhisperEncoder(WhisperConfig(**base))
    tensors = [*head.state_dict().values(), *encoder.state_dict().values()]
    assert sum(t.numel() for t in tensors) == TEACHERS["whisper-base"].parameters


def test_shipped_files_stay_small():
    compact, head = built_in_folder("compact"), built_in_folder("whisper-base")
    assert (compact / "model.safetensors").stat().st_size <= 4_000_000
    assert (head / "head.safetensors").stat().st_size <= 2_000_000


@pytest.mark.shared
def test_shipped_head_and_real_encoder_make_a_teacher(shared, tmp_path):
    encoder = shared / "weights/whisper-base-encoder"
    teacher = assemble_full(built_in_folder("whisper-base"), encoder, tmp_path / "full")
    adv = teacher.predict([voice(1.0, 1)])
    assert np.isfinite(adv).all()
