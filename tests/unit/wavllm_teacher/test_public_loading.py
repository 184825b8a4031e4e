"""Public checkpoints from folders, from the Hugging Face cache, and damaged ones."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from unit.wavllm_teacher.public_tiny import checkpoint, old_names, write_folder
from unit.wavllm_teacher.tiny import voice

from edgekit.errors import ArtifactError, ConfigError, UnsupportedError
from wavllm_teacher import checkpoint as weights
from wavllm_teacher import hub
from wavllm_teacher.catalogue import TEACHERS
from wavllm_teacher.device import Device, best_device
from wavllm_teacher.listing import licence_of, teacher_table
from wavllm_teacher.record import teacher_record
from wavllm_teacher.registry import find_teacher, load_teacher, teacher_digest

DAWN, MSP_WAVLM = TEACHERS["dawn"].repository, TEACHERS["msp-wavlm"].repository
CLIP = [voice(0.5, 0)]
MIT_CARD = "---\ntags:\n- speech\nlicense: mit\n---\n# A model\nlicense: cc0-1.0\n"


@pytest.fixture(scope="module")
def dawn(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("dawn"), "dawn", checkpoint("dawn")[0])


@pytest.fixture(scope="module")
def msp_wavlm(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("msp"), "msp-wavlm", checkpoint("msp-wavlm")[0])


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """An empty Hugging Face cache, and no network."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return folder


def put(cache: Path, repository: str, content: Path) -> Path:
    """Lay a folder's files out as huggingface_hub does after a download."""
    store, commit = cache / f"models--{repository.replace('/', '--')}", "0123456789" * 4
    (store / "refs").mkdir(parents=True)
    (store / "refs" / "main").write_text(commit)
    return shutil.copytree(content, store / "snapshots" / commit)


