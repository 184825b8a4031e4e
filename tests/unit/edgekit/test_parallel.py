"""Which part of a batch each process computes, and where."""

import math

import pytest
import torch
from torch import distributed

from edgekit.parallel import Team, first_of_machine, first_process, team


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 8, 10, 64])
def test_the_parts_are_the_batch(size, count):
    parts = [Team(rank, size).part(count, 4) for rank in range(size)]
    assert [i for part in parts for i in range(count)[part]] == list(range(count))
    assert max(part.stop - part.start for part in parts) <= 4 * math.ceil(math.ceil(count / 4) / size)


def test_every_process_has_a_gpu_of_its_own(monkeypatch):
    """GPUs are pretended: what is tested is which one a process of torchrun takes."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name, value in {"WORLD_SIZE": "2", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "init_process_group", lambda backend: None)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: None)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    with team() as processes:
        assert processes == Team(1, 2)
    assert chosen == [1]


@pytest.mark.parametrize(("rank", "first"), [(None, True), ("0", True), ("1", False)])
def test_the_first_process_knows_itself_before_they_are_connected(monkeypatch, rank, first):
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert first_process() is first


@pytest.mark.parametrize(("rank", "first"), [(None, True), ("0", True), ("1", False)])
def test_the_first_process_of_a_machine(monkeypatch, rank, first):
    monkeypatch.setenv("RANK", "5")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert first_of_machine() is first
