"""Firmware on this computer itself."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from unit.firmware_sim.conftest import build_fake

from edgekit.errors import AudioError, ConfigError, SimulationError
from edgekit.target import Target
from edgekit.targets import load_target
from firmware_sim import SimResult, native, simulate
from firmware_sim.simulator import profile

PCM = np.random.default_rng(7).integers(-3000, 3000, 1000).astype(np.int16)
COMPILERS = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"needs {name}"))
    for name in ("gcc", "clang")
]
NOTHING, POINTER, OVERFLOW, ABORT, HANG, EARLY_EXIT, SLOW, DEEP, PLAIN_EXIT = range(9)


@pytest.fixture(scope="module")
def host() -> Target:
    return load_target("host")


@pytest.fixture(scope="module")
def native_fake(tmp_path_factory: pytest.TempPathFactory, host: Target) -> Path:
    return build_fake(tmp_path_factory.mktemp("native"), host, {})


@pytest.fixture(scope="module")
def run(native_fake: Path, host: Target) -> SimResult:
    return simulate(native_fake, host, PCM)


@pytest.fixture
def program(build_program: Callable[..., Path], host: Target) -> Callable[[int], Path]:
    return lambda does: build_program("native", host, {"DOES": str(does)})


@pytest.mark.parametrize("block_samples", [1, 64, 96, 5000])
def test_results_are_those_of_the_simulated_core(
    block_samples: int, target: Target, host: Target, tmp_path: Path
) -> None:
    found = []
    for name, device in (("there", target), ("here", host)):
        changed = replace(device, audio=replace(device.audio, block_samples=block_samples))
        (tmp_path / name).mkdir()
        found.append(simulate(build_fake(tmp_path / name, changed, {}), changed, PCM))
    there, here = found
    assert here.results == there.results
    assert here.results
    assert len(here.block_cycles) == len(there.block_cycles)
    assert (here.exit_code, here.samples) == (0, 1000)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_traces_are_those_of_the_simulated_core(
    compiler: str,
    traced_firmware: Path,
    target: Target,
    host: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CC", compiler)
    elf = build_fake(tmp_path, host, {"EDGEKIT_TRACE": "1"})
    there, here = simulate(traced_firmware, target, PCM, trace=True), simulate(elf, host, PCM, trace=True)
    assert here.traces == there.traces
    assert len(here.traces) == 32
    assert here.results == there.results
    assert simulate(elf, host, PCM).traces == ()


def test_time_is_measured_and_nothing_is_counted(run: SimResult) -> None:
    assert len(run.block_cycles) == 16
    assert all(cycles > 0 for cycles in run.block_cycles)
    assert run.cycles == run.startup_cycles + sum(run.block_cycles)
    values = run.to_profile()
    assert (values["instructions"], values["latency"]["instructions_per_second_of_audio"]) == (None, None)
    assert values["layers"] == [{"name": "all", "instructions": None, "cycles": run.cycles}]
    assert values["timing"]["basis"]["cycles"] == "measured"
    assert (values["timing"]["error"], values["timing"]["cycles_are_upper_bound"]) == (None, False)
    assert values["energy"] == {"average_uw": None, "battery_hours": None}


def test_a_block_that_takes_long_is_the_slowest(program: Callable[[int], Path], host: Target) -> None:
    cycles = simulate(program(SLOW), host, PCM).block_cycles
    assert cycles.index(max(cycles)) == 2
    assert cycles[2] > 10 * sorted(cycles)[8]


def test_memory_is_that_of_the_firmware_alone(run: SimResult, host: Target) -> None:
    memory, flash = run.to_profile()["memory"], run.to_profile()["flash"]
    sizes = {symbol["name"]: symbol["size_bytes"] for symbol in memory["symbols"]}
    numbers = {"arrived": 4, "short_count": 8, "short_place": 4, "ended": 4, "given_back": 4, "holding": 4}
    assert sizes == {"audio_queue": 512, "state": 40, "used_in_data": 4, **numbers}
    assert run.static_bytes == 72
    assert memory["stack_reserved_bytes"] == host.memory.stack_bytes
    names = {symbol["name"] for symbol in flash["symbols"]}
    assert {"edgekit_model_data", "edgekit_push", "edgekit_layer_mean", "firmware_main"} <= names
    assert not names & {"main", "board_exit", "_start"}
    sections = {section["name"]: section["size_bytes"] for section in flash["sections"]}
    assert (sections[".model"], sections[".data"]) == (16, 4)
    assert run.flash_bytes == sum(symbol["size_bytes"] for symbol in flash["symbols"]) + 4


def test_the_stack_is_measured(run: SimResult, program: Callable[[int], Path], host: Target) -> None:
    assert 32 <= run.stack_bytes < 1024
    assert 10_000 <= simulate(program(DEEP), host, PCM).stack_bytes < 11_000


@pytest.mark.parametrize(
    ("does", "what"),
    [
        (POINTER, "the firmware crashed: SIGSEGV"),
        (OVERFLOW, "the firmware crashed: SIGSEGV"),
        (ABORT, "the firmware crashed: SIGABRT"),
        (PLAIN_EXIT, "the firmware ended with 9 before it had read its audio"),
    ],
)
def test_what_does_not_come_to_its_end(
    does: int, what: str, program: Callable[[int], Path], host: Target
) -> None:
    with pytest.raises(SimulationError) as caught:
        simulate(program(does), host, PCM)
    assert caught.value.what.startswith(what)
    assert caught.value.hint
    assert caught.value.exit_code == 8


def test_an_early_exit_keeps_its_code(program: Callable[[int], Path], host: Target) -> None:
    run = simulate(program(EARLY_EXIT), host, PCM)
    assert (run.exit_code, len(run.block_cycles)) == (7, 3)
    assert simulate(program(NOTHING), host, PCM).exit_code == 5, "what main returns"


def test_a_stack_that_is_too_small_is_said_so(tmp_path: Path, host: Target) -> None:
    small = replace(host, memory=replace(host.memory, stack_bytes=1024))
    elf = build_fake(tmp_path, small, {})
    with pytest.raises(SimulationError, match="before it had read its audio: a stack of 1024 bytes"):
        simulate(elf, small, PCM)


def test_what_hangs_is_ended(
    program: Callable[[int], Path], host: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "LEAST_LIMIT_S", 0.2)
    monkeypatch.setattr(native, "LIMIT_PER_AUDIO", 0)
    with pytest.raises(SimulationError, match=r"the firmware hangs: not at its end after 0\.2 s"):
        simulate(program(HANG), host, PCM)


def test_ctrl_c_ends_it(
    program: Callable[[int], Path], host: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    elf = program(HANG)
    started: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen):
        def wait(self, timeout: float | None = None) -> int:
            if not started:
                started.append(self)
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            return super().wait(timeout)

    monkeypatch.setattr(native.subprocess, "Popen", Watched)
    with pytest.raises(KeyboardInterrupt):
        simulate(elf, host, PCM)
    assert started[0].returncode == -signal.SIGKILL


def test_what_is_no_program_for_this_computer(
    native_fake: Path, fake_firmware: Path, host: Target, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(native_fake, tmp_path))
    copy.chmod(0o644)
    for elf in (copy, fake_firmware):
        with pytest.raises(SimulationError, match="cannot be run here"):
            simulate(elf, host, PCM)
    with pytest.raises(SimulationError, match="cannot be read"):
        simulate(tmp_path / "missing.elf", host, PCM)
    with pytest.raises(AudioError):
        simulate(native_fake, host, PCM.astype(np.float32))
    with pytest.raises(SimulationError, match="not an Arm firmware"):
        simulate(native_fake, load_target("hearing-aid"), PCM)


def test_instructions_cannot_be_counted(native_fake: Path, host: Target) -> None:
    with pytest.raises(ConfigError, match="target host runs on this computer itself"):
        profile(native_fake, host, PCM)


def test_same_sources_give_the_same_bytes(native_fake: Path, host: Target, tmp_path: Path) -> None:
    again = build_fake(tmp_path, host, {})
    assert again.read_bytes() == native_fake.read_bytes()
    assert str(Path.cwd()).encode() not in again.read_bytes()
