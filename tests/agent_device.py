"""The update agent's C as a device: a process on a pseudo-terminal that is flashed and loses its power.

Nothing here speaks the protocol: what a device holds is read from its flash file, and what was done to it is
what the process has counted.
"""

import contextlib
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from images import KEY, MODEL

from codegen.update_agent import AGENT, agent_sources, crypto_sources
from edgekit.errors import ConfigError
from edgekit.toolchain import compile_host

SECTOR = 4096
JOURNAL_BYTES = 2 * SECTOR
POWER_CUT = 9
START_S = 10.0
OFF_S = 0.3
"""How long the power is away after a cut."""


def build_agent(out: Path) -> Path:
    """Compile the agent as a program; with sanitizers where the compiler has them: a finding ends it."""
    sources = [*agent_sources(), *crypto_sources(), AGENT / "host_device.c", AGENT / "host_main.c"]
    try:
        return compile_host(sources, out, include=[AGENT], shared=False, sanitize=True)
    except ConfigError:
        return compile_host(sources, out, include=[AGENT], shared=False)


def model_options() -> dict[str, Any]:
    """Return what a device is that takes the models of `images`."""
    return {
        "key": KEY.public.raw.hex(),
        "vendor": MODEL.vendor.hex,
        "class": MODEL.device_class.hex,
        "graph": MODEL.graph.hex(),
        "abi": ".".join(map(str, (MODEL.abi.major, MODEL.abi.minor, MODEL.abi.kernels))),
        "ram": 20_000,
        "outputs": 3,
    }


class AgentDevice:
    """A device with an image in slot 0.

    Args:
        program: The agent.
        folder: Where its files go.
        installed: The image in slot 0; none if empty.
        spare: What slot 1 holds.
        slot_sectors: Size of a slot.
        fitting_sectors: Size of the fitting region.
        options: Of the program.
    """

    def __init__(
        self,
        program: Path,
        folder: Path,
        installed: bytes,
        spare: bytes = b"",
        slot_sectors: int = 18,
        fitting_sectors: int = 2,
        **options: Any,
    ) -> None:
        self.program, self.folder = program, folder
        self.link, self.counted, self.flash = folder / "port", folder / "counts.json", folder / "flash.bin"
        self.slot_bytes = slot_sectors * SECTOR
        self.fitting = bytes(index * 31 & 0xFF for index in range(fitting_sectors * SECTOR))
        slots = [data.ljust(self.slot_bytes, b"\xff") for data in (installed, spare)]
        self.flash.write_bytes(b"\xff" * JOURNAL_BYTES + self.fitting + b"".join(slots))
        self.options = {**model_options(), "slot": self.slot_bytes, "fitting": len(self.fitting), **options}
        self.log = (folder / "log").open("wb")
        self.process: subprocess.Popen[bytes] | None = None
        self.power_cuts = 0
        self._counts_before = {"operations": 0, "violations": 0, "erases": 0}
        self._supervisor: threading.Thread | None = None
        self.start()

    @property
    def port(self) -> str:
        return str(self.link)

    def start(self, **options: Any) -> None:
        """Switch it on; a cut of its power that `options` order is followed by a start without them."""
        given = {**self.options, **options, "link": self.link, "counts": self.counted}
        words = [f"{name}={value}" for name, value in given.items()]
        self.process = subprocess.Popen(
            [self.program, self.flash, *words],
            stdout=subprocess.PIPE,
            stderr=self.log,
            # A cut of the power ends it wherever it is.
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
        )
        assert self.process.stdout is not None
        shown = self.process.stdout.readline()
        self.process.stdout.close()
        assert shown or "cut" in options, self.said()
        if "cut" in options:
            self._supervisor = threading.Thread(target=self._start_again, args=(self.process,))
            self._supervisor.start()

    def _start_again(self, process: subprocess.Popen[bytes]) -> None:
        if process.wait() == POWER_CUT:
            self.power_cuts += 1
            self._take_counts()
            time.sleep(OFF_S)
            if self.process is process:
                self.start()

    def power_off(self) -> None:
        """Take the power away, whatever it does."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
        if self._supervisor is not None:
            self._supervisor.join()
            self._supervisor = None
        if self.process is not None:
            self.power_off()
            return
        # Its number is given to the next pseudo-terminal, which is somebody else's.
        with contextlib.suppress(FileNotFoundError):
            self.link.unlink()
        self._take_counts()

    def restart(self, **options: Any) -> None:
        """Take the power away, and give it back."""
        self.power_off()
        self.start(**options)

    def close(self) -> None:
        self.power_off()
        self.log.close()

    def said(self) -> str:
        """Return what it wrote on standard error: findings of the sanitizers, for example."""
        return (self.folder / "log").read_text()

    def _take_counts(self) -> None:
        if self.counted.exists():
            self._counts_before = self._add(self._counts_before)
            self.counted.unlink()

    def _add(self, before: dict[str, int]) -> dict[str, int]:
        found = json.loads(self.counted.read_text()) if self.counted.exists() else {}
        erases = found.get("erases", [])
        return {
            "operations": before["operations"] + found.get("operations", 0),
            "violations": before["violations"] + found.get("violations", 0),
            # The journal is the agent's own; what counts is what updates erase.
            "erases": before["erases"] + sum(erases[JOURNAL_BYTES // SECTOR :]),
        }

    @property
    def counts(self) -> dict[str, int]:
        """Operations, what hardware does not allow, and erases outside the journal; since it was made."""
        return self._add(self._counts_before)

    def slot(self, number: int, count: int) -> bytes:
        """Return the first bytes of a slot."""
        at = JOURNAL_BYTES + len(self.fitting) + number * self.slot_bytes
        return self.flash.read_bytes()[at : at + count]

    def everything(self) -> bytes:
        """Return all of the flash."""
        return self.flash.read_bytes()

    def holds(self, number: int, image: bytes) -> bool:
        """Return whether a slot begins with an image."""
        return self.slot(number, len(image)) == image

    def assert_sound(self) -> None:
        """See that flash was used as hardware allows it, and that fitting bytes are what they were."""
        assert self.counts["violations"] == 0
        assert self.flash.read_bytes()[JOURNAL_BYTES:][: len(self.fitting)] == self.fitting
        assert "ERROR" not in self.said()
        assert "runtime error" not in self.said()
