"""A finished build directory in miniature: real artifacts around invented figures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from builds import stage_files, write_build
from unit.edgekit.commands import Ran

from edgekit import artifact, pipeline
from edgekit.cli.app import main
from edgekit.progress import Progress
from edgekit.report import STAGES


@pytest.fixture
def build_files() -> dict[str, dict[str, object]]:
    return stage_files()


@pytest.fixture
def build_dir(tmp_path: Path, build_files: dict[str, dict[str, object]]) -> Path:
    return write_build(tmp_path / "build", build_files)


@pytest.fixture
def make_build() -> Callable[[Path, dict[str, dict[str, object]]], Path]:
    return write_build


@pytest.fixture
def stand_in_stages(monkeypatch: pytest.MonkeyPatch, build_files: dict[str, dict[str, object]]) -> None:
    """Stages that write `build_files` and count to three; the seed is a setting of distill."""

    def stages(config: pipeline.BuildConfig, _: object) -> tuple[pipeline.Stage, ...]:
        return tuple(stand_in(name, config.seed if name == "distill" else 0, build_files) for name in STAGES)

    monkeypatch.setattr(pipeline, "stages", stages)


def stand_in(name: str, seed: int, files: dict[str, dict[str, object]]) -> pipeline.Stage:
    def identity(built: dict[str, artifact.Artifact]) -> tuple[dict[str, str], dict[str, int]]:
        return {stage: made.digest for stage, made in list(built.items())[-1:]}, {"seed": seed}

    def run(built: dict[str, artifact.Artifact], out: Path, progress: Progress) -> artifact.Artifact:
        with artifact.writing(out, name, *identity(built)) as work:
            for done in range(4):
                progress("working", done, 3)
            for file, value in files[name].items():
                (work / file).write_text(value if isinstance(value, str) else json.dumps(value))
        return artifact.read(out, name)

    return pipeline.Stage(name, identity, run)


@pytest.fixture
def edgekit(capsys) -> Callable[..., Ran]:
    def run(*words: object) -> Ran:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
