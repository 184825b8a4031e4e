"""Audio that interrupts the model by the clock, against the schedule that is laid out from counted work."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import noise, small_graph
from unit.firmware_sim.conftest import HERE

from codegen.emit import emit_sources, model_sources
from codegen.toolchain import compile_firmware
from edgekit.errors import SimulationError
from edgekit.target import Policy, Target
from firmware_sim import SimResult, simulate
from firmware_sim.clock import Clock
from firmware_sim.debug_info import DebugInfo
from firmware_sim.interrupt import Interrupt
from firmware_sim.program import read_program
from firmware_sim.regions import default_regions
from firmware_sim.remedies import Candidate, remedies
from firmware_sim.run import Run
from firmware_sim.schedule import Core, core_of
from firmware_sim.simulator import run_in_time

BLOCK = 16
CYCLES = 20_000
"""Of a block: 16 samples at 16 kHz, at 20 MHz."""
SLACK = 1000
"""What an interrupt and the end of the code that it waits for may take."""
LATE = 1500
"""Work that ends so near to its deadline may be on either side of it."""


def device(target: Target, *, share: float = 40, buffer_blocks: int = 2, window=None) -> Target:
    policy = Policy("continuous", buffer_blocks, "of the test")
    if window:
        policy = Policy("window", buffer_blocks, "of the test", *window)
    return dataclasses.replace(
        target,
        core=dataclasses.replace(target.core, clock_hz=20_000_000),
        audio=dataclasses.replace(target.audio, block_samples=BLOCK, core_share_percent=share),
        policy=policy,
    )


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Target], Path]:
    folder, made = tmp_path_factory.mktemp("busy"), {}

    def build(target: Target) -> Path:
        key = dataclasses.astuple(target.policy)
        if key not in made:
            engine = HERE / "busy_engine"
            out = folder / f"{len(made)}.elf"
            made[key] = compile_firmware([engine / "edgekit_model.c"], [engine], target, out)
        return made[key]

    return build


def audio(turns: list[int]) -> np.ndarray:
    """Return audio whose blocks keep the model busy for so many turns."""
    pcm = np.random.default_rng(3).integers(0, 2000, (len(turns), BLOCK)).astype(np.int16)
    pcm[:, 0] = turns
    return pcm.ravel()


def both(build: Callable[[Target], Path], target: Target, turns: list[int]) -> SimResult:
    elf, pcm = build(target), audio(turns)
    return run_in_time(simulate(elf, target, pcm), elf, pcm)


def test_a_model_that_is_in_time_says_the_same_and_loses_nothing(busy, target: Target) -> None:
    made = device(target)
    elf, pcm = busy(made), audio([1000, 1200, 300, 900] * 6)
    quiet = simulate(elf, made, pcm)
    found = run_in_time(quiet, elf, pcm)
    assert found.in_time.lost_blocks == 0
    assert (found.in_time.blocks, found.in_time.results) == (24, len(quiet.results))
    assert dataclasses.replace(found, in_time=None) == quiet


def test_what_is_interrupted_goes_on_as_if_nothing_had_been(busy, target: Target) -> None:
    """Long work is interrupted again and again, wherever it is; all its sums are the same."""
    made = device(target, buffer_blocks=60)
    elf, pcm = busy(made), audio([7001, 12_345, 30_011, 3])
    heard = simulate(elf, made, pcm).results
    run = in_time_results(elf, made, pcm)
    assert run == heard


def in_time_results(elf: Path, target: Target, pcm: np.ndarray) -> list:
    """Return the A/D/V of a run in time itself."""
    kept = []
    original = Run.result

    def result(self):
        kept.append(original(self))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "result", result)
        run_in_time(simulate(elf, target, pcm), elf, pcm)
    return kept[-1].results


def test_the_stack_has_room_for_an_interrupt_at_its_deepest_point(busy, target: Target) -> None:
    """The mark is the model's alone; on top are the registers that are saved, and the handler's own."""
    made = device(target)
    elf, pcm = busy(made), audio([10] * 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Interrupt, "_measure_below", lambda each: each._engine.mem_write(*each._below))
        alone = simulate(elf, made, pcm).stack_bytes
    assert 36 + 8 <= simulate(elf, made, pcm).stack_bytes - alone <= 36 + 64


def test_the_longest_result_is_that_of_the_schedule(busy, target: Target) -> None:
    found = both(busy, device(target), [2500, 200, 200, 200] * 5)
    laid_out = found.schedule.longest_result
    assert laid_out is not None
    assert laid_out > CYCLES, "the work goes on behind the next block's audio path"
    assert found.in_time.longest_result_cycles == pytest.approx(laid_out, abs=SLACK)


def test_a_model_that_is_late_loses_audio(busy, target: Target) -> None:
    found = both(busy, device(target), [2500] * 20)
    assert found.schedule.missed_deadlines > 0
    assert found.schedule.longest_result is None
    assert 5 < found.in_time.lost_blocks < 15
    assert found.in_time.results == 20 - found.in_time.lost_blocks + 1, "one more at the end of the audio"


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 4000), min_size=6, max_size=14),
    st.sampled_from([15.0, 40.0, 90.0]),
    st.sampled_from([1, 2, 5]),
)
def test_both_tell_the_same(busy, target: Target, turns: list[int], share: float, buffer_blocks: int) -> None:
    made = device(target, share=share, buffer_blocks=buffer_blocks)
    elf, pcm = busy(made), audio(turns)
    found = run_in_time(simulate(elf, made, pcm), elf, pcm)
    once = found.schedule.works[: len(turns)]
    near = any(abs(work.end - work.due) < LATE for work in once)
    # What would have overwritten the last ones does not arrive.
    missed = sum(work.missed for work in once[: max(0, len(turns) - buffer_blocks)])
    if not near:
        assert (found.in_time.lost_blocks > 0) == (missed > 0)
    if not near and not missed:
        longest = max(work.end - work.arrival for work in once)
        # A cycle more, and work goes on behind the next audio path: compared without that.
        background = core_of(made).background_at
        told = background(found.in_time.longest_result_cycles)
        assert told == pytest.approx(background(longest), abs=SLACK + 100 * len(turns))


def test_the_last_block_is_heard_wherever_it_arrives(busy, target: Target) -> None:
    """It arrives, and the end behind it, at each cycle around that at which the one before is done."""
    made = device(target)
    elf, pcm = busy(made), audio([1000, 5])
    quiet = simulate(elf, made, pcm)
    for around in range(-60, 20):
        share = 100 * (quiet.block_cycles[0] + around) / CYCLES
        found = run_in_time(dataclasses.replace(quiet, target=device(target, share=share)), elf, pcm)
        assert (found.in_time.lost_blocks, found.in_time.results) == (0, len(quiet.results)), around


def test_behind_the_audio_the_clock_is_that_of_the_schedule() -> None:
    core = Core(block=100, audio_path=70)
    clock = Clock(core)
    clock.start(5)
    walls = [clock.wall(5 + counted) for counted in range(100, 400)]
    assert walls == [100 + core.wall_at(counted) for counted in range(300)]
    assert walls[30] == 200, "work that ends with its block does not wait for the next audio path"


def test_windows_are_counted_by_the_audio_not_by_the_model(busy, target: Target) -> None:
    """Four blocks of every ten, whose work goes on long into those that nobody hears."""
    made = device(target, buffer_blocks=4, window=(0.004, 0.01))
    assert (made.window_blocks, made.every_blocks) == (4, 10)
    found = both(busy, made, [1500, 1500, 1500, 1500])
    assert found.in_time.lost_blocks == 0
    assert found.in_time.blocks == 24
    assert found.in_time.results == 3 * 5
    laid_out = found.schedule.longest_result
    assert laid_out is not None
    assert laid_out > 3 * CYCLES
    assert found.in_time.longest_result_cycles == pytest.approx(laid_out, abs=2 * SLACK)


def test_a_window_with_a_gap_has_no_result(busy, target: Target) -> None:
    """The first block takes until the next one but one has come: that is lost, and the window with it."""
    made = device(target, buffer_blocks=1, window=(0.004, 0.01))
    found = both(busy, made, [1200, 1, 1, 1])
    assert found.in_time.lost_blocks == 3 * 3
    assert found.in_time.longest_result_cycles is None
    # The end of one window and the beginning of the next: nothing is spliced.
    spliced = both(busy, made, [1, 10_300, 1, 1])
    assert spliced.in_time.longest_result_cycles is None


def test_a_window_whose_end_was_lost_does_not_run_into_the_next(busy, target: Target) -> None:
    made = device(target, buffer_blocks=1, window=(0.004, 0.01))
    found = both(busy, made, [6000, 1, 1, 1])
    assert found.in_time.lost_blocks == 3 * 3
    assert found.in_time.longest_result_cycles is None, "no window was heard to its end"


def test_the_ram_of_a_window_is_foreseen(busy, target: Target) -> None:
    made = device(target)
    counted = simulate(busy(made), made, audio([3000] * 40))
    ram, flash = counted.static_bytes + counted.stack_bytes, counted.flash_bytes
    candidate = Candidate("", counted.block_cycles, counted.samples, ram, flash, 0, 1, "")
    window = next(each for each in remedies([candidate], made) if "window" in each.change)
    there = window.plan.target
    assert there.policy.buffer_blocks > 20
    really = simulate(busy(there), there, audio([3000] * 40)).total_ram_bytes
    assert 0 <= window.total_ram_bytes - really + 32 < 64


def test_a_model_without_room_for_an_interrupt_is_a_fault(busy, target: Target) -> None:
    made = device(target)
    elf, pcm = busy(made), audio([2000] * 4)
    quiet = simulate(elf, made, pcm)
    top = quiet.program.stack_top
    tight = dataclasses.replace(quiet, program=dataclasses.replace(quiet.program, stack_limit=top - 32))
    with pytest.raises(SimulationError, match="stack overflow: no room for an interrupt"):
        run_in_time(tight, elf, pcm)


def test_a_firmware_that_nothing_interrupts_has_no_run_in_time(
    build_program: Callable[..., Path], target: Target
) -> None:
    """It asks for its audio, which waits for it: that none was lost says nothing."""
    made = device(target)
    elf, pcm = build_program("polling", made), audio([1] * 6)
    quiet = simulate(elf, made, pcm)
    assert quiet.schedule.missed_deadlines > 0
    assert run_in_time(quiet, elf, pcm) == quiet


def test_a_firmware_for_other_blocks_is_refused(busy, target: Target) -> None:
    made = device(target)
    wrong = dataclasses.replace(made, audio=dataclasses.replace(made.audio, block_samples=BLOCK + 8))
    with pytest.raises(SimulationError, match="built for blocks shorter than the 24 samples of hearing-aid"):
        simulate(busy(made), wrong, audio([1, 2, 3]))


@pytest.mark.parametrize("cpu", ["cortex-m3", "cortex-m4", "cortex-m33"])
def test_a_wav2small_is_interrupted_anywhere_and_says_the_same(
    cpu: str, target: Target, tmp_path: Path
) -> None:
    """A clock at which the model takes most of the core: every block interrupts it somewhere in a kernel."""
    core = dataclasses.replace(target.core, cpu=cpu, dsp=cpu != "cortex-m3")
    timing = dataclasses.replace(target.timing, table=cpu, fetch_wait_cycles=1.5, data_wait_cycles=2.25)
    policy = dataclasses.replace(target.policy, buffer_blocks=3)
    made = dataclasses.replace(target, core=core, timing=timing, policy=policy)
    graph, pcm = small_graph(tmp_path, bands=26, channels=13), noise(1.0)[:6400]
    for name, text in emit_sources(graph, 16_000, made.core.instructions).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    elf = compile_firmware(model_sources(tmp_path), [tmp_path], made, tmp_path / "firmware.elf")
    quiet = simulate(elf, made, pcm)
    needed = quiet.mean_block_cycles / 0.75 / (64 / 16_000) / (made.audio.core_share_percent / 100)
    slow = dataclasses.replace(made, core=dataclasses.replace(core, clock_hz=round(needed)))
    assert in_time_results(elf, slow, pcm) == quiet.results
    found = run_in_time(dataclasses.replace(quiet, target=slow), elf, pcm)
    assert found.in_time.lost_blocks == 0
    assert found.in_time.longest_result_cycles == pytest.approx(found.schedule.longest_result, rel=0.05)


WRONG = {
    1: ("bad pointer: write of 4 bytes at 0x4", ["go_wrong"]),
    2: ("undefined instruction", ["go_wrong"]),
    3: ("sleeps: it waits for an event that nothing sends", ["board_wait"]),
}


@pytest.mark.parametrize("does", WRONG)
def test_a_fault_in_the_interrupt_shows_what_was_interrupted(
    does: int, build_program: Callable[..., Path], target: Target
) -> None:
    elf = build_program("interrupted", target, {"DOES": str(does), "WAITS": "1"})
    what, inner = WRONG[does]
    with pytest.raises(SimulationError, match=what) as caught:
        simulate(elf, target, audio([1, 2]))
    assert stack_of(caught.value) == [*inner, "audio_interrupt", "board_wait", "main"]


def stack_of(error: SimulationError) -> list[str]:
    """Return the functions of the call stack that are not inlined."""
    rows = (re.match(r"  #\d+ +0x\w+  (\w+)(.*)", line) for line in error.details)
    return [row[1] for row in rows if row and not row[2].endswith("inlined")]


@pytest.mark.parametrize(
    ("instruction", "what"),
    [("udf #0", "undefined instruction"), ("str r0, [r0, #4]", "bad pointer: write of 4 bytes at 0x4")],
)
def test_a_fault_behind_a_wait_is_not_taken_for_it(
    instruction: str, what: str, build_program: Callable[..., Path], target: Target
) -> None:
    made = device(target)
    behind = f'"movs r0, #0\\n\\twfe\\n\\t{instruction}"'
    run = in_time(build_program("interrupted", made, {"DOES": "5", "BEHIND": behind}), made, audio([1] * 9))
    with pytest.raises(SimulationError, match=what) as caught:
        run.result()
    assert stack_of(caught.value)[0] == "main"
    assert run.device.arrived == 1, "it is not waited for the next block of audio"


def test_work_that_was_interrupted_is_on_the_stack(
    build_program: Callable[..., Path], target: Target
) -> None:
    waits = build_program("interrupted", target, {"DOES": "5", "WAITS": "1"})
    works = build_program("interrupted", target, {"DOES": "1"})
    quiet = simulate(waits, target, audio([1] * 9))
    with pytest.raises(SimulationError, match="bad pointer") as caught:
        run_in_time(dataclasses.replace(quiet, program=read_program(works)), works, audio([1] * 9))
    assert stack_of(caught.value) == ["go_wrong", "audio_interrupt", "work", "main"]


def test_audio_that_is_started_once_more_does_not_interrupt_its_handler(
    build_program: Callable[..., Path], target: Target
) -> None:
    """The handler takes longer than a block, too: the next interrupt waits for it."""
    made = device(target)
    run = in_time(build_program("interrupted", made, {"DOES": "6"}), made, audio([1] * 5))
    assert run.result().exit_code == 1_000_000
    assert run.device.skipped == [0, 1, 2, 3, 4]


def test_an_interrupt_that_never_ends_is_a_runaway(
    build_program: Callable[..., Path], target: Target
) -> None:
    elf = build_program("interrupted", target, {"DOES": "4", "WAITS": "1"})
    with pytest.raises(SimulationError, match="runaway: 10,000 instructions") as caught:
        simulate(elf, target, audio([1, 2]), block_instruction_limit=10_000)
    assert any("audio_interrupt" in line for line in caught.value.details)


@pytest.mark.parametrize("clock_hz", range(100_000, 104_000, 1000))
def test_an_it_block_is_interrupted_in_its_middle(
    clock_hz: int, build_program: Callable[..., Path], target: Target
) -> None:
    """What is left of it is for the code that was interrupted, not for the handler."""
    made = device(target, share=100)
    slow = dataclasses.replace(made, core=dataclasses.replace(made.core, clock_hz=clock_hz))
    run = in_time(build_program("conditional", slow), slow, audio([1] * 40))
    assert run.result().exit_code == 300 * 8
    assert run.device.arrived > 30


@pytest.mark.parametrize(("place", "function"), [(1, "main"), (2, "main"), (3, "audio_interrupt")])
def test_a_stack_that_is_nowhere_is_a_fault(
    place: int, function: str, build_program: Callable[..., Path], target: Target
) -> None:
    made = device(target)
    with pytest.raises(SimulationError, match="the stack of an interrupt is at 0x30000000") as caught:
        in_time(build_program("lost_stack", made, {"IN": str(place)}), made, audio([1] * 3)).result()
    assert f" in {function} at lost_stack.c" in str(caught.value)


def in_time(elf: Path, target: Target, pcm: np.ndarray) -> Run:
    """Return a run in time that has not begun."""
    program = read_program(elf)
    regions = default_regions(program)
    clock = Clock(core_of(target))
    return Run(program, DebugInfo(elf, program), target, pcm, regions, False, 100_000_000, (), clock)
