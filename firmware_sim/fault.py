"""How a run that went wrong is told: what happened, where, the call stack and the registers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgekit.errors import SimulationError
from firmware_sim.debug_info import DebugInfo, Frame, Registers, Stack
from firmware_sim.program import UNDEFINED
from firmware_sim.regions import BUG_HINT

SLEEPS = "the firmware sleeps, and nothing wakes it"
WAITS_FOR_EVENT = "the firmware sleeps: it waits for an event that nothing sends"
BAD_RETURN = "return from an exception outside of one"
_NAMES = (*(f"r{number}" for number in range(13)), "sp", "lr", "pc")
_IN_A_ROW = 4
_INNERMOST, _OUTERMOST = 12, 4
"""Frames that are shown of a stack that is deeper than both together."""


@dataclass(frozen=True)
class Machine:
    """The core as it stopped.

    Attributes:
        registers: R0 to R15; the program counter is at the instruction that did it.
        xpsr: The program status register.
        read: Returns the word at an address; None where there is no memory.
    """

    registers: Registers
    xpsr: int
    read: Callable[[int], int | None]


def fault(what: str, machine: Machine, info: DebugInfo) -> SimulationError:
    """Return the error of a run that went wrong.

    Args:
        what: What happened, the function left out: "read of 0x0, where no memory is".
        machine: The core as it stopped.
        info: The firmware's debug information.
    """
    stack = info.stack_of(machine.registers, machine.read)
    # A literal pool is no code, but it has a line and lies in a function.
    shown = (frame for frame in stack.frames if frame.is_code or frame.line)
    place = _place(next(shown, stack.frames[0]))
    details = ("call stack:", *_stack_lines(stack), "registers:", *_register_lines(machine))
    return SimulationError(f"{what}, in {place}", BUG_HINT, details)


def runaway(limit: int) -> str:
    """Return what happened where a block of audio does not end."""
    return f"runaway: {limit:,} instructions in one block of audio"


def no_code(address: int, halfword: int | None) -> str:
    """Return what happened where the core went to an address at which no instruction begins.

    Args:
        address: The address.
        halfword: What is there; None if unknown. An undefined instruction that was written as data is one.
    """
    if halfword is not None and halfword >> 8 == UNDEFINED:
        return "undefined instruction"
    return f"jump to {address:#x}, which is no code"


def _place(frame: Frame) -> str:
    return f"{frame.function} at {frame.line}" if frame.line else f"{frame.function} (pc {frame.pc:#x})"


def _stack_lines(stack: Stack) -> Iterator[str]:
    frames = list(enumerate(stack.frames))
    left_out = len(frames) - _INNERMOST - _OUTERMOST
    for number, frame in frames if left_out <= 0 else frames[:_INNERMOST]:
        yield _frame_line(number, frame)
    if left_out > 0:
        yield f"  ... {left_out} more"
        for number, frame in frames[-_OUTERMOST:]:
            yield _frame_line(number, frame)
    if stack.ends:
        yield f"  ends here: {stack.ends}"


def _frame_line(number: int, frame: Frame) -> str:
    where = frame.line or ("no source line" if frame.is_code else "no code")
    return f"  #{number:<3} {frame.pc:#010x}  {frame.function}  {where}{', inlined' if frame.inlined else ''}"


def _register_lines(machine: Machine) -> Iterator[str]:
    words = [f"{name:>4} {machine.registers[number]:#010x}" for number, name in enumerate(_NAMES)]
    words.append(f"xpsr {machine.xpsr:#010x}")
    for start in range(0, len(words), _IN_A_ROW):
        yield "  " + "  ".join(words[start : start + _IN_A_ROW])