class TestDamage:
    CHANGES = (
        (lambda t: t.pop("classifier.dense.bias"), r"tensor classifier\.dense\.bias is missing"),
        (
            lambda t: t.pop("wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
            r"tensor wav2vec2\.encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original0 is missing",
        ),
        (
            lambda t: t.update({"classifier.out_proj.weight": torch.zeros(4, 24)}),
            r"tensor classifier\.out_proj\.weight has shape \(4, 24\), expected \(3, 24\)",
        ),
        (lambda t: t.update(projector=torch.zeros(1)), "tensor projector is unknown to this model"),
        (
            lambda t: t["wav2vec2.encoder.layer_norm.weight"][:1].fill_(float("nan")),
            r"tensor wav2vec2\.encoder\.layer_norm\.weight holds NaN or infinite",
        ),
        (
            lambda t: t.update({"classifier.dense.bias": torch.zeros(24, dtype=torch.int64)}),
            r"tensor classifier\.dense\.bias has type torch\.int64",
        ),
        (
            lambda t: t.update({"wav2vec2.masked_spec_embed": torch.zeros(23)}),
            r"tensor wav2vec2\.masked_spec_embed has shape \(23,\), expected \(24,\)",
        ),
        (
            lambda t: t.update({"wav2vec2.encoder.pos_conv_embed.conv.weight_g": torch.zeros(1, 1, 16)}),
            r"tensor wav2vec2\.encoder\.pos_conv_embed\.conv\.\S* is there twice",
        ),
    )

    @pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
    @pytest.mark.parametrize(("change", "message"), CHANGES)
    def test_a_tensor_that_does_not_fit_is_named(self, tmp_path, change, message, pickled):
        tensors, _ = checkpoint("dawn")
        change(tensors)
        folder = write_folder(tmp_path / "model", "dawn", tensors, pickled=pickled)
        with pytest.raises(ArtifactError, match=message):
            load_teacher(str(folder))

    def test_it_is_named_as_its_file_names_it(self, tmp_path):
        tensors = old_names(checkpoint("dawn")[0])
        name = "wav2vec2.encoder.pos_conv_embed.conv.weight_g"
        tensors[name] = torch.zeros(1, 1, 15)
        with pytest.raises(ArtifactError, match=rf"tensor {re.escape(name)} has shape \(1, 1, 15\)"):
            load_teacher(str(write_folder(tmp_path / "model", "dawn", tensors)))

    def test_a_mask_embedding_need_not_be_there(self, tmp_path, dawn):
        tensors, _ = checkpoint("dawn")
        del tensors["wav2vec2.masked_spec_embed"]
        teacher = load_teacher(str(write_folder(tmp_path / "model", "dawn", tensors)))
        assert np.array_equal(teacher.predict(CLIP), load_teacher(str(dawn)).predict(CLIP))

    def test_a_pickle_that_would_run_code_is_refused(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "ran"),)

        folder = write_folder(tmp_path / "model", "dawn", {}, pickled=True)
        for write in (
            torch.save,
            lambda value, path: Path(path).write_bytes(pickle.dumps(value, protocol=2)),
        ):
            write({"classifier.dense.bias": Evil()}, folder / "pytorch_model.bin")
            with pytest.raises(ArtifactError, match="damaged weights file"):
                load_teacher(str(folder))
        assert not (tmp_path / "ran").exists()

    def test_code_in_a_folder_is_not_run(self, tmp_path):
        folder = write_folder(tmp_path / "model", "msp-wavlm", checkpoint("msp-wavlm")[0])
        (folder / "pipeline_utils.py").write_text("raise SystemExit('the code of the folder ran')")
        load_teacher(str(folder)).predict(CLIP)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "damaged weights file"),
            (b"PK\x03\x04 no archive", "damaged weights file"),
            (b"\x80\x02}q\x00.", "damaged weights file"),
        ],
    )
    def test_a_damaged_pickle(self, tmp_path, content, message):
        folder = write_folder(tmp_path / "model", "dawn", {}, pickled=True)
        (folder / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(ArtifactError, match=message):
            load_teacher(str(folder))

    @pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}, {"state_dict": {"a": torch.zeros(1)}}])
    def test_a_pickle_of_something_else(self, tmp_path, content):
        folder = write_folder(tmp_path / "model", "dawn", content, pickled=True)
        with pytest.raises(ArtifactError, match="does not hold tensors by name alone"):
            load_teacher(str(folder))

    def test_the_format_of_torch_before_1_6(self, tmp_path, dawn):
        folder = write_folder(tmp_path / "model", "dawn", {}, pickled=True)
        tensors = old_names(checkpoint("dawn")[0])
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
        assert np.array_equal(load_teacher(str(folder)).predict(CLIP), load_teacher(str(dawn)).predict(CLIP))

    @pytest.mark.parametrize(
        ("kind", "entries", "message"),
        [
            ("dawn", {"id2label": None}, "wrong entry: id2label is missing"),
            (
                "dawn",
                {"id2label": {"0": "angry", "1": "sad", "2": "calm"}},
                "expected arousal, dominance, valence",
            ),
            ("dawn", {"id2label": {"0": "arousal"}}, "expected arousal, dominance, valence"),
            ("dawn", {"id2label": ["arousal", "dominance", "valence"]}, "wrong entry"),
            ("dawn", {"hidden_size": "large"}, "wrong entry: .*hidden_size"),
            ("dawn", {"num_attention_heads": 7}, "wrong entry: embed_dim must be divisible"),
            ("dawn", {"hidden_act": "guess"}, "wrong entry: 'guess'"),
            ("dawn", {"num_attention_heads": 0}, "wrong entry"),
            ("msp-wavlm", {"std": None}, "wrong entry: std is missing"),
            ("msp-wavlm", {"mean": "small"}, "wrong entry"),
            ("msp-wavlm", {"ssl_type": None}, "wrong entry: ssl_type is missing"),
        ],
    )
    def test_a_config_that_cannot_be(self, tmp_path, kind, entries, message):
        folder = write_folder(tmp_path / "model", kind, checkpoint(kind)[0], **entries)
        with pytest.raises(ArtifactError, match=rf"config\.json: {message}|{message}"):
            load_teacher(str(folder))

    def test_another_backbone_is_not_supported(self, tmp_path):
        folder = write_folder(tmp_path / "model", "msp-wavlm", {}, ssl_type="facebook/hubert-large-ll60k")
        with pytest.raises(UnsupportedError, match="hubert") as caught:
            load_teacher(str(folder))
        assert caught.value.hint == "edgekit reads microsoft/wavlm-large"

    def test_another_model_is_not_supported(self, tmp_path):
        folder = write_folder(tmp_path / "model", "dawn", {}, model_type="hubert")
        with pytest.raises(UnsupportedError, match="model_type is 'hubert', not one of wav2vec2, ser"):
            teacher_digest(str(folder))

    @pytest.mark.parametrize("text", ["{", "[]", '{"maxlen": 12*16000}'])
    def test_a_damaged_config(self, tmp_path, text):
        folder = write_folder(tmp_path / "model", "dawn", {})
        (folder / "config.json").write_text(text)
        with pytest.raises(ArtifactError, match=r"config\.json: damaged"):
            load_teacher(str(folder))

    def test_no_weights(self, tmp_path):
        folder = write_folder(tmp_path / "model", "dawn", {})
        (folder / "model.safetensors").unlink()
        with pytest.raises(
            ArtifactError, match=r"no weights here \(model\.safetensors or pytorch_model\.bin\)"
        ):
            teacher_digest(str(folder))


