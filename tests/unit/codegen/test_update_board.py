"""The board's part of the update agent, built for this machine with a stand-in for the engine."""

import hashlib
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import cbor2
import pytest
from images import KEY, MODEL, WEIGHTS
from unit.codegen.agent.device import digest_of, frame, packet, unframe

from codegen.flash_map import FlashMap
from codegen.golden import MAGIC, SEED, noise
from codegen.toolchain import BOARD
from codegen.update_agent import AGENT, agent_sources, crypto_sources
from codegen.updates import SOURCES, Updates
from edgekit.errors import ConfigError
from edgekit.toolchain import compile_host
from edgekit.uploader.image import sign

SECTOR = 4096
WHERE = FlashMap(0, 0x1000_0000, 0x1000_2000, SECTOR, (0x1000_3000, 0x1000_4000), SECTOR)
FLASH_BYTES = 5 * SECTOR
ERASED = b"\xff" * FLASH_BYTES
SLOTS = [at - WHERE.journal for at in WHERE.slots]
FAILED_SELF_TEST = 2
OURS = Path(__file__).parent / "update_board"


def model(weights: bytes = b"E" + WEIGHTS[1:], samples: int = 200, **golden: int) -> bytes:
    """Return a signed model with its golden vector."""
    heard = noise(min(samples, 10_000))
    results = {"heard": samples, "sum": int(heard.sum()) & 0x3FFF, "weights": weights[99], **golden}
    vector = struct.pack("<4sII3hH", MAGIC, SEED, samples, *results.values(), 0)
    return sign(weights + vector, MODEL, KEY)


class Board:
    """A device that is started, talked to and switched off again."""

    def __init__(self, program: Path, folder: Path, *slots: bytes) -> None:
        self.program, self.file = program, folder / "flash.bin"
        flash = bytearray(ERASED)
        for at, image in zip(SLOTS, slots, strict=False):
            flash[at : at + len(image)] = image
        self.file.write_bytes(flash)

    def run(self, *packets: bytes) -> tuple[bool, list[dict]]:
        """Return whether a model runs, and the answers."""
        said = subprocess.run(
            [self.program, self.file],
            input=b"".join(map(frame, packets)),
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert said.returncode in (0, 1), (said.returncode, said.stderr)
        return said.returncode == 0, [cbor2.loads(answer[8:]) for answer in unframe(said.stdout)]

    def self_test(self, slot: int) -> int:
        """Return what the self-test of a slot says."""
        (answer,) = self.run(packet(2, 64, 2, {"slot": slot}))[1]
        return answer["rc"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    for header in ("board.h", "update.h"):
        shutil.copy(BOARD / header, folder)
    for name, text in Updates(WHERE, MODEL, KEY.public, model()).generated().items():
        (folder / name).write_text(text)
    sources = [*SOURCES, OURS / "update_host.c", *agent_sources(), *crypto_sources()]
    include = [OURS, AGENT, folder]
    try:
        return compile_host(sources, folder / "update", include=include, shared=False, sanitize=True)
    except ConfigError:
        return compile_host(sources, folder / "update", include=include, shared=False)


@pytest.fixture
def switch_on(program: Path, tmp_path: Path) -> Callable[..., Board]:
    return lambda *slots: Board(program, tmp_path, *slots)


def test_a_golden_vector_is_computed(switch_on) -> None:
    board = switch_on(model(), model(sum=1))
    assert board.run() == (True, [])
    assert (board.self_test(0), board.self_test(1)) == (0, FAILED_SELF_TEST)


def test_a_golden_vector_without_an_end_is_not_begun(switch_on) -> None:
    assert switch_on(model(), model(samples=0xFFFF_FFFF, heard=0)).self_test(1) != 0


def test_a_device_whose_weights_its_firmware_refuses_takes_others(switch_on) -> None:
    """A programmer may change the firmware and leave journal and slots."""
    new = model()
    board = switch_on(model(b"X" + WEIGHTS[1:]))
    runs, (info,) = board.run(packet(0, 64, 0, {}))
    assert not runs
    assert info["slot"] == SECTOR
    sent = {"image": 1, "off": 0, "len": len(new), "sha": hashlib.sha256(new).digest(), "data": new}
    test = {"hash": digest_of(new)}
    _, answers = board.run(packet(2, 1, 1, sent), packet(2, 1, 0, test), packet(2, 0, 5, {}))
    assert answers[0] == {"off": len(new), "match": True}
    runs, (state,) = board.run(packet(2, 1, 0, {"confirm": True}))
    assert runs
    assert [slot["active"] for slot in state["images"]] == [False, True]
