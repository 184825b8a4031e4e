"""Training by two processes: the losses and the weights of one."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
from unit.wavllm_teacher.speech_llm.llm_tiny import TINY, tiny
from unit.wavllm_teacher.tiny import voice

from edgekit.parallel import Team
from wavllm_teacher.speech_llm.curriculum import Schedule, Trainer
from wavllm_teacher.speech_llm.instructions import Instruction, Mixture, read_manifest
from wavllm_teacher.speech_llm.tokens import ByteTokenizer

TESTS = Path(__file__).parents[3]
CHILD = """
import sys
from pathlib import Path
import torch
from edgekit.parallel import team
from unit.wavllm_teacher.speech_llm.test_several_processes import BATCHES, interrupt, train

with team() as processes:
    for batch in BATCHES:
        train(Path(sys.argv[1]), batch, processes)
    interrupt(Path(sys.argv[1]), processes)
"""
BATCHES = (3, 1)
"""Of one instruction, the second process has nothing to compute."""


def train(folder, batch, processes=None):
    """Train, and leave what came of it in a folder of each process; others than the first begin elsewhere."""
    more = {} if processes is None else {"team": processes}
    rank = 0 if processes is None else processes.rank
    model = tiny()
    # In float64: where a gradient is almost 0, Adam makes a whole step of its rounding.
    for part in (model.fusion, model.decoder, model.prompt_adapter):
        part.double()
    with torch.no_grad():
        for _, value in model.trained():
            value += rank
    lines = read_manifest(folder / "tasks.jsonl")
    schedule = Schedule(steps=4, batch=batch, learning_rate=1e-3)
    out = folder / f"{'one' if processes is None else 'two'}-{batch}-{rank}"
    shown = []
    run = Trainer(model, ByteTokenizer(), Mixture(lines), schedule, out, **more)
    losses = run.run(lambda *step: shown.append(step)).losses
    written = out.exists()
    out.mkdir(exist_ok=True)
    found = {"losses": losses, "trained": dict(run.trained), "written": written, "shown": len(shown)}
    torch.save(found, out / "found.pt")


def interrupt(folder, processes):
    """Train with a signal to the second process alone, then go on; leave what came of it.

    The checkpoint takes its time: no process may end before it is there, or torchrun ends the others.
    """
    lines = read_manifest(folder / "tasks.jsonl")
    run = Trainer(tiny(), ByteTokenizer(), Mixture(lines), Schedule(steps=4), folder / "cut", team=processes)
    advance = run._advance

    def signalled() -> None:
        if (processes.rank, run.state.step) == (1, 1):
            signal.raise_signal(signal.SIGINT)
        advance()

    run._advance, save = signalled, run._save

    def slowly() -> None:
        if processes.leads:
            time.sleep(1)
        save()

    run._save = slowly
    with pytest.raises(KeyboardInterrupt):
        run.run()
    begun = torch.load(folder / "cut/.speech-llm.pt")["step"]
    found = {}
    for name in ("cut", "uncut"):
        run = Trainer(
            tiny(), ByteTokenizer(), Mixture(lines), Schedule(steps=4), folder / name, team=processes
        )
        found[name] = {"losses": run.run().losses, "trained": run.trained}
    torch.save({"begun": begun, **found}, folder / f"cut-{processes.rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("tasks")
    for seed in range(2):
        soundfile.write(made / f"{seed}.wav", voice(0.3, seed), 16000)
    lines = [
        {"task": "emotion", "audio": "0.wav", "prompt": "How?", "answer": "sad"},
        {"task": "emotion", "audio": "1.wav", "prompt": "How does she feel?", "answer": "very happy"},
        {"task": "text", "prompt": "Say yes.", "answer": "yes"},
        {"task": "text", "prompt": "Say no, and then say it again.", "answer": "no no"},
    ]
    (made / "tasks.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return made


@pytest.fixture(scope="module")
def together(folder) -> None:
    """What two processes do, once for all tests."""
    (folder / "child.py").write_text(CHILD)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    words += [str(folder / "child.py"), str(folder)]
    subprocess.run(words, check=True, capture_output=True, timeout=240, env=environment)


@pytest.mark.usefixtures("together")
def test_two_processes_train_as_one(folder):
    for batch in BATCHES:
        train(folder, batch)
        one, first, second = (
            torch.load(folder / f"{name}-{batch}-{rank}/found.pt")
            for name, rank in (("one", 0), ("two", 0), ("two", 1))
        )
        assert first["losses"] == second["losses"]
        assert first["losses"] == pytest.approx(one["losses"], abs=1e-9)
        for name, value in one["trained"].items():
            torch.testing.assert_close(first["trained"][name], value, atol=1e-7, rtol=0)
            assert torch.equal(first["trained"][name], second["trained"][name]), name
        # Only the first process writes checkpoints, and shows how far it is.
        assert (first["written"], second["written"]) == (True, False)
        assert (first["shown"], second["shown"]) == (4, 0)


@pytest.mark.usefixtures("together")
def test_all_stop_behind_one_step_and_go_on_as_if_they_had_not(folder):
    for rank in range(2):
        found = torch.load(folder / f"cut-{rank}.pt")
        assert found["begun"] == 2
        assert len(found["cut"]["losses"]) == 4
        assert found["cut"]["losses"] == found["uncut"]["losses"]
        for name, value in found["uncut"]["trained"].items():
            assert torch.equal(found["cut"]["trained"][name], value), name


def test_each_process_drops_out_other_numbers(tmp_path, monkeypatch):
    """Both compute the same instruction, and neither waits for the other."""
    monkeypatch.setattr(Team, "add", lambda _, value: value)
    monkeypatch.setattr(Team, "add_gradients", lambda *_: None)
    shape = replace(TINY, lora=replace(TINY.lora, dropout=0.2))
    mixture = Mixture([Instruction("text", "Say yes.", "yes")])

    def loss(rank: int) -> float:
        schedule = Schedule(steps=1, batch=2)
        run = Trainer(tiny(2, shape), ByteTokenizer(), mixture, schedule, tmp_path, team=Team(rank, 2))
        run._advance()
        return run.state.losses[0]

    losses = [loss(rank) for rank in (0, 1, 0, 1)]
    assert losses[:2] == losses[2:]
    assert losses[0] != losses[1]
