"""Divisions by zero: unicorn's result is 0, silicon's a fault once the firmware has asked for it."""

import ctypes
import mmap
from typing import TYPE_CHECKING

import numpy as np

from firmware_sim.counter import add_hook, native_library
from firmware_sim.program import Program
from firmware_sim.timing import CostTable

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc

SYSTEM_CONTROL, SYSTEM_CONTROL_BYTES = 0xE000_E000, 0x1000
"""The core's own registers."""
_CONFIGURATION = 0xD14
# The first halfword of SDIV and UDIV without the register, and what their second has in common.
_FIRST, _FIRST_MASK = 0xFB90, 0xFFD0
_SECOND, _SECOND_MASK = 0xF0F0, 0xF0F0
_DIVISOR_MASK = 0xF


class _Trap(ctypes.Structure):
    """Mirrors `trap_t` of division_trap.c."""

    _fields_ = (
        ("configuration", ctypes.c_void_p),
        ("read_register", ctypes.c_void_p),
        ("stop", ctypes.c_void_p),
        ("trapped", ctypes.c_uint32),
    )


class _Division(ctypes.Structure):
    """Mirrors `division_t` of division_trap.c."""

    _fields_ = (("trap", ctypes.c_void_p), ("divisor", ctypes.c_int))


class DivisionTrap:
    """Stops a unicorn engine at a division by zero, if the firmware has set DIV_0_TRP.

    Args:
        program: The firmware.
        costs: Costs of its code; they say where instructions begin.
    """

    def __init__(self, program: Program, costs: CostTable) -> None:
        self._divisions = _divisions(program, costs)
        self._registers = mmap.mmap(-1, SYSTEM_CONTROL_BYTES)
        self._trap = _Trap()
        self._users = (_Division * len(self._divisions))()

    def attach(self, engine: "Uc") -> None:
        """Map the core's own registers, and watch every division.

        Raises:
            ConfigError: If the trap cannot be compiled for this machine.
            SimulationError: If the engine refuses it.
        """
        from unicorn import UC_HOOK_CODE, UC_PROT_READ, UC_PROT_WRITE, arm_const
        from unicorn.unicorn_py3.unicorn import uclib

        page = ctypes.addressof(ctypes.c_char.from_buffer(self._registers))
        writable = UC_PROT_READ | UC_PROT_WRITE
        engine.mem_map_ptr(SYSTEM_CONTROL, SYSTEM_CONTROL_BYTES, writable, page)
        self._trap.configuration = page + _CONFIGURATION
        self._trap.read_register = ctypes.cast(uclib.uc_reg_read, ctypes.c_void_p).value
        self._trap.stop = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p).value
        library = ctypes.CDLL(str(native_library("division_trap.c")))
        hook = ctypes.cast(library.edgekit_check_division, ctypes.c_void_p)
        for user, (address, divisor) in zip(self._users, self._divisions, strict=True):
            user.trap = ctypes.addressof(self._trap)
            user.divisor = arm_const.UC_ARM_REG_R0 + divisor
            add_hook(engine, UC_HOOK_CODE, hook, ctypes.addressof(user), address, address)

    @property
    def trapped(self) -> bool:
        """Whether the core was stopped at a division by zero."""
        return bool(self._trap.trapped)


def _divisions(program: Program, costs: CostTable) -> list[tuple[int, int]]:
    """Return (address, number of the divisor's register) of each division."""
    words = np.frombuffer(program.code[: len(program.code) // 2 * 2], "<u2")
    begins = np.diff(costs.instructions_before)[: len(words)] == 1
    first = begins[:-1] & ((words[:-1] & _FIRST_MASK) == _FIRST)
    found = np.flatnonzero(first & ((words[1:] & _SECOND_MASK) == _SECOND))
    return [(program.code_origin + 2 * int(i), int(words[i + 1]) & _DIVISOR_MASK) for i in found]
