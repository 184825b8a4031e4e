"""Folders of a tiny encoder and of tiny teachers with random weights."""

import json
from pathlib import Path

import pytest
import torch
from unit.wavllm_teacher.tiny import TINY_SHAPE, TINY_WHISPER

from wavllm_teacher import assembly, checkpoint
from wavllm_teacher.compact import CompactTeacher
from wavllm_teacher.encoder import WhisperStates
from wavllm_teacher.whisper import Head


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
    head = Head(4, 16)
    torch.nn.init.normal_(head.out.weight, std=0.1)
    assembly.write_head(head, folder)
    assembly.assemble_full(folder, encoder_dir, folder)
    return folder


@pytest.fixture(scope="session")
def compact_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("compact")
    torch.manual_seed(2)
    network = CompactTeacher(TINY_SHAPE)
    torch.nn.init.normal_(network.out.weight, std=0.1)
    assembly.write_compact(network.eval(), TINY_SHAPE, folder)
    return folder
