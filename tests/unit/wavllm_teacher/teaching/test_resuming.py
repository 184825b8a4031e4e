"""Interrupted at any place, the stage goes on, and gives the same bytes."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.wavllm_teacher.teaching.tiny_corpora import TINY, config_of, contents

from edgekit.errors import ArtifactError
from wavllm_teacher.teaching import trainer
from wavllm_teacher.teaching.config import TeachConfig
from wavllm_teacher.teaching.stage import teach
from wavllm_teacher.teaching.trainer import CHECKPOINT, Trainer

pytestmark = pytest.mark.usefixtures("tiny_sizes")


def progress_of(config: TeachConfig, out: Path) -> list[tuple[str, int]]:
    """Run the stage to its end; what it told of its progress."""
    told = []
    teach(config, out, lambda what, done, total: told.append((what, done)))
    return told


def first_step(told: list[tuple[str, int]]) -> int:
    return next(done for what, done in told if what.startswith("training"))


def test_after_kill_9_again_and_again(corpus, encoder_dir, wavlm_dir, tmp_path, monkeypatch):
    config = config_of(corpus, whisper=encoder_dir, wavlm=wavlm_dir)
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY", 2)
    teach(config, tmp_path / "whole")
    places = ("wavlm: encoding train speech 3", "training single tasks 3", "training 7")
    for place in places:
        assert killed(config, tmp_path / "parts", place) == -signal.SIGKILL
        assert not (tmp_path / "parts").exists()
    assert first_step(progress_of(config, tmp_path / "parts")) == 6
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 8), st.integers(1, 4))
def test_at_any_step_with_checkpoints_anywhere(learned, step, every):
    config, whole, folder = learned

    def lost(what: str, done: int, total: int) -> None:
        if what.startswith("training") and done == step:
            # Unlike Ctrl-C, no checkpoint is written: what is on disk is what kill -9 leaves.
            raise MemoryError

    with pytest.MonkeyPatch.context() as patched, tempfile.TemporaryDirectory(dir=folder) as place:
        patched.setattr(trainer, "CHECKPOINT_EVERY", every)
        with pytest.raises(MemoryError):
            teach(config, Path(place) / "out", lost)
        told = progress_of(config, Path(place) / "out")
        assert first_step(told) == (step if step == config.steps else step - step % every)
        assert contents(Path(place) / "out") == whole


@pytest.fixture
def learned(corpus, encoder_dir, tmp_path) -> tuple[TeachConfig, dict[str, bytes], Path]:
    """Settings, what they give when nothing interrupts, and a folder to work in."""
    config = config_of(corpus, whisper=encoder_dir)
    return config, contents(teach(config, tmp_path / "whole").path), tmp_path


@pytest.mark.parametrize("stop", [1, 4, 5])
def test_after_ctrl_c(corpus, encoder_dir, tmp_path, stop):
    config = config_of(corpus, whisper=encoder_dir)
    teach(config, tmp_path / "whole")

    def interrupt(what: str, done: int, total: int) -> None:
        if what.startswith("training") and done == stop:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        teach(config, tmp_path / "parts", interrupt)
    trained = [done for what, done in progress_of(config, tmp_path / "parts") if what.startswith("training")]
    assert trained == list(range(stop, config.steps + 1))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_ctrl_c_within_a_step_waits_for_its_end(corpus, encoder_dir, tmp_path, monkeypatch):
    advance = Trainer._advance
    arrived = []

    def interrupted(self: Trainer) -> None:
        if self.state.step == 3 and not arrived:
            arrived.append(True)
            signal.raise_signal(signal.SIGINT)
        advance(self)

    config = config_of(corpus, whisper=encoder_dir)
    teach(config, tmp_path / "whole")
    monkeypatch.setattr(Trainer, "_advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        teach(config, tmp_path / "parts")
    assert first_step(progress_of(config, tmp_path / "parts")) == 4
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_damaged_checkpoint_is_named(corpus, encoder_dir, tmp_path):
    config = config_of(corpus, whisper=encoder_dir)

    def stop(what: str, done: int, total: int) -> None:
        if done == 2 and what.startswith("training"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teach(config, tmp_path / "out", stop)
    (tmp_path / ".out.partial" / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(ArtifactError, match="damaged checkpoint") as caught:
        teach(config, tmp_path / "out")
    assert ".out.partial" in caught.value.hint


def killed(config: TeachConfig, out: Path, place: str) -> int:
    """Run the stage in a process that kills itself when the progress ends with `place`; its exit code."""
    code = f"""
import os, signal
from pathlib import Path, PosixPath
from wavllm_teacher import dual_encoder
from wavllm_teacher.dual_encoder import DualShape
from wavllm_teacher.teaching import trainer
from wavllm_teacher.teaching.stage import teach
from wavllm_teacher.teaching.config import TeachConfig
dual_encoder.SIZES["small"] = {TINY!r}
trainer.CHECKPOINT_EVERY = 2
def show(what, done, total):
    if f"{{what}} {{done}}".endswith({place!r}):
        os.kill(os.getpid(), signal.SIGKILL)
teach({config!r}, Path({str(out)!r}), show)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.returncode
