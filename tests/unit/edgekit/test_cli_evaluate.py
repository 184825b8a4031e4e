"""`edgekit evaluate`."""

import json

import numpy as np
import pytest
from unit.edgekit.labelled import write_csv, write_labels

from edgekit.cli import main

SPEAKERS = 8
CLIPS = 48


@pytest.fixture
def labels(tmp_path):
    """Labels of 48 clips whose audio lies nowhere."""
    files, adv, _ = clips()
    return write_labels(tmp_path / "labels", files, adv)


def clips():
    rng = np.random.default_rng(0)
    reference = rng.uniform(0.1, 0.9, (CLIPS, 3)).round(3)
    adv = np.clip(reference + rng.normal(0, 0.1, (CLIPS, 3)), 0, 1).astype(np.float32)
    return [f"Audios/MSP-PODCAST_{i:04d}.wav" for i in range(CLIPS)], adv, reference


def msp_table(path):
    files, _, reference = clips()
    scaled = 1 + 6 * reference
    rows = [
        {"FileName": name.removeprefix("Audios/"), "EmoClass": "N"}
        | {"EmoAct": values[0], "EmoVal": values[2], "EmoDom": values[1]}
        | {"SpkrID": i % SPEAKERS, "Gender": "Male" if i % 2 else "Female"}
        | {"Split_Set": "Test1" if i < CLIPS // 2 else "Test2"}
        for i, (name, values) in enumerate(zip(files, scaled.tolist(), strict=True))
    ]
    return write_csv(path, rows)


def run(capsys, *words):
    assert main(["evaluate", *map(str, words)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_an_msp_podcast_licensee(capsys, labels, tmp_path):
    table = msp_table(tmp_path / "labels_consensus.csv")
    found = json.loads(run(capsys, labels, "--reference", table, "--split", "Test1", "--json"))
    assert found["reference_kind"] == "MSP-Podcast consensus table"
    assert [(g["by"], g["value"], g["clips"], g["clusters"]) for g in found["groups"]] == [
        (None, None, 24, 8),
        ("gender", "Female", 12, 4),
        ("gender", "Male", 12, 4),
    ]
    assert [group["few_clusters"] for group in found["groups"]] == [False, True, True]
    _, adv, reference = clips()
    p, r = adv[:24, 1].astype(float), reference[:24, 1]
    ccc = found["groups"][0]["figures"]["ccc"]["dominance"]
    assert ccc["value"] == pytest.approx(
        2 * np.cov(p, r, ddof=0)[0, 1] / (p.var() + r.var() + (p - r).mean() ** 2)
    )
    assert ccc["low"] < ccc["value"] < ccc["high"]
    assert ccc["how"] == "24 clips; 95 % interval by bootstrap"
    assert ccc["unit"] == "none; -1 to 1, 1 is perfect agreement"
    assert found["resampling"] == {
        "unit": "speaker",
        "lone_clips": 0,
        "resamples": 2000,
        "seed": 0,
        "confidence_percent": 95,
        "how": "expanded percentile bootstrap, 2,000 resamples by speaker, seed 0",
    }


def test_the_table_for_people(capsys, labels, tmp_path):
    text = run(capsys, labels, "--reference", msp_table(tmp_path / "t.csv"), "--resamples", 100)
    lines = text.splitlines()
    assert "all: 48 clips, 8 speakers" in lines
    assert "split Test1: 24 clips, 8 speakers" in lines
    assert "gender Female: 24 clips, 4 speakers" in lines
    head = lines.index("all: 48 clips, 8 speakers") + 1
    assert lines[head].split() == ["CCC", "Pearson", "RMSE"]
    assert [line.split()[0] for line in lines[head + 1 : head + 4]] == ["arousal", "dominance", "valence"]
    assert "expanded percentile bootstrap, 100 resamples by speaker, seed 0" in " ".join(text.split())
    warning = text[text.index("warning: ") :]
    assert "fewer than 5 speakers in gender Female, gender Male" in " ".join(warning.split())
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in text


def test_the_widest_figures_fit_80_columns(capsys, tmp_path):
    _, _, reference = clips()
    files = [f"{i}.wav" for i in range(CLIPS)]
    labels = write_labels(tmp_path / "labels", files, 1 - reference)
    rows = [
        {"file": name, "arousal": a, "dominance": d, "valence": v}
        for name, (a, d, v) in zip(files, reference.tolist(), strict=True)
    ]
    text = run(capsys, labels, "--reference", write_csv(tmp_path / "t.csv", rows))
    assert text.count("-1.000 [-1.000, -1.000]") == 3
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "all: 48 clips\n" in text


def test_what_was_left_out_is_said(capsys, labels, tmp_path):
    table = msp_table(tmp_path / "t.csv")
    lines = table.read_text().splitlines()
    lines[1] = lines[1].replace("0000", "9999")
    lines[2] = "MSP-PODCAST_0001.wav,N,,,,1,Male,Test1"
    table.write_text("\n".join(lines) + "\n")
    text = run(capsys, labels, "--reference", table, "--resamples", 100)
    assert "left out: 2 labelled files are not in the reference\n" in text
    assert "left out: 1 reference rows have no labelled file\n" in text
    assert "left out: 1 reference rows hold no arousal, dominance and valence\n" in text


def test_undefined_is_said(capsys, tmp_path):
    labels = write_labels(tmp_path / "labels", ["a.wav", "b.wav"], np.full((2, 3), 0.5))
    rows = [{"file": f"{x}.wav", "arousal": 0.1, "dominance": 0.2, "valence": v} for x, v in ("a0", "b1")]
    text = run(capsys, labels, "--reference", write_csv(tmp_path / "t.csv", rows))
    lines = [line.split() for line in text.splitlines()]
    assert ["arousal", "undefined", "undefined", "0.400", "[0.400,", "0.400]"] in lines
    found = json.loads(run(capsys, labels, "--reference", tmp_path / "t.csv", "--json"))
    valence = found["groups"][0]["figures"]["ccc"]["valence"]
    assert (valence["value"], valence["low"], valence["high"]) == (None, None, None)
    assert valence["how"] == "undefined: all labels are the same"


def test_an_undefined_interval_is_said(capsys, tmp_path):
    labels = write_labels(tmp_path / "labels", ["a.wav", "b.wav"], np.array([[0.1] * 3, [0.3] * 3]))
    rows = [
        {"file": f"{x}.wav", "arousal": v, "dominance": v, "valence": v, "speaker": "[b]me[/b]"}
        for x, v in (("a", 0.1), ("b", 0.3))
    ]
    table = write_csv(tmp_path / "t.csv", rows)
    text = run(capsys, labels, "--reference", table, "--by", "speaker")
    assert text.count("1.000 [undefined]") == 2 * 2 * 3
    assert text.count("0.000 [undefined]") == 2 * 3
    assert "speaker [b]me[/b]: 2 clips, 1 speaker\n" in text


def test_the_same_seed_the_same_figures(capsys, labels, tmp_path):
    table = msp_table(tmp_path / "t.csv")
    words = (labels, "--reference", table, "--json", "--resamples", 100)
    first, again, other = (run(capsys, *words, "--seed", seed) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "nothing to compare with"),
        (["--reference", "t.csv", "--bits", "8"], 2, "--bits does not apply without --model"),
        (["--model", "m", "--by", "speaker"], 2, "--by does not apply with --model"),
        (["--reference", "none.csv"], 7, "none.csv: no such file"),
        (["--reference", "t.txt"], 2, "t.txt: not a table that can be read"),
        (["--reference", "t.csv", "--split", "Test9"], 2, "no clip to compare is in split Test9"),
        (["--reference", "t.csv", "--by", "mood"], 2, "has no column mood to group by"),
        (["--reference", "t.csv", "--seed", "-1"], 2, "Invalid value for '--seed'"),
        (["--reference", "t.csv", "--resamples", "10"], 2, "Invalid value for '--resamples'"),
        (["--reference", "other.csv"], 7, "none of its 1 labelled rows"),
        (["--reference", "bad.csv"], 7, "bad.csv: line 2: valence is '7.5', not a number from 1 to 7"),
    ],
)
def test_errors(capsys, labels, tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    msp_table(tmp_path / "t.csv")
    other = {"file": "x.wav", "arousal": 0, "dominance": 0, "valence": 0}
    write_csv(tmp_path / "other.csv", [other])
    write_csv(tmp_path / "bad.csv", [{"FileName": "x", "EmoAct": 2, "EmoDom": 2, "EmoVal": 7.5}])
    assert main(["evaluate", "labels", *words]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"error: {message}" in captured.err.replace("other.csv: ", "").replace("t.csv: has", "has")
    assert "hint: " in captured.err


def test_labels_that_are_none(capsys, tmp_path):
    table = msp_table(tmp_path / "t.csv")
    assert main(["evaluate", str(tmp_path), "--reference", str(table)]) == 5
    assert "no label artifact here" in capsys.readouterr().err


@pytest.mark.shared
def test_the_teacher_that_ships_on_real_speech(capsys, shared, tmp_path):
    emodb = shared / "corpus/free/emodb"
    audio = sorted([*emodb.glob("14a02*.flac"), *emodb.glob("15a02*.flac")])
    assert len(audio) >= 6
    assert main(["label", *map(str, audio), "--teacher", "compact", "--out", str(tmp_path / "labels")]) == 0
    capsys.readouterr()
    table = shared / "corpus/labels.csv"
    words = (tmp_path / "labels", "--reference", table, "--by", "speaker", "--resamples", 200)
    found = json.loads(run(capsys, *words, "--json"))
    whole = found["groups"][0]
    assert (whole["clips"], whole["clusters"]) == (len(audio), 2)
    assert found["unmatched_files"] == 0
    assert found["unmatched_rows"] == 1975 - len(audio)
    # Two speakers that it never heard: arousal is heard at once.
    assert whole["figures"]["ccc"]["arousal"]["value"] > 0.5
    assert {group["value"] for group in found["groups"] if group["by"] == "speaker"} == {
        "emodb_14",
        "emodb_15",
    }


def test_two_teachers_are_compared(capsys, labels, tmp_path):
    files, adv, reference = clips()
    # Another cut of the same files, whose pieces count by their length.
    pieces, values = [*files, files[0]], np.concatenate([reference, reference[:1] - 0.09])
    times = {"start_s": [0.0] * CLIPS + [2.0], "end_s": [2.0] * CLIPS + [3.0]}
    other = write_labels(tmp_path / "other", pieces, values, teacher=["wavllm"] * (CLIPS + 1), **times)
    found = json.loads(run(capsys, labels, "--reference", other, "--json"))
    assert (found["teachers"], found["reference_kind"]) == (["t"], "labels of wavllm")
    figures = found["groups"][0]["figures"]
    wanted = reference.astype(np.float32).astype(float)
    wanted[0] -= 0.03
    apart = np.abs(adv.astype(float) - wanted).mean(axis=0)
    assert [figures["mae"][name]["value"] for name in figures["mae"]] == pytest.approx(list(apart), rel=1e-5)
    text = run(capsys, labels, "--reference", other)
    assert "teacher t; reference: labels of wavllm; all splits" in text
    lines = text.splitlines()
    head = lines.index("all: 48 clips") + 1
    assert lines[head].split() == ["CCC", "mean", "difference", "RMSE"]
    low, high = figures["mae"]["arousal"]["low"], figures["mae"]["arousal"]["high"]
    assert f"{apart[0]:.3f} [{low:.3f}, {high:.3f}]" in lines[head + 1]
    assert max(map(len, lines)) <= 80


def test_a_teacher_agrees_with_itself(capsys, labels):
    figures = json.loads(run(capsys, labels, "--reference", labels, "--json"))["groups"][0]["figures"]
    for name in ("arousal", "dominance", "valence"):
        assert figures["ccc"][name]["value"] == pytest.approx(1)
        assert figures["mae"][name]["value"] == 0
