"""Running a firmware in QEMU: for cores that unicorn does not simulate.

QEMU has no registers of ours. Audio, results and traces are files that the firmware reads and writes by
semihosting (codegen/board/board_semihosting.c); a plugin counts (qemu_plugin.c).
"""

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.errors import ConfigError, SimulationError
from edgekit.target import Target
from firmware_sim.counter import Count, native_library
from firmware_sim.device import Adv
from firmware_sim.program import PAINT, Program
from firmware_sim.regions import BUG_HINT, region_table, runaway
from firmware_sim.result import SimResult
from firmware_sim.timing import cost_table, timing_of

QEMU = "qemu-system-arm"
_MACHINE = "mps3-an547"
_MEMORIES = (
    (0x0000_0000, 512 << 10),
    (0x0100_0000, 2 << 20),
    (0x2000_0000, 512 << 10),
    (0x2100_0000, 4 << 20),
    (0x6000_0000, 2 << 30),
)
"""(address, bytes) of what the machine has."""
_VECTORS_BYTES = 64
_NOWHERE = 0xFFFF_FFFF


def run_in_qemu(
    program: Program,
    target: Target,
    pcm: npt.NDArray[np.int16],
    regions: Mapping[str, Sequence[str]],
    block_instruction_limit: int,
    *,
    trace: bool,
) -> SimResult:
    """Run a firmware on audio and count what it executes; see `firmware_sim.simulate`.

    Raises:
        ConfigError: If QEMU or a C compiler for this machine is missing.
        SimulationError: If the firmware faults, hangs, ends before its audio, or does not fit the target.
    """
    if shutil.which(QEMU) is None:
        raise ConfigError(
            f"a {target.core.cpu} runs in QEMU, and there is no {QEMU}", f"run apt install {QEMU}"
        )
    _require_fitting(program, target)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        _write_tables(work / "tables", program, target, regions, block_instruction_limit)
        block = struct.pack("<I", target.audio.block_samples)
        (work / "audio").write_bytes(block + pcm.astype("<i2").tobytes())
        exit_code, errors = _run(work, program, target)
        report = _read_report(work / "report", errors)
        _require_end(report, program, block_instruction_limit)
        return _result(work, report, exit_code, program, target, pcm, tuple(regions), trace=trace)


def _require_fitting(program: Program, target: Target) -> None:
    memory = target.memory
    flash, ram = (memory.flash_origin, memory.flash_bytes), (memory.ram_origin, memory.ram_bytes)
    for there in (flash, ram):
        if not any(_within(there, has) for has in _MEMORIES):
            what = f"QEMU's {_MACHINE} has no memory of {there[1]} bytes at {there[0]:#x}"
            raise SimulationError(what, f"move the memories of target {target.name}")
    parts = [(address, len(data)) for address, data in program.segments]
    parts += [(section.address, section.size_bytes) for section in program.sections]
    if not all(_within(part, flash) or _within(part, ram) for part in parts):
        what = f"the firmware does not fit the memories of {target.name}"
        raise SimulationError(what, "run edgekit codegen again for this target")


def _within(part: tuple[int, int], whole: tuple[int, int]) -> bool:
    return whole[0] <= part[0] and part[0] + part[1] <= whole[0] + whole[1]


def _write_tables(
    path: Path, program: Program, target: Target, regions: Mapping[str, Sequence[str]], limit: int
) -> None:
    """Write what the plugin counts by: `head_t` of qemu_plugin.c and its arrays."""
    timing = timing_of(target.timing.table)
    costs = cost_table(timing, program.code, program.code_origin, program.instruction_ranges)
    table = region_table(program, regions)
    addresses = {function.name: function.address for function in program.functions}
    numbers = (program.code_origin, len(table), len(regions), timing.taken_branch)
    marks = ("Reset_Handler", "board_begin_block", "Default_Handler")
    places = [addresses.get(name, _NOWHERE) for name in marks]
    head = struct.pack("<8IQ", *numbers, *places, 0, limit)
    arrays = (costs.instructions_before, costs.cycles_before, table, costs.entry_cycles)
    path.write_bytes(head + b"".join(array.tobytes() for array in arrays))


