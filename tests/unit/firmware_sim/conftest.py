"""Firmware that the simulator's tests run, compiled once per test session."""

from collections.abc import Callable
from pathlib import Path

import pytest

from codegen.toolchain import board_source, compile_firmware, compile_program
from edgekit.target import Target
from edgekit.targets import load_target

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def target() -> Target:
    return load_target("hearing-aid")


@pytest.fixture(scope="session")
def fake_firmware(tmp_path_factory: pytest.TempPathFactory, target: Target) -> Path:
    return build_fake(tmp_path_factory.mktemp("fake"), target, {})


@pytest.fixture(scope="session")
def traced_firmware(tmp_path_factory: pytest.TempPathFactory, target: Target) -> Path:
    return build_fake(tmp_path_factory.mktemp("traced"), target, {"EDGEKIT_TRACE": "1"})


def build_fake(folder: Path, target: Target, defines: dict[str, str]) -> Path:
    engine = HERE / "fake_engine"
    return compile_firmware([engine / "edgekit_model.c"], [engine], target, folder / "firmware.elf", defines)


@pytest.fixture(scope="session")
def build_program(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that compiles one of `programs/` for a target."""

    def build(name: str, target: Target, defines: dict[str, str] | None = None) -> Path:
        out = tmp_path_factory.mktemp(name) / "program.elf"
        sources = [HERE / "programs" / f"{name}.c", board_source(target)]
        return compile_program(sources, [], target, out, defines)

    return build
