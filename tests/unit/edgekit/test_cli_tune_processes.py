"""`edgekit tune` under torchrun: who says what ended a training."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from unit.edgekit.commands import error
from unit.wavllm_teacher.speech_llm.tasks_tiny import LINES, write_frozen, write_tasks

from wavllm_teacher.speech_llm.instructions import Mixture, read_manifest

ROOT = Path(__file__).parents[3]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture
def second_machine(monkeypatch):
    """Where the processes 2 and 3 of four run."""
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("second_machine")
def test_the_first_process_of_a_machine_says_what_it_lacks(edgekit, tmp_path, monkeypatch):
    words = ("tune", tmp_path / "none.jsonl", "--size", "tiny", "--steps", 1, "--out", tmp_path / "one")
    ran = edgekit(*words)
    assert (ran.code, ran.out, ran.err) == (7, "", "")
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    ran = edgekit(*words)
    assert ran.code == 7
    assert "none.jsonl: cannot be read" in error(ran)[0]


def test_the_process_that_meets_a_broken_clip_names_it(tmp_path):
    sources = write_frozen(tmp_path / "frozen")
    soundfile.write(tmp_path / "cut.flac", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "cut.flac").read_bytes()[:9000])
    tasks = write_tasks(tmp_path, [LINES[2], {**LINES[0], "audio": "cut.flac"}])
    mixture = Mixture(read_manifest(tasks))

    def meets(seed: int) -> list[bool]:
        return [found.audio is not None for found in mixture.draw(2, np.random.default_rng([seed, 0]))]

    # The second of two processes computes the second instruction, and is no first of any machine.
    seed = next(seed for seed in range(100) if meets(seed) == [False, True])
    parts = [word for part, path in sources.items() for word in (f"--{part}", path)]
    words = ["tune", tasks, "--size", "tiny", *parts, "--steps", 1, "--batch", 2, "--seed", seed]
    command = [*TORCHRUN, "-m", "edgekit.cli", *map(str, [*words, "--out", tmp_path / "one"])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
    assert ran.returncode != 0
    assert f"error: {tmp_path / 'cut.flac'}: not readable as audio" in ran.stderr