def _run(work: Path, program: Program, target: Target) -> tuple[int, str]:
    """Run QEMU in a folder; return its exit code and what it said."""
    plugin = native_library("block_counter.c", "qemu_plugin.c")
    memory = target.memory
    # RAM holds anything after power-up; the known pattern also shows later how deep the stack went.
    loaded = [(memory.ram_origin, bytes([PAINT]) * memory.ram_bytes), *program.segments]
    if memory.flash_origin != 0:
        # The machine starts with the vectors at address 0.
        vectors = next(data for address, data in program.segments if address == memory.flash_origin)
        loaded.append((0, vectors[:_VECTORS_BYTES]))
    loaders = []
    for index, (address, data) in enumerate(loaded):
        (work / f"segment{index}").write_bytes(data)
        loaders += ["-device", f"loader,file=segment{index},addr={address:#x},force-raw=on"]
    counting = ["-plugin", f"{plugin},tables=tables,report=report"]
    quiet = ["-display", "none", "-monitor", "none", "-serial", "none"]
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    command = [QEMU, "-M", _MACHINE, *quiet, *semihosting, *counting, *loaders]
    done = subprocess.run(
        command,
        cwd=work,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, (done.stderr + done.stdout).strip()


def _read_report(path: Path, errors: str) -> list[list[str]]:
    """Return the words of each line of the plugin's report."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    if not any(line[0] == "region" for line in lines):
        raise SimulationError(f"QEMU stopped: {errors.splitlines()[0] if errors else 'no message'}", BUG_HINT)
    return lines


def _rows(report: list[list[str]], kind: str) -> Iterator[tuple[int, ...]]:
    return (tuple(map(int, words)) for name, *words in report if name == kind)


def _require_end(report: list[list[str]], program: Program, limit: int) -> None:
    for end in ("fault", "sleep", "limit"):
        for _, _, address in _rows(report, end):
            where = program.place_of(address)
            if end == "limit":
                raise runaway(limit, where)
            what = "faulted" if end == "fault" else "stopped without an exit code"
            raise SimulationError(f"the firmware {what} in {where}", BUG_HINT)


def _result(
    work: Path,
    report: list[list[str]],
    exit_code: int,
    program: Program,
    target: Target,
    pcm: npt.NDArray[np.int16],
    regions: tuple[str, ...],
    *,
    trace: bool,
) -> SimResult:
    snapshots = list(_rows(report, "block"))
    if len(snapshots) < 2:
        raise SimulationError(f"the firmware ended with {exit_code} before it had read its audio", BUG_HINT)
    # What it does once the audio has ended (an utterance's network) is work on the last block.
    snapshots[-1] = next(_rows(report, "end"))[:2]
    instructions, cycles = (np.diff(values).tolist() for values in zip(*snapshots, strict=True))
    counts = [Count(*row) for row in _rows(report, "region")]
    return SimResult(
        target=target,
        program=program,
        exit_code=exit_code,
        samples=len(pcm),
        results=tuple(_results(work / "results")),
        traces=tuple(_traces(work / "traces")) if trace else (),
        regions=dict(zip(regions, counts, strict=True)),
        startup_cycles=snapshots[0][1],
        block_cycles=tuple(cycles),
        block_instructions=tuple(instructions),
        stack_bytes=program.stack_bytes_of((work / "stack").read_bytes()),
    )


def _results(path: Path) -> Iterator[tuple[int, Adv]]:
    for heard, arousal, dominance, valence in struct.iter_unpack("<4i", _content(path)):
        yield heard, (arousal, dominance, valence)


def _traces(path: Path) -> Iterator[tuple[int, bytes]]:
    content, place = _content(path), 0
    while place < len(content):
        layer, size = struct.unpack_from("<2I", content, place)
        place += 8
        yield layer, content[place : place + size]
        place += size


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
