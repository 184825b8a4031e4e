"""The agent as a program on a pseudo-terminal."""

import json
import subprocess
import time

import cbor2
import pytest
import serial
from unit.codegen.agent.conftest import OLD
from unit.codegen.agent.device import SECTOR, frame, packet, unframe
from unit.codegen.agent.images import CLASS, GRAPH, PUBLIC, VENDOR, Image, digest_of

from codegen.update_agent import AGENT, agent_sources, crypto_sources
from edgekit.toolchain import compile_host

NEW = Image(counter=6).build()
SLOT_0 = 2 * SECTOR + 2 * SECTOR


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    sources = [*agent_sources(), *crypto_sources(), AGENT / "host_device.c", AGENT / "host_main.c"]
    return compile_host(
        sources, tmp_path_factory.mktemp("host") / "agent_host", include=[AGENT], shared=False
    )


class Host:
    """A running program and the port that it opened."""

    def __init__(self, program, flash, *options: str) -> None:
        names = {"key": PUBLIC, "vendor": VENDOR, "class": CLASS, "graph": GRAPH}
        settings = [f"{name}={value.hex()}" for name, value in names.items()]
        self.process = subprocess.Popen(
            [program, flash, *settings, "abi=1.2.7", f"slot={4 * SECTOR}", *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.path = self.process.stdout.readline().strip()
        self.port = serial.Serial(self.path, timeout=5) if self.path else None

    def ask(self, op: int, group: int, command: int, body: dict) -> dict:
        self.port.write(frame(packet(op, group, command, body)))
        lines = b""
        while True:
            line = self.port.readline()
            assert line, "no answer"
            lines += line
            for answer in unframe(lines):
                return cbor2.loads(answer[8:])

    def upload(self, image: bytes) -> dict:
        answer, first = {"off": 0}, {"image": 1, "len": len(image)}
        while answer["off"] < len(image):
            at = answer["off"]
            answer = self.ask(2, 1, 1, {"off": at, "data": image[at : at + 700], **first})
            first = {}
        return answer

    def close(self) -> None:
        if self.port:
            self.port.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def run(program, tmp_path):
    flash = tmp_path / "flash.bin"
    flash.write_bytes(b"\xff" * SLOT_0 + OLD)
    hosts = []

    def start(*options: str) -> Host:
        hosts.append(Host(program, flash, *options))
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()


def test_an_update_over_a_terminal_survives_a_restart(run, tmp_path):
    host = run("mv=1300", "adv=1,-2,3", "heard=9", f"link={tmp_path / 'port'}")
    assert (tmp_path / "port").resolve() == type(tmp_path)(host.path)
    assert host.ask(0, 64, 0, {})["mv"] == 1300
    assert host.ask(0, 64, 3, {}) == {"adv": [1, -2, 3], "heard": 9}
    host.upload(NEW)
    host.ask(2, 1, 0, {"hash": digest_of(NEW)})
    assert host.ask(2, 0, 5, {}) == {}
    assert host.ask(2, 1, 0, {"confirm": True})["images"][1]["confirmed"]
    host.close()
    again = run()
    assert [entry["active"] for entry in again.ask(0, 1, 0, {})["images"]] == [False, True]


def test_a_failing_self_test_and_a_power_cut(run):
    host = run("cut=6", "torn=1")
    with pytest.raises((AssertionError, serial.SerialException, OSError)):
        host.upload(NEW)
    assert host.process.wait(timeout=10) == 9
    host = run("selftest=4")
    host.upload(NEW)
    host.ask(2, 1, 0, {"hash": digest_of(NEW)})
    host.ask(2, 0, 5, {})
    time.sleep(0.1)
    assert host.ask(0, 1, 0, {})["images"][0]["active"]


@pytest.mark.parametrize(
    "option",
    ["nonsense", "nonsense=1", "key=12", "fw=1", "abi=x", "adv=1", "slot=5000", "slot=0", "fitting=1"],
)
def test_wrong_options_are_refused_by_name(program, tmp_path, option):
    done = subprocess.run([program, tmp_path / "f", option], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"agent_host: {option.partition('=')[0]}")
    assert "usage" in done.stderr
    assert not (tmp_path / "f").exists()


def test_what_was_done_to_the_flash_is_counted(run, tmp_path):
    counts = tmp_path / "counts.json"
    host = run(f"counts={counts}", "erase_ms=1", "slot=28672", "fitting=4096")
    assert host.ask(0, 64, 0, {})["slot"] == 28672
    # No image lies where the flash of another layout had one.
    assert json.loads(counts.read_text()) == {"operations": 0, "violations": 0, "erases": [0] * 17}
    host.upload(NEW)
    host.ask(2, 1, 5, {"slot": 0})
    used = -(-len(NEW) // SECTOR)
    counted = json.loads(counts.read_text())
    assert counted["operations"] > used
    assert counted["violations"] == 0
    assert sum(counted["erases"]) >= used
