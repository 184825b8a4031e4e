"""Reference tables: CSV, JSON lines, Parquet, and the consensus table of MSP-Podcast."""

import json
import re

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from unit.edgekit.labelled import write_csv

from edgekit.errors import AudioError, ConfigError
from edgekit.evaluation import read_reference

ROWS = [
    {"file": "a.wav", "arousal": 0.1, "dominance": 0.2, "valence": 0.3, "Gender": "f"},
    {"file": "b.wav", "arousal": 1.0, "dominance": 0.0, "valence": 0.5, "Gender": "m"},
]


def write(path, rows):
    if path.suffix == ".csv":
        return write_csv(path, rows)
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return path


@pytest.fixture(params=["t.csv", "t.jsonl", "t.parquet"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_the_same_from_every_format(path):
    found = read_reference(write(path, ROWS))
    assert found.file == ["a.wav", "b.wav"]
    np.testing.assert_array_equal(found.adv, [[0.1, 0.2, 0.3], [1.0, 0.0, 0.5]])
    assert found.columns == {"gender": ["f", "m"]}
    assert (found.kind, found.unlabelled, len(found)) == ("table", 0, 2)
    assert found.place[1] == {".csv": "line 3", ".jsonl": "line 2", ".parquet": "row 2"}[path.suffix]


def test_rows_without_labels_are_counted(path):
    nothing = "" if path.suffix == ".csv" else None
    rows = [*ROWS, dict.fromkeys(ROWS[0], nothing) | {"file": "c.wav"}]
    found = read_reference(write(path, rows))
    assert (len(found), found.unlabelled) == (2, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.01, 1.01, "loud", ""])
def test_values_that_are_none_name_their_line(path, value):
    if path.suffix == ".parquet" and isinstance(value, str):
        pytest.skip("a column of Parquet has one type")
    rows = [ROWS[0], ROWS[1] | {"dominance": value}]
    line = "row 2" if path.suffix == ".parquet" else "line 2" if path.suffix == ".jsonl" else "line 3"
    with pytest.raises(AudioError, match=rf"t\.\w+: {line}: dominance is '.*', not a number from 0 to 1"):
        read_reference(write(path, rows))


def msp_rows():
    return [
        {"FileName": name, "EmoClass": "N", "EmoAct": act, "EmoVal": 1.0, "EmoDom": 7.0}
        | {"SpkrID": speaker, "Gender": "Female", "Split_Set": split}
        for name, act, speaker, split in [
            ("MSP-PODCAST_0001_0008.wav", 4.0, "127", "Test1"),
            ("MSP-PODCAST_0001_0019.wav", 2.5, "Unknown", "Train"),
        ]
    ]


def test_the_consensus_table_of_msp_podcast(path):
    found = read_reference(write(path, msp_rows()))
    assert found.kind == "MSP-Podcast consensus table"
    np.testing.assert_allclose(found.adv, [[0.5, 1.0, 0.0], [0.25, 1.0, 0.0]])
    assert found.columns["speaker"] == ["127", "Unknown"]
    assert found.columns["split"] == ["Test1", "Train"]
    assert found.columns["gender"] == ["Female", "Female"]
    assert found.columns["emoclass"] == ["N", "N"]


@pytest.mark.parametrize("value", [0.99, 7.01, "nan", ""])
def test_consensus_values_out_of_range(tmp_path, value):
    rows = msp_rows()
    rows[1]["EmoAct"] = value
    with pytest.raises(AudioError, match=r"line 3: arousal is '.*', not a number from 1 to 7"):
        read_reference(write_csv(tmp_path / "t.csv", rows))


@pytest.mark.parametrize("name", ["file", "path", "FileName", "Path"])
def test_names_of_the_file_column(tmp_path, name):
    rows = [{name: row["file"]} | {k: v for k, v in row.items() if k != "file"} for row in ROWS]
    assert read_reference(write_csv(tmp_path / "t.csv", rows)).file == ["a.wav", "b.wav"]


@pytest.mark.parametrize("name", ["speaker", "Speaker_ID", "SpkrID"])
def test_names_of_the_speaker_column(tmp_path, name):
    rows = [row | {name: f"s{i}"} for i, row in enumerate(ROWS)]
    assert read_reference(write_csv(tmp_path / "t.csv", rows)).columns["speaker"] == ["s0", "s1"]


def test_of_two_columns_for_the_file_the_first_counts(tmp_path):
    rows = [{"path": "x"} | row for row in ROWS]
    found = read_reference(write_csv(tmp_path / "t.csv", rows))
    assert (found.file, found.columns["path"]) == (["a.wav", "b.wav"], ["x", "x"])


@pytest.mark.parametrize(("gone", "lacking"), [("file", "file"), ("valence", "valence")])
def test_missing_columns(path, gone, lacking):
    rows = [{k: v for k, v in row.items() if k != gone} for row in ROWS]
    with pytest.raises(AudioError, match=f"has no column {lacking} ") as caught:
        read_reference(write(path, rows))
    assert "arousal, dominance, valence" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"file,arousal\na.wav\n", "line 2 has not as many fields as the first"),
        ("t.csv", b"file,arousal\na.wav,1,2\n", "line 2 has not as many fields as the first"),
        ("t.csv", b'file,arousal\n"a.wav', "line 2: unexpected end of data"),
        ("t.csv", b"file\n\xff\n", "not UTF-8 text"),
        ("t.csv", b"", "holds no row"),
        ("t.csv", b"file,arousal,dominance,valence\n,0,0,0\n", "line 2 names no file"),
        ("t.jsonl", b'{"file": "a.wav"}\n{', "line 2 is not JSON"),
        ("t.jsonl", b"[1]", "line 1 is not a JSON object"),
        ("t.parquet", b"PAR1 not really", "is not a Parquet file"),
    ],
)
def test_damaged_tables(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=re.escape(message)) as caught:
        read_reference(tmp_path / name)
    assert str(tmp_path / name) in caught.value.what


