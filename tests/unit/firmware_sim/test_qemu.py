"""Cortex-M55 firmware in QEMU."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import needs_qemu, target_of

from codegen.toolchain import compile_firmware
from edgekit.errors import ConfigError, SimulationError
from edgekit.target import Target
from firmware_sim import SimResult, qemu_process, simulate

PCM = np.random.default_rng(7).integers(-3000, 3000, 1000).astype(np.int16)
FAKE = Path(__file__).parent / "fake_engine"
LOOPS = ("countdown", "dot", "copy", "over_data")


@pytest.fixture(scope="module")
def m55() -> Target:
    return target_of("cortex-m55")


@pytest.fixture(scope="module")
def m55_firmware(tmp_path_factory: pytest.TempPathFactory, m55: Target) -> Path:
    out = tmp_path_factory.mktemp("m55") / "firmware.elf"
    return compile_firmware([FAKE / "edgekit_model.c"], [FAKE], m55, out, {"EDGEKIT_TRACE": "1"})


@pytest.fixture(scope="module")
def fake_run(m55_firmware: Path, m55: Target) -> SimResult:
    return simulate(m55_firmware, m55, PCM, trace=True)


@needs_qemu
def test_firmware_hears_all_samples_and_reports_after_each_block(fake_run: SimResult) -> None:
    assert [heard for heard, _ in fake_run.results] == [*range(64, 1000, 64), 1000]
    for sample, (mean, low, high) in fake_run.results:
        part = PCM[:sample].astype(int)
        assert (mean, low, high) == (int(part.sum() / sample), part.min(), part.max())
    assert fake_run.exit_code == 0


@needs_qemu
def test_traces_are_those_of_the_firmware(fake_run: SimResult, m55_firmware: Path, m55: Target) -> None:
    assert [layer for layer, _ in fake_run.traces] == [0, 1] * 16
    sums = [int.from_bytes(data, "little", signed=True) for layer, data in fake_run.traces if layer == 0]
    assert sums == [int(PCM[:end].sum()) for end in [*range(64, 1000, 64), 1000]]
    assert simulate(m55_firmware, m55, PCM).traces == ()


@needs_qemu
def test_runs_are_deterministic(fake_run: SimResult, m55_firmware: Path, m55: Target) -> None:
    assert simulate(m55_firmware, m55, PCM, trace=True) == fake_run


@needs_qemu
def test_regions_and_blocks_add_up(fake_run: SimResult) -> None:
    assert list(fake_run.regions) == ["board", "engine", "mean", "range"]
    assert len(fake_run.block_instructions) == 16
    assert fake_run.cycles - fake_run.startup_cycles == sum(fake_run.block_cycles)
    assert 32 <= fake_run.stack_bytes < 512


@needs_qemu
def test_blocks_are_those_of_the_target(build_program: Callable[..., Path], m55: Target) -> None:
    """The loops ask for 64 samples at a time: of a block of 96, the second time they get 32."""
    longer = replace(m55, audio=replace(m55.audio, block_samples=96))
    loops = build_program("loops", m55)
    runs = [simulate(loops, target, np.zeros(192, np.int16), {"all": ["main"]}) for target in (m55, longer)]
    assert [len(run.block_instructions) for run in runs] == [3, 2]
    assert runs[1].block_instructions[0] > 1.8 * runs[0].block_instructions[0]


@needs_qemu
@pytest.mark.parametrize("blocks", [1, 3])
def test_counts_equal_a_hand_count(blocks: int, build_program: Callable[..., Path], m55: Target) -> None:
    """Instructions of one call, from programs/loops.c (test_simulator.py has the same loops)."""
    regions = {"rest": ["main"]} | {name: [f"loop_{name}"] for name in LOOPS}
    result = simulate(build_program("loops", m55), m55, np.zeros(64 * blocks, np.int16), regions)
    by_hand = {
        "countdown": 1 + 100 * 2 + 1,
        "dot": 3 + 50 * 5 + 2,
        "copy": 2 + 8 * 8 + 1,
        "over_data": 1 + 3 * 4 + 1,
    }
    assert {name: result.regions[name].instructions for name in by_hand} == {
        name: blocks * count for name, count in by_hand.items()
    }


@needs_qemu
def test_vector_instructions_count_two_cycles(build_program: Callable[..., Path], m55: Target) -> None:
    regions = {"rest": ["main"], "products": ["loop_products"], "scalar": ["loop_scalar"]}
    result = simulate(build_program("vectors", m55), m55, np.zeros(64, np.int16), regions)
    products, scalar = result.regions["products"], result.regions["scalar"]
    # Three times round, three of four instructions vectors; LETP is a branch.
    assert (products.instructions, products.cycles) == (4 + 3 * 4 + 2, 4 + 3 * 7 + 2)
    assert (scalar.instructions, scalar.cycles) == (4 + 5 * 3 + 1, 4 + 5 * 3 + 1)
    values = np.arange(40) - 20
    wanted = int((values * (3 * values)).sum())
    assert result.adv is not None
    assert result.adv[0] & 0xFFFF | result.adv[1] << 16 == wanted
    assert result.to_profile()["timing"]["cycles_are_upper_bound"] is True


@needs_qemu
def test_memories_of_the_target_are_used(tmp_path: Path, m55: Target) -> None:
    elsewhere = replace(m55, memory=replace(m55.memory, flash_origin=0x8000_0000, ram_origin=0x2100_0000))
    elf = compile_firmware([FAKE / "edgekit_model.c"], [FAKE], elsewhere, tmp_path / "firmware.elf")
    result = simulate(elf, elsewhere, PCM)
    assert result.adv == (int(PCM.astype(int).sum() / 1000), PCM.min(), PCM.max())
    with pytest.raises(SimulationError, match="does not fit"):
        simulate(elf, m55, PCM)
    nowhere = replace(m55, memory=replace(m55.memory, ram_origin=0x3000_0000))
    with pytest.raises(SimulationError, match="has no memory"):
        simulate(elf, nowhere, PCM)


@pytest.mark.parametrize(
    ("does", "what"),
    [
        ("exec sleep 100", "QEMU hangs: no instruction in 0.2 s"),
        ("echo qemu: fatal: Lockup; exit 1", "QEMU stopped: qemu: fatal: Lockup"),
        ("exit 1", "QEMU stopped: no message"),
    ],
    ids=["hangs", "says why it stops", "stops"],
)
def test_a_qemu_that_does_not_do_its_work_is_ended(
    does: str, what: str, m55_firmware: Path, m55: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = tmp_path / "qemu"
    idle.write_text(f"#!/bin/sh\n{does}\n")
    idle.chmod(0o755)
    monkeypatch.setattr(qemu_process, "QEMU", str(idle))
    monkeypatch.setattr(qemu_process, "STALL_S", 0.2)
    with pytest.raises(SimulationError) as caught:
        simulate(m55_firmware, m55, PCM)
    assert caught.value.what.startswith(what)


def test_missing_qemu_says_how_to_install_it(
    m55_firmware: Path, m55: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu_process, "QEMU", "qemu-system-none")
    with pytest.raises(ConfigError) as caught:
        simulate(m55_firmware, m55, PCM)
    assert "no qemu-system-none" in caught.value.what
    assert "apt install" in caught.value.hint
