"""What unicorn says of a core that it stopped, and the core's registers then."""

from types import ModuleType
from typing import TYPE_CHECKING

from edgekit.errors import ConfigError
from edgekit.target import Memory
from firmware_sim.debug_info import PC
from firmware_sim.fault import BAD_RETURN, WAITS_FOR_EVENT, Machine, no_code
from firmware_sim.program import Program

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc

_STACK_OVERFLOW_BYTES = 1 << 16
"""An access so near below the stack is taken for one of its frames."""
EVENT_WAITS = (bytes.fromhex("20bf"), bytes.fromhex("aff30280"))
"""WFE of 2 and of 4 bytes."""
_WIDE_SLEEPS = (EVENT_WAITS[1], bytes.fromhex("aff30380"))
"""WFE and WFI of 4 bytes."""
_PREFETCH_ABORT = 3
SUPERVISOR_CALL = 2
_EXCEPTIONS = {
    SUPERVISOR_CALL: "supervisor call",
    7: "breakpoint",
    8: BAD_RETURN,
    17: "an instruction of a coprocessor that is switched off",
    18: "jump to what is no Thumb code",
    19: "stack overflow",
    22: "unaligned access",
}


def unicorn() -> ModuleType:
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


def said(error: int, access: tuple[int, int] | None, program: Program, *, waits: bool) -> str:
    """Return what happened, in words.

    Args:
        error: Unicorn's number of the error.
        access: Address and bytes of the access that failed; None if none did.
        program: The firmware.
        waits: Whether it has just executed a WFE.
    """
    uc = unicorn()
    if error == uc.UC_ERR_INSN_INVALID:
        # Unicorn has no events, so it refuses to wait for one.
        return WAITS_FOR_EVENT if waits else "undefined instruction"
    if access is None:
        return f"fault {error} of the core"
    address, size = access
    if error in (uc.UC_ERR_FETCH_PROT, uc.UC_ERR_FETCH_UNMAPPED):
        return no_code(address, None)
    if error == uc.UC_ERR_WRITE_PROT:
        return f"write of {size} bytes to flash at {address:#x}"
    if 0 < program.stack_limit - address <= _STACK_OVERFLOW_BYTES:
        return f"stack overflow: access to {address:#x}, below the stack"
    kind = "write" if error == uc.UC_ERR_WRITE_UNMAPPED else "read"
    return f"bad pointer: {kind} of {size} bytes at {address:#x}, where no memory is"


def said_of_exception(number: int, address: int) -> str:
    """Return what happened, in words, where the core took an exception at an address."""
    if number == _PREFETCH_ABORT:
        return no_code(address, None)
    return _EXCEPTIONS.get(number, f"exception {number} of the core")


def machine_of(engine: "Uc", memory: Memory, *, passed: bool = False) -> Machine:
    """Return the core as it stopped, at the instruction that did it.

    Args:
        engine: The core.
        memory: Its memories.
        passed: Whether it has left that instruction already, as it does with those that wait or call.
    """
    uc = unicorn().arm_const
    names = [*(uc.UC_ARM_REG_R0 + number for number in range(13)), uc.UC_ARM_REG_SP, uc.UC_ARM_REG_LR]
    names.append(uc.UC_ARM_REG_PC)

    def read(address: int) -> int | None:
        if not 0 <= address - memory.ram_origin <= memory.ram_bytes - 4:
            return None
        return int.from_bytes(engine.mem_read(address, 4), "little")

    registers = {number: engine.reg_read(name) for number, name in enumerate(names)}
    if passed:
        registers[PC] -= _bytes_before(engine, registers[PC])
    return Machine(registers, engine.reg_read(uc.UC_ARM_REG_XPSR), read)


def _bytes_before(engine: "Uc", address: int) -> int:
    """Return the size of the WFI, WFE or SVC in front of an address."""
    return 4 if bytes(engine.mem_read(address - 4, 4)) in _WIDE_SLEEPS else 2
