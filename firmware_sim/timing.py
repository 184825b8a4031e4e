"""First-order instruction timing of Cortex-M cores, and the waits of their memory.

Each instruction has a fixed cost, with two exceptions: a load directly behind another load or store is
pipelined, and a branch costs more when it is taken. The cycles are estimates; the instruction counts beside
them are exact.

No timing of the Cortex-M55 is published: its cycles are the upper end of an interval that begins at one cycle
per instruction.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import capstone
import numpy as np
import numpy.typing as npt

from edgekit.errors import SimulationError, TargetError


@dataclass(frozen=True)
class CoreTiming:
    """The timing table of a core, in cycles; what is not named costs one.

    Attributes:
        source: Where the numbers come from.
        load: Single load.
        pipelined_load: Single load directly behind another load or store.
        store: Single store.
        multiply_accumulate: MLA, MLS and the 16-bit forms, SMLAD included.
        long_multiply: Multiplication with a 64-bit result.
        long_multiply_accumulate: The same, added to 64 bits.
        divide: Division; its true time depends on the operands.
        float_multiply_accumulate: VMLA, VFMA and their like.
        float_divide: VDIV and VSQRT.
        taken_branch: Added when a branch is taken.
        vector: Any instruction of the floating-point and vector space. Where it is given, every other
            instruction costs one cycle, nothing else of this table is used, and the sum is an upper bound.
    """

    source: str
    load: int = 2
    pipelined_load: int = 1
    store: int = 1
    multiply_accumulate: int = 1
    long_multiply: int = 1
    long_multiply_accumulate: int = 1
    divide: int = 7
    float_multiply_accumulate: int = 3
    float_divide: int = 14
    taken_branch: int = 2
    vector: int | None = None


_M4_SOURCE = (
    "Arm Cortex-M4 TRM 100166, table 3-1 and that of its floating point, zero wait states; "
    "divide 2-12 taken as 7"
)

TIMINGS = {
    "cortex-m0": CoreTiming(
        "Arm Cortex-M0 TRM DDI 0432, table 3-1, zero wait states, single-cycle multiplier",
        pipelined_load=2,
        store=2,
    ),
    "cortex-m3": CoreTiming(
        "Arm Cortex-M3 TRM DDI 0337, table 18-1, zero wait states; divide 2-12 taken as 7, "
        "long multiplications as their longest",
        multiply_accumulate=2,
        long_multiply=5,
        long_multiply_accumulate=7,
    ),
    "cortex-m4": CoreTiming(_M4_SOURCE),
    "cortex-m33": CoreTiming(f"{_M4_SOURCE}; Arm publishes no table for the Cortex-M33"),
    "cortex-m55": CoreTiming(
        "uncalibrated: between 1 cycle per instruction and, as counted, 2 per MVE instruction (two beats of "
        "four a cycle, unverified: Arm publishes no table for the Cortex-M55)",
        taken_branch=0,
        vector=2,
    ),
}
"""Timing tables by the name that targets use in `timing.table`."""

_SINGLE_LOADS = (
    "ldr",
    "ldrb",
    "ldrh",
    "ldrsb",
    "ldrsh",
    "ldrbt",
    "ldrht",
    "ldrt",
    "ldrex",
    "ldrexb",
    "ldrexh",
)
_SINGLE_STORES = ("str", "strb", "strh", "strbt", "strht", "strt", "strex", "strexb", "strexh")
_ACQUIRES = ("lda", "ldab", "ldah", "ldaex", "ldaexb", "ldaexh")
_RELEASES = ("stl", "stlb", "stlh", "stlex", "stlexb", "stlexh")
_LOADS = frozenset((*_SINGLE_LOADS, *_ACQUIRES, "tbb", "tbh"))
_STORES = frozenset((*_SINGLE_STORES, *_RELEASES))
_FLOAT_MEMORY = frozenset(("vldr", "vstr"))
_LOAD_MULTIPLES = frozenset(("ldm", "ldmdb", "pop", "vldmia", "vldmdb", "vpop"))
_STORE_MULTIPLES = frozenset(("stm", "stmdb", "push", "vstmia", "vstmdb", "vpush"))
_PAIRS = frozenset(("ldrd", "strd"))
_DIVISIONS = frozenset(("sdiv", "udiv"))
_LONG_MULTIPLIES = frozenset(("smull", "umull"))
_MEMORY = _LOADS | _STORES | _FLOAT_MEMORY | _LOAD_MULTIPLES | _STORE_MULTIPLES | _PAIRS
_FIRST_OF_32_BITS = 0xE800
_VECTOR_MASK = 0xEC00
"""Set in the first halfword of coprocessor, floating-point and MVE instructions."""
_MULTIPLY_ACCUMULATE = re.compile(r"mla|mls|smla([bt][bt]|w[bt]|d|dx)|smls(d|dx)|smmla|smmls")
_FLOAT_DIVIDE = re.compile(r"vdiv|vsqrt")
_FLOAT_MULTIPLY_ACCUMULATE = re.compile(r"vf?n?m(la|ls|a|s)")
_WIDE = re.compile(r"\bd\d")
"""A register of two words."""
_LONG_MULTIPLY_ACCUMULATE = re.compile(r"[su]mlal.*|umaal|smlsl.*")


def timing_of(name: str) -> CoreTiming:
    """Return the timing table of that name.

    Raises:
        TargetError: If there is none.
    """
    if name not in TIMINGS:
        raise TargetError(
            f"timing.table = {name!r} is not a timing table", f"choose one of {', '.join(TIMINGS)}"
        )
    return TIMINGS[name]


def instruction_cycles(timing: CoreTiming, mnemonic: str, operands: str, *, pipelined: bool) -> int:
    """Return the cycles of one instruction, its branch not taken.

    Args:
        timing: The core's table.
        mnemonic: Base mnemonic, without condition and width.
        operands: Operand text; the register list of multiple loads and stores is counted in it.
        pipelined: Whether the instruction directly before it was a load or a store.

    Example:
        >>> instruction_cycles(TIMINGS["cortex-m4"], "pop", "{r4, r5, pc}", pipelined=False)
        4
    """
    if mnemonic in _LOADS:
        return timing.pipelined_load if pipelined else timing.load
    if mnemonic in _STORES:
        return timing.store
    if mnemonic in _LOAD_MULTIPLES or mnemonic in _STORE_MULTIPLES:
        registers = operands[operands.index("{") :]
        return 1 + registers.count(",") + 1 + len(_WIDE.findall(registers))
    if mnemonic.startswith("v"):
        return _float_cycles(timing, mnemonic, operands)
    if mnemonic in _PAIRS:
        return 3
    if mnemonic in _DIVISIONS:
        return timing.divide
    if mnemonic in _LONG_MULTIPLIES:
        return timing.long_multiply
    if _LONG_MULTIPLY_ACCUMULATE.fullmatch(mnemonic):
        return timing.long_multiply_accumulate
    if _MULTIPLY_ACCUMULATE.fullmatch(mnemonic):
        return timing.multiply_accumulate
    return 1


def _float_cycles(timing: CoreTiming, mnemonic: str, operands: str) -> int:
    if mnemonic in _FLOAT_MEMORY:
        return 3 if _WIDE.match(operands) else 2
    if _FLOAT_DIVIDE.fullmatch(mnemonic):
        return timing.float_divide
    return timing.float_multiply_accumulate if _FLOAT_MULTIPLY_ACCUMULATE.fullmatch(mnemonic) else 1


@dataclass(frozen=True)
class Waits:
    """What a memory adds to the table of a core; means, so fractions of cycles.

    Attributes:
        fetch_cycles: For the instructions behind each taken branch.
        data_cycles: For each load from flash.
    """

    fetch_cycles: float = 0.0
    data_cycles: float = 0.0

    def cycles(self, taken_branches: int, flash_reads: int) -> int:
        """Return the wait of so many branches and loads, rounded to whole cycles.

        Example:
            >>> Waits(fetch_cycles=3.7, data_cycles=4.0).cycles(10, 2)
            45
        """
        return round(self.fetch_cycles * taken_branches + self.data_cycles * flash_reads)


@dataclass(frozen=True)
class CostTable:
    """Costs of all code, per halfword, in the form that the block counter reads.

    Attributes:
        instructions_before: Instructions that begin before each halfword, uint32 (halfwords + 1,).
        cycles_before: Their cycles in straight line, uint32 (halfwords + 1,).
        entry_cycles: What an instruction costs more when it is jumped to, uint8 (halfwords,).
    """

    instructions_before: npt.NDArray[np.uint32]
    cycles_before: npt.NDArray[np.uint32]
    entry_cycles: npt.NDArray[np.uint8]


def cost_table(
    timing: CoreTiming, code: bytes, origin: int, instruction_ranges: Sequence[tuple[int, int]]
) -> CostTable:
    """Disassemble code and return its costs.

    Args:
        timing: The core's table.
        code: All code, literal pools and jump tables included.
        origin: Its address.
        instruction_ranges: Addresses [start, end) that hold instructions and no data.

    Raises:
        SimulationError: If a range holds something that is no Thumb instruction.
    """
    halfwords = (len(code) + 1) // 2
    instructions = np.zeros(halfwords + 1, np.uint32)
    cycles = np.zeros(halfwords + 1, np.uint32)
    entry_cycles = np.zeros(halfwords, np.uint8)
    for start, end in instruction_ranges:
        reached, piece = start, code[start - origin : end - origin]
        for size, straight, jumped in _costs(timing, piece):
            index = (reached - origin) >> 1
            instructions[index + 1] = 1
            cycles[index + 1] = straight
            entry_cycles[index] = jumped - straight
            reached += size
        if reached != end:
            raise SimulationError(
                f"{reached:#x} holds no known Thumb instruction", "build the firmware again"
            )
    return CostTable(
        np.cumsum(instructions, dtype=np.uint32), np.cumsum(cycles, dtype=np.uint32), entry_cycles
    )


def _costs(timing: CoreTiming, code: bytes) -> Iterator[tuple[int, int, int]]:
    """Return (bytes, cycles in straight line, cycles when jumped to) of each instruction."""
    return _costs_by_name(timing, code) if timing.vector is None else _costs_by_bits(timing.vector, code)


def _costs_by_name(timing: CoreTiming, code: bytes) -> Iterator[tuple[int, int, int]]:
    disassembler = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    pipelined = False
    for instruction in disassembler.disasm(code, 0):
        mnemonic, operands = instruction.insn_name(), instruction.op_str
        straight = instruction_cycles(timing, mnemonic, operands, pipelined=pipelined)
        yield instruction.size, straight, instruction_cycles(timing, mnemonic, operands, pipelined=False)
        pipelined = mnemonic in _MEMORY


def _costs_by_bits(vector: int, code: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield costs where disassemblers do not know all instructions (MVE): by the bits of the first halfword.

    Example:
        >>> code = bytes.fromhex("0120" "30ee002e" "4ff00100")  # movs, vadd.i8 (MVE), mov.w
        >>> list(_costs_by_bits(2, code))
        [(2, 1, 1), (4, 2, 2), (4, 1, 1)]
    """
    place = 0
    while place + 2 <= len(code):
        first = int.from_bytes(code[place : place + 2], "little")
        size = 4 if first >= _FIRST_OF_32_BITS else 2
        cycles = vector if first & _VECTOR_MASK == _VECTOR_MASK else 1
        yield size, cycles, cycles
        place += size
