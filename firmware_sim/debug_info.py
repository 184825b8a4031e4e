"""The firmware's debug information: the source line of an address, and who called whom.

Paths are as the compiler wrote them: relative to the build, so that no output depends on the machine.
"""

import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

from elftools.common.exceptions import DWARFError, ELFError
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile

from edgekit.errors import SimulationError
from firmware_sim.inlining import InlinedCall, Line, file_of, inlined_calls
from firmware_sim.program import UNDEFINED, Program

SP, LR, PC = 13, 14, 15
_THUMB = 1
_EXCEPTION_RETURNS = 0xFFFF_FF80
_SAVED = (0, 1, 2, 3, 12, LR, PC)
"""Registers of the frame that a core saves when it is interrupted, in order; the status follows."""
_FRAME_WORDS = 8
_ALIGNED = 1 << 9
"""In that status: four bytes were left out in front of the frame."""
_MOST_FRAMES = 100_000

Registers = dict[int, int]
"""Values of R0 to R15 by number."""


@dataclass(frozen=True)
class Frame:
    """A function that was running.

    Attributes:
        function: Its name, or the address where there is no function.
        line: Where it stood; None where the compiler noted none.
        pc: The address of the instruction; of a caller, where it goes on.
        sp: Its stack pointer.
        is_code: Whether there is code at all.
        inlined: Whether the compiler has put it into the next frame's function.
    """

    function: str
    line: Line | None
    pc: int
    sp: int
    is_code: bool
    inlined: bool = False


@dataclass(frozen=True)
class Stack:
    """A call stack.

    Attributes:
        frames: The innermost first.
        ends: Why it ends there; empty where it ends at the reset.
    """

    frames: tuple[Frame, ...]
    ends: str


