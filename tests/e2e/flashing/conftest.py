"""The agent's C on a pseudo-terminal, a line that may be bad, and edgekit's commands."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bad_line
import pytest
from agent_device import AgentDevice, build_agent
from images import MODEL, model_image
from lines import LinkedProcess
from unit.edgekit.commands import Ran

from edgekit.cli.app import main
from edgekit.uploader.container import Version

OLD = model_image(30_000, seed=99, facts=replace(MODEL, version=Version(1, 0, 0, 0)))
NEW = model_image(61_440, seed=1)


class BadLine(LinkedProcess):
    """A running line between a host and a device."""

    def __init__(self, folder: Path, device: AgentDevice, **config: Any) -> None:
        told = {"device": device.port, "link": str(folder / "line"), "stats": str(folder / "line.stats")}
        super().__init__(bad_line.__file__, folder / "line.json", told | config)


@pytest.fixture(scope="session")
def agent_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_agent(tmp_path_factory.mktemp("agent") / "agent_host")


@pytest.fixture
def make_device(agent_program: Path, tmp_path: Path) -> Iterator[Callable[..., AgentDevice]]:
    """Make devices that are sound in the end: flash used as hardware allows, fitting bytes as they were."""
    made: list[AgentDevice] = []

    def make(installed: bytes = OLD, **options: Any) -> AgentDevice:
        folder = tmp_path / f"device{len(made)}"
        folder.mkdir()
        made.append(AgentDevice(agent_program, folder, installed, **options))
        return made[-1]

    yield make
    for device in made:
        device.close()
    for device in made:
        device.assert_sound()


@pytest.fixture
def device(make_device: Callable[..., AgentDevice]) -> AgentDevice:
    return make_device()


@pytest.fixture
def make_line(tmp_path: Path) -> Iterator[Callable[..., BadLine]]:
    made: list[BadLine] = []

    def make(device: AgentDevice, **config: Any) -> BadLine:
        folder = tmp_path / f"line{len(made)}"
        folder.mkdir()
        made.append(BadLine(folder, device, **config))
        return made[-1]

    yield make
    for line in made:
        line.process.kill()
        line.process.wait()


@pytest.fixture
def edgekit(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command of edgekit in this process."""

    def run(*words: object) -> Ran:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def new(tmp_path: Path) -> Path:
    file = tmp_path / "new.bin"
    file.write_bytes(NEW)
    return file
