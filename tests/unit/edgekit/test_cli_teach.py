"""`edgekit teach`."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from unit.wavllm_teacher.teaching.tiny_corpora import TINY, add_column, labelled_corpus
from unit.wavllm_teacher.tiny import TINY_WHISPER

from edgekit.cli import main
from edgekit.labels import read_labels
from wavllm_teacher import checkpoint, dual_encoder
from wavllm_teacher.encoder import WhisperStates
from wavllm_teacher.teaching.config import TeachConfig


@pytest.fixture(autouse=True)
def tiny_sizes(monkeypatch):
    monkeypatch.setitem(dual_encoder.SIZES, "small", TINY)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(0)
    checkpoint.save(WhisperStates(TINY_WHISPER).encoder, folder / "model.safetensors", half=False)
    (folder / "config.json").write_text(json.dumps(TINY_WHISPER))
    return folder


@pytest.fixture
def corpus(tmp_path) -> Path:
    folder = labelled_corpus(tmp_path / "voices")
    add_column(folder, "license", "CC-BY-NC-4.0")
    return folder


@pytest.fixture
def words(corpus, encoder, tmp_path) -> list[str]:
    return ["teach", str(corpus), "--whisper", str(encoder), "--steps", "8", "--out", str(tmp_path / "t")]


@pytest.fixture
def fails(capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a command that fails as users should see it: exit code, message, hint, and nothing else."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        found = re.fullmatch(r"(?:reading audio.*\n)*error: (.*)\nhint: (.+)\n", captured.err)
        assert found, captured.err
        assert captured.out == ""
        return code, found[1], found[2]

    return run


def test_makes_a_teacher_that_labels(words, corpus, tmp_path, capsys):
    assert main(words) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path / 't'}: teach artifact " in out
    assert (
        "\nlicence: research only (adapters and head): trained on non-commercial audio, voices: CC-BY-NC"
        in out
    )
    ccc = r"CCC arousal -?\d\.\d{3}, dominance -?\d\.\d{3}, valence -?\d\.\d{3}"
    assert re.search(rf"\nvoices, dev clips: {ccc}\nvoices, 3 test clips: {ccc}\n$", out)
    labelled = ["label", str(corpus), "--teacher", str(tmp_path / "t"), "--out", str(tmp_path / "labels")]
    assert main(labelled) == 0
    assert len(read_labels(tmp_path / "labels").file) == 12
    record = json.loads((tmp_path / "labels/teacher.json").read_text())
    assert record["licence"].startswith("research only")


def test_as_json(words, capsys):
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"path", "digest", "licence", "dev_ccc", "held_out"}
    assert found["held_out"]["voices"]["clips"] == 3
    assert set(found["dev_ccc"]["voices"]) == {"arousal", "dominance", "valence"}


def test_options_reach_the_stage(words, corpus, encoder, monkeypatch):
    seen = []

    def note(config, out, progress):
        seen.append((config, out))
        raise KeyboardInterrupt

    monkeypatch.setattr("wavllm_teacher.teaching.stage.teach", note)
    assert main(words) == 130
    more = ["--wavlm", "w", "--size", "paper", "--seed", "5", "--steps", "100", "--out", "o"]
    assert main(["teach", str(corpus), "more", *more]) == 130
    (first, _), (second, out) = seen
    assert first == TeachConfig((corpus,), encoder, single_steps=2, joint_steps=6)
    expected = TeachConfig((corpus, Path("more")), None, Path("w"), "paper", 25, 75, seed=5)
    assert (second, out) == (expected, Path("o"))


def test_default_steps_are_those_of_the_config(corpus, encoder, monkeypatch):
    seen = []

    def note(config, out, progress):
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("wavllm_teacher.teaching.stage.teach", note)
    assert main(["teach", str(corpus), "--whisper", str(encoder), "--out", "o"]) == 130
    assert seen == [TeachConfig((corpus,), encoder)]


class TestErrors:
    def test_no_corpus(self, fails, encoder, tmp_path):
        code, message, hint = fails("teach", "--whisper", encoder, "--out", tmp_path / "t")
        assert (code, message) == (2, "no corpus given")
        assert "edgekit teach CORPUS" in hint

    def test_no_encoder(self, fails, corpus, tmp_path):
        code, message, hint = fails("teach", corpus, "--out", tmp_path / "t")
        assert (code, message) == (2, "no encoder given")
        assert "--whisper DIR" in hint

    @pytest.mark.parametrize("steps", ["0", "-3", "many"])
    def test_steps(self, fails, words, steps):
        code, message, _ = fails(*words, "--steps", steps)
        assert code == 2
        assert "'--steps'" in message

    def test_a_corpus_that_is_not_there(self, fails, words, tmp_path):
        assert fails("teach", tmp_path / "none", *words[2:])[:2] == (
            7,
            f"{tmp_path / 'none'}: no such folder",
        )

    def test_an_empty_corpus(self, fails, words, tmp_path):
        (tmp_path / "empty").mkdir()
        code, message, hint = fails("teach", tmp_path / "empty", *words[2:])
        assert (code, message) == (7, f"{tmp_path / 'empty'}: no clips.csv or labels.csv beside its audio")
        assert "arousal, dominance, valence" in hint

    def test_an_encoder_of_another_kind(self, fails, corpus, encoder, tmp_path):
        code, message, _ = fails("teach", corpus, "--wavlm", encoder, "--out", tmp_path / "t")
        assert (code, message) == (5, f"{encoder / 'config.json'}: model_type is 'whisper', not 'wavlm'")

    def test_other_content_in_out(self, fails, words, tmp_path):
        (tmp_path / "t").mkdir()
        (tmp_path / "t/notes.txt").write_text("mine")
        code, message, hint = fails(*words)
        assert (code, hint) == (2, "choose another --out")
        assert message == f"{tmp_path / 't'}: holds files that edgekit did not write"


def test_ctrl_c_says_how_to_go_on(words, tmp_path):
    command = [sys.executable, "-m", "edgekit.cli", *words, "--steps", "9000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("training"):
                os.kill(process.pid, signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait() == 130
    assert rest.endswith("interrupted; run the same command again: what was finished is kept\n")
    assert (tmp_path / ".t.partial/.checkpoint.pt").is_file()
    assert not (tmp_path / "t").exists()
