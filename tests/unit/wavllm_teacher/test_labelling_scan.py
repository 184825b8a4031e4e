"""What a file holds, or why it cannot be used; which files are copies; who trains and who tests."""

import os
import re

import numpy as np
import pytest
import soundfile
from unit.wavllm_teacher.tiny import voice

from edgekit import labels
from edgekit.audio import read_audio, read_piece
from wavllm_teacher.labelling.plan import make_plan
from wavllm_teacher.labelling.scan import Found, ScanJob, Scanned, scan_file
from wavllm_teacher.labelling.sources import Item, Part


def scan(path, *parts):
    return scan_file(ScanJob(path.name, str(path), parts))


def write(path, samples, rate_hz=16000, **kind):
    soundfile.write(path, samples, rate_hz, **kind)
    return path


def test_a_clip_of_at_most_12_s_stays_whole(tmp_path):
    path = write(tmp_path / "a.wav", voice(11.9, 0))
    found = scan(path)
    assert (found.duration_s, found.reason) == (11.9, "")
    assert found.pieces == (Found(0.0, 11.9, labels.audio_sha256(read_audio(path)), 0),)


@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 2), (11_025, 1), (44_100, 2), (48_000, 1)])
def test_other_rates_give_the_audio_that_the_whole_file_gives(tmp_path, rate_hz, channels):
    samples = np.stack([voice(3, seed)[: 2 * rate_hz + 77] for seed in range(channels)], 1)
    path = write(tmp_path / "a.wav", samples, rate_hz)
    (piece,) = scan(path).pieces
    assert piece.audio_sha256 == labels.audio_sha256(read_audio(path))
    assert piece.end_s == read_audio(path).size / 16000


def test_a_long_file_is_cut_at_its_pauses_on_the_grid(tmp_path):
    spoken, pause = voice(5, 0), np.zeros(24_000)
    path = write(tmp_path / "a.flac", np.concatenate([spoken, pause, spoken, pause, spoken]))
    found = scan(path)
    assert [(p.start_s, p.end_s) for p in found.pieces] == [(0.0, 5.2), (6.3, 11.7), (12.8, 18.0)]
    for piece in found.pieces:
        assert piece.audio_sha256 == labels.audio_sha256(read_piece(path, piece.start_s, piece.end_s))


def test_parts_are_labelled_alone_and_long_ones_are_cut(tmp_path):
    path = write(tmp_path / "a.wav", voice(30, 0))
    found = scan(path, (1.23456, 3.0), (5.001, 25.0))
    assert [p.part for p in found.pieces] == [0, *[1] * (len(found.pieces) - 1)]
    assert (found.pieces[0].start_s, found.pieces[0].end_s) == (1.23456, 3.0)
    assert found.pieces[1].start_s == 5.01
    assert found.pieces[-1].end_s == 25.0
    assert all(2 <= p.end_s - p.start_s <= 12 for p in found.pieces[1:])


def test_a_part_that_ends_a_little_after_the_file_ends_with_it(tmp_path):
    path = write(tmp_path / "a.wav", voice(2, 0))
    assert scan(path, (1.0, 2.05)).pieces[0].end_s == 2.0


def flac_cut_short(path):
    path.write_bytes(encoded(path.with_suffix(".flac"))[:100_000])


def encoded(path):
    return write(path, np.random.default_rng(0).normal(size=160_000) * 0.1).read_bytes()


def unreadable(path):
    path.write_bytes(b"RIFF")
    path.chmod(0)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_text("just text"), "not readable as audio (Format not recognised)"),
        (lambda path: path.touch(), "not readable as audio (Format not recognised)"),
        (lambda path: None, "cannot be read (No such file or directory)"),
        (lambda path: path.mkdir(), "is no file"),
        (lambda path: os.mkfifo(path), "is no file"),
        (lambda path: write(path, np.zeros(99), rate_hz=7), "sampled at 7 Hz, which holds no speech"),
        (lambda path: write(path, np.zeros(0)), "holds no samples"),
        (lambda path: write(path, np.zeros(63)), "63 samples at 16 kHz, shorter than one frame of 64"),
        (lambda path: write(path, np.full(99, np.nan), subtype="FLOAT"), "holds NaN or infinite samples"),
        (lambda path: write(path, np.zeros(13 * 16000)), "nothing in it is louder than -70 dB of full scale"),
        (flac_cut_short, "not readable as audio (flac decoder lost sync)"),
    ],
)
def test_why_a_file_cannot_be_used(tmp_path, make, reason):
    make(tmp_path / "a.wav")
    assert scan(tmp_path / "a.wav") == Scanned("a.wav", 0.0, (), reason)


