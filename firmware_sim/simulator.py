"""Running a firmware on a simulated core, instruction by instruction."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgekit.errors import AudioError, ConfigError, SimulationError
from edgekit.interrupts import interrupts_after
from edgekit.target import Target
from firmware_sim.counter import BlockCounter
from firmware_sim.device import REGISTERS_ADDRESS, REGISTERS_BYTES, Device
from firmware_sim.program import PAINT, Program, read_program
from firmware_sim.qemu import run_in_qemu
from firmware_sim.regions import BUG_HINT, default_regions, region_table, runaway
from firmware_sim.result import SimResult
from firmware_sim.timing import cost_table, timing_of

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc

_STACK_OVERFLOW_BYTES = 1 << 16
_NEVER = 0xFFFF_FFFE


def simulate(
    elf: Path,
    target: Target,
    pcm: npt.NDArray[np.int16],
    regions: Mapping[str, Sequence[str]] | None = None,
    *,
    trace: bool = False,
    block_instruction_limit: int = 4_000_000_000,
) -> SimResult:
    """Run a firmware on audio and count what it executes.

    Args:
        elf: A firmware with its symbol table.
        target: The device: core, memories, block size.
        pcm: Audio at the target's rate, int16 (samples,).
        regions: Region name to the functions that begin it. A function of none counts for the region that
            called it, and start-up code for the first region. None takes `default_regions`.
        trace: Keep the layer outputs that a firmware built with EDGEKIT_TRACE reports.
        block_instruction_limit: More instructions than this within one block of audio are a runaway.

    Returns:
        The run; equal inputs give equal counts.

    Raises:
        AudioError: If there is no audio.
        ConfigError: If unicorn (for a Cortex-M55: QEMU) or a C compiler for this machine is missing.
        SimulationError: If the firmware faults, hangs, stops without an exit code, or does not fit the
            target.
        TargetError: If the target names no known timing table.
    """
    if pcm.dtype != np.int16 or pcm.ndim != 1 or pcm.size == 0:
        raise AudioError(
            f"the simulator wants int16 samples, got {pcm.dtype} {pcm.shape}", "pass one channel"
        )
    program = read_program(elf)
    chosen = regions or default_regions(program)
    if target.core.simulator == "qemu":
        return run_in_qemu(program, target, pcm, chosen, block_instruction_limit, trace=trace)
    return _Run(program, target, pcm, chosen, trace, block_instruction_limit).result()


@dataclass
class _Run:
    """One run: the core, its memories, devices and counters."""

    program: Program
    target: Target
    pcm: npt.NDArray[np.int16]
    regions: Mapping[str, Sequence[str]]
    trace: bool
    block_instruction_limit: int
    snapshots: list[tuple[int, int]] = field(default_factory=list)
    fault_address: int | None = None

    def __post_init__(self) -> None:
        self.counter = self._make_counter()
        self.device = Device(
            self.pcm,
            self.target.audio.block_samples,
            self._read_memory if self.trace else None,
            self._on_block,
            lambda: self.engine.emu_stop(),
        )
        self.engine = self._make_core()

    def result(self) -> SimResult:
        self._emulate()
        exit_code = self.device.exit_code
        if exit_code is None:
            raise SimulationError(f"the firmware stopped without an exit code in {self._where()}", BUG_HINT)
        if len(self.snapshots) < 2:
            raise SimulationError(
                f"the firmware ended with {exit_code} before it had read its audio", BUG_HINT
            )
        # What it does once the audio has ended (an utterance's network) is work on the last block.
        self.snapshots[-1] = (self.counter.instructions, self.counter.cycles)
        instructions, cycles = (np.diff(values).tolist() for values in zip(*self.snapshots, strict=True))
        return SimResult(
            target=self.target,
            program=self.program,
            exit_code=exit_code,
            samples=len(self.pcm),
            results=tuple(self.device.results),
            traces=tuple(self.device.traces),
            regions=dict(zip(self.regions, self.counter.counts(), strict=True)),
            startup_cycles=self.snapshots[0][1],
            block_cycles=tuple(cycles),
            block_instructions=tuple(instructions),
            stack_bytes=self.program.stack_bytes_of(self._read_stack()),
        )

    def _make_counter(self) -> BlockCounter:
        program, timing = self.program, timing_of(self.target.timing.table)
        costs = cost_table(timing, program.code, program.code_origin, program.instruction_ranges)
        return BlockCounter(
            costs,
            program.code_origin,
            timing.taken_branch,
            region_table(program, self.regions),
            len(self.regions),
            self.block_instruction_limit,
        )

    def _make_core(self) -> "Uc":
        uc = _unicorn()
        memory, program = self.target.memory, self.program
        models = {
            "cortex-m0": uc.arm_const.UC_CPU_ARM_CORTEX_M0,
            "cortex-m3": uc.arm_const.UC_CPU_ARM_CORTEX_M3,
            "cortex-m4": uc.arm_const.UC_CPU_ARM_CORTEX_M4,
            "cortex-m33": uc.arm_const.UC_CPU_ARM_CORTEX_M33,
        }
        engine: Uc = uc.Uc(uc.UC_ARCH_ARM, uc.UC_MODE_THUMB | uc.UC_MODE_MCLASS, models[self.target.core.cpu])
        try:
            engine.mem_map(memory.flash_origin, memory.flash_bytes, uc.UC_PROT_READ | uc.UC_PROT_EXEC)
            engine.mem_map(memory.ram_origin, memory.ram_bytes, uc.UC_PROT_READ | uc.UC_PROT_WRITE)
            engine.mmio_map(REGISTERS_ADDRESS, REGISTERS_BYTES, self._on_read, None, self._on_write, None)
            # RAM holds anything after power-up; the known pattern also shows later how deep the stack went.
            engine.mem_write(memory.ram_origin, bytes([PAINT]) * memory.ram_bytes)
            for address, data in program.segments:
                engine.mem_write(address, data)
        except uc.UcError as error:
            what = f"the firmware does not fit the memories of {self.target.name} ({error})"
            raise SimulationError(what, "run edgekit codegen again for this target") from error
        engine.hook_add(uc.UC_HOOK_MEM_INVALID, self._on_fault)
        return engine

    def _emulate(self) -> None:
        uc = _unicorn()
        stack_top, entry = struct.unpack("<II", self._read_memory(self.target.memory.flash_origin, 8))
        self.engine.reg_write(uc.arm_const.UC_ARM_REG_SP, stack_top)
        self.counter.attach(self.engine, entry & ~1)
        try:
            with interrupts_after(self.engine.emu_stop):
                self.engine.emu_start(entry, _NEVER)
        except uc.UcError as error:
            raise SimulationError(self._describe(error), BUG_HINT) from error
        if self.counter.limit_reached:
            raise runaway(self.block_instruction_limit, self._where())

    def _describe(self, error: Exception) -> str:
        at = "" if self.fault_address is None else f" at {self.fault_address:#x}"
        bottom = self.program.stack_limit
        if self.fault_address is not None and 0 < bottom - self.fault_address <= _STACK_OVERFLOW_BYTES:
            at += " (stack overflow)"
        return f"the firmware faulted in {self._where()}: {error}{at}"

    def _where(self) -> str:
        uc = _unicorn()
        address = self.engine.reg_read(uc.arm_const.UC_ARM_REG_PC)
        return self.program.place_of(address)

    def _read_stack(self) -> bytes:
        limit, top = self.program.stack_limit, self.program.stack_top
        return self._read_memory(limit, top - limit)

    def _read_memory(self, address: int, size: int) -> bytes:
        return bytes(self.engine.mem_read(address, size))

    def _on_block(self) -> None:
        self.snapshots.append((self.counter.instructions, self.counter.cycles))
        self.counter.allow(self.block_instruction_limit)

    def _on_read(self, _engine: object, offset: int, _size: int, _data: object) -> int:
        return self.device.read(offset)

    def _on_write(self, _engine: object, offset: int, _size: int, value: int, _data: object) -> None:
        self.device.write(offset, value)

    def _on_fault(
        self, _engine: object, _access: int, address: int, _size: int, _value: int, _data: object
    ) -> bool:
        self.fault_address = address
        return False


def _unicorn() -> ModuleType:
    """Return the unicorn module, an optional dependency because of its licence.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import unicorn
        import unicorn.arm_const
    except ImportError as error:
        raise ConfigError(
            "the simulator's core is not installed (unicorn)", "run pip install 'edgekit[sim]'"
        ) from error
    return unicorn