def test_a_spreadsheet_writes_a_byte_order_mark(tmp_path):
    plain = write_csv(tmp_path / "t.csv", ROWS).read_text()
    (tmp_path / "t.csv").write_text(plain, encoding="utf-8-sig")
    assert read_reference(tmp_path / "t.csv").file == ["a.wav", "b.wav"]


def test_no_such_file(tmp_path):
    with pytest.raises(AudioError, match=r"t\.csv: no such file"):
        read_reference(tmp_path / "t.csv")


def test_other_endings(tmp_path):
    with pytest.raises(ConfigError, match="not a table that can be read") as caught:
        read_reference(tmp_path / "t.xlsx")
    assert ".csv, .jsonl, .ndjson, .parquet" in caught.value.hint


def test_the_shared_corpus(shared):
    found = read_reference(shared / "corpus/labels.csv")
    assert (len(found), found.unlabelled) == (1975, 120)
    assert set(found.columns["split"]) == {"train", "dev", "test"}
    assert len(set(found.columns["speaker"])) == 34


@pytest.mark.parametrize(
    "head", ["file,arousal,arousal,dominance,valence", "file,arousal,Arousal ,dominance,valence"]
)
def test_a_column_that_is_there_twice(tmp_path, head):
    (tmp_path / "t.csv").write_text(f"{head}\na.wav,0.1,0.2,0.3,0.4\n")
    with pytest.raises(AudioError, match="has several columns arousal"):
        read_reference(tmp_path / "t.csv")


def test_spaces_around_names_of_columns(tmp_path):
    (tmp_path / "t.csv").write_text("file , arousal,dominance ,valence\na.wav,0.1,0.2,0.3\n")
    np.testing.assert_array_equal(read_reference(tmp_path / "t.csv").adv, [[0.1, 0.2, 0.3]])


def test_a_consensus_table_that_lacks_a_column(tmp_path):
    (tmp_path / "t.csv").write_text("FileName,EmoAct,EmoVal\na.wav,1,2\n")
    with pytest.raises(AudioError, match="has no column emodom") as caught:
        read_reference(tmp_path / "t.csv")
    assert "EmoDom" in caught.value.hint


def test_json_strings_may_hold_other_line_separators(tmp_path):
    row = '{"file": "a\u2028b.wav", "arousal": 0.1, "dominance": 0.2, "valence": 0.3}'
    (tmp_path / "t.jsonl").write_text(row, encoding="utf-8")
    assert read_reference(tmp_path / "t.jsonl").file == ["a\u2028b.wav"]
