"""Folders that can answer: where their tokenizer and their parts lie."""

import shutil

import numpy as np
import pytest
from unit.wavllm_teacher.speech_llm.llm_tiny import write_tiny
from unit.wavllm_teacher.tiny import voice

from edgekit.errors import ArtifactError, ConfigError
from wavllm_teacher.speech_llm import storage
from wavllm_teacher.speech_llm.folder import load_assistant
from wavllm_teacher.speech_llm.generation import Assistant, Decoding
from wavllm_teacher.speech_llm.prompts import Request
from wavllm_teacher.speech_llm.tokens import ByteTokenizer

REQUEST = Request("Who?", voice(0.5, 1))
SHORT = Decoding(most_tokens=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    return write_tiny(tmp_path_factory.mktemp("llm"), model)


@pytest.fixture(scope="module")
def answer(model):
    return Assistant(model, ByteTokenizer()).answer([REQUEST], SHORT)


def test_it_answers_as_the_model_that_was_saved(folder, answer):
    assert load_assistant(folder).answer([REQUEST], SHORT) == answer


def test_parts_and_tokenizer_may_lie_elsewhere(folder, answer, tmp_path):
    shutil.copytree(folder, tmp_path / "own", ignore=shutil.ignore_patterns("decoder", "tokenizer.json"))
    shutil.copytree(folder / "decoder", tmp_path / "llama")
    with pytest.raises(ArtifactError, match=r"no tokenizer\.json here or beside the decoder"):
        load_assistant(tmp_path / "own", {"decoder": tmp_path / "llama"})
    shutil.copy(folder / "tokenizer.json", tmp_path / "llama")
    for decoder in (tmp_path / "llama", tmp_path / "llama/model.safetensors"):
        assert load_assistant(tmp_path / "own", {"decoder": decoder}).answer([REQUEST], SHORT) == answer


def test_weights_as_integers(folder):
    assistant = load_assistant(folder, bits=8)
    assert len(assistant.answer([REQUEST], SHORT)) == 1
    with pytest.raises(ConfigError, match="integers already"):
        storage.keep_as_integers(assistant.model, 8)


def test_no_folder(tmp_path):
    with pytest.raises(ArtifactError, match=r"no speech language model here \(speech_llm\.json") as error:
        load_assistant(tmp_path)
    assert "docs/wavllm.md" in error.value.hint


def test_an_hour_is_refused_before_it_is_heard(model, monkeypatch):
    monkeypatch.setattr(model.ears, "forward", lambda samples: pytest.fail("heard"))
    with pytest.raises(ConfigError, match="3600 s of speech need 45000 positions, the decoder has 2048"):
        Assistant(model, ByteTokenizer()).answer([Request("Who?", np.zeros(3600 * 16000, np.float32))])
