"""A label run killed with SIGKILL at any point: the next one finishes it, with no row twice and none lost."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from pyarrow import parquet
from unit.wavllm_teacher.tiny import voice

from edgekit import artifact
from wavllm_teacher.labelling import LabelConfig, label
from wavllm_teacher.labelling import plan as planning
from wavllm_teacher.labelling.journal import Journal

FILES = 12
USUAL_SMALLEST = planning.SMALLEST_SHARD


@pytest.fixture
def config(compact_dir, tmp_path, monkeypatch):
    """Twelve files and a copy of one, in shards of two rows."""
    monkeypatch.setattr(planning, "SMALLEST_SHARD", 1)
    folder = tmp_path / "audio"
    folder.mkdir()
    for number in range(FILES):
        soundfile.write(folder / f"{number:02d}.wav", voice(0.2 + 0.01 * number, number), 16000)
    soundfile.write(folder / "copy.flac", soundfile.read(folder / "03.wav")[0], 16000)
    (folder / "broken.wav").write_text("no audio")
    return LabelConfig((folder,), str(compact_dir))


def die(*_words: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at(phase: str, step: int) -> Callable[[str, int, int], None]:
    """Die when a phase reports for the n-th time."""
    seen = []

    def progress(what: str, done: int, total: int) -> None:
        seen.append(what.startswith(phase))
        if sum(seen) == step and seen[-1]:
            die()

    return progress


def label_dying(config, out, progress, sabotage):
    sabotage()
    label(config, out, progress)


def run_killed(config, out, progress=lambda *_: None, sabotage=lambda: None) -> None:
    """Label in a process of its own, which must die of SIGKILL."""
    child = multiprocessing.get_context("fork").Process(
        target=label_dying, args=(config, out, progress, sabotage)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


def tear_a_line() -> None:
    """Die in the middle of writing the fifth line of the scan's journal."""
    real = Journal.__setitem__

    def torn(self: Journal, key: str, value: object) -> None:
        real(self, key, value)
        if self.path.name == ".scan.jsonl" and len(self._offsets) == 5:
            os.truncate(self.path, self._end - 7)
            die()

    Journal.__setitem__ = torn


def before_rename() -> None:
    """Die with a shard written whole under its temporary name."""
    real, count = os.replace, []

    def replace(source: object, target: object) -> None:
        if "part-" in str(target):
            count.append(target)
            if len(count) == 3:
                die()
        real(source, target)

    os.replace = replace


def cut_shard() -> None:
    """Die with a shard under its final name that the disk did not take whole."""
    real, count = os.replace, []

    def replace(source: object, target: object) -> None:
        real(source, target)
        if "part-" in str(target):
            count.append(target)
            if len(count) == 3:
                os.truncate(target, 100)
                die()

    os.replace = replace


def before_files_table() -> None:
    artifact.write_json = die


def before_the_folder_is_in_place() -> None:
    artifact._replace_folder = die


KILLS = {
    "hashing": (at("hashing", 5), lambda: None),
    "scanning, first file": (at("reading", 1), lambda: None),
    "scanning": (at("reading", 7), lambda: None),
    "in a line of the journal": (lambda *_: None, tear_a_line),
    "before the first shard": (at("labelling", 1), lambda: None),
    "between shards": (at("labelling", 4), lambda: None),
    "before a shard is renamed": (lambda *_: None, before_rename),
    "in a shard": (lambda *_: None, cut_shard),
    "after the last shard": (lambda *_: None, before_files_table),
    "before the folder is renamed": (lambda *_: None, before_the_folder_is_in_place),
}


@pytest.fixture
def expected(config, tmp_path):
    """The manifest of an uninterrupted run."""
    return label(config, tmp_path / "expected").manifest


def check(out, expected) -> None:
    assert artifact.read(out, "label").manifest == expected
    rows = parquet.read_table(out / "labels.parquet")["file"].to_pylist()
    assert rows == [f"{number:02d}.wav" for number in range(FILES)]


@pytest.mark.parametrize(("progress", "sabotage"), KILLS.values(), ids=KILLS)
def test_killed_once(config, tmp_path, expected, progress, sabotage):
    out = tmp_path / "labels"
    run_killed(config, out, progress, sabotage)
    assert not out.exists()
    label(config, out)
    check(out, expected)


def test_killed_again_and_again(config, tmp_path, expected):
    out = tmp_path / "labels"
    for step in (at("reading", 3), at("reading", 3), at("labelling", 2), at("labelling", 2)):
        run_killed(config, out, step)
    label(config, out)
    check(out, expected)


def test_what_was_done_before_the_kill_is_not_done_again(config, tmp_path):
    out, said = tmp_path / "labels", []
    run_killed(config, out, at("labelling", 5))
    label(config, out, lambda *words: said.append(words))
    assert [words[0] for words in said].count("reading audio") == 1
    assert [words[0] for words in said].count("labelling (seconds of audio)") == 1 + 2


COMMAND = "import sys; from edgekit.cli import main; sys.exit(main(sys.argv[1:]))"


def test_two_workers_killed_from_outside_leave_no_process_and_the_same_bytes(config, tmp_path, monkeypatch):
    """The whole command, killed while it scans, then while it labels, then interrupted, then finished."""
    monkeypatch.setattr(planning, "SMALLEST_SHARD", USUAL_SMALLEST)
    reference = label(config, tmp_path / "expected")
    out = tmp_path / "labels"
    words = ["label", str(config.audio[0]), "--teacher", config.teacher, "--out", str(out), "--workers", "2"]
    stops = (
        (signal.SIGKILL, ".scan.jsonl"),
        (signal.SIGKILL, "labels.parquet"),
        (signal.SIGINT, "labels.parquet"),
    )
    for stop, sign in stops:
        with subprocess.Popen([sys.executable, "-c", COMMAND, *words], stderr=subprocess.PIPE) as child:
            wait_for(lambda sign=sign: (tmp_path / ".labels.partial" / sign).exists())
            workers = wait_for(lambda child=child: children_of(child.pid))
            child.send_signal(stop)
            child.communicate(timeout=60)
        assert child.returncode == (-signal.SIGKILL if stop == signal.SIGKILL else 130)
        assert not out.exists()
        wait_for(lambda workers=workers: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers))
    done = subprocess.run([sys.executable, "-c", COMMAND, *words], capture_output=True, text=True, check=True)
    assert f"label artifact {reference.digest[:12]}" in done.stdout


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wait_for(condition):
    for _ in range(600):
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("waited half a minute in vain")
