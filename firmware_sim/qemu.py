"""Running a firmware in QEMU: for cores that unicorn does not simulate.

QEMU has no registers of ours. Audio, results and traces are files that the firmware reads and writes by
semihosting (codegen/board/board_semihosting.c); a plugin counts (qemu_plugin.c).
"""

import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.errors import SimulationError
from edgekit.target import Target
from firmware_sim.counter import PLACE, Count
from firmware_sim.debug_info import PC, DebugInfo
from firmware_sim.fault import BAD_RETURN, SLEEPS, WAITS_FOR_EVENT, fault, no_code, runaway
from firmware_sim.files import read_results, read_traces, write_audio
from firmware_sim.places import Places, count_places
from firmware_sim.program import Program
from firmware_sim.qemu_debugger import Stopped, machine_before_end
from firmware_sim.qemu_process import QEMU, End, Qemu, machine_for, require_qemu
from firmware_sim.regions import BUG_HINT, region_table
from firmware_sim.result import SimResult
from firmware_sim.timing import CostTable, Waits, cost_table, timing_of

__all__ = ["QEMU", "run_in_qemu"]

_NOWHERE = 0xFFFF_FFFF
FAULT_HANDLER = "Default_Handler"
_CAUSES = {
    0: "jump to what is no code",
    1: "bad pointer",
    4: "the stack cannot be written",
    8: "jump to where no memory is",
    9: "bad pointer",
    12: "the stack cannot be written",
    16: "undefined instruction",
    17: "jump to what is no Thumb code",
    18: BAD_RETURN,
    19: "an instruction of a coprocessor that is switched off",
    20: "stack overflow",
    24: "unaligned access",
    25: "division by zero",
}
"""What the bits of the Configurable Fault Status Register say."""
_ADDRESS_VALID = (1 << 7, 1 << 15)
"""Bits of the same register: the memory protection's address is known, the bus's is."""
_EXCEPTIONS = {3: "breakpoint", 11: "supervisor call", 12: "breakpoint"}
_STACK_OVERFLOW = 1 << 20


@dataclass(frozen=True)
class QemuRun:
    """A firmware, its audio and what is counted.

    Attributes:
        program: The firmware.
        info: Its debug information.
        target: The device.
        pcm: The audio.
        regions: Region name to the functions that begin it.
        block_instruction_limit: More instructions than this within one block of audio are a runaway.
    """

    program: Program
    info: DebugInfo
    target: Target
    pcm: npt.NDArray[np.int16]
    regions: Mapping[str, Sequence[str]]
    block_instruction_limit: int

    @cached_property
    def costs(self) -> CostTable:
        """Costs of the code."""
        program, timing = self.program, timing_of(self.target.timing.table)
        return cost_table(timing, program.code, program.code_origin, program.instruction_ranges)

    @property
    def fault_handler(self) -> int:
        """The address that every fault ends at."""
        addresses = {function.name: function.address for function in self.program.functions}
        return addresses.get(FAULT_HANDLER, _NOWHERE)

    def prepare(self, work: Path, hold_at: int = 0, hold_ms: int = 0) -> None:
        """Write the audio, and what the plugin counts by: `head_t` of qemu_plugin.c and its arrays."""
        write_audio(work / "audio", self.pcm, self.target.audio.block_samples)
        table = region_table(self.program, self.regions)
        addresses = {function.name: function.address for function in self.program.functions}
        taken = timing_of(self.target.timing.table).taken_branch
        head = struct.pack(
            "<8I2Q",
            *(self.program.code_origin, len(table), len(self.regions), taken),
            *(addresses.get(name, _NOWHERE) for name in ("Reset_Handler", "board_begin_block")),
            *(self.fault_handler, hold_ms, self.block_instruction_limit, hold_at),
        )
        arrays = (self.costs.instructions_before, self.costs.cycles_before, table, self.costs.entry_cycles)
        (work / "tables").write_bytes(head + b"".join(array.tobytes() for array in arrays))


def run_in_qemu(
    program: Program,
    info: DebugInfo,
    target: Target,
    pcm: npt.NDArray[np.int16],
    regions: Mapping[str, Sequence[str]],
    block_instruction_limit: int,
    *,
    trace: bool,
) -> tuple[SimResult, Places]:
    """Run a firmware on audio and count what it executes; see `firmware_sim.simulate`.

    Raises:
        ConfigError: If QEMU or a C compiler for this machine is missing.
        SimulationError: If the firmware faults, hangs, ends before its audio, or does not fit the target.
    """
    require_qemu(target)
    machine = machine_for(program, target)
    run = QemuRun(program, info, target, pcm, regions, block_instruction_limit)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run.prepare(work)
        with Qemu(work, machine, program, target) as qemu:
            end = qemu.wait()
        report = _read_report(work / "report", end)
        _require_end(run, qemu, report)
        return _result(work, report, end.exit_code, run, trace=trace), _places(work, run)


