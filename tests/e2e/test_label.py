"""`edgekit label` as users call it: what it prints, and what it says of bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from unit.wavllm_teacher.tiny import TINY_SHAPE, voice

from edgekit import artifact
from edgekit.audio import SAMPLE_RATE_HZ
from edgekit.cli import main

COMMAND = "import sys; from edgekit.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from wavllm_teacher.assembly import write_compact
    from wavllm_teacher.compact import CompactTeacher

    torch.manual_seed(2)
    folder = tmp_path_factory.mktemp("teacher")
    write_compact(CompactTeacher(TINY_SHAPE).eval(), TINY_SHAPE, folder)
    return folder


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Three clips, a copy of one, a text file named .wav, and an empty file."""
    folder = tmp_path / "audio"
    folder.mkdir()
    for seed in range(3):
        soundfile.write(folder / f"{seed}.wav", voice(0.4, seed), SAMPLE_RATE_HZ)
    shutil.copy(folder / "1.wav", folder / "copy.wav")
    (folder / "text.wav").write_text("dear diary")
    (folder / "void.wav").touch()
    return folder


@pytest.fixture
def run(teacher, tmp_path, capsys):
    def run(*words, out=tmp_path / "labels"):
        code = main(["label", *map(str, words), "--teacher", str(teacher), "--out", str(out)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_says_what_was_labelled_and_what_was_not(run, audio, tmp_path):
    code, out, _ = run(audio)
    digest = artifact.read(tmp_path / "labels", "label").digest
    assert code == 0
    assert out.splitlines() == [
        f"{tmp_path / 'labels'}: label artifact {digest[:12]}",
        "  files       6",
        "  pieces      3",
        "  hours       0.00",
        "  duplicates  1",
        "  unreadable  2",
        "    text.wav: not readable as audio (Format not recognised)",
        "    void.wav: not readable as audio (Format not recognised)",
    ]


def test_as_json(run, audio, tmp_path):
    found = json.loads(run(audio, "--json")[1])
    assert found == {
        "stage": "label",
        "path": str(tmp_path / "labels"),
        "digest": artifact.read(tmp_path / "labels", "label").digest,
        "files": 6,
        "pieces": 3,
        "hours": pytest.approx(1.2 / 3600),
        "duplicates": 1,
        "unreadable": dict.fromkeys(
            ["text.wav", "void.wav"], "not readable as audio (Format not recognised)"
        ),
    }


def test_of_many_unreadable_files_the_first_are_shown(run, audio):
    for number in range(20):
        (audio / f"bad{number:02d}.wav").touch()
    lines = run(audio)[1].splitlines()
    assert "  unreadable  22" in lines
    assert lines[-1] == "    and 12 more: see files.parquet"


def test_strict(run, audio, tmp_path):
    code, out, err = run(audio, "--strict")
    assert (code, out) == (7, "")
    assert "error: " in err
    assert "2 of 6 audio files cannot be used: text.wav: not readable as audio" in err
    assert not (tmp_path / "labels").exists()


def test_two_workers_write_the_same_bytes(run, audio, tmp_path):
    for folder, words in (("one", []), ("two", ["--workers", "2"])):
        assert run(audio, *words, out=tmp_path / folder)[0] == 0
    one, two = (artifact.read(tmp_path / folder, "label") for folder in ("one", "two"))
    assert one.manifest == two.manifest
    assert len(one.manifest.files) >= 3


def test_a_manifest_with_an_audio_root(run, audio, tmp_path):
    (tmp_path / "lists").mkdir()
    rows = "FileName,SpkrID,Split_Set\n0.wav,1,Train\n2.wav,2,Test1\ngone.wav,3,Train\n"
    (tmp_path / "lists/labels_consensus.csv").write_text(rows)
    code, out, _ = run(tmp_path / "lists/labels_consensus.csv", "--audio-root", audio)
    assert code == 0
    assert "    gone.wav: cannot be read (No such file or directory)" in out.splitlines()
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_parquet(tmp_path / "labels/labels.parquet")
    assert rows[["file", "split"]].values.tolist() == [["0.wav", "train"], ["2.wav", "test"]]


def test_8_khz_stereo(run, tmp_path):
    soundfile.write(tmp_path / "phone.wav", np.stack([voice(1, 0), voice(1, 1)], 1), 8_000)
    code, out, _ = run(tmp_path / "phone.wav")
    assert code == 0
    assert "  unreadable  0" in out.splitlines()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["{tmp}/nowhere"], 7, "nowhere: no such file or folder"),
        (["{tmp}/*.mp3"], 7, "no file matches"),
        (["{tmp}/empty.wav"], 7, "1 of 1 audio files cannot be used: empty.wav: not readable as audio"),
        (["{tmp}/empty"], 7, "no audio found in"),
        (["{tmp}/list.csv"], 7, "list.csv: no column for the file (columns: name)"),
        (["{tmp}/audio", "--audio-root", "{tmp}/nowhere"], 2, "nowhere: no such folder"),
        (["{tmp}/audio", "--workers", "0"], 2, "0 workers"),
        (["{tmp}/audio", "--engine", "slurm"], 2, "slurm"),
    ],
)
def test_bad_input_is_an_error_and_writes_nothing(run, audio, tmp_path, words, code, message):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("name\na\n")
    ended, out, err = run(*(word.format(tmp=tmp_path) for word in words))
    assert (ended, out) == (code, "")
    assert message in err
    assert "hint: " in err
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize("place", ["file/labels", "file"])
def test_a_folder_that_cannot_be_written(run, audio, tmp_path, place):
    (tmp_path / "file").touch()
    code, _, err = run(audio, out=tmp_path / place)
    assert code == 2
    assert "hint: choose another --out" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(run, audio, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert run(audio, out=tmp_path / "locked/labels")[0] == 2


def test_a_folder_that_holds_something_else(run, audio, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/thesis.tex").write_text("precious")
    code, _, err = run(audio)
    assert code == 2
    assert "holds files that edgekit did not write" in err
    assert [p.name for p in (tmp_path / "labels").iterdir()] == ["thesis.tex"]


def test_ray_that_is_not_installed(run, audio, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run(audio, "--engine", "ray")
    assert code == 2
    assert "hint: run pip install 'edgekit[cluster]'" in err


def test_ctrl_c_leaves_work_that_the_same_command_finishes(run, teacher, audio, tmp_path):
    assert run(audio, out=tmp_path / "expected")[0] == 0
    out = tmp_path / "labels"
    words = ["label", str(audio), "--teacher", str(teacher), "--out", str(out)]
    with subprocess.Popen([sys.executable, "-c", COMMAND, *words], stderr=subprocess.PIPE) as child:
        for _ in range(1200):
            if (tmp_path / ".labels.partial/labels.parquet").exists():
                break
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=60)[1].decode()
    assert child.returncode == 130
    assert said.endswith("interrupted; run the same command again: what was finished is kept\n")
    assert not out.exists()
    assert run(audio)[0] == 0
    assert artifact.read(out, "label").manifest == artifact.read(tmp_path / "expected", "label").manifest
