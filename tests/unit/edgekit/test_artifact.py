import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest

from edgekit import artifact
from edgekit.errors import ArtifactError, ConfigError

INPUTS = {"labels": "a" * 64}
PARAMS = {"seed": 0, "shape": (1, 2)}


def write(path: Path, content: str = "hello", params: dict[str, object] | None = None) -> artifact.Artifact:
    with artifact.writing(path, "distill", INPUTS, PARAMS if params is None else params) as work:
        (work / "sub").mkdir(exist_ok=True)
        (work / "sub" / "data.txt").write_text(content)
        (work / ".cache").write_text("private")
    return artifact.read(path, "distill")


def test_reads_back_what_was_written(tmp_path):
    made = write(tmp_path / "student")
    assert made.file("sub/data.txt").read_text() == "hello"
    assert made.manifest.inputs == INPUTS
    assert made.manifest.params == {"seed": 0, "shape": [1, 2]}
    assert list(made.manifest.files) == ["sub/data.txt"]


def test_private_files_are_dropped_and_nothing_is_left_beside(tmp_path):
    write(tmp_path / "student")
    assert sorted(p.name for p in (tmp_path / "student").iterdir()) == ["manifest.json", "sub"]
    assert [p.name for p in tmp_path.iterdir()] == ["student"]


def test_same_inputs_give_the_same_bytes_anywhere(tmp_path):
    one, two = write(tmp_path / "one"), write(tmp_path / "elsewhere" / "two")
    manifests = [(made.path / "manifest.json").read_bytes() for made in (one, two)]
    assert manifests[0] == manifests[1]
    assert one.digest == two.digest
    assert str(tmp_path).encode() not in manifests[0]


@pytest.mark.parametrize("change", ["content", "params"])
def test_digest_follows_content_and_settings(tmp_path, change):
    before = write(tmp_path / "a")
    after = write(tmp_path / "b", **{"content": "other"} if change == "content" else {"params": {"seed": 1}})
    assert before.digest != after.digest


