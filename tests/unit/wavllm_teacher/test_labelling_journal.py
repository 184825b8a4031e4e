"""The append-only file of results, and the digests that are kept in one."""

import os
import time

import pytest

from edgekit.errors import ArtifactError, ConfigError
from wavllm_teacher.labelling import hashes
from wavllm_teacher.labelling.hashes import hash_files
from wavllm_teacher.labelling.journal import Journal, journal


def test_values_are_there_when_it_is_opened_again(tmp_path):
    with journal(tmp_path / "j") as first:
        first["a"] = [1, "x"]
        first["b"] = None
        assert first["a"] == [1, "x"]
        first["a"] = "later"
    with journal(tmp_path / "j") as again:
        assert ("a" in again, "b" in again, "c" in again) == (True, True, False)
        assert (again["a"], again["b"]) == ("later", None)


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_line_cut_off_anywhere_is_removed_and_written_anew(tmp_path, cut):
    with journal(tmp_path / "j") as first:
        first["a"] = 1
    whole = (tmp_path / "j").read_bytes()
    with journal(tmp_path / "j") as first:
        first["b"] = 2
    text = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(text[:-cut])
    with journal(tmp_path / "j") as again:
        assert "b" not in again
        assert (tmp_path / "j").read_bytes() == whole
        again["b"] = 2
        assert (again["a"], again["b"]) == (1, 2)
    assert (tmp_path / "j").read_bytes() == text


@pytest.mark.parametrize("text", ["garbage\n", "1\n", '["a"]\n', '["a", 1]\nx\n["b", 2]\n'])
def test_damage_is_named(tmp_path, text):
    (tmp_path / "j").write_text(text)
    with pytest.raises(ArtifactError, match=r"j: damaged") as caught:
        Journal(tmp_path / "j")
    assert f"remove {tmp_path / 'j'}" in caught.value.hint


@pytest.fixture
def old_files(tmp_path):
    """Two files that have not changed for an hour: what ctime says is moved instead of the clock."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (time.time() - 3600,) * 2)
    return tmp_path


@pytest.fixture
def settled(monkeypatch):
    monkeypatch.setattr(hashes, "SETTLED_S", -1)


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files whose content was read."""
    names = []
    real = hashes._sha256
    monkeypatch.setattr(hashes, "_sha256", lambda path: names.append(path.name) or real(path))
    return names


def test_what_has_not_changed_is_hashed_once(old_files, settled, hashed):
    first = hash_files(old_files, ["a", "b"], old_files / "cache")
    assert hash_files(old_files, ["b", "a"], old_files / "cache") == first
    assert hashed == ["a", "b"]


def test_a_change_of_equal_size_is_seen(old_files, settled, hashed):
    before = hash_files(old_files, ["a", "b"], old_files / "cache")
    stat = (old_files / "a").stat()
    (old_files / "a").write_text("c")
    os.utime(old_files / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = hash_files(old_files, ["a", "b"], old_files / "cache")
    assert (after["a"] != before["a"], after["b"]) == (True, before["b"])
    assert hashed == ["a", "b", "a"]


def test_what_changed_just_now_is_not_remembered(old_files, hashed):
    for _ in range(2):
        hash_files(old_files, ["a"], old_files / "cache")
    assert hashed == ["a", "a"]


def test_what_cannot_be_opened_has_no_digest(old_files, settled):
    assert hash_files(old_files, ["missing"], old_files / "cache") == {"missing": hashes.UNREADABLE}


def test_where_nothing_can_be_written(old_files):
    with pytest.raises(ConfigError, match="cannot write here") as caught:
        hash_files(old_files, ["a"], old_files / "a" / "cache")
    assert "--out" in caught.value.hint