def _read_report(path: Path, end: End) -> list[list[str]]:
    """Return the words of each line of the plugin's report."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    if not any(line[0] == "region" for line in lines):
        raise SimulationError(f"QEMU stopped: {end.message}", BUG_HINT)
    return lines


def _rows(report: list[list[str]], kind: str) -> Iterator[tuple[int, ...]]:
    return (tuple(map(int, words)) for name, *words in report if name == kind)


def _require_end(run: QemuRun, qemu: Qemu, report: list[list[str]]) -> None:
    """Raise the error of a run that did not come to its end: it is run again, up to there."""
    own, last, last_but_one = next(_rows(report, "own"))
    for kind in ("fault", "sleep", "event", "nowhere", "limit"):
        if not any(_rows(report, kind)):
            continue
        # A core that sleeps has executed its last block up to there; one that was stopped would repeat it.
        steps = {"fault": None, "sleep": own - last - 1, "event": own - last - 1}.get(kind, 0)

        def prepare(work: Path, hold_ms: int) -> None:
            run.prepare(work, last_but_one, hold_ms)

        stopped = machine_before_end(qemu, prepare, last, run.fault_handler, steps)
        what = {
            "fault": _said(stopped, run.program),
            "sleep": SLEEPS,
            "event": WAITS_FOR_EVENT,
            "nowhere": no_code(pc := stopped.machine.registers[PC], run.program.halfword_at(pc)),
            "limit": runaway(run.block_instruction_limit),
        }[kind]
        raise fault(what, stopped.machine, run.info)


def _said(stopped: Stopped, program: Program) -> str:
    """Return what happened, in words."""
    status = stopped.fault_status
    causes = [text for bit, text in _CAUSES.items() if status >> bit & 1]
    if status & _STACK_OVERFLOW:
        return _CAUSES[20]
    known = [
        address
        for valid, address in zip(_ADDRESS_VALID, stopped.fault_address, strict=True)
        if status & valid
    ]
    what = causes[0] if causes else _EXCEPTIONS.get(stopped.exception, f"exception {stopped.exception}")
    if not known:
        return what
    if any(origin <= known[0] < origin + len(data) for origin, data in program.segments):
        return f"write to flash at {known[0]:#x}"
    return f"{what}: access to {known[0]:#x}, where no memory is"


def _places(work: Path, run: QemuRun) -> Places:
    counted = np.frombuffer((work / "places").read_bytes(), PLACE)
    taken = timing_of(run.target.timing.table).taken_branch
    return count_places(run.program.code_origin, run.costs, counted, taken, Waits())


def _result(work: Path, report: list[list[str]], exit_code: int, run: QemuRun, *, trace: bool) -> SimResult:
    snapshots = list(_rows(report, "block"))
    if len(snapshots) < 2:
        raise SimulationError(f"the firmware ended with {exit_code} before it had read its audio", BUG_HINT)
    _require_own_count(report)
    # What it does once the audio has ended (an utterance's network) is work on the last block.
    snapshots[-1] = next(_rows(report, "end"))[:2]
    instructions, cycles = (np.diff(values).tolist() for values in zip(*snapshots, strict=True))
    counts = [Count(*row) for row in _rows(report, "region")]
    return SimResult(
        target=run.target,
        program=run.program,
        exit_code=exit_code,
        samples=len(run.pcm),
        results=tuple(read_results(work / "results")),
        traces=tuple(read_traces(work / "traces")) if trace else (),
        regions=dict(zip(run.regions, counts, strict=True)),
        startup_cycles=snapshots[0][1],
        block_cycles=tuple(cycles),
        block_instructions=tuple(instructions),
        stack_bytes=run.program.stack_bytes_of((work / "stack").read_bytes()),
    )


def _require_own_count(report: list[list[str]]) -> None:
    """Require that QEMU's own count of instructions is ours."""
    counted, own = next(_rows(report, "end"))[0], next(_rows(report, "own"))[0]
    if counted != own:
        what = f"{counted:,} instructions were counted, and QEMU executed {own:,}"
        raise SimulationError(what, "a bug of the simulator: please report it with the firmware")
