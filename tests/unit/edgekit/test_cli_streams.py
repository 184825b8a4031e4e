"""Streams that are closed from the start, as by `edgekit … >&-`."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

CLOSED = [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"]
LISTING = """
import sys
from pathlib import Path
from edgekit import targets
from edgekit.cli import main

def listing():
    with Path(sys.argv[1]).open("w") as file:
        file.write(str(file.fileno()))
    return ["hearing-aid"]

targets.list_targets = listing
assert main(["targets"]) == 0
assert sys.stdout is None
"""


def run(redirections: str, *words: object) -> "subprocess.CompletedProcess[str]":
    command = ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("redirections", CLOSED)
@pytest.mark.parametrize(
    ("words", "code"), [(["--version"], 0), (["targets"], 0), (["ask", "--help"], 0), (["ask", "a.wav"], 2)]
)
def test_the_exit_code_is_that_of_the_command(redirections, words, code):
    done = run(redirections, "-m", "edgekit.cli", *words)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_what_is_open_is_written():
    assert run("2>&-", "-m", "edgekit.cli", "--version").stdout.startswith("edgekit, version")
    assert run(">&-", "-m", "edgekit.cli", "ask", "a.wav").stderr.startswith("error: no prompt given")


def test_progress_and_results_go_nowhere(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    words = ("label", tmp_path / "a.wav", "--out", tmp_path / "labels")
    assert run(">&- 2>&-", "-m", "edgekit.cli", *words).returncode == 0
    assert (tmp_path / "labels/manifest.json").is_file()


def test_no_file_gets_their_numbers(tmp_path):
    """Native code writes to 1 and 2, whatever is open there."""
    done = run(">&- 2>&-", "-c", LISTING, tmp_path / "number")
    assert (done.returncode, int((tmp_path / "number").read_text()) > 2) == (0, True)