def test_a_file_that_ends_before_its_header_says(tmp_path):
    whole = encoded(tmp_path / "a.mp3")
    (tmp_path / "a.mp3").write_bytes(whole[: len(whole) // 2])
    assert re.fullmatch(r"breaks off after [45]\.\d of 10\.\d s", scan(tmp_path / "a.mp3").reason)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    unreadable(tmp_path / "a.wav")
    assert scan(tmp_path / "a.wav").reason == "cannot be read (Permission denied)"


def test_a_part_beyond_the_end(tmp_path):
    path = write(tmp_path / "a.wav", voice(2, 0))
    assert scan(path, (0.0, 1.0), (1.0, 2.2)).reason == "1 to 2.2 s were asked for, it has 2.00 s"


def test_a_bad_part_does_not_take_the_others_with_it(tmp_path):
    path = write(tmp_path / "a.wav", voice(2, 0))
    found = scan(path, (0.0, 1.0), (5.0, 6.0), (1.0, 2.0))
    assert [(p.start_s, p.end_s, p.part) for p in found.pieces] == [(0.0, 1.0, 0), (1.0, 2.0, 2)]
    assert found.reason == "5 to 6 s were asked for, it has 2.00 s"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("a\0b.wav", "cannot be read (embedded null byte)"), ("caf\\xe9.wav", "its name is not UTF-8")],
)
def test_names_that_no_file_can_have(tmp_path, name, reason):
    assert scan_file(ScanJob(name, str(tmp_path / name), ())) == Scanned(name, 0.0, (), reason)


def plan(*rows):
    """Plan from (item, content of its pieces); no content: unreadable."""
    items = sorted((item for item, _ in rows), key=lambda item: item.name)
    scanned = {item.name: found(item, content) for item, content in rows}
    return make_plan(items, scanned, {item.name: f"bytes of {item.name}" for item in items})


def found(item, content):
    spans = [(p.start_s, p.end_s) for p in item.parts] or [(0.0, 1.0)] * len(content)
    hashes = [labels.audio_sha256(np.full(9, ord(letter) / 200, np.float32)) for letter in content]
    pieces = tuple(Found(*span, sha, i) for i, (span, sha) in enumerate(zip(spans, hashes, strict=False)))
    return Scanned(item.name, 1.0 if content else 0.0, pieces, "" if content else "broken")


def rows_of(table, *columns):
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def test_copies_are_labelled_once_and_say_of_what():
    planned = plan((Item("a"), "x"), (Item("b"), "x"), (Item("c"), "y"), (Item("d"), ""), (Item("e"), ""))
    assert planned.pieces["file"].to_pylist() == ["a", "c"]
    assert rows_of(planned.files, "file", "status", "duplicate_of", "reason", "pieces") == [
        ("a", "labelled", "", "", 1),
        ("b", "duplicate", "a", "", 0),
        ("c", "labelled", "", "", 1),
        ("d", "unreadable", "", "broken", 0),
        ("e", "unreadable", "", "broken", 0),
    ]
    assert planned.files["sha256"].to_pylist()[1] == "bytes of b"


@pytest.mark.parametrize("first", ["train", "dev", ""])
def test_a_clip_whose_copy_is_held_out_is_held_out(first):
    others = [(Item(f"z{i}", "train"), str(i)) for i in range(3)]
    planned = plan((Item("a", first), "x"), (Item("b", "test"), "x"), *others)
    assert planned.pieces["split"].to_pylist()[0] == "test"


def test_a_speaker_is_never_divided():
    items = [(Item(f"{i:03d}", speaker=f"s{i % 9}"), chr(100 + i)) for i in range(90)]
    planned = plan(*items)
    splits = planned.pieces["split"].to_pylist()
    by_speaker = [set(splits[i::9]) for i in range(9)]
    assert all(len(found) == 1 for found in by_speaker)
    assert set.union(*by_speaker) == {"train", "test"}


def test_parts_keep_the_splits_that_they_were_given():
    parts = tuple(Part(i, i + 1, split) for i, split in enumerate(["train", "dev", "test"]))
    planned = plan((Item("a", "test", "", parts), "xyz"))
    assert planned.pieces["split"].to_pylist() == ["train", "dev", "test"]