def test_replaces_an_older_artifact_whole(tmp_path):
    write(tmp_path / "student")
    with artifact.writing(tmp_path / "student", "distill", INPUTS, {"seed": 1}) as work:
        (work / "new.txt").write_text("new")
    assert list(artifact.read(tmp_path / "student", "distill").manifest.files) == ["new.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["student"]


class TestNoOther:
    """What `require_no_other` finds, before `writing` would replace it."""

    @pytest.fixture
    def path(self, tmp_path) -> Path:
        return tmp_path / "student"

    def begin(self, path: Path, *names: str) -> None:
        interrupted = contextlib.suppress(KeyboardInterrupt)
        with interrupted, artifact.writing(path, "distill", INPUTS, PARAMS) as work:
            for name in names:
                (work / name).write_text("")
            raise KeyboardInterrupt

    def test_nothing_and_the_same_are_no_other(self, path):
        artifact.require_no_other(path, "distill", INPUTS, PARAMS)
        self.begin(path, "checkpoint")
        artifact.require_no_other(path, "distill", INPUTS, PARAMS)
        write(path)
        artifact.require_no_other(path, "distill", INPUTS, PARAMS)

    @pytest.mark.parametrize(
        ("inputs", "params", "named"),
        [
            (INPUTS, {**PARAMS, "seed": 1}, "seed"),
            ({"labels": "b"}, {**PARAMS, "more": 1}, "more, labels"),
            ({}, {"seed": 0}, "shape, labels"),
        ],
    )
    def test_what_differs_is_named(self, path, inputs, params, named):
        self.begin(path, "checkpoint")
        with pytest.raises(ConfigError) as caught:
            artifact.require_no_other(path, "distill", inputs, params)
        assert str(caught.value) == f"{path}: was begun with other settings or inputs ({named})"
        assert caught.value.hint.endswith(f"or remove {artifact.work_folder(path)}")
        write(path)
        with pytest.raises(ConfigError) as caught:
            artifact.require_no_other(path, "distill", inputs, params)
        assert str(caught.value) == f"{path}: was made with other settings or inputs ({named})"
        assert caught.value.hint.endswith(f"or remove {path}")

    def test_of_another_version(self, path, monkeypatch):
        write(path)
        monkeypatch.setattr(artifact, "__version__", "9.9")
        with pytest.raises(ConfigError, match=r"other settings or inputs \(version\)"):
            artifact.require_no_other(path, "distill", INPUTS, PARAMS)

    def test_what_nothing_has_come_of_is_no_loss(self, path):
        self.begin(path, "checkpoint")
        (artifact.work_folder(path) / "checkpoint").unlink()
        artifact.require_no_other(path, "distill", INPUTS, {})
        (artifact.work_folder(path) / ".identity.json").write_text('{"half')
        (artifact.work_folder(path) / "checkpoint").write_text("")
        artifact.require_no_other(path, "distill", INPUTS, {})

    def test_files_of_others(self, path):
        path.mkdir()
        (path / "notes.txt").write_text("mine")
        with pytest.raises(ConfigError, match="holds files that edgekit did not write"):
            artifact.require_no_other(path, "distill", INPUTS, PARAMS)


class TestDamage:
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda p: (p / "sub" / "data.txt").write_text("hellp"), "sub/data.txt is damaged"),
            (lambda p: (p / "sub" / "data.txt").unlink(), "sub/data.txt is missing"),
            (lambda p: (p / "manifest.json").unlink(), "no distill artifact here"),
            (lambda p: (p / "manifest.json").write_text("{"), "manifest.json: damaged"),
            (lambda p: (p / "manifest.json").write_text("[]"), "manifest.json: damaged"),
            (lambda p: (p / "manifest.json").write_text('{"stage": "distill"}'), "manifest.json: damaged"),
        ],
    )
    def test_is_an_error_that_names_file_and_remedy(self, tmp_path, damage, message):
        write(tmp_path / "student")
        damage(tmp_path / "student")
        with pytest.raises(ArtifactError, match=message) as caught:
            artifact.read(tmp_path / "student", "distill")
        assert "edgekit distill" in caught.value.hint
        assert not artifact.is_current(tmp_path / "student", "distill", INPUTS, PARAMS)

    def test_another_stage(self, tmp_path):
        write(tmp_path / "student")
        with pytest.raises(ArtifactError, match="is a distill artifact, not quantize"):
            artifact.read(tmp_path / "student", "quantize")

    def test_another_schema(self, tmp_path):
        path = write(tmp_path / "student").path / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
        with pytest.raises(ArtifactError, match="schema 99, this edgekit reads 1"):
            artifact.read(tmp_path / "student", "distill")

    def test_a_file_that_was_never_there(self, tmp_path):
        with pytest.raises(ArtifactError, match=r"distill artifact without model\.onnx"):
            write(tmp_path / "student").file("model.onnx")


class TestCurrent:
    def test_with_the_same_inputs_and_settings(self, tmp_path):
        write(tmp_path / "student")
        assert artifact.is_current(tmp_path / "student", "distill", INPUTS, PARAMS)

    @pytest.mark.parametrize(
        ("inputs", "params"), [({"labels": "b" * 64}, PARAMS), (INPUTS, {**PARAMS, "seed": 1}), ({}, PARAMS)]
    )
    def test_not_with_others(self, tmp_path, inputs, params):
        write(tmp_path / "student")
        assert not artifact.is_current(tmp_path / "student", "distill", inputs, params)

    def test_not_where_there_is_none(self, tmp_path):
        assert not artifact.is_current(tmp_path / "student", "distill", INPUTS, PARAMS)

    def test_not_with_another_version(self, tmp_path, monkeypatch):
        write(tmp_path / "student")
        monkeypatch.setattr(artifact, "__version__", "9.9")
        assert not artifact.is_current(tmp_path / "student", "distill", INPUTS, PARAMS)


