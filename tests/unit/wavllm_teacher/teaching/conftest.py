"""A tiny corpus and a tiny WavLM encoder; size `small` is tiny."""

from pathlib import Path

import pytest
from unit.wavllm_teacher.teaching.tiny_corpora import TINY, labelled_corpus
from unit.wavllm_teacher.tiny_wavlm import TINY_WAVLM, write_wavlm

from wavllm_teacher import dual_encoder


@pytest.fixture
def tiny_sizes(monkeypatch):
    monkeypatch.setitem(dual_encoder.SIZES, "small", TINY)


@pytest.fixture(scope="session")
def wavlm_dir(tmp_path_factory) -> Path:
    return write_wavlm(tmp_path_factory.mktemp("encoders") / "wavlm", TINY_WAVLM)


@pytest.fixture
def corpus(tmp_path) -> Path:
    return labelled_corpus(tmp_path / "one")
