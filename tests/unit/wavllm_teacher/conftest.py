"""Folders of a tiny encoder and of tiny teachers with random weights."""

import json
from pathlib import Path

import pytest
import torch
from unit.wavllm_teacher.tiny import EMOTIONS, TINY_LAYERS, TINY_SHAPE, TINY_WHISPER

from wavllm_teacher import assembly, checkpoint
from wavllm_teacher.compact import CompactTeacher
from wavllm_teacher.encoder import WhisperStates
from wavllm_teacher.head import EmotionHead


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors lose more to waiting threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    states = WhisperStates(TINY_WHISPER)
    (folder / "config.json").write_text(json.dumps(TINY_WHISPER))
    checkpoint.save(states.encoder, folder / "model.safetensors", half=False)
    return folder


@pytest.fixture(scope="session")
def full_dir(tmp_path_factory, encoder_dir) -> Path:
    folder = tmp_path_factory.mktemp("full")
    torch.manual_seed(1)
    head = EmotionHead(2 * len(TINY_LAYERS) * 16, len(EMOTIONS))
    head.adv.uniform_()
    assembly.write_head(head, TINY_LAYERS, 16, EMOTIONS, folder)
    assembly.assemble_full(folder, encoder_dir, folder)
    return folder


@pytest.fixture(scope="session")
def compact_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("compact")
    torch.manual_seed(2)
    network = CompactTeacher(TINY_SHAPE)
    network.head.adv.uniform_()
    assembly.write_compact(network.eval(), TINY_SHAPE, folder)
    return folder
