"""Tables beside the audio: who trains and who tests."""

import pytest

from edgekit.errors import AudioError
from wavllm_teacher.splits import split_from_tables


def splits(folder, text, encoding="utf-8"):
    (folder / "clips.csv").write_bytes(text.encode(encoding))
    return {path.name: split for path, split in split_from_tables([folder]).items()}


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("train", "train"),
        ("unlabelled", "train"),
        ("", "train"),
        ("Val", "dev"),
        ("validation", "dev"),
        ("TEST", "test"),
        ("Development", "dev"),
        ("Test1", "test"),
        ("Test2", "test"),
    ],
)
def test_words_for_a_split(tmp_path, word, split):
    assert splits(tmp_path, f"file,split\na.wav,{word}\n") == {"a.wav": split}


def test_an_unknown_word_is_an_error_not_training_material(tmp_path):
    with pytest.raises(
        AudioError, match=r"a\.wav: in the table beside it: unknown split 'held-out'"
    ) as caught:
        splits(tmp_path, "file,split\na.wav,held-out\n")
    assert "validation" in caught.value.hint


def test_a_line_cut_short_is_named(tmp_path):
    with pytest.raises(AudioError, match="line 3 has too few fields"):
        splits(tmp_path, "split,file\ntest,a.wav\ntest\n")


def test_a_table_that_is_not_utf8(tmp_path):
    with pytest.raises(AudioError, match="not UTF-8"):
        splits(tmp_path, "file,split\nfür.wav,test\n", "latin-1")


def test_a_table_without_files_says_nothing(tmp_path):
    assert splits(tmp_path, "name,split\na,test\n") == {}


def test_what_spreadsheets_write_is_a_table_too(tmp_path):
    assert splits(tmp_path, "File,Split \na.wav,test\n", "utf-8-sig") == {"a.wav": "test"}


def test_a_link_has_the_split_of_its_own_name(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store/key.dat").touch()
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).symlink_to("store/key.dat")
    assert splits(tmp_path, "file,split\na.wav,test\nb.wav,train\n") == {"a.wav": "test", "b.wav": "train"}
