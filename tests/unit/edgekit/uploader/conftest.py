"""A device on a pseudo-terminal: the independent server, as a process of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import smp_server
from images import TOLD, model_image
from lines import LinkedProcess


class Served(LinkedProcess):
    """A running server."""

    def __init__(self, folder: Path, **config: Any) -> None:
        link, stats = str(folder / "port"), str(folder / "stats.json")
        told = {"link": link, "stats": stats, "info": TOLD} | config
        if "installed" not in told:
            old = folder / "old.bin"
            old.write_bytes(model_image(size=30_000, seed=99))
            told["installed"] = str(old)
        super().__init__(smp_server.__file__, folder / "server.json", told)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def start(**config: Any) -> Served:
        folder = tmp_path / f"server{len(running)}"
        folder.mkdir()
        running.append(Served(folder, **config))
        return running[-1]

    yield start
    for served in running:
        served.process.kill()
        served.process.wait()
