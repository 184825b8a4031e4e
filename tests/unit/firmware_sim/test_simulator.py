import builtins
import contextlib
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import capstone
import numpy as np
import pytest
from unicorn import UC_HOOK_CODE

from edgekit.errors import AudioError, ConfigError, SimulationError, TargetError
from edgekit.target import Target
from edgekit.targets import load_target
from firmware_sim import SimResult, default_regions, run, simulate
from firmware_sim.program import Program, read_program

PCM = np.random.default_rng(7).integers(-3000, 3000, 1000).astype(np.int16)
LOOPS = {
    "rest": ["main"],
    "countdown": ["loop_countdown"],
    "dot": ["loop_dot"],
    "copy": ["loop_copy"],
    "over_data": ["loop_over_data"],
}


@pytest.fixture(scope="module")
def fake(fake_firmware: Path, target: Target) -> SimResult:
    return simulate(fake_firmware, target, PCM)


@pytest.fixture(scope="module")
def loops(build_program: Callable[..., Path], target: Target) -> Path:
    return build_program("loops", target)


def test_firmware_hears_all_samples_and_reports_after_each_block(fake: SimResult) -> None:
    heard = [sample for sample, _ in fake.results]
    assert heard == [*range(64, 1000, 64), 1000]
    for sample, (mean, low, high) in fake.results:
        part = PCM[:sample].astype(int)
        assert (mean, low, high) == (int(part.sum() / sample), part.min(), part.max())
    assert (fake.exit_code, fake.adv) == (0, fake.results[-1][1])


def test_runs_are_deterministic(fake: SimResult, fake_firmware: Path, target: Target) -> None:
    assert simulate(fake_firmware, target, PCM) == fake


def test_layers_are_regions_and_add_up(fake: SimResult) -> None:
    assert list(fake.regions) == ["board", "engine", "mean", "range"]
    assert all(count.instructions > 0 for count in fake.regions.values())
    profile = fake.to_profile()
    assert sum(layer["instructions"] for layer in profile["layers"]) == profile["instructions"]
    assert sum(layer["cycles"] for layer in profile["layers"]) == profile["cycles"]


def test_blocks_cover_everything_but_start_up(fake: SimResult) -> None:
    assert len(fake.block_cycles) == 16
    # Work after the end of the audio belongs to the last block: nothing is left out of the load.
    assert fake.cycles - fake.startup_cycles == sum(fake.block_cycles)
    assert fake.worst_block_cycles == max(fake.block_cycles[:-1])
    assert fake.block_cycles[-1] < fake.worst_block_cycles, "the last block is shorter"
    assert fake.mean_block_cycles == pytest.approx(np.mean(fake.block_cycles))


def test_load_and_power_follow_from_the_cycles(fake: SimResult, target: Target) -> None:
    per_second = sum(fake.block_cycles) / (1000 / 16000)
    assert fake.schedule.model_load_percent == pytest.approx(100 * per_second / 50e6)
    assert fake.average_uw == pytest.approx(34.8 * per_second / 1e6)
    hours = fake.to_profile()["energy"]["battery_hours"]
    assert hours == pytest.approx(1000 * target.power.battery_mwh / fake.average_uw)


def test_memory_is_accounted_by_symbol(fake: SimResult) -> None:
    profile = fake.to_profile()
    sizes = {symbol["name"]: symbol["size_bytes"] for symbol in profile["memory"]["symbols"]}
    numbers = {"arrived": 4, "short_count": 4, "short_place": 4, "ended": 4, "given_back": 4, "holding": 1}
    assert sizes == {"audio_queue": 512, "state": 40, "used_in_data": 4, **numbers}
    assert profile["memory"]["stack_reserved_bytes"] == fake.target.memory.stack_bytes
    assert 68 <= fake.static_bytes <= 68 + 8
    assert 32 <= fake.stack_bytes < 512
    assert fake.total_ram_bytes == fake.static_bytes + fake.stack_bytes + 2 * 4 * 64
    flash = {symbol["name"]: symbol["size_bytes"] for symbol in profile["flash"]["symbols"]}
    assert flash["edgekit_model_data"] == 16
    assert flash["edgekit_layer_mean"] > 8
    sections = {section["name"]: section["size_bytes"] for section in profile["flash"]["sections"]}
    assert sections[".model"] == 16
    assert profile["flash"]["flash_bytes"] == sum(sections.values())


