"""Paths, patterns and manifests: which files they name, and what they say of them."""

import csv
import json
import os
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from edgekit.errors import AudioError, ConfigError
from wavllm_teacher.labelling.sources import Item, LabelConfig, Part, find_sources

NAMES = ("audio/a.wav", "audio/b.wav", "audio/deep/c.flac")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def write_manifest(path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def find(*paths, **settings):
    found = find_sources(LabelConfig(paths, **settings))
    return found.root, list(found.items)


def test_a_folder_and_a_file_in_it_name_every_file_once(folder):
    assert find(folder, folder / "audio/a.wav") == (folder, [Item(name) for name in NAMES])


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("audio/*.wav", ["a.wav", "b.wav"]),
        ("audio/**/*.flac", ["c.flac"]),
        ("*/deep", ["c.flac"]),
        ("**/[ab].wav", ["a.wav", "b.wav"]),
    ],
)
def test_patterns(folder, pattern, names):
    assert [item.name for item in find(folder / pattern)[1]] == names


def test_a_name_with_brackets_is_a_file_first(tmp_path):
    (tmp_path / "take [1].wav").touch()
    assert [item.name for item in find(tmp_path / "take [1].wav")[1]] == ["take [1].wav"]


def test_a_pattern_without_a_match(folder):
    with pytest.raises(AudioError, match=r"\*\.mp3: no file matches"):
        find(folder / "*.mp3")


def test_a_path_that_is_not_there(folder):
    with pytest.raises(AudioError, match="no such file or folder"):
        find(folder / "audio", folder / "missing.csv")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_manifests_in_every_format_say_the_same(folder, suffix):
    rows = [
        {"file": "audio/b.wav", "split": "dev", "speaker": "anna", "start_s": 1.5, "end_s": 3.0},
        {"file": "audio/b.wav", "split": "dev", "speaker": "anna", "start_s": 0.0, "end_s": 1.0},
        {"file": "audio/deep/c.flac", "split": "test", "speaker": "ben", "start_s": None, "end_s": None},
    ]
    root, items = find(write_manifest(folder / f"list{suffix}", rows))
    assert root == folder
    assert items == [
        Item("audio/b.wav", "dev", "anna", (Part(0.0, 1.0, "dev"), Part(1.5, 3.0, "dev"))),
        Item("audio/deep/c.flac", "test", "ben"),
    ]


def test_msp_podcast_columns_and_words(folder):
    rows = [
        {"FileName": "a.wav", "EmoAct": 4.2, "SpkrID": "17", "Gender": "Male", "Split_Set": "Development"},
        {"FileName": "b.wav", "EmoAct": 2.0, "SpkrID": "Unknown", "Gender": "Male", "Split_Set": "Test1"},
    ]
    manifest = write_manifest(folder / "labels_consensus.csv", rows)
    root, items = find(manifest, audio_root=folder / "audio")
    assert root == folder / "audio"
    assert items == [Item("a.wav", "dev", "17"), Item("b.wav", "test")]


def test_names_are_those_of_the_manifest_though_all_files_lie_deeper(folder):
    manifest = write_manifest(folder / "list.csv", [{"path": "audio/a.wav"}])
    assert find(manifest) == (folder, [Item("audio/a.wav")])


