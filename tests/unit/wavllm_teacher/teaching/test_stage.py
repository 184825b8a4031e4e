"""The teach stage: what it writes, what that depends on, and what it says when it cannot work."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from unit.wavllm_teacher.teaching.tiny_corpora import config_of, contents, labelled_corpus

from edgekit import artifact
from edgekit.audio import read_audio
from edgekit.errors import ArtifactError, AudioError, ConfigError
from edgekit.labels import read_labels
from wavllm_teacher import labelling
from wavllm_teacher.registry import load_teacher
from wavllm_teacher.teaching.config import stage_steps
from wavllm_teacher.teaching.corpus import read_corpora
from wavllm_teacher.teaching.stage import identity, teach

pytestmark = pytest.mark.usefixtures("tiny_sizes")


class TestArtifact:
    def test_holds_a_teacher_and_how_it_came_about(self, corpus, encoder_dir, wavlm_dir, tmp_path):
        config = config_of(corpus, whisper=encoder_dir, wavlm=wavlm_dir)
        made = teach(config, tmp_path / "out")
        encoders = {f"{e}/{f}" for e in ("whisper", "wavlm") for f in ("config.json", "model.safetensors")}
        own = {"teacher.json", "adapters.safetensors", "metrics.json", "history.csv", "README.md"}
        assert set(made.manifest.files) == encoders | own
        assert {path.name for path in made.path.iterdir()} == {
            *(name.split("/")[0] for name in encoders | own),
            artifact.MANIFEST,
        }
        inputs, params = identity(config)
        assert artifact.is_current(made.path, "teach", inputs, params)

    def test_is_a_teacher_for_labelling(self, corpus, encoder_dir, tmp_path):
        # It needs neither the encoder's folder nor the place where it was written.
        encoder = shutil.copytree(encoder_dir, tmp_path / "encoder")
        made = teach(config_of(corpus, whisper=encoder), tmp_path / "out")
        shutil.rmtree(encoder)
        moved = made.path.rename(tmp_path / "moved")
        test = [clip.file for clip in read_corpora([corpus])[0].clips["test"]]
        teacher = load_teacher(str(moved))
        assert teacher.name == "dual-encoder"
        labelling.label(labelling.LabelConfig(tuple(test), str(moved)), tmp_path / "labels")
        wanted = teacher.predict([read_audio(file) for file in test])
        assert np.array_equal(read_labels(tmp_path / "labels").adv, wanted)

    @pytest.mark.parametrize("names", [("whisper",), ("wavlm",), ("whisper", "wavlm")])
    def test_either_encoder_may_be_absent(self, corpus, encoder_dir, wavlm_dir, tmp_path, names):
        folders = {"whisper": encoder_dir, "wavlm": wavlm_dir}
        made = teach(config_of(corpus, **{name: folders[name] for name in names}), tmp_path / "out")
        facts = json.loads(made.file("teacher.json").read_text())
        assert facts["encoders"] == list(names)
        assert {file.split("/")[0] for file in made.manifest.files if "/" in file} == set(names)
        tensors = load_file(made.file("adapters.safetensors"))
        assert {name.split(".")[1] for name in tensors if name.startswith("branches")} == set(names)

    def test_same_inputs_same_bytes(self, corpus, encoder_dir, tmp_path):
        other = labelled_corpus(tmp_path / "two")
        one = config_of(corpus, other, whisper=encoder_dir)
        teach(one, tmp_path / "a")
        teach(replace(one, corpora=(other, corpus)), tmp_path / "b")
        assert contents(tmp_path / "a") == contents(tmp_path / "b")
        teach(replace(one, seed=1), tmp_path / "c")
        name = "adapters.safetensors"
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()

    def test_threads_are_its_own(self, corpus, encoder_dir, tmp_path):
        config = config_of(corpus, whisper=encoder_dir)
        before, seen = torch.get_num_threads(), set()
        torch.set_num_threads(3)
        try:
            teach(config, tmp_path / "out", lambda *_: seen.add(torch.get_num_threads()))
            assert (seen, torch.get_num_threads()) == ({1}, 3)
        finally:
            torch.set_num_threads(before)

    def test_a_complete_one_is_not_made_again(self, corpus, encoder_dir, tmp_path):
        config = config_of(corpus, whisper=encoder_dir)
        teach(config, tmp_path / "out")
        teach(config, tmp_path / "out", lambda *_: pytest.fail("worked again"))


class TestIdentity:
    def test_follows_encoders_and_settings(self, corpus, encoder_dir, wavlm_dir):
        config = config_of(corpus, whisper=encoder_dir)
        inputs, params = identity(config)
        assert set(inputs) == {"corpus one", "whisper/config.json", "whisper/model.safetensors"}
        assert inputs["corpus one"] == read_corpora([corpus])[0].digest
        assert "wavlm/model.safetensors" in identity(replace(config, wavlm=wavlm_dir))[0]
        assert identity(replace(config, dropout=0.1))[1] != params
        assert json.loads(json.dumps(params)) == params

    def test_holds_no_path(self, corpus, encoder_dir, tmp_path):
        assert str(tmp_path) not in json.dumps(identity(config_of(corpus, whisper=encoder_dir)))

    def test_entry_module_needs_no_torch(self):
        code = "import sys, wavllm_teacher.teaching.stage as s; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestErrors:
    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"corpora": ()}, "no corpus given"),
            ({"whisper": None}, "no encoder given"),
            ({"size": "large"}, "unknown size 'large'"),
            ({"batch": 63}, "batch = 63 is too small"),
            ({"joint_steps": -1}, "joint_steps = -1"),
            ({"copies": 0}, "copies = 0"),
            ({"seed": -1}, "seed = -1"),
        ],
    )
    def test_impossible_settings(self, changed, message):
        with pytest.raises(ConfigError, match=message) as error:
            replace(config_of(Path("a"), whisper=Path("w")), **changed)
        assert error.value.hint

    @pytest.mark.parametrize("clip", ["03.wav", "11.wav"])
    def test_audio_is_read_before_anything_is_encoded(self, corpus, encoder_dir, tmp_path, clip):
        (corpus / clip).write_bytes(b"no audio")
        told = []
        with pytest.raises(AudioError, match=f"{clip}: not readable as audio") as error:
            teach(
                config_of(corpus, whisper=encoder_dir), tmp_path / "out", lambda what, *_: told.append(what)
            )
        assert error.value.hint
        assert set(told) == {"reading audio"}
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("option", "config", "message"),
        [
            ("whisper", None, "no whisper encoder here"),
            ("wavlm", None, "no wavlm encoder here"),
            ("wavlm", '{"model_type": "hubert"}', "'hubert', not 'wavlm'"),
            ("whisper", '{"model_type": "wavlm"}', "'wavlm', not 'whisper'"),
            ("whisper", "{", "damaged"),
        ],
    )
    def test_wrong_encoders(self, corpus, tmp_path, option, config, message):
        folder = tmp_path / "encoder"
        folder.mkdir()
        if config:
            (folder / "config.json").write_text(config)
            save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
        with pytest.raises(ArtifactError, match=message) as error:
            teach(config_of(corpus, **{option: folder}), tmp_path / "out")
        assert error.value.hint
        assert not (tmp_path / "out").exists()

    def test_weights_that_do_not_fit_the_config_are_named(self, corpus, encoder_dir, tmp_path):
        folder = shutil.copytree(encoder_dir, tmp_path / "encoder")
        facts = json.loads((folder / "config.json").read_text()) | {"encoder_layers": 4}
        (folder / "config.json").write_text(json.dumps(facts))
        with pytest.raises(ArtifactError, match=r"tensor layers\.3\.\S+ is missing"):
            teach(config_of(corpus, whisper=folder), tmp_path / "out")

    def test_anything_else_is_not_replaced(self, corpus, encoder_dir, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/thesis.txt").write_text("mine")
        with pytest.raises(ConfigError, match="did not write"):
            teach(config_of(corpus, whisper=encoder_dir), tmp_path / "out")
        assert (tmp_path / "out/thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("steps", [1, 2, 7, 400])
def test_a_quarter_of_the_steps_is_single_tasks(steps):
    found = stage_steps(steps)
    assert sum(found.values()) == steps
    assert abs(found["single_steps"] - steps / 4) <= 0.5
