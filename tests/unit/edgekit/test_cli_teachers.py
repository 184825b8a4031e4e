"""`edgekit teachers`."""

import json
import re
import subprocess
import sys

import huggingface_hub.constants
import pytest

from edgekit.cli import main
from edgekit.cli.listing import _short

NAMES = ["compact", "whisper-base", "dual-encoder", "wavllm", "dawn", "msp-wavlm", "msp-fused"]


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def run(capsys, *words: str) -> str:
    assert main(["teachers", *words]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_the_table_has_a_line_for_every_teacher(capsys):
    lines = run(capsys).splitlines()
    assert lines[0].split() == ["teacher", "parameters", "size", "here", "licence"]
    assert [line.split()[0] for line in lines[1:8]] == NAMES
    assert re.fullmatch(r"compact +[\d.]+ M +[\d.]+ MB  built in +Apache-2\.0 and MIT", lines[1])
    assert lines[5] == "dawn               165 M    661 MB  not here      CC-BY-NC-SA-4.0"
    # The columns start where their heads do.
    assert {line.index(word) for line, word in zip(lines[:2], ("here", "built in"), strict=True)} == {36}


def test_it_fits_80_columns_and_has_no_colours_in_a_pipe(capsys):
    text = run(capsys)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_it_says_where_each_comes_from_and_how_to_get_it(capsys):
    text = run(capsys)
    download = "hf download audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"
    assert text.count(f"  to get it: {download}\n") == 2
    assert "  from: 3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes\n" in text
    assert text.count("its labels, too, are for non-commercial use only\n") == 2
    assert "  to get it: python -m wavllm_teacher.train assemble --encoder DIR --out DIR\n" in text
    assert "to get it" not in text[text.index("\ncompact:") : text.index("\nwhisper-base:")]


def test_it_imports_nothing_heavy():
    code = "import sys; from edgekit.cli import main; main(['teachers']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert not loaded & {"torch", "transformers", "pyarrow"}


def test_as_json(capsys):
    table = json.loads(run(capsys, "--json"))
    assert set(table) == set(NAMES)
    assert table["compact"]["present"] is True
    assert table["dual-encoder"]["parameters"] is None
    assert table["msp-fused"] == {
        "what": "the mean of dawn and msp-wavlm, as in the Wav2Small paper",
        "licence": "CC-BY-NC-SA-4.0",
        "terms": "its labels, too, are for non-commercial use only",
        "origin": "dawn and msp-wavlm",
        "parameters": 483_943_750,
        "bytes": 1_935_775_000,
        "present": False,
        "where": "not here",
        "get": [
            "hf download audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
            "hf download 3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes",
        ],
    }


@pytest.mark.parametrize(
    ("count", "text"),
    [(999_949_999, "1000 MB"), (1_000_000_000, "1.00 GB"), (12_345, "12.3 kB"), (2_405_120, "2.41 MB")],
)
def test_short_counts(count, text):
    assert _short(count, "B") == text