def test_absolute_paths_and_files_that_are_missing(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("lists")
    rows = [{"path": str(folder / "audio/a.wav")}, {"path": str(folder / "audio/gone.wav")}]
    manifest = write_manifest(elsewhere / "list.csv", rows)
    assert find(manifest) == (folder / "audio", [Item("a.wav"), Item("gone.wav")])


def test_what_is_held_out_in_one_row_is_held_out(folder):
    rows = [{"file": "audio/a.wav", "split": word} for word in ("train", "test", "dev")]
    assert find(write_manifest(folder / "list.csv", rows))[1] == [Item("audio/a.wav", "test")]


def test_a_manifest_goes_before_the_table_beside_the_audio(folder):
    write_manifest(folder / "audio/clips.csv", [{"file": n, "split": "dev"} for n in ("a.wav", "b.wav")])
    manifest = write_manifest(folder / "list.csv", [{"file": "audio/a.wav", "split": "test"}])
    found = {item.name: item.split for item in find(folder / "audio", manifest)[1]}
    assert found == {"audio/a.wav": "test", "audio/b.wav": "dev", "audio/deep/c.flac": ""}


def test_parts_of_several_speakers_have_none_in_common(folder):
    rows = [{"file": "audio/a.wav", "speaker": s, "start": i, "end": i + 1} for i, s in enumerate("xy")]
    item = find(write_manifest(folder / "list.csv", rows))[1][0]
    assert (item.speaker, len(item.parts)) == ("", 2)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "list.csv",
            "name,split\na.wav,test\n",
            r"list\.csv: no column for the file \(columns: name, split\)",
        ),
        ("list.csv", "", r"no column for the file \(columns: none\)"),
        ("list.csv", "file\n", "lists no file"),
        ("list.csv", "file,split\na.wav,held-out\n", "line 2: unknown split 'held-out'"),
        ("list.csv", "split,file\ntest,a.wav\ntest\n", "line 3 has too few fields"),
        ("list.csv", "file,start_s,end_s\na.wav,3,2\n", r"line 2: a part from '3' to '2' s"),
        ("list.csv", "file,start_s,end_s\na.wav,1,\n", "line 2: a part from"),
        ("list.csv", "file,start_s,end_s\na.wav,zero,1\n", "line 2: a part from"),
        ("list.csv", "file,start_s,end_s\na.wav,0,nan\n", "line 2: a part from"),
        ("list.csv", "file\n\n,\n", "line 3"),
        ("list.csv", b"file\nf\xfcr.wav\n", "not CSV in UTF-8"),
        ("list.jsonl", '{"file": "a.wav"}\n{"file"\n', "line 2 is not a JSON object"),
        ("list.jsonl", '["a.wav"]\n', "line 1 is not a JSON object"),
        ("list.jsonl", '{"name": "a.wav"}\n', r"no column for the file \(columns: name\)"),
        ("list.jsonl", '{"file": 7}\n', "line 1: no file"),
        ("list.jsonl", "", "lists no file"),
        ("list.parquet", "PAR1 not really", "not a Parquet file"),
    ],
)
def test_manifests_that_make_no_sense(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(AudioError, match=message) as caught:
        find(tmp_path / name)
    assert caught.value.hint


def test_a_file_listed_whole_and_in_parts(tmp_path):
    rows = [{"file": "a.wav", "start_s": "", "end_s": ""}, {"file": "a.wav", "start_s": 1, "end_s": 2}]
    with pytest.raises(AudioError, match=r"a\.wav: listed both whole and in parts"):
        find(write_manifest(tmp_path / "list.csv", rows))


def test_an_audio_root_that_is_no_folder(folder):
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        find(folder / "audio", audio_root=folder / "nowhere")


def test_a_link_is_called_what_users_call_it(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store/key.wav").touch()
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio/a.wav").symlink_to("../store/key.wav")
    (tmp_path / "audio/more").symlink_to("../store")
    found = find_sources(LabelConfig((tmp_path / "audio",)))
    assert [item.name for item in found.items] == ["a.wav", "more/key.wav"]


def test_a_link_to_a_folder_above_ends_the_search(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "again").symlink_to(".")
    assert [item.name for item in find_sources(LabelConfig((tmp_path,))).items] == ["a.wav"]


def test_a_name_that_is_not_utf8_is_written_out(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")).touch()
    assert [item.name for item in find_sources(LabelConfig((tmp_path,))).items] == ["caf\\xe9.wav"]


def test_globs_search_folders_in_folders(tmp_path):
    (tmp_path / "x/y").mkdir(parents=True)
    (tmp_path / "x/y/a.wav").touch()
    found = find_sources(LabelConfig((tmp_path / "**/*.wav",)))
    assert [Path(item.name).name for item in found.items] == ["a.wav"]


def test_speaker_0_is_somebody(tmp_path):
    lines = [f'{{"file": "{number}.wav", "speaker": {number}}}' for number in (0, 1)]
    (tmp_path / "list.jsonl").write_text("\n".join(lines), encoding="utf-8-sig")
    found = find_sources(LabelConfig((tmp_path / "list.jsonl",)))
    assert [item.speaker for item in found.items] == ["0", "1"]
