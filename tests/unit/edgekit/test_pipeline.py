"""The pipeline around stand-in stages; tests/e2e runs it with the real ones."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest

from edgekit import artifact, pipeline
from edgekit.errors import ArtifactError, AudioError, ConfigError, TargetError
from edgekit.progress import silent
from edgekit.report import STAGES
from edgekit.targets import TARGETS, load_target

NAMES = tuple(STAGES)


@pytest.fixture
def config(tmp_path, stand_in_stages) -> pipeline.BuildConfig:
    return pipeline.BuildConfig("hearing-aid", tmp_path / "out")


def test_runs_every_stage_in_order_and_reports(config):
    said: list[str] = []
    build = pipeline.build(config, lambda what, done, total: said.append(what))
    assert build.ran == NAMES
    assert said[0] == "[1/7] label: working"
    assert said[-1] == "[7/7] alternatives: working"
    assert json.loads((config.out / "report" / "report.json").read_text()) == build.report.to_dict()
    assert (config.out / "report" / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert sorted(p.name for p in config.out.iterdir()) == sorted(
        [*STAGES.values(), "report", "build.json", ".lock"]
    )


def test_runs_nothing_twice(config):
    first = pipeline.build(config, silent)
    said: list[str] = []
    second = pipeline.build(config, lambda what, done, total: said.append(what))
    assert second.ran == ()
    assert said == [f"[{i}/7] {name}: unchanged" for i, name in enumerate(NAMES, 1)]
    assert second.report == first.report


def test_a_setting_makes_its_stage_and_those_after_it_stale(config):
    pipeline.build(config, silent)
    other = pipeline.BuildConfig(config.target, config.out, seed=1)
    assert pipeline.build(other, silent).ran == NAMES[1:]


def test_a_damaged_artifact_is_made_again_alone(config):
    pipeline.build(config, silent)
    (config.out / "graph" / "model.onnx").write_text("damaged")
    assert pipeline.build(config, silent).ran == ("quantize",)


def test_an_artifact_that_is_gone_is_made_again(config):
    pipeline.build(config, silent)
    shutil.rmtree(config.out / "c")
    assert pipeline.build(config, silent).ran == ("codegen",)


@pytest.mark.parametrize("stage", NAMES)
def test_interrupted_in_any_stage_it_resumes_there(config, stage):
    def interrupt(what: str, done: int, total: int) -> None:
        if f"{stage}: working" in what and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.build(config, interrupt)
    finished = [name for name in NAMES if (config.out / STAGES[name]).exists()]
    assert finished == list(NAMES[: NAMES.index(stage)])
    assert not (config.out / "report").exists()
    assert pipeline.build(config, silent).ran == NAMES[NAMES.index(stage) :]


def test_a_stage_that_lies_about_its_identity_is_a_bug(config, monkeypatch):
    steps = pipeline.stages(config, load_target("hearing-aid"))
    lying = pipeline.Stage("label", lambda _: ({"audio": "other"}, {}), steps[0].run)
    monkeypatch.setattr(pipeline, "stages", lambda *_: (lying,))
    with pytest.raises(AssertionError, match="label wrote another identity"):
        pipeline.build(config, silent)


def test_a_current_artifact_is_told_that_it_is_reused(config):
    steps = pipeline.stages(config, load_target("hearing-aid"))
    told: list[Path] = []
    label = pipeline.Stage("label", steps[0].identity, steps[0].run, told.append)
    for expected in ([], [config.out / "labels"]):
        pipeline.run_stages((label,), config.out, silent)
        assert told == expected


class TestBuildDirectory:
    def test_of_another_target(self, config):
        pipeline.build(config, silent)
        other = pipeline.BuildConfig("nucleo-l4r5zi", config.out)
        with pytest.raises(
            ArtifactError, match="was built for target hearing-aid, not nucleo-l4r5zi"
        ) as caught:
            pipeline.build(other, silent)
        assert "choose another --out" in caught.value.hint
        assert pipeline.build(config, silent).ran == ()

    def test_that_holds_something_else(self, config):
        config.out.mkdir()
        (config.out / "thesis.tex").write_text("precious")
        with pytest.raises(ConfigError, match=r"edgekit did not write \(thesis\.tex\)"):
            pipeline.build(config, silent)
        assert [p.name for p in config.out.iterdir()] == ["thesis.tex"]

    @pytest.mark.parametrize(
        ("text", "message"), [("{", "damaged"), ("[]", "damaged"), ('{"schema": 1}', "damaged")]
    )
    def test_with_a_damaged_marker(self, config, text, message):
        pipeline.build(config, silent)
        (config.out / "build.json").write_text(text)
        with pytest.raises(ArtifactError, match=message):
            pipeline.build(config, silent)

    def test_of_another_schema(self, config):
        pipeline.build(config, silent)
        marker = {"schema": 9, "target": "hearing-aid", "target_file": "hearing-aid"}
        artifact.write_json(config.out / "build.json", marker)
        with pytest.raises(ArtifactError, match="schema 9, this edgekit reads 1"):
            pipeline.build(config, silent)

    def test_in_use(self, config):
        refused: list[str] = []

        def build_again(what: str, done: int, total: int) -> None:
            with pytest.raises(ConfigError) as caught:
                pipeline.build(config, silent)
            refused.append(caught.value.what)

        assert pipeline.build(config, build_again).ran == NAMES
        assert set(refused) == {f"{config.out}: another edgekit build is running here"}
        assert pipeline.build(config, silent).ran == ()

    @pytest.mark.parametrize("place", ["/proc/edgekit", "{tmp}/file/out"])
    def test_that_cannot_be_written(self, tmp_path, stand_in_stages, place):
        (tmp_path / "file").write_text("")
        config = pipeline.BuildConfig("hearing-aid", Path(place.format(tmp=tmp_path)))
        with pytest.raises(ConfigError, match="cannot write here") as caught:
            pipeline.build(config, silent)
        assert caught.value.hint == "choose another --out"

    @pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
    def test_that_is_read_only(self, config):
        config.out.mkdir(mode=0o555)
        with pytest.raises(ConfigError, match="cannot write here"):
            pipeline.build(config, silent)


class TestTarget:
    def test_of_a_build_directory(self, config):
        pipeline.build(config, silent)
        assert pipeline.built_target(config.out).name == "hearing-aid"

    def test_from_a_file_of_ones_own(self, tmp_path, stand_in_stages, monkeypatch):
        text = (TARGETS / "hearing-aid.toml").read_text().replace('"hearing-aid"', '"mine"', 1)
        (tmp_path / "mine.toml").write_text(text)
        monkeypatch.chdir(tmp_path)
        pipeline.build(pipeline.BuildConfig("mine.toml", tmp_path / "out"), silent)
        monkeypatch.chdir("/")
        assert pipeline.built_target(tmp_path / "out").name == "mine"

    def test_of_something_else(self, tmp_path):
        with pytest.raises(ArtifactError, match="not a build directory") as caught:
            pipeline.built_target(tmp_path)
        assert caught.value.hint == "run edgekit build"

    def test_that_is_unknown_touches_nothing(self, tmp_path, stand_in_stages):
        with pytest.raises(TargetError, match="did you mean 'hearing-aid'"):
            pipeline.build(pipeline.BuildConfig("hearing-ad", tmp_path / "out"), silent)
        assert not (tmp_path / "out").exists()


class TestTools:
    """Missing tools are said before any work."""

    def test_cross_compiler(self, config, monkeypatch):
        monkeypatch.setattr("codegen.toolchain.find_zig", lambda: None)
        with pytest.raises(ConfigError, match="ziglang is not installed"):
            pipeline.build(config, silent)
        assert not config.out.exists()

    def test_host_compiler(self, config, monkeypatch):
        monkeypatch.setenv("CC", "no-such-compiler")
        with pytest.raises(ConfigError, match="no-such-compiler"):
            pipeline.build(config, silent)
        assert not config.out.exists()

    @pytest.mark.parametrize("package", ["unicorn", "capstone"])
    def test_simulator(self, config, monkeypatch, package):
        found = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == package else found(n))
        with pytest.raises(ConfigError, match=f"{package} is not installed") as caught:
            pipeline.build(config, silent)
        assert "edgekit[sim]" in caught.value.hint

    def test_qemu_is_asked_for_only_where_it_runs_the_firmware(self, tmp_path, stand_in_stages, monkeypatch):
        monkeypatch.setattr("firmware_sim.qemu_process.QEMU", "qemu-system-none")
        pipeline.build(pipeline.BuildConfig("hearing-aid", tmp_path / "m33"), silent)
        with pytest.raises(ConfigError, match="no qemu-system-none"):
            pipeline.build(pipeline.BuildConfig("corstone-300", tmp_path / "m55"), silent)
        assert not (tmp_path / "m55").exists()

    def test_this_computer_needs_nothing_but_a_compiler(self, tmp_path, stand_in_stages, monkeypatch):
        monkeypatch.setattr("codegen.toolchain.find_zig", lambda: None)
        monkeypatch.setattr("firmware_sim.qemu_process.QEMU", "qemu-system-none")
        found = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "unicorn" else found(n))
        config = pipeline.BuildConfig("host", tmp_path / "host")
        pipeline.build(config, silent)
        monkeypatch.setenv("CC", "no-such-compiler")
        with pytest.raises(ConfigError, match="no-such-compiler"):
            pipeline.build(config, silent)


class TestRealStages:
    def test_are_those_of_the_build_directory(self, tmp_path):
        config = pipeline.BuildConfig("hearing-aid", tmp_path)
        assert tuple(s.name for s in pipeline.stages(config, load_target("hearing-aid"))) == NAMES

    def test_no_audio_found(self, tmp_path):
        (tmp_path / "empty").mkdir()
        config = pipeline.BuildConfig("hearing-aid", tmp_path / "out", (tmp_path / "empty",))
        with pytest.raises(AudioError, match="no audio found"):
            pipeline.build(config, silent)
