"""Interrupts of a simulated core: what an Arm Cortex-M does on entry and on return (ARMv7-M ARM, B1.5.6)."""

import struct
from typing import TYPE_CHECKING

from edgekit.target import Memory
from firmware_sim.counter import BlockCounter
from firmware_sim.program import PAINT, Program
from firmware_sim.unicorn_faults import unicorn

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc

AUDIO_VECTOR, SERIAL_VECTOR = 16, 17
"""In the vector table: the first interrupts, behind the core's own exceptions."""
EXCEPTION_RETURN = 8
"""Unicorn's number of a branch to the address that the link register holds in a handler."""
FRAME_BYTES = 32
_MOST_FRAME_BYTES = FRAME_BYTES + 4
"""With what is left out in front of a frame, so that it is aligned."""
_HANDLER_STACK_BYTES = 1024
"""How deep a handler's stack is looked at."""
_RETURN_TO_THREAD = 0xFFFF_FFF9
_ALIGNED = 1 << 9
"""In the status register of a frame: four bytes were left out in front of it."""
_CONDITIONS = 0x0600_FC00
"""In the status register: what is left of an IT block. A handler begins outside of it."""
_THUMB = 1


class Interrupt:
    """An interrupt of a simulated core.

    Args:
        engine: The core.
        program: The firmware.
        memory: The memories; the vector table is the first of the flash.
        vector: Its place in that table.
        counter: What counts; an interrupt and the return from it are no branches.

    Attributes:
        is_enabled: Whether it comes.
        stack_bytes: The most stack that an interrupt took: the registers that the core saves, and the
            handler's. What a handler leaves on the stack is not left there: paint that is found at the end
            is that of the code which was interrupted.
    """

    def __init__(
        self, engine: "Uc", program: Program, memory: Memory, vector: int, counter: BlockCounter
    ) -> None:
        self._engine = engine
        self._program = program
        self._memory = memory
        self._vector = memory.flash_origin + 4 * vector
        self._counter = counter
        self.is_enabled = self._event = False
        self._before: tuple[int, int] | None = None
        self._below: tuple[int, bytes] = (0, b"")
        self.stack_bytes = 0

    def enable(self) -> None:
        """Let it come from now on."""
        self.is_enabled = True

    @property
    def is_active(self) -> bool:
        """Whether its handler runs."""
        return self._before is not None

    @property
    def has_room(self) -> bool:
        """Whether the stack has room for the registers that are saved."""
        return self._stack_pointer - FRAME_BYTES >= self._program.stack_limit

    @property
    def has_frame(self) -> bool:
        """Whether there is RAM where the registers are saved; in the handler, where they are taken from."""
        frame = self._stack_pointer - (0 if self.is_active else FRAME_BYTES)
        return 0 <= frame - self._memory.ram_origin <= self._memory.ram_bytes - FRAME_BYTES

    @property
    def _stack_pointer(self) -> int:
        return int(self._engine.reg_read(unicorn().arm_const.UC_ARM_REG_SP))

    def take_event(self) -> bool:
        """Return whether there has been one since the last call: then a WFE does not wait."""
        event, self._event = self._event, False
        return event

    def enter(self) -> int:
        """Save the registers that a function may change; return where the handler begins."""
        handler = int.from_bytes(self._engine.mem_read(self._vector, 4), "little")
        enter(self._engine, handler)
        self._before = self._counter.jump(handler & ~_THUMB)
        self._paint_below()
        return handler

    def leave(self) -> int:
        """Take the registers from the stack again; return where the core goes on."""
        assert self._before is not None
        self._measure_below()
        self._counter.back(self._before)
        self._before, self._event = None, True
        return leave(self._engine)

    def _paint_below(self) -> None:
        top = self._stack_pointer
        limit = max(self._program.stack_limit, top - _HANDLER_STACK_BYTES)
        self._below = limit, bytes(self._engine.mem_read(limit, top - limit))
        self._engine.mem_write(limit, bytes([PAINT]) * (top - limit))

    def _measure_below(self) -> None:
        limit, before = self._below
        used = self._program.stack_bytes_of(bytes(self._engine.mem_read(limit, len(before))))
        self.stack_bytes = max(self.stack_bytes, _MOST_FRAME_BYTES + used)
        self._engine.mem_write(limit, before)


def enter(engine: "Uc", handler: int) -> None:
    """Stack the registers that a function may change, and turn to a handler.

    Args:
        engine: The core, between two instructions.
        handler: Address of the handler.

    Raises:
        UcError: If there is no memory for the frame.
    """
    arm = unicorn().arm_const
    top, status = engine.reg_read(arm.UC_ARM_REG_SP), engine.reg_read(arm.UC_ARM_REG_XPSR)
    frame = (top - FRAME_BYTES) & ~7
    words = [engine.reg_read(register) for register in _stacked()]
    status |= _ALIGNED if frame + FRAME_BYTES < top else 0
    engine.mem_write(frame, struct.pack("<8I", *words, status))
    engine.reg_write(arm.UC_ARM_REG_XPSR, status & ~(_ALIGNED | _CONDITIONS))
    engine.reg_write(arm.UC_ARM_REG_SP, frame)
    engine.reg_write(arm.UC_ARM_REG_LR, _RETURN_TO_THREAD)
    engine.reg_write(arm.UC_ARM_REG_PC, handler)


def leave(engine: "Uc") -> int:
    """Take the registers from the stack again; return where the core goes on, as `emu_start` wants it.

    Raises:
        UcError: If the stack pointer is nowhere.
    """
    arm = unicorn().arm_const
    frame = engine.reg_read(arm.UC_ARM_REG_SP)
    *words, status = struct.unpack("<8I", engine.mem_read(frame, FRAME_BYTES))
    for register, word in zip(_stacked(), words, strict=True):
        engine.reg_write(register, word)
    engine.reg_write(arm.UC_ARM_REG_SP, frame + FRAME_BYTES + (4 if status & _ALIGNED else 0))
    engine.reg_write(arm.UC_ARM_REG_XPSR, status & ~_ALIGNED)
    return int(words[-1]) | _THUMB


def _stacked() -> list[int]:
    """Return the registers of a frame but for the status, in order."""
    arm = unicorn().arm_const
    low = [arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1, arm.UC_ARM_REG_R2, arm.UC_ARM_REG_R3]
    return [*low, arm.UC_ARM_REG_R12, arm.UC_ARM_REG_LR, arm.UC_ARM_REG_PC]
