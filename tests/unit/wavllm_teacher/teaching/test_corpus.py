"""Which clips are learned from, what they are called, and what is said of a corpus that cannot be used."""

import pytest
import soundfile
from unit.wavllm_teacher.teaching.tiny_corpora import (
    add_column,
    add_row,
    edit_table,
    labelled_corpus,
    remove_column,
    remove_labels,
    rename_split,
    set_value,
)
from unit.wavllm_teacher.tiny import voice

from edgekit.errors import AudioError
from edgekit.metrics import DIMENSIONS
from wavllm_teacher.teaching.corpus import read_corpora


def names_of(*folders) -> list[str]:
    return [corpus.name for corpus in read_corpora(folders)]


def test_reads_splits_and_labels(corpus):
    (found,) = read_corpora([corpus])
    assert found.name == "one"
    counts = {split: [clip.file.name for clip in clips] for split, clips in found.clips.items()}
    assert counts == {
        "train": [f"{i:02d}.wav" for i in range(6)],
        "dev": ["06.wav", "07.wav", "08.wav"],
        "test": ["09.wav", "10.wav", "11.wav"],
    }
    for name, value in zip(DIMENSIONS, ("0.25", "0.5", "1"), strict=True):
        set_value(corpus, name, value)
    assert read_corpora([corpus])[0].clips["train"][2].labels == (0.25, 0.5, 1.0)


def test_clips_without_labels_are_left_out(corpus):
    set_value(corpus, "valence", "")
    (found,) = read_corpora([corpus])
    assert [clip.file.name for clip in found.clips["train"]] == [f"{i:02d}.wav" for i in (0, 1, 3, 4, 5)]


def test_a_column_tells_the_corpora_of_a_table_apart(corpus):
    add_column(corpus, "corpus", ["b", "a"] * 6)
    for number, (name, split) in enumerate([("a", "dev"), ("b", "dev")] * 2):
        soundfile.write(corpus / f"more{number}.wav", voice(0.3, 90 + number), 16000)
        add_row(corpus, path=f"more{number}.wav", split=split, corpus=name)
    found = read_corpora([corpus])
    assert [c.name for c in found] == ["a", "b"]
    assert [clip.file.name for clip in found[0].clips["train"]] == ["01.wav", "03.wav", "05.wav"]


def test_a_corpus_without_any_label_is_no_task(corpus):
    remove_labels(corpus, "test")
    add_column(corpus, "corpus", ["spoken"] * 9 + ["read"] * 3)
    assert names_of(corpus) == ["spoken"]


def test_corpora_of_one_name_are_told_apart(corpus, tmp_path):
    other = labelled_corpus(tmp_path / "more/one", seconds=0.3)
    assert names_of(corpus, other) == ["one", "one-2"]
    assert read_corpora([corpus, other]) == read_corpora([other, corpus])


def test_words_for_splits(corpus):
    rename_split(corpus, "dev", "Validation")
    assert len(read_corpora([corpus])[0].clips["dev"]) == 3


def test_rows_of_other_folders_do_not_matter(corpus, tmp_path):
    (corpus / "labels.csv").rename(tmp_path / "labels.csv")
    edit_table(
        tmp_path, lambda rows: [[f"one/{row[0]}" if n else "path", *row[1:]] for n, row in enumerate(rows)]
    )
    add_row(tmp_path, path="two/gone.wav", arousal="9", split="train")
    assert names_of(corpus) == ["one"]


def test_licences_are_those_of_what_is_learned_from(corpus):
    add_column(corpus, "license", ["CC0-1.0"] * 6 + ["MIT"] * 2 + [""] + ["CC-BY-NC-4.0"] * 3)
    assert read_corpora([corpus])[0].licences == ("CC0-1.0", "MIT", "not stated")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "labels.csv").unlink(), r"no clips\.csv or labels\.csv"),
        (lambda f: edit_table(f, lambda rows: rows[:1]), r"no clips\.csv or labels\.csv"),
        (lambda f: remove_column(f, "split"), "no column split"),
        (lambda f: remove_column(f, "valence"), "no column valence"),
        (lambda f: set_value(f, "arousal", "high"), r"02\.wav: arousal is 'high'.*not a number from 0 to 1"),
        (lambda f: set_value(f, "dominance", "nan"), "dominance is 'nan'"),
        (lambda f: set_value(f, "valence", "4.5"), r"valence is '4\.5'"),
        (lambda f: set_value(f, "split", "holdout"), "unknown split 'holdout'"),
        (lambda f: set_value(f, "path", "gone.wav"), r"gone\.wav: in the table, but not there"),
        (lambda f: rename_split(f, "dev", "test"), "one has 0 labelled dev clips and needs at least 2"),
        (lambda f: rename_split(f, "train", "dev"), "one has 0 labelled train clips"),
        (lambda f: remove_labels(f, "train"), "one has 0 labelled train clips"),
        (lambda f: remove_labels(f, "train", "dev", "test"), "one: none of its clips has labels"),
        (lambda f: [wav.unlink() for wav in f.glob("*.wav")], "in the table, but not there; as are 11 other"),
        (
            lambda f: [
                edit_table(f, lambda rows: rows[:1]),
                add_row(f, path="../elsewhere.wav", split="train"),
            ],
            "lists no file of it",
        ),
    ],
)
def test_unusable(corpus, change, message):
    change(corpus)
    with pytest.raises(AudioError, match=message) as error:
        read_corpora([corpus])
    assert error.value.hint


def test_no_such_folder(tmp_path):
    with pytest.raises(AudioError, match="none: no such folder"):
        read_corpora([tmp_path / "none"])


def test_a_corpus_given_twice(corpus):
    with pytest.raises(AudioError, match="in two of the corpora"):
        read_corpora([corpus, corpus])


@pytest.mark.parametrize(
    "change",
    [
        lambda f: set_value(f, "arousal", "0.123"),
        lambda f: set_value(f, "split", "dev"),
        lambda f: add_column(f, "license", "CC0-1.0"),
        lambda f: (f / "00.wav").write_bytes((f / "01.wav").read_bytes()),
        lambda f: (f / "09.wav").write_bytes((f / "01.wav").read_bytes()),
    ],
)
def test_digest_follows_the_content(corpus, change):
    before = read_corpora([corpus])[0].digest
    assert read_corpora([corpus])[0].digest == before
    change(corpus)
    assert read_corpora([corpus])[0].digest != before