class TestSplit:
    """Large checkpoints in several files with an index."""

    @pytest.fixture(params=["safetensors", "bin"])
    def split(self, request, tmp_path) -> Path:
        folder, tensors = tmp_path / "model", old_names(checkpoint("dawn")[0])
        write_folder(folder, "dawn", {})
        (folder / "model.safetensors").unlink()
        stem, save = {
            "safetensors": ("model", save_file),
            "bin": ("pytorch_model", torch.save),
        }[request.param]
        table = {}
        for part in (0, 1):
            names = sorted(tensors)[part::2]
            file = f"{stem}-0000{part + 1}-of-00002.{request.param}"
            save({name: tensors[name] for name in names}, folder / file)
            table |= dict.fromkeys(names, file)
        (folder / f"{stem}.{request.param}.index.json").write_text(json.dumps({"weight_map": table}))
        return folder

    def test_is_read_as_one(self, split, dawn):
        teacher = load_teacher(str(split))
        assert np.array_equal(teacher.predict(CLIP), load_teacher(str(dawn)).predict(CLIP))

    def test_every_part_counts(self, split):
        before = teacher_digest(str(split))
        part = sorted(split.glob("*00002-of*"))[0]
        part.write_bytes(part.read_bytes() + b" ")
        assert teacher_digest(str(split)) != before
        part.unlink()
        with pytest.raises(ArtifactError, match=f"{part.name} is missing"):
            teacher_digest(str(split))

    @pytest.mark.parametrize(
        ("index", "message"),
        [
            ("{", "damaged"),
            ("{}", "no weight_map"),
            ('{"weight_map": {"a": "../secret.bin"}}', r"\.\./secret\.bin is not a file beside it"),
        ],
    )
    def test_a_damaged_index(self, split, index, message):
        next(split.glob("*.index.json")).write_text(index)
        with pytest.raises(ArtifactError, match=message):
            load_teacher(str(split))


class TestMemory:
    @pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
    def test_what_is_read_becomes_the_network(self, tmp_path, monkeypatch, pickled):
        read = {}
        original = weights.read_tensors
        monkeypatch.setattr(weights, "read_tensors", lambda path: read.update(original(path)) or dict(read))
        folder = write_folder(tmp_path / "model", "dawn", checkpoint("dawn")[0], pickled=pickled)
        network = load_teacher(str(folder)).network.network
        kept = {name: t.data_ptr() for name, t in network.state_dict().items()}
        assert kept == {name: read[name].data_ptr() for name in kept}
        assert not any(parameter.requires_grad for parameter in network.parameters())

    def test_a_file_is_hashed_once(self, tmp_path, monkeypatch, dawn):
        folder, hashed = shutil.copytree(dawn, tmp_path / "model"), []
        original = hub.Path.open
        monkeypatch.setattr(Path, "open", lambda p, *a, **k: hashed.append(p.name) or original(p, *a, **k))
        digests = {teacher_digest(str(folder)) for _ in range(3)}
        assert len(digests) == 1
        assert hashed.count("model.safetensors") == 1