class TestInterrupted:
    def interrupt(self, path: Path, params: dict[str, object]) -> None:
        def write_half() -> None:
            with artifact.writing(path, "distill", INPUTS, params) as work:
                (work / "half.txt").write_text("half")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_half()

    def test_leaves_nothing_under_the_final_name(self, tmp_path):
        self.interrupt(tmp_path / "student", PARAMS)
        assert not (tmp_path / "student").exists()

    def test_leaves_nothing_that_holds_nothing(self, tmp_path):
        with pytest.raises(ConfigError), artifact.writing(tmp_path / "student", "distill", INPUTS, PARAMS):
            raise ConfigError("refused")
        assert list(tmp_path.iterdir()) == []

    def test_by_somebody_who_removed_its_folder(self, tmp_path):
        def remove() -> None:
            with artifact.writing(tmp_path / "student", "distill", INPUTS, PARAMS) as work:
                shutil.rmtree(work)
                raise ConfigError("refused")

        with pytest.raises(ConfigError, match="refused"):
            remove()

    def test_leaves_the_older_artifact_alone(self, tmp_path):
        before = write(tmp_path / "student")
        self.interrupt(tmp_path / "student", PARAMS)
        assert artifact.read(tmp_path / "student", "distill").digest == before.digest

    def test_resumes_with_the_same_identity(self, tmp_path):
        self.interrupt(tmp_path / "student", PARAMS)
        with artifact.writing(tmp_path / "student", "distill", INPUTS, PARAMS) as work:
            assert (work / "half.txt").read_text() == "half"

    def test_starts_anew_with_another(self, tmp_path):
        self.interrupt(tmp_path / "student", {"seed": 5})
        with artifact.writing(tmp_path / "student", "distill", INPUTS, PARAMS) as work:
            assert not (work / "half.txt").exists()


def test_refuses_a_folder_that_holds_something_else(tmp_path):
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="holds files that edgekit did not write"):
        write(tmp_path / "student")
    assert (tmp_path / "student" / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("place", ["/proc/edgekit/student", "{tmp}/file/student"])
def test_a_place_that_cannot_be_written(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write here") as caught:
        write(Path(place.format(tmp=tmp_path)))
    assert caught.value.hint == "choose another --out"


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "value.json"
    artifact.write_json(path, {"b": 1, "a": 2})
    assert path.read_text() == '{\n  "a": 2,\n  "b": 1\n}\n'

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        artifact.write_text(path, "half")
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]
    assert '"a": 2' in path.read_text()


@pytest.mark.parametrize("text", ['{"name": "my app"}', "{"])
def test_refuses_a_folder_whose_manifest_is_not_edgekits(tmp_path, text):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "manifest.json").write_text(text)
    (tmp_path / "app" / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="not replaced") as caught:
        write(tmp_path / "app")
    assert "remove" in caught.value.hint
    assert (tmp_path / "app" / "thesis.txt").read_text() == "years of work"


def test_refuses_to_replace_an_artifact_of_another_stage(tmp_path):
    with artifact.writing(tmp_path / "graph", "quantize", {}, {}) as work:
        (work / "graph.json").write_text("{}")
    with pytest.raises(ConfigError, match="is a quantize artifact"):
        write(tmp_path / "graph")
    assert (tmp_path / "graph" / "graph.json").is_file()


def test_a_manifest_whose_files_are_no_table_is_damaged(tmp_path):
    made = write(tmp_path / "made")
    file = made.path / "manifest.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "files": [1]}))
    with pytest.raises(ArtifactError, match="damaged"):
        artifact.read(made.path, made.manifest.stage)


def test_two_at_once_do_not_mix(tmp_path):
    with artifact.writing(tmp_path / "out", "label", {}, {}) as work:
        (work / "a").write_text("first")
        with (
            pytest.raises(ConfigError, match="out: another edgekit is writing it") as caught,
            artifact.writing(tmp_path / "out", "label", {}, {}),
        ):
            pass
        assert "choose another --out" in caught.value.hint
    assert (tmp_path / "out/a").read_text() == "first"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    with artifact.writing(tmp_path / "out", "label", {}, {"again": 1}) as work:
        (work / "a").write_text("second")
    assert (tmp_path / "out/a").read_text() == "second"


def test_a_lock_of_a_process_that_died_holds_nobody(tmp_path):
    (tmp_path / ".out.lock").touch()
    with artifact.writing(tmp_path / "out", "label", {}, {}):
        pass
    assert (tmp_path / "out").is_dir()
