"""One run of a firmware on a core that unicorn simulates."""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgekit.errors import SimulationError
from edgekit.interrupts import interrupts_after, stopped_by_signals
from edgekit.target import Target
from firmware_sim.clock import Clock, InTime
from firmware_sim.counter import BlockCounter, Count
from firmware_sim.debug_info import DebugInfo
from firmware_sim.device import REGISTERS_ADDRESS, REGISTERS_BYTES, Device
from firmware_sim.division_trap import DivisionTrap
from firmware_sim.fault import SLEEPS, fault, no_code, runaway
from firmware_sim.flips import Flip, flips_by_sample
from firmware_sim.interrupt import AUDIO_VECTOR, EXCEPTION_RETURN, SERIAL_VECTOR, Interrupt
from firmware_sim.nor_flash import NorFlash
from firmware_sim.peripherals import Peripherals
from firmware_sim.places import Places, count_places
from firmware_sim.program import PAINT, Program
from firmware_sim.regions import BUG_HINT, region_table
from firmware_sim.result import SimResult
from firmware_sim.schedule import core_of
from firmware_sim.timing import Waits, cost_table, timing_of
from firmware_sim.unicorn_faults import (
    EVENT_WAITS,
    SUPERVISOR_CALL,
    machine_of,
    said,
    said_of_exception,
    unicorn,
)

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc, UcError

_NEVER = 0xFFFF_FFFE


def waits_of(target: Target) -> Waits:
    """Return the waits of a target's memory."""
    return Waits(target.timing.fetch_wait_cycles, target.timing.data_wait_cycles)