class TestFolders:
    def test_a_folder_is_recognised_by_its_config(self, dawn, msp_wavlm):
        assert load_teacher(str(dawn)).name == "dawn"
        assert load_teacher(str(msp_wavlm)).name == "msp-wavlm"

    def test_digests_follow_config_and_weights(self, dawn, tmp_path):
        folder = shutil.copytree(dawn, tmp_path / "model")
        assert teacher_digest(str(folder)) == teacher_digest(str(dawn))
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-6}))
        assert teacher_digest(str(folder)) != teacher_digest(str(dawn))
        shutil.copy(dawn / "config.json", folder / "config.json")
        tensors = load_file(folder / "model.safetensors")
        tensors["classifier.out_proj.bias"] += 1
        save_file(tensors, folder / "model.safetensors")
        assert teacher_digest(str(folder)) != teacher_digest(str(dawn))

    def test_without_a_card_the_licence_is_that_of_the_public_checkpoint(self, dawn, msp_wavlm):
        assert load_teacher(str(dawn)).licence == "CC-BY-NC-SA-4.0"
        assert teacher_record(str(dawn))["licence"] == "CC-BY-NC-SA-4.0"
        assert load_teacher(str(msp_wavlm)).licence == "MIT"

    @pytest.mark.parametrize(
        ("card", "licence"),
        [
            (MIT_CARD, "MIT"),
            (MIT_CARD.replace("mit", "apache-2.0"), "Apache-2.0"),
            (MIT_CARD.replace("mit", '"cc-by-nc-4.0" # not for sale'), "CC-BY-NC-4.0"),
            (MIT_CARD.replace("mit", "\n- mit\n- cc-by-4.0"), "MIT and CC-BY-4.0"),
            ("# A model\n\nlicense: mit\n", "CC-BY-NC-SA-4.0"),
            ("---\ntags:\n- speech\n---\nlicense: mit\n", "CC-BY-NC-SA-4.0"),
        ],
    )
    def test_a_card_states_the_licence(self, dawn, tmp_path, card, licence):
        folder = shutil.copytree(dawn, tmp_path / "model")
        (folder / "README.md").write_text(card)
        assert teacher_record(str(folder))["licence"] == licence

    def test_a_damaged_card(self, dawn, tmp_path):
        folder = shutil.copytree(dawn, tmp_path / "model")
        for card in ("---\nlicense: [mit\n---\n", "---\n- mit\n---\n"):
            (folder / "README.md").write_text(card)
            with pytest.raises(ArtifactError, match=r"README\.md: damaged"):
                load_teacher(str(folder))

    def test_teacher_json_names_a_model_of_ones_own(self, dawn, tmp_path):
        folder = shutil.copytree(dawn, tmp_path / "model")
        facts = {"kind": "dawn", "name": "ours", "licence": "in house"}
        (folder / "teacher.json").write_text(json.dumps(facts))
        teacher = load_teacher(str(folder))
        assert (teacher.name, teacher.licence) == ("ours", "in house")
        assert np.array_equal(teacher.predict(CLIP), load_teacher(str(dawn)).predict(CLIP))

    @pytest.mark.parametrize(
        ("one", "other", "both"),
        [
            ("mit", "cc-by-nc-4.0", "CC-BY-NC-4.0"),
            ("cc-by-nc-4.0", "mit", "CC-BY-NC-4.0"),
            ("cc-by-nc-4.0", "gpl-3.0", "CC-BY-NC-4.0 and GPL-3.0"),
        ],
    )
    def test_a_fusion_has_the_stricter_licence(self, dawn, msp_wavlm, tmp_path, one, other, both):
        for name, source, card in (("dawn", dawn, one), ("msp-wavlm", msp_wavlm, other)):
            folder = shutil.copytree(source, tmp_path / name)
            (folder / "README.md").write_text(MIT_CARD.replace("mit", card))
        assert load_teacher(str(tmp_path)).licence == both

    def test_two_folders_make_the_fusion(self, dawn, msp_wavlm, tmp_path):
        (tmp_path / "both").mkdir()
        (tmp_path / "both/dawn").symlink_to(dawn)
        (tmp_path / "both/msp-wavlm").symlink_to(msp_wavlm)
        teacher = load_teacher(str(tmp_path / "both"))
        assert (teacher.name, teacher.licence) == ("msp-fused", "CC-BY-NC-SA-4.0")
        assert teacher.digest not in (teacher_digest(str(dawn)), teacher_digest(str(msp_wavlm)))
        mean = (load_teacher(str(dawn)).predict(CLIP) + load_teacher(str(msp_wavlm)).predict(CLIP)) / 2
        np.testing.assert_allclose(teacher.predict(CLIP), mean, atol=1e-6)
        (tmp_path / "both/teacher.json").write_text(
            json.dumps({"kind": "msp-fused", "name": "ours", "licence": "in house"})
        )
        assert load_teacher(str(tmp_path / "both")).name == "ours"
        (tmp_path / "both/dawn").unlink()
        with pytest.raises(ArtifactError, match="folder dawn is missing"):
            load_teacher(str(tmp_path / "both"))

    def test_a_fusion_is_of_these_two_models(self, dawn, tmp_path):
        for name in TEACHERS["msp-fused"].parts:
            shutil.copytree(dawn, tmp_path / "both" / name)
        with pytest.raises(ArtifactError, match=r"both/msp-wavlm: holds a teacher of kind 'dawn'"):
            load_teacher(str(tmp_path / "both"))

    def test_the_precision_is_that_of_the_device(self, cache, dawn, msp_wavlm, monkeypatch):
        put(cache, DAWN, dawn)
        put(cache, MSP_WAVLM, msp_wavlm)
        monkeypatch.setattr("wavllm_teacher.device.best_device", lambda: Device("cuda", "bfloat16"))
        names = ("compact", "dawn", "msp-wavlm", "msp-fused")
        found = {name: teacher_record(name)["precision"] for name in names}
        assert found == dict.fromkeys(names, "bfloat16") | {"compact": "float32"}

    def test_one_folder_alone_is_no_fusion(self, dawn, tmp_path):
        shutil.copytree(dawn, tmp_path / "both/dawn")
        with pytest.raises(ConfigError, match=r"no teacher here \(neither teacher\.json nor config\.json\)"):
            load_teacher(str(tmp_path / "both"))


