"""The simulated hearing aid as a process on a pseudo-terminal: `edgekit device`, on a small model."""

import dataclasses
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from support import noise, small_graph

from codegen import checks, stage
from codegen.blob import build_blob
from codegen.flash_map import FlashMap, built_map
from codegen.images import build_facts, sign_model
from edgekit import artifact
from edgekit.graph import Graph, graph_digest, save_graph
from edgekit.targets import load_target
from edgekit.uploader.keys import DEVELOPMENT_KEY, load_private

TARGET = load_target("hearing-aid")
KEY = load_private(DEVELOPMENT_KEY)
BAUD = 2_000_000
START_S = 60.0
POWER_CUT = 9


@dataclass(frozen=True)
class SmallBuild:
    """A build folder and models for its device.

    Attributes:
        folder: What `edgekit device` takes.
        audio: What the device hears.
        where: Its flash.
        old: The model that it comes with.
        new: Another one of the same graph, whose A/D/V are higher.
        broken: One whose golden vector is not what it computes.
        foreign: One of another graph.
    """

    folder: Path
    audio: Path
    where: FlashMap
    old: Path
    new: Path
    broken: Path
    foreign: Path


def make_build(folder: Path) -> SmallBuild:
    """Build a small model for the hearing aid."""
    graph = small_graph(folder, bands=26, channels=13)
    with artifact.writing(folder / "graph", "quantize", {}, {}) as work:
        save_graph(graph, work)
    checks_s, checks.PARITY_AUDIO_S = checks.PARITY_AUDIO_S, 1.0
    c = stage.generate(folder / "graph", TARGET, folder / "c")
    checks.PARITY_AUDIO_S = checks_s
    firmware = stage.build_firmware(c.path, folder / "graph", TARGET, KEY, folder / "firmware")
    marker = {"schema": 1, "target": TARGET.name, "target_file": TARGET.name}
    artifact.write_json(folder / "build.json", marker)
    soundfile.write(folder / "audio.wav", noise(1.0), 16_000)
    return SmallBuild(
        folder,
        folder / "audio.wav",
        built_map(firmware),
        firmware.file("model.signed.bin"),
        *_other_models(folder, graph, c),
    )


def _other_models(folder: Path, graph: Graph, c: artifact.Artifact) -> tuple[Path, Path, Path]:
    last = next(op for op in reversed(graph.ops) if op.kind.startswith("fully_connected"))
    bias = graph.constants[last.inputs[2]]
    more = (bias + np.abs(bias).max() + 1000).astype(bias.dtype)
    higher = dataclasses.replace(graph, constants={**graph.constants, last.inputs[2]: more})
    assert graph_digest(higher) == graph_digest(graph)
    weights = build_blob(higher, TARGET.core.instructions)
    facts = build_facts("model", weights, c, higher, TARGET)
    made = {
        "new": sign_model(weights, facts, higher, KEY),
        # The golden vector of the other model.
        "broken": sign_model(weights, facts, graph, KEY),
        "foreign": sign_model(weights, dataclasses.replace(facts, graph=bytes(32)), higher, KEY),
    }
    for name, data in made.items():
        (folder / f"{name}.bin").write_bytes(data)
    return tuple(folder / f"{name}.bin" for name in made)


class SimulatedDevice:
    """A device that is switched on and off.

    Args:
        build: Its firmware.
        folder: Where its files go.
    """

    def __init__(self, build: SmallBuild, folder: Path) -> None:
        self.build, self.link, self.flash = build, folder / "port", folder / "flash.bin"
        self.log = (folder / "log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> str:
        return str(self.link)

    def start(self, *more: object) -> None:
        """Switch it on."""
        words = ["device", self.build.folder, "--link", self.link, "--flash", self.flash]
        words += ["--audio", self.build.audio, "--baud", BAUD, "--fast", *more]
        command = [sys.executable, "-m", "edgekit.cli", *map(str, words)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        until_s = time.monotonic() + START_S
        while not self.link.exists() and self.process.poll() is None:
            assert time.monotonic() < until_s
            time.sleep(0.02)

    def stop(self) -> int:
        """Switch it off; return the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(START_S)

    def cut(self) -> None:
        """Wait until its power is gone."""
        assert self.process is not None
        assert self.process.wait(START_S) == POWER_CUT

    def region(self, address: int, size_bytes: int) -> bytes:
        """Return bytes of its flash, when it is off."""
        begin = address - TARGET.memory.flash_origin
        return self.flash.read_bytes()[begin : begin + size_bytes]
