"""The licence follows from that of the audio; the metrics are those of the folder."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from unit.wavllm_teacher.teaching.tiny_corpora import add_column, config_of, labelled_corpus

from edgekit.audio import read_audio
from edgekit.metrics import DIMENSIONS
from wavllm_teacher.registry import load_teacher
from wavllm_teacher.teaching.corpus import Corpus, read_corpora
from wavllm_teacher.teaching.folder import licence
from wavllm_teacher.teaching.stage import teach

pytestmark = pytest.mark.usefixtures("tiny_sizes")


class TestLicence:
    def test_free_audio(self, corpus, encoder_dir, wavlm_dir, tmp_path):
        add_column(corpus, "license", "CC0-1.0")
        made = teach(config_of(corpus, whisper=encoder_dir, wavlm=wavlm_dir), tmp_path / "out")
        found = json.loads(made.file("teacher.json").read_text())["licence"]
        assert found == (
            "Apache-2.0 (adapters and head); MIT (OpenAI Whisper encoder); "
            "CC-BY-SA-3.0 (Microsoft WavLM encoder)"
        )
        assert load_teacher(str(made.path)).licence == found
        card = made.file("README.md").read_text()
        assert found in card
        assert "licence of the audio: CC0-1.0" in card
        assert "6 train, 3 dev, 3 test" in card

    @pytest.mark.parametrize(
        "word", ["CC-BY-NC-SA-4.0", "non-commercial use", "Noncommercial", "non commercial", "research only"]
    )
    def test_non_commercial_audio(self, corpus, word):
        add_column(corpus, "license", word)
        found = licence(["whisper"], read_corpora([corpus]))
        assert found.startswith(
            f"research only (adapters and head): trained on non-commercial audio, one: {word};"
        )

    @pytest.mark.parametrize("clip", [0, 8])
    def test_one_train_or_dev_clip_is_enough(self, corpus, clip):
        words = ["CC0-1.0"] * 12
        words[clip] = "CC-BY-NC-4.0"
        add_column(corpus, "licence", words)
        assert "research only" in licence(["whisper"], read_corpora([corpus]))

    def test_one_corpus_of_two_is_enough(self, corpus, tmp_path):
        add_column(corpus, "license", "CC0-1.0")
        other = labelled_corpus(tmp_path / "two", seconds=0.3)
        add_column(other, "license", "CC-BY-NC-4.0")
        found = licence(["wavlm"], read_corpora([corpus, other]))
        assert "non-commercial audio, two: CC-BY-NC-4.0; CC-BY-SA-3.0" in found

    def test_what_only_tests_does_not_count(self, corpus):
        add_column(corpus, "license", ["CC0-1.0"] * 9 + ["CC-BY-NC-4.0"] * 3)
        assert licence(["whisper"], read_corpora([corpus])).startswith("Apache-2.0")

    def test_not_stated(self, corpus):
        assert licence(["whisper"], read_corpora([corpus])).startswith(
            "not stated (adapters and head): depends on the audio, one: not stated"
        )


class TestMetrics:
    def test_are_of_the_stored_weights_on_the_test_clips(self, corpus, encoder_dir, tmp_path):
        made = teach(config_of(corpus, whisper=encoder_dir), tmp_path / "out")
        metrics = json.loads(made.file("metrics.json").read_text())
        clips = read_corpora([corpus])[0].clips["test"]
        predicted = load_teacher(str(made.path)).predict([read_audio(clip.file) for clip in clips])
        for column, name in enumerate(DIMENSIONS):
            p, t = predicted[:, column].astype(float), np.array([c.labels[column] for c in clips])
            wanted = 2 * np.cov(p, t, bias=True)[0, 1] / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)
            assert metrics["held_out"]["one"]["ccc"][name] == pytest.approx(wanted, abs=1e-4)
        assert metrics["held_out"]["one"]["clips"] == 3
        assert metrics["held_out_speakers"]["dual_vs_labels"] == metrics["held_out"]["one"]
        tensors = load_file(made.file("adapters.safetensors"))
        trained = [t.numel() for n, t in tensors.items() if not n.endswith((".mean", ".scale"))]
        assert metrics["training"]["parameters"] == sum(trained)

    def test_are_kept_apart_by_corpus(self, corpus, encoder_dir, tmp_path):
        other = labelled_corpus(tmp_path / "two", ["train"] * 3 + ["dev"] * 2 + ["test"] * 4)
        made = teach(config_of(corpus, other, whisper=encoder_dir), tmp_path / "out")
        metrics = json.loads(made.file("metrics.json").read_text())
        assert {name: found["clips"] for name, found in metrics["held_out"].items()} == {"one": 3, "two": 4}
        assert metrics["held_out_speakers"]["dual_vs_labels"]["clips"] == 7
        assert set(metrics["training"]["dev_ccc"]) == {"one", "two"}
        assert metrics["held_out"]["one"]["ccc"] != metrics["held_out"]["two"]["ccc"]

    def test_without_test_clips_nothing_is_claimed(self, encoder_dir, tmp_path):
        corpus = labelled_corpus(tmp_path / "one", ["train"] * 3 + ["dev"] * 2)
        made = teach(config_of(corpus, whisper=encoder_dir, joint_steps=0), tmp_path / "out")
        metrics = json.loads(made.file("metrics.json").read_text())
        assert metrics["held_out"]["one"] == {"clips": 0, "ccc": dict.fromkeys(DIMENSIONS)}
        assert "| one | 0 | undefined | undefined | undefined |" in made.file("README.md").read_text()


def test_other_weight_formats_are_stored_as_safetensors(corpus, wavlm_dir, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "config.json").write_bytes((wavlm_dir / "config.json").read_bytes())
    torch.save(load_file(wavlm_dir / "model.safetensors"), folder / "pytorch_model.bin")
    one = teach(config_of(corpus, wavlm=folder), tmp_path / "a")
    two = teach(config_of(corpus, wavlm=wavlm_dir), tmp_path / "b")
    assert one.file("wavlm/model.safetensors").is_file()
    clips = [read_audio(clip.file) for clip in read_corpora([corpus])[0].clips["test"]]
    found, wanted = (load_teacher(str(made.path)).predict(clips) for made in (one, two))
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize(
    ("words", "starts"),
    [
        ("cc_by_nc_sa_4.0", "research only"),
        ("CC-BYNC", "research only"),
        ("academic use only", "research only"),
        ("LDC user agreement, evaluation only", "research only"),
        ("All rights reserved", "not stated"),
        ("unknown", "not stated"),
        ("CC-BY-SA-4.0", "not stated"),
        ("CC BY 4.0", "Apache-2.0"),
        ("CC0", "Apache-2.0"),
        ("MIT", "Apache-2.0"),
    ],
)
def test_only_what_is_known_to_allow_everything_makes_a_teacher_free(words, starts):
    corpus = Corpus("c", {}, (words,), "")
    assert licence(["whisper"], [corpus]).startswith(starts)