class TestCache:
    def test_names_and_repositories_are_looked_up(self, cache, dawn, msp_wavlm):
        put(cache, DAWN, dawn)
        put(cache, MSP_WAVLM, msp_wavlm)
        for name in ("dawn", DAWN):
            teacher = load_teacher(name)
            assert (teacher.name, teacher.licence) == ("dawn", "CC-BY-NC-SA-4.0")
            assert teacher.digest == teacher_digest(str(dawn))
        assert load_teacher("msp-wavlm").licence == "MIT"
        fused = load_teacher("msp-fused")
        assert (fused.name, fused.licence) == ("msp-fused", "CC-BY-NC-SA-4.0")
        mean = (load_teacher("dawn").predict(CLIP) + load_teacher("msp-wavlm").predict(CLIP)) / 2
        np.testing.assert_allclose(fused.predict(CLIP), mean, atol=1e-6)

    def test_a_repository_that_has_no_name_here(self, cache, dawn):
        snapshot = put(cache, "someone/their-model", dawn)
        (snapshot / "README.md").write_text(MIT_CARD)
        assert teacher_record("someone/their-model") == {
            "name": "someone/their-model",
            "licence": "MIT",
            "precision": best_device().precision,
            "teacher_vs_reference": None,
            "measured_on": "no metrics.json",
        }

    def test_a_folder_comes_before_a_repository(self, cache, dawn, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        shutil.copytree(dawn, tmp_path / DAWN)
        assert find_teacher(DAWN).folder == Path(DAWN)

    def test_what_is_not_cached_is_said_with_the_command_that_fetches_it(self, cache):
        with pytest.raises(
            ConfigError, match=r"not in the Hugging Face cache.*\(HF_HUB_OFFLINE is set\)"
        ) as caught:
            load_teacher("msp-fused")
        assert f"run hf download {DAWN};" in caught.value.hint

    def test_a_download_that_breaks_off_is_not_in_the_cache(self, cache, dawn):
        (put(cache, DAWN, dawn) / "model.safetensors").unlink()
        assert hub.cached(DAWN) is None
        assert not teacher_table()["dawn"]["present"]

    @pytest.mark.parametrize("error", [ConnectionError("Got: no route\nmore"), OSError("no route")])
    def test_a_failed_download(self, cache, monkeypatch, error):
        def fail(*_: object, **__: object) -> str:
            raise error

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        with pytest.raises(ConfigError, match=r"not downloaded \(no route\)$"):
            load_teacher("dawn")

    @pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
    def test_a_download_takes_only_what_is_needed(self, cache, monkeypatch, tmp_path, pickled):
        kind = "msp-wavlm"
        remote = write_folder(tmp_path / "remote", kind, checkpoint(kind)[0], pickled=pickled)
        (remote / "README.md").write_text(MIT_CARD)
        if not pickled:
            (remote / "pytorch_model.bin").write_text("not wanted")
        (remote / "pipeline_utils.py").write_text("not wanted")
        local = cache / "snapshot"

        def download(repository: str, *, allow_patterns: list[str]) -> str:
            assert repository == MSP_WAVLM
            local.mkdir(parents=True, exist_ok=True)
            for file in remote.iterdir():
                if any(file.match(pattern) for pattern in allow_patterns):
                    shutil.copy(file, local)
            return str(local)

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        assert np.isfinite(load_teacher(kind).predict(CLIP)).all()
        weights_file = "pytorch_model.bin" if pickled else "model.safetensors"
        assert {file.name for file in local.iterdir()} == {"config.json", "README.md", weights_file}

    def test_an_impossible_name(self, cache):
        with pytest.raises(ConfigError, match="unknown teacher 'a--b/c'"):
            load_teacher("a--b/c")
        for path in ("../elsewhere", "a/b/c", "/tmp/x"):
            with pytest.raises(ConfigError, match="unknown teacher"):
                load_teacher(path)

    def test_hf_home_is_followed(self, tmp_path, dawn):
        put(tmp_path / "home/hub", DAWN, dawn)
        code = "from wavllm_teacher.registry import find_teacher; print(find_teacher('dawn').folder)"
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
        environment.pop("HF_HUB_CACHE", None)
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert Path(done.stdout.strip()).is_relative_to(tmp_path / "home/hub")


class TestListing:
    def test_every_teacher_is_listed(self, cache):
        table = teacher_table()
        names = ["compact", "whisper-base", "dual-encoder", "wavllm", "dawn", "msp-wavlm", "msp-fused"]
        assert list(table) == names
        assert [row["where"] for row in table.values()] == ["built in", "head only", *["not here"] * 5]
        assert [row["present"] for row in table.values()] == [True, *[False] * 6]
        assert table["dawn"]["bytes"] == 4 * table["dawn"]["parameters"]
        assert all(row["get"] for row in table.values() if not row["present"])

    def test_what_is_cached_is_here_in_its_true_size(self, cache, dawn, msp_wavlm):
        put(cache, DAWN, dawn)
        table = teacher_table()
        size = sum((dawn / name).stat().st_size for name in ("config.json", "model.safetensors"))
        assert (table["dawn"]["where"], table["dawn"]["bytes"]) == ("in the cache", size)
        assert not table["msp-fused"]["present"]
        put(cache, MSP_WAVLM, msp_wavlm)
        assert teacher_table()["msp-fused"]["where"] == "in the cache"

    def test_licences(self, cache, dawn, msp_wavlm):
        non_commercial = "its labels, too, are for non-commercial use only"
        expected = {"name": "dawn", "licence": "CC-BY-NC-SA-4.0", "terms": non_commercial, "origin": DAWN}
        assert licence_of("dawn") == licence_of(DAWN) == expected
        assert licence_of(str(dawn)) == expected | {"origin": str(dawn)}
        assert licence_of("msp-wavlm") == {
            "name": "msp-wavlm",
            "licence": "MIT",
            "terms": "",
            "origin": MSP_WAVLM,
        }
        assert licence_of("nobody") is None
        put(cache, "someone/model", msp_wavlm)
        assert licence_of("someone/model")["licence"] == "MIT"
