"""The firmware's ELF file: what is loaded where, and which symbol lies where."""

import bisect
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Symbol as ElfSymbol
from elftools.elf.sections import SymbolTableSection

from edgekit.errors import SimulationError

PAINT = 0xA5
"""What RAM is filled with before a run."""
UNDEFINED = 0xDE
"""The high byte of UDF of 2 bytes."""
_THUMB = 1
REBUILD = "run edgekit build again; the firmware must keep its symbol table"


@dataclass(frozen=True)
class Symbol:
    """A function or an object.

    Attributes:
        name: Its name in C.
        address: First byte, without the Thumb bit.
        size_bytes: Its size.
        section: Name of its section.
    """

    name: str
    address: int
    size_bytes: int
    section: str


@dataclass(frozen=True)
class Section:
    """An allocated section.

    Attributes:
        name: Its name.
        address: Where it runs.
        size_bytes: Its size.
        writable: Whether it lies in RAM.
        loaded: Whether its content lies in flash (all but zeroed data).
    """

    name: str
    address: int
    size_bytes: int
    writable: bool
    loaded: bool


@dataclass(frozen=True)
class Program:
    """A firmware.

    Attributes:
        segments: (flash address, content) of each loaded segment.
        sections: Allocated sections.
        functions: Functions, by address.
        objects: Variables and constants, by address.
        code_origin: First address of the code.
        code: All code, with its literal pools and jump tables.
        instruction_ranges: Addresses [start, end) that hold instructions.
        stack_limit: Lowest address of the stack.
        stack_top: Address behind the stack.
    """

    segments: tuple[tuple[int, bytes], ...]
    sections: tuple[Section, ...]
    functions: tuple[Symbol, ...]
    objects: tuple[Symbol, ...]
    code_origin: int
    code: bytes
    instruction_ranges: tuple[tuple[int, int], ...]
    stack_limit: int
    stack_top: int

    @property
    def flash_bytes(self) -> int:
        """Flash of code, constants, model and initial values."""
        return sum(section.size_bytes for section in self.sections if section.loaded)

    def function_at(self, address: int) -> str:
        """Return the name of the function that an address lies in, or the address as text."""
        index = bisect.bisect_right([function.address for function in self.functions], address) - 1
        if index >= 0:
            function = self.functions[index]
            if address < function.address + max(function.size_bytes, 2):
                return function.name
        return f"{address:#x}"

    def place_of(self, address: int) -> str:
        """Return the function of an address, and the address, for messages."""
        return f"{self.function_at(address)} (pc {address:#x})"

    def halfword_at(self, address: int) -> int | None:
        """Return the halfword at an address of the code; None elsewhere."""
        offset = address - self.code_origin
        if not 0 <= offset <= len(self.code) - 2:
            return None
        return int.from_bytes(self.code[offset : offset + 2], "little")

    def stack_bytes_of(self, stack: bytes) -> int:
        """Return the high-water mark of a stack that was filled with `PAINT`, from its memory at the end."""
        used = np.flatnonzero(np.frombuffer(stack, np.uint8) != PAINT)
        return 0 if used.size == 0 else len(stack) - int(used[0])


def read_program(elf: Path) -> Program:
    """Read an ELF file.

    Args:
        elf: A firmware linked with the board's linker script.

    Raises:
        SimulationError: If it is not an Arm ELF file with a symbol table and the board's stack symbols.
    """
    with open_elf(elf) as file:
        return _program(file, elf.name)


@contextlib.contextmanager
def open_elf(elf: Path) -> Iterator[ELFFile]:
    """Open an ELF file.

    Raises:
        SimulationError: If it cannot be read, or is none; also if that shows inside the context.
    """
    try:
        with elf.open("rb") as file:
            yield ELFFile(file)
    except OSError as error:
        raise SimulationError(f"{elf}: cannot be read ({error.strerror})", "run edgekit build") from error
    except ELFError as error:
        raise SimulationError(f"{elf}: not an ELF file ({error})", "run edgekit build again") from error


def _program(file: ELFFile, name: str) -> Program:
    code = file.get_section_by_name(".text")
    table = file.get_section_by_name(".symtab")
    if file["e_machine"] != "EM_ARM" or code is None or not isinstance(table, SymbolTableSection):
        raise SimulationError(f"{name}: not an Arm firmware with a symbol table", REBUILD)
    symbols = list(table.iter_symbols())
    values = {symbol.name: symbol["st_value"] for symbol in symbols}
    for wanted in ("__stack_limit", "__stack_top"):
        if wanted not in values:
            raise SimulationError(f"{name}: has no symbol {wanted}", "link it with the board's linker script")
    code_end = code["sh_addr"] + code["sh_size"]
    code_index = file.get_section_index(".text")
    marks = [symbol for symbol in symbols if symbol["st_shndx"] == code_index]
    return Program(
        segments=tuple(
            (segment["p_paddr"], segment.data())
            for segment in file.iter_segments("PT_LOAD")
            if segment["p_filesz"]
        ),
        sections=tuple(_sections(file)),
        functions=tuple(_named(file, symbols, "STT_FUNC")),
        objects=tuple(_named(file, symbols, "STT_OBJECT")),
        code_origin=code["sh_addr"],
        code=code.data(),
        instruction_ranges=tuple(_instruction_ranges(marks, code_end)),
        stack_limit=values["__stack_limit"],
        stack_top=values["__stack_top"],
    )


def _sections(file: ELFFile) -> Iterator[Section]:
    for section in file.iter_sections():
        flags = section["sh_flags"]
        if flags & SH_FLAGS.SHF_ALLOC and section["sh_size"]:
            writable = bool(flags & SH_FLAGS.SHF_WRITE)
            loaded = section["sh_type"] != "SHT_NOBITS"
            yield Section(section.name, section["sh_addr"], section["sh_size"], writable, loaded)


def _named(file: ELFFile, symbols: Sequence[ElfSymbol], kind: str) -> list[Symbol]:
    """Return the symbols of a kind, one per address: of aliases the global or the shortest, the name in C."""
    found: dict[int, tuple[bool, int, str, Symbol]] = {}
    for symbol in symbols:
        index = symbol["st_shndx"]
        if symbol["st_info"]["type"] != kind or not isinstance(index, int):
            continue
        address = symbol["st_value"] & ~_THUMB if kind == "STT_FUNC" else symbol["st_value"]
        named = Symbol(symbol.name, address, symbol["st_size"], file.get_section(index).name)
        rank = (symbol["st_info"]["bind"] == "STB_LOCAL", len(symbol.name), symbol.name, named)
        found[address] = min(found.get(address, rank), rank, key=lambda candidate: candidate[:3])
    return [found[address][3] for address in sorted(found)]


def _instruction_ranges(marks: Sequence[ElfSymbol], code_end: int) -> Iterator[tuple[int, int]]:
    # Mapping symbols of the Arm ABI: $t starts Thumb code, $d starts data. Objects in the code section (the
    # vector table) have none of the two before them, so what lies before the first $t is data.
    points = sorted(
        {(mark["st_value"], mark.name[:2]) for mark in marks if mark.name[:2] in ("$t", "$d")},
    )
    ends = [address for address, _ in points[1:]] + [code_end]
    for (start, kind), end in zip(points, ends, strict=True):
        if kind == "$t" and start < end:
            yield start, end
