"""Which functions the compiler has inlined at an address."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from elftools.dwarf.ranges import BaseAddressEntry

_THUMB = 1
_NEWEST_KNOWN = 5
_SCOPES = ("DW_TAG_inlined_subroutine", "DW_TAG_lexical_block")


@dataclass(frozen=True)
class Line:
    """A line of source.

    Attributes:
        file: Its file, relative to the build.
        number: Its number, from 1.
    """

    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


@dataclass(frozen=True)
class InlinedCall:
    """A call that the compiler has replaced by the function's body.

    Attributes:
        function: The function.
        line: Where it was called.
    """

    function: str
    line: Line


def inlined_calls(dwarf: Any, address: int, starts: Collection[int]) -> list[InlinedCall]:
    """Return the inlined calls that an instruction is in, the innermost first.

    Args:
        dwarf: The debug information.
        address: Of the instruction.
        starts: Where functions begin; what the linker has left out begins at none of them.
    """
    for unit in dwarf.iter_CUs():
        for function in unit.get_top_DIE().iter_children():
            low = function.attributes.get("DW_AT_low_pc")
            if function.tag != "DW_TAG_subprogram" or low is None or low.value & ~_THUMB not in starts:
                continue
            if _holds(dwarf, unit, function, address):
                program = dwarf.line_program_for_CU(unit)
                return list(_calls_in(dwarf, unit, function, address, program))[::-1]
    return []


def file_of(program: Any, index: int) -> str:
    """Return a file of a unit's line program, by its number there."""
    header = program.header
    from_zero = header.version >= _NEWEST_KNOWN
    entry = header.file_entry[index if from_zero else index - 1]
    name = PurePosixPath(entry.name.decode())
    if entry.dir_index or from_zero:
        folder = header.include_directory[entry.dir_index if from_zero else entry.dir_index - 1]
        name = PurePosixPath(folder.decode()) / name
    return str(name)


def _calls_in(dwarf: Any, unit: Any, scope: Any, address: int, program: Any) -> Iterator[InlinedCall]:
    for inner in scope.iter_children():
        if inner.tag not in _SCOPES or not _holds(dwarf, unit, inner, address):
            continue
        if inner.tag == "DW_TAG_inlined_subroutine":
            origin = inner.get_DIE_from_attribute("DW_AT_abstract_origin")
            file, number = (inner.attributes[f"DW_AT_call_{what}"].value for what in ("file", "line"))
            yield InlinedCall(
                origin.attributes["DW_AT_name"].value.decode(), Line(file_of(program, file), number)
            )
        yield from _calls_in(dwarf, unit, inner, address, program)


def _holds(dwarf: Any, unit: Any, scope: Any, address: int) -> bool:
    return any(start <= address < end for start, end in _ranges(dwarf, unit, scope.attributes))


def _ranges(dwarf: Any, unit: Any, attributes: Any) -> Iterator[tuple[int, int]]:
    if "DW_AT_ranges" in attributes:
        low = unit.get_top_DIE().attributes.get("DW_AT_low_pc")
        base = 0 if low is None else low.value
        for entry in dwarf.range_lists().get_range_list_at_offset(attributes["DW_AT_ranges"].value, unit):
            if isinstance(entry, BaseAddressEntry):
                base = entry.base_address
            else:
                yield base + entry.begin_offset, base + entry.end_offset
    elif "DW_AT_low_pc" in attributes and "DW_AT_high_pc" in attributes:
        start, high = attributes["DW_AT_low_pc"].value, attributes["DW_AT_high_pc"]
        yield start, high.value if high.form == "DW_FORM_addr" else start + high.value