def test_instruction_limit_is_per_block(fake: SimResult, fake_firmware: Path, target: Target) -> None:
    limit = 2 * max(fake.block_instructions)
    assert fake.instructions > 2 * limit
    assert simulate(fake_firmware, target, PCM, block_instruction_limit=limit) == fake


def test_aliases_go_by_their_name_in_c(fake: SimResult) -> None:
    names = [function.name for function in fake.program.functions]
    assert "__divmoddi4" in names
    assert not any("." in name for name in names)


def test_traced_build_gives_each_layers_output(traced_firmware: Path, target: Target) -> None:
    result = simulate(traced_firmware, target, PCM, trace=True)
    assert [layer for layer, _ in result.traces] == [0, 1] * 16
    sums = [int.from_bytes(data, "little", signed=True) for layer, data in result.traces if layer == 0]
    assert sums == [int(PCM[:end].sum()) for end in [*range(64, 1000, 64), 1000]]
    extremes = np.frombuffer(result.traces[-1][1], "<i2").tolist()
    assert extremes == [PCM.min(), PCM.max()]
    assert simulate(traced_firmware, target, PCM).traces == ()


# By hand, from programs/loops.c: (instructions, cycles, taken branches) of one call. Cycles: a load is 2, or
# 1 behind a load if not jumped to; a load or store of n registers 1 + n; a division 7; a taken branch +2.
BY_HAND = {
    "countdown": (1 + 100 * 2 + 1, 1 + 100 * 2 + 1 + 2 * (99 + 1), 99 + 1),
    "dot": (3 + 50 * 5 + 2, (3 + 1 + 2) + (1 + 4) + 49 * (2 + 4) + (1 + 3) + 2 * (49 + 1), 49 + 1),
    "copy": (2 + 8 * 8 + 1, (5 + 1) + 8 * (5 + 5 + 7 + 5) + 5 + 2 * (7 + 1), 7 + 1),
    "over_data": (1 + 3 * 4 + 1, 1 + 3 * (2 + 3) + 1 + 2 * (3 + 2 + 1), 3 + 2 + 1),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("blocks", [1, 3])
def test_counts_equal_a_hand_count(name: str, blocks: int, loops: Path, target: Target) -> None:
    result = simulate(loops, target, np.zeros(64 * blocks, np.int16), LOOPS)
    count = result.regions[name]
    counted = (count.instructions, count.cycles, count.taken_branches)
    assert counted == tuple(blocks * value for value in BY_HAND[name])


FLASH_READS = {"countdown": 0, "dot": 0, "copy": 0, "over_data": 3}
"""Of one call: only the literal lies in flash."""


@pytest.mark.parametrize("name", BY_HAND)
def test_waits_are_added_for_branches_and_for_loads_from_flash(
    name: str, loops: Path, target: Target
) -> None:
    timing = replace(target.timing, fetch_wait_cycles=0.5, data_wait_cycles=10.25)
    waiting = replace(target, timing=timing)
    result = simulate(loops, waiting, np.zeros(64 * 4, np.int16), LOOPS)
    count = result.regions[name]
    instructions, cycles, taken = (4 * value for value in BY_HAND[name])
    assert (count.instructions, count.taken_branches) == (instructions, taken)
    assert count.cycles == round(cycles + 0.5 * taken + 10.25 * 4 * FLASH_READS[name])
    total = sum(count.cycles for count in result.regions.values())
    assert result.startup_cycles + sum(result.block_cycles) == pytest.approx(total, abs=len(LOOPS))
    assert simulate(loops, waiting, np.zeros(64 * 4, np.int16), LOOPS).regions == result.regions


@pytest.mark.parametrize("name", ["hearing-aid", "nucleo-l4r5zi"])
def test_counts_equal_a_count_of_single_instructions(
    name: str, fake_firmware: Path, build_program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = load_target(name)
    elf = fake_firmware if name == "hearing-aid" else build_program("loops", target)
    regions = {"all": ["main"]}
    expected = simulate(elf, target, PCM[:128], regions).instructions
    stepped: Counter[int] = Counter()

    class Stepping(run.BlockCounter):
        def attach(self, engine, entry, flash):
            super().attach(engine, entry, flash)
            engine.hook_add(UC_HOOK_CODE, lambda _engine, address, _size, _data: stepped.update((address,)))

    monkeypatch.setattr(run, "BlockCounter", Stepping)
    assert simulate(elf, target, PCM[:128], regions).instructions == expected
    executed = sum(with_skipped_instructions(read_program(elf), stepped).values())
    # Stopping at the exit register leaves the rest of the last block unexecuted, at most one branch.
    assert 0 <= expected - executed <= 1


def with_skipped_instructions(program: Program, stepped: Counter[int]) -> Counter[int]:
    """Return the counts with what IT instructions skipped: a cycle of the core, but no call of the hook."""
    disassembler = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    executed = Counter(stepped)
    for start, end in program.instruction_ranges:
        code = program.code[start - program.code_origin : end - program.code_origin]
        instructions = list(disassembler.disasm(code, start))
        for index, instruction in enumerate(instructions):
            if instruction.insn_name() == "it":
                for conditional in instructions[index + 1 : index + len(instruction.mnemonic)]:
                    executed[conditional.address] = executed[instruction.address]
    return executed


def test_functions_of_no_region_count_for_their_caller(loops: Path, target: Target) -> None:
    pcm = np.zeros(64, np.int16)
    apart = simulate(loops, target, pcm, LOOPS).regions
    together = simulate(loops, target, pcm, {"rest": ["main"], "dot": ["loop_dot"]}).regions
    assert together["dot"] == apart["dot"]
    inherited = [apart[name].instructions for name in apart if name != "dot"]
    assert together["rest"].instructions == sum(inherited)


def test_memory_functions_of_the_firmware(build_program: Callable[..., Path], target: Target) -> None:
    assert simulate(build_program("memory", target), target, PCM).adv == (0, 0, 0)


def test_ctrl_c_interrupts_between_two_samples(
    fake_firmware: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = run.Device.read
    heard = 0

    def read_and_interrupt(device: run.Device, offset: int) -> int:
        nonlocal heard
        heard += 1
        if heard == 100:
            signal.raise_signal(signal.SIGINT)
        return read(device, offset)

    monkeypatch.setattr(run.Device, "read", read_and_interrupt)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        simulate(fake_firmware, target, PCM)
    assert heard < 120
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_the_core_has_begun_is_not_lost(
    fake_firmware: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine forgets what stops it before it runs, and nobody watches for signals yet."""
    watching = run.stopped_by_signals

    def interrupted(stop: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        signal.raise_signal(signal.SIGINT)
        return watching(stop)

    monkeypatch.setattr(run, "stopped_by_signals", interrupted)
    monkeypatch.setattr(run.Device, "read", lambda *_: pytest.fail("begun"))
    with pytest.raises(KeyboardInterrupt):
        simulate(fake_firmware, target, PCM)


def test_wrong_inputs(fake_firmware: Path, target: Target, tmp_path: Path) -> None:
    with pytest.raises(AudioError):
        simulate(fake_firmware, target, PCM[:0])
    with pytest.raises(AudioError):
        simulate(fake_firmware, target, PCM.astype(np.float32))
    with pytest.raises(SimulationError, match="no function nothing"):
        simulate(fake_firmware, target, PCM, {"a": ["nothing"]})
    with pytest.raises(SimulationError, match="cannot be read"):
        simulate(tmp_path / "missing.elf", target, PCM)
    (tmp_path / "bad.elf").write_bytes(b"no ELF file at all")
    with pytest.raises(SimulationError, match="not an ELF file"):
        simulate(tmp_path / "bad.elf", target, PCM)
    with pytest.raises(TargetError, match="timing"):
        simulate(fake_firmware, replace(target, timing=replace(target.timing, table="guess")), PCM)


def test_firmware_of_another_target_does_not_fit(fake_firmware: Path) -> None:
    with pytest.raises(SimulationError, match="does not fit"):
        simulate(fake_firmware, load_target("nucleo-l4r5zi"), PCM)


def test_missing_unicorn_says_how_to_install_it(
    fake_firmware: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without_unicorn(name, *arguments, **options):
        if name.partition(".")[0] == "unicorn":
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_unicorn)
    with pytest.raises(ConfigError) as caught:
        simulate(fake_firmware, target, PCM)
    assert "pip install" in caught.value.hint


def test_default_regions_are_layers_in_code_order(fake_firmware: Path) -> None:
    regions = default_regions(read_program(fake_firmware))
    assert list(regions) == ["board", "engine", "mean", "range"]
    assert regions["mean"] == ["edgekit_layer_mean"]
    assert "edgekit_push" in regions["engine"]