class DebugInfo:
    """Debug information of a firmware.

    Args:
        elf: The ELF file.
        program: What it holds.
    """

    def __init__(self, elf: Path, program: Program) -> None:
        self._elf = elf
        self._program = program
        self._calls: dict[int, list[InlinedCall]] = {}

    def line_of(self, address: int) -> Line | None:
        """Return the source line of an instruction; None where the compiler noted none."""
        index = bisect.bisect_right(self._line_starts, address) - 1
        if index < 0:
            return None
        _, end, line = self._lines[index]
        return line if address < end else None

    def stack_of(self, registers: Mapping[int, int], read: Callable[[int], int | None]) -> Stack:
        """Unwind the stack.

        Args:
            registers: R0 to R15 at the instruction that the core stopped at.
            read: Returns the word at an address; None where there is no memory.
        """
        at, innermost = dict(registers), True
        frames: list[Frame] = []
        while len(frames) < _MOST_FRAMES:
            # The instruction that called lies before the one to return to.
            frames += self._frames(at, at[PC] if innermost else at[PC] - 2)
            above, ends = self._caller(at, frames[-1], read, innermost=innermost)
            if above is None:
                return Stack(tuple(frames), ends)
            at, innermost = above, False
            if is_exception_return(above[PC]):
                interrupted = _interrupted(above, read)
                if interrupted is None:
                    return Stack(tuple(frames), "what was interrupted cannot be read from the stack")
                at, innermost = interrupted, True
        return Stack(tuple(frames), f"more than {_MOST_FRAMES} calls")

    def _frames(self, at: Registers, address: int) -> Iterator[Frame]:
        """Yield the function at an address, and before it those that were inlined there."""
        line, is_code = self.line_of(address), self._is_code(address)
        for call in self._inlined(address):
            yield Frame(call.function, line, at[PC], at[SP], is_code, inlined=True)
            line = call.line
        yield Frame(self._program.function_at(address), line, at[PC], at[SP], is_code)

    def _inlined(self, address: int) -> list[InlinedCall]:
        if address not in self._calls:
            known = self._dwarf is not None
            self._calls[address] = inlined_calls(self._dwarf, address, self._starts) if known else []
        return self._calls[address]

    def _caller(
        self, at: Registers, frame: Frame, read: Callable[[int], int | None], *, innermost: bool
    ) -> tuple[Registers | None, str]:
        """Return the registers of the caller, or None and why there are none."""
        address = at[PC] if innermost else at[PC] - 2
        if not self._is_code(address):
            if not innermost:
                return None, f"{address:#x} is no code: the stack is damaged"
            # A jump to nowhere has not touched the stack.
            return self._checked({**at, PC: at[LR] & ~_THUMB}, at)
        entry = self._entry_of(address)
        if entry is None:
            return None, f"{frame.function} has no unwind information"
        row = _row_of(entry, address)
        if not innermost and LR not in row:
            # What it called has overwritten the register: the compiler knew that it never returns.
            unkept = f"{frame.function} never returns, so its caller was not kept"
            return None, "" if frame.function == "main" else unkept
        above = {**at, SP: (at[row["cfa"].reg] + row["cfa"].offset) & 0xFFFF_FFFF}
        for number, rule in row.items():
            if number in ("pc", "cfa") or rule.type == "SAME_VALUE":
                continue
            if rule.type == "UNDEFINED" and number == LR:
                return None, ""
            value = read(above[SP] + rule.arg) if rule.type == "OFFSET" else None
            if value is None:
                return None, f"the stack of {frame.function} cannot be read"
            above[number] = value
        above[PC] = above[LR] & ~_THUMB
        return self._checked(above, at)

    def _checked(self, above: Registers, at: Registers) -> tuple[Registers | None, str]:
        if not is_exception_return(above[PC]) and not self._is_code(above[PC] - 2):
            return None, f"the caller would be at {above[PC]:#x}, which is no code: the stack is damaged"
        if above[SP] < at[SP]:
            return None, "the stack would grow downwards: it is damaged"
        return above, ""

    def _is_code(self, address: int) -> bool:
        ranges = self._program.instruction_ranges
        return self._is_undefined(address) or any(start <= address < end for start, end in ranges)

    def _is_undefined(self, address: int) -> bool:
        """Return whether UDF of 2 bytes is there, which compilers also write as data."""
        halfword = self._program.halfword_at(address)
        return halfword is not None and halfword >> 8 == UNDEFINED

    def _entry_of(self, address: int) -> FDE | None:
        index = bisect.bisect_right(self._entry_starts, address) - 1
        if index < 0:
            return None
        _, end, entry = self._entries[index]
        return entry if address < end else None

    @cached_property
    def _dwarf(self) -> Any:
        """The debug information; None where the firmware was compiled without."""
        try:
            file = ELFFile(BytesIO(self._elf.read_bytes()))
            return file.get_dwarf_info() if file.has_dwarf_info() else None
        except (ELFError, DWARFError) as error:
            what = f"{self._elf.name}: its debug information cannot be read ({error})"
            raise SimulationError(what, "run edgekit build again") from error

    @cached_property
    def _starts(self) -> frozenset[int]:
        # What the linker has left out stays in the debug information, at address 0.
        return frozenset(function.address for function in self._program.functions)

    @cached_property
    def _entry_starts(self) -> list[int]:
        return [start for start, _, _ in self._entries]

    @cached_property
    def _entries(self) -> list[tuple[int, int, FDE]]:
        """(start, end, unwind information) of each function, by address."""
        if self._dwarf is None or not self._dwarf.has_CFI():
            return []
        found = [entry for entry in self._dwarf.CFI_entries() if isinstance(entry, FDE)]
        ranges = [(entry["initial_location"] & ~_THUMB, entry["address_range"], entry) for entry in found]
        kept = [(start, start + size, entry) for start, size, entry in ranges if start in self._starts]
        return sorted(kept, key=lambda row: row[:2])

    @cached_property
    def _line_starts(self) -> list[int]:
        return [start for start, _, _ in self._lines]

    @cached_property
    def _lines(self) -> list[tuple[int, int, Line]]:
        """(start, end, line) of all code, by address."""
        if self._dwarf is None:
            return []
        units = [self._dwarf.line_program_for_CU(unit) for unit in self._dwarf.iter_CUs()]
        rows = [row for unit in units if unit is not None for row in self._lines_of(unit)]
        return sorted(rows, key=lambda row: row[:2])

    def _lines_of(self, program: Any) -> Iterator[tuple[int, int, Line]]:
        begins = 0
        before = line = None
        for state in (entry.state for entry in program.get_entries() if entry.state is not None):
            if before is None:
                begins, line = state.address & ~_THUMB, None
            elif begins in self._starts and before.address < state.address:
                # Code of no line in particular, line 0, has that of the code in front of it.
                if before.line:
                    line = Line(file_of(program, before.file), before.line)
                if line is not None:
                    yield before.address, state.address, line
            before = None if state.end_sequence else state


def is_exception_return(address: int) -> bool:
    """Return whether an address is what the link register holds in a handler, bit 0 left out or not."""
    return address >= _EXCEPTION_RETURNS


def _interrupted(at: Registers, read: Callable[[int], int | None]) -> Registers | None:
    """Return the registers of what an exception interrupted, from the frame that the core has saved."""
    words = [read(at[SP] + 4 * index) for index in range(_FRAME_WORDS)]
    if None in words:
        return None
    *saved, status = (word or 0 for word in words)
    above = {**at, **dict(zip(_SAVED, saved, strict=True))}
    return {**above, SP: at[SP] + 4 * _FRAME_WORDS + (4 if status & _ALIGNED else 0)}


def _row_of(entry: FDE, address: int) -> dict[Any, Any]:
    """Return the rules of the callers' registers at an address."""
    table = entry.get_decoded().table
    rows: list[dict[Any, Any]] = [row for row in table if row["pc"] & ~_THUMB <= address]
    return rows[-1] if rows else table[0]
