"""A device on a pseudo-terminal: the independent server, as a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import smp_server
from images import TOLD, model_image


class Served:
    """A running server."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.link, self.stats = folder / "port", folder / "stats.json"
        told = {"link": str(self.link), "stats": str(self.stats), "info": TOLD} | config
        if "installed" not in told:
            old = folder / "old.bin"
            old.write_bytes(model_image(size=30_000, seed=99))
            told["installed"] = str(old)
        settings = folder / "server.json"
        settings.write_text(json.dumps(told))
        self.process = subprocess.Popen([sys.executable, smp_server.__file__, settings])
        until_s = time.monotonic() + 20
        while not self.link.exists():
            assert self.process.poll() is None
            assert time.monotonic() < until_s
            time.sleep(0.01)

    @property
    def port(self) -> str:
        return str(self.link)

    def stop(self) -> dict[str, Any]:
        """End it; return what it counted."""
        self.process.terminate()
        assert self.process.wait(20) == 0
        return json.loads(self.stats.read_text())


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