@dataclass
class Run:
    """One run of a firmware in unicorn: the core, its memories, devices and counters.

    Attributes:
        program: The firmware.
        info: Its debug information.
        target: The device.
        pcm: The audio.
        regions: What is counted apart.
        trace: Whether to keep traces.
        block_instruction_limit: More instructions than this within one block of audio are a runaway.
        flips: Bits of its memory that are inverted.
        clock: Audio arrives by it; None: when the firmware waits for it.
        endless: Whether the audio begins anew where it ends.
    """

    program: Program
    info: DebugInfo
    target: Target
    pcm: npt.NDArray[np.int16]
    regions: Mapping[str, Sequence[str]]
    trace: bool
    block_instruction_limit: int
    flips: Sequence[Flip]
    clock: Clock | None = None
    endless: bool = False
    snapshots: list[tuple[int, int]] = field(default_factory=list)
    access: tuple[int, int] | None = None
    exception: int | None = None
    resetting: bool = False
    startup: tuple[Count, ...] = ()
    latencies: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        program, timing = self.program, timing_of(self.target.timing.table)
        self.costs = cost_table(timing, program.code, program.code_origin, program.instruction_ranges)
        self.counter = BlockCounter(
            self.costs,
            program.code_origin,
            timing,
            waits_of(self.target),
            region_table(program, self.regions),
            len(self.regions),
            self.block_instruction_limit,
        )
        self.divisions = DivisionTrap(program, self.costs)
        self.peripherals = self._make_peripherals()
        self.device = Device(
            self.pcm,
            self.target.audio.block_samples,
            self._read_memory if self.trace else None,
            self._on_block,
            lambda: self.engine.emu_stop(),
            flips_by_sample(self.flips, self._flip),
            self._on_start,
            self._on_result,
            self.peripherals,
            endless=self.endless,
        )
        self.engine = self._make_core()
        self._make_interrupts()

    def _make_peripherals(self) -> Peripherals | None:
        """Return what answers the registers of updates, if the target takes any."""
        if self.target.update is None:
            return None
        flash = NorFlash(
            self.target.memory,
            self.target.update,
            self._read_memory,
            lambda address, data: self.engine.mem_write(address, data),
            lambda us: self.clock.stall(us) if self.clock is not None else None,
        )
        return Peripherals(flash, self._on_reset)

    def _make_interrupts(self) -> None:
        self.audio, self.serial = (
            Interrupt(self.engine, self.program, self.target.memory, vector, self.counter)
            for vector in (AUDIO_VECTOR, SERIAL_VECTOR)
        )

    def result(self) -> SimResult:
        """Run the firmware to its end.

        Raises:
            SimulationError: If it faults, hangs, or stops without an exit code or before it has read audio.
        """
        self._emulate()
        exit_code = self.device.exit_code
        if exit_code is None:
            raise self._fault(SLEEPS, passed=True)
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
            startup=self.startup,
            stack_bytes=self._stack_bytes(),
        )

    def places(self) -> Places:
        """Return the counts of every instruction."""
        taken = timing_of(self.target.timing.table).taken_branch
        waits = waits_of(self.target)
        return count_places(self.program.code_origin, self.costs, self.counter.places(), taken, waits)

    def _make_core(self) -> "Uc":
        uc = unicorn()
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
            engine.mem_write(memory.flash_origin, b"\xff" * memory.flash_bytes)
            for address, data in program.segments:
                engine.mem_write(address, data)
        except uc.UcError as error:
            what = f"the firmware does not fit the memories of {self.target.name} ({error})"
            raise SimulationError(what, "run edgekit codegen again for this target") from error
        engine.hook_add(uc.UC_HOOK_MEM_INVALID, self._on_access)
        engine.hook_add(uc.UC_HOOK_INTR, self._on_exception)
        self.divisions.attach(engine)
        return engine

    def _emulate(self) -> None:
        memory = self.target.memory
        flash = range(memory.flash_origin, memory.flash_origin + memory.flash_bytes)
        begin: int | None = self._power_up()
        self.counter.attach(self.engine, (begin or 0) & ~1, flash)
        stopped = False

        def stop() -> None:
            nonlocal stopped
            # Before it has begun, and where it stops for an interrupt of its own, the engine forgets it.
            stopped = True
            self.engine.emu_stop()

        with interrupts_after(stop), stopped_by_signals(stop):
            while begin is not None and not stopped:
                begin = self._go_on(begin)

    def _power_up(self) -> int:
        """Set the stack; return where the core begins."""
        stack_top, entry = struct.unpack("<II", self._read_memory(self.target.memory.flash_origin, 8))
        self.engine.reg_write(unicorn().arm_const.UC_ARM_REG_SP, stack_top)
        return int(entry)

    def _begin_anew(self) -> int:
        """Begin as after power-up, but for the RAM; return where."""
        self.resetting = False
        assert self.peripherals is not None
        self.peripherals.has_serial = False
        self._make_interrupts()
        if self.clock is not None:
            self.clock = Clock(core_of(self.target))
            self.counter.interrupt_at(math.inf)
        entry = self._power_up()
        self.counter.jump(entry & ~1)
        return entry

    def _go_on(self, begin: int) -> int | None:
        """Run up to what needs the outside; return where the core goes on then, None if it does not."""
        uc = unicorn()
        refused: UcError | None = None
        try:
            self.engine.emu_start(begin, _NEVER)
        except uc.UcError as error:
            refused = error
        if self.resetting:
            return self._begin_anew()
        if self.counter.take_interrupt():
            return self._interrupt()
        active = self._active
        if active is not None and self.exception == EXCEPTION_RETURN:
            return self._return(active)
        if refused is not None and self._waits_for_event():
            if self._take_event():
                return int(self.engine.reg_read(uc.arm_const.UC_ARM_REG_PC)) | 1
            if active is None and self.audio.is_enabled and not self.device.has_ended:
                if self.clock is not None and not self.device.is_at_end:
                    self.clock.sleep(self.counter.cycles)
                return self._interrupt()
        self._require_no_fault(refused)
        return None

    @property
    def _active(self) -> Interrupt | None:
        """The interrupt whose handler runs."""
        return next((each for each in (self.audio, self.serial) if each.is_active), None)

    def _take_event(self) -> bool:
        """Return whether there has been an interrupt since the last call: then a WFE does not wait."""
        events = [each.take_event() for each in (self.audio, self.serial)]
        return any(events)

    def _interrupt(self) -> int:
        """Let a block of audio arrive, or the end of the audio; return where its handler begins."""
        self._require_room()
        if self.clock is not None:
            self.counter.interrupt_at(math.inf)
            if not self.device.is_at_end:
                self.clock.arrive()
        self.device.arrive()
        return self.audio.enter()

    def _require_room(self) -> None:
        if not self.audio.has_room:
            raise self._fault("stack overflow: no room for an interrupt")
        self._require_frame(self.audio)

    def _return(self, active: Interrupt) -> int:
        """Return from an interrupt to what it interrupted."""
        if self.device.left_samples:
            block = self.target.audio.block_samples
            what = f"the firmware is built for blocks shorter than the {block} samples of {self.target.name}"
            raise SimulationError(what, "run edgekit build again for this target")
        if not active.has_frame:
            # The core is at the address to return to, which is none.
            self.engine.reg_write(unicorn().arm_const.UC_ARM_REG_PC, self._last_instruction())
        self._require_frame(active)
        self.exception = None
        begin = active.leave()
        if self._has_bytes:
            # One after the other: interrupts do not interrupt each other.
            self._require_room()
            self.counter.interrupt_at(math.inf)
            return self.serial.enter()
        if self.clock is not None and not self.device.has_ended:
            # The end is no block: the firmware is told at once.
            self.counter.interrupt_at(0 if self.device.is_at_end else self.clock.next_at())
        return begin

    @property
    def _has_bytes(self) -> bool:
        """Whether the serial interrupt is due."""
        return (
            self.peripherals is not None and self.peripherals.has_serial and bool(self.peripherals.incoming)
        )

    def _on_reset(self) -> None:
        self.resetting = True
        self.engine.emu_stop()

    def _last_instruction(self) -> int:
        """Return the address of the instruction that ended the last basic block."""
        behind, before = self.counter.next_address, self.costs.instructions_before
        halfword = (behind - self.program.code_origin) // 2
        # An instruction counts at its first halfword.
        return behind - (2 if before[halfword] != before[halfword - 1] else 4)

    def _require_frame(self, interrupt: Interrupt) -> None:
        if not interrupt.has_frame:
            at = self.engine.reg_read(unicorn().arm_const.UC_ARM_REG_SP)
            raise self._fault(f"bad pointer: the stack of an interrupt is at {at:#x}, where no RAM is")

    def _on_start(self) -> None:
        if self.audio.is_enabled:
            return
        self.audio.enable()
        if self.clock is not None:
            self.clock.start(self.counter.cycles)
            self.counter.interrupt_at(self.clock.next_at())

    def _on_result(self, block: int) -> None:
        if self.clock is not None:
            self.latencies.append((block, self.clock.since_arrival(block, self.counter.cycles)))

    def in_time(self, results: int) -> InTime:
        """Return what happened by the clock."""
        every, window = self.target.every_blocks, self.target.window_blocks
        ends = [cycles for block, cycles in self.latencies if not every or block % every == window - 1]
        lost = [block for block in self.device.skipped if not every or block % every < window]
        blocks = -(-len(self.pcm) // self.target.audio.block_samples)
        return InTime(self.target, blocks, len(lost), results, max(ends, default=None))

    def _require_no_fault(self, refused: "UcError | None") -> None:
        at = self.engine.reg_read(unicorn().arm_const.UC_ARM_REG_PC)
        if self.counter.no_code is not None:
            at = self.counter.no_code
            raise self._fault(no_code(at, self.program.halfword_at(at)))
        if refused is not None:
            waits = self._waits_for_event()
            what = said(refused.errno, self.access, self.program, waits=waits)
            raise self._fault(what, passed=waits) from refused
        if self.exception is not None:
            passed = self.exception == SUPERVISOR_CALL
            raise self._fault(said_of_exception(self.exception, at), passed=passed)
        if self.divisions.trapped:
            raise self._fault("division by zero")
        if self.counter.limit_reached:
            raise self._fault(runaway(self.block_instruction_limit))

    def _waits_for_event(self) -> bool:
        """Return whether the core has just executed a WFE."""
        at = self.engine.reg_read(unicorn().arm_const.UC_ARM_REG_PC)
        # It ends its block; an instruction behind it that cannot be executed has begun another.
        if at != self.counter.next_address:
            return False
        return any(self._executes(at - len(wait), wait) for wait in EVENT_WAITS)

    def _executes(self, address: int, instruction: bytes) -> bool:
        """Return whether that instruction begins at an address."""
        offset, before = address - self.program.code_origin, self.costs.instructions_before
        if not 0 <= offset < 2 * len(self.costs.entry_cycles):
            return False
        begins = bool(before[offset // 2 + 1] != before[offset // 2])
        return begins and self.program.code.startswith(instruction, offset)

    def _fault(self, what: str, *, passed: bool = False) -> SimulationError:
        return fault(what, machine_of(self.engine, self.target.memory, passed=passed), self.info)

    def _stack_bytes(self) -> int:
        """Return the deepest stack, and what an interrupt at that point needs."""
        interrupt = max(self.audio.stack_bytes, self.serial.stack_bytes)
        return self.program.stack_bytes_of(self._read_stack()) + interrupt

    def _read_stack(self) -> bytes:
        limit, top = self.program.stack_limit, self.program.stack_top
        return self._read_memory(limit, top - limit)

    def _read_memory(self, address: int, size: int) -> bytes:
        return bytes(self.engine.mem_read(address, size))

    def _on_block(self) -> None:
        if not self.snapshots:
            self.startup = tuple(self.counter.counts())
        self.snapshots.append((self.counter.instructions, self.counter.cycles))
        self.counter.allow(self.block_instruction_limit)

    def _on_read(self, _engine: object, offset: int, _size: int, _data: object) -> int:
        return self.device.read(offset)

    def _on_write(self, _engine: object, offset: int, _size: int, value: int, _data: object) -> None:
        self.device.write(offset, value)

    def _on_access(
        self, _engine: object, _access: int, address: int, size: int, _value: int, _data: object
    ) -> bool:
        self.access = (address, size)
        return False

    def _on_exception(self, engine: "Uc", number: int, _data: object) -> None:
        self.exception = number
        engine.emu_stop()

    def _flip(self, flip: Flip) -> None:
        (before,) = self._read_memory(flip.address, 1)
        self.engine.mem_write(flip.address, bytes([before ^ 1 << flip.bit]))
