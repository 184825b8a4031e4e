"""The native block counter: compiled for this machine at first use, called by the simulator core."""

import ctypes
import functools
import hashlib
import math
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgekit.errors import SimulationError
from edgekit.toolchain import cache_folder, compile_host, find_host_compiler
from firmware_sim.timing import CoreTiming, CostTable, Waits

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc

SAME_REGION = 0xFFFF
"""In the region table: code that counts for the region that called it."""


PLACE = np.dtype([("executions", "<i8"), ("entries", "<u8"), ("exits", "<u8"), ("flash_reads", "<u8")])
"""Mirrors `place_count_t` of block_counter.h."""


class _RegionCount(ctypes.Structure):
    _fields_ = (
        ("instructions", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("taken_branches", ctypes.c_uint64),
        ("flash_reads", ctypes.c_uint64),
    )


class _Counter(ctypes.Structure):
    """Mirrors `block_counter_t` of block_counter.c."""

    _fields_ = (
        ("code_origin", ctypes.c_uint32),
        ("code_bytes", ctypes.c_uint32),
        ("instructions_before", ctypes.c_void_p),
        ("cycles_before", ctypes.c_void_p),
        ("entry_cycles", ctypes.c_void_p),
        ("region_of", ctypes.c_void_p),
        ("regions", ctypes.c_void_p),
        ("places", ctypes.c_void_p),
        ("taken_branch_cycles", ctypes.c_uint32),
        ("limit_reached", ctypes.c_uint32),
        ("instruction_limit", ctypes.c_uint64),
        ("no_code_address", ctypes.c_uint64),
        ("stop", ctypes.c_void_p),
        ("fetch_wait_cycles", ctypes.c_double),
        ("data_wait_cycles", ctypes.c_double),
        ("interrupt_at", ctypes.c_double),
        ("instructions", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("taken_branches", ctypes.c_uint64),
        ("flash_reads", ctypes.c_uint64),
        ("next_address", ctypes.c_uint64),
        ("region", ctypes.c_uint32),
        ("begin", ctypes.c_uint32),
        ("no_code", ctypes.c_uint32),
        ("interrupted", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class Count:
    """What was counted: exact instructions and taken branches, estimated cycles."""

    instructions: int
    cycles: int
    taken_branches: int


class BlockCounter:
    """Counts what a simulated core executes.

    Args:
        costs: Costs of the code.
        code_origin: Address of the code.
        timing: Of the core.
        waits: For its memory.
        region_of: Region that starts at each halfword of the code, or `SAME_REGION`; uint16.
        regions: Number of regions; counting starts in region 0.
        instruction_limit: Instructions after which the core is stopped.
    """

    def __init__(
        self,
        costs: CostTable,
        code_origin: int,
        timing: CoreTiming,
        waits: Waits,
        region_of: npt.NDArray[np.uint16],
        regions: int,
        instruction_limit: int,
    ) -> None:
        self._waits = waits
        self._regions = (_RegionCount * regions)()
        # The structure holds bare pointers: the arrays must live as long as it does.
        self._arrays = (costs.instructions_before, costs.cycles_before, costs.entry_cycles, region_of)
        self._places = np.zeros(len(costs.entry_cycles) + 1, PLACE)
        pointers = [array.ctypes.data for array in self._arrays]
        self._counter = _Counter(
            code_origin,
            2 * len(costs.entry_cycles),
            *pointers,
            ctypes.addressof(self._regions),
            self._places.ctypes.data,
            timing.taken_branch,
            limit_reached=0,
            instruction_limit=instruction_limit,
            fetch_wait_cycles=waits.fetch_cycles,
            data_wait_cycles=waits.data_cycles,
            interrupt_at=math.inf,
        )

    def attach(self, engine: "Uc", entry: int, flash: range) -> None:
        """Have a unicorn engine call the counter on every block, and on loads from flash if they wait.

        Args:
            engine: The `unicorn.Uc` object.
            entry: Address of the first instruction.
            flash: Addresses of the flash.

        Raises:
            ConfigError: If the counter cannot be compiled for this machine.
            SimulationError: If the engine refuses it.
        """
        from unicorn import UC_HOOK_BLOCK, UC_HOOK_MEM_READ
        from unicorn.unicorn_py3.unicorn import uclib

        self._counter.next_address = entry
        self._counter.stop = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p).value
        library = ctypes.CDLL(str(native_library("block_counter.c")))
        hook = ctypes.cast(library.edgekit_count_block, ctypes.c_void_p)
        user = ctypes.addressof(self._counter)
        add_hook(engine, UC_HOOK_BLOCK, hook, user, 1, 0)
        if self._waits.data_cycles:
            reads = ctypes.cast(library.edgekit_count_read, ctypes.c_void_p)
            add_hook(engine, UC_HOOK_MEM_READ, reads, user, flash.start, flash.stop - 1)

    def allow(self, instructions: int) -> None:
        """Set the limit to that many instructions more."""
        self._counter.instruction_limit = self._counter.instructions + instructions

    def interrupt_at(self, cycles: float) -> None:
        """Have the core stopped at the first block that begins with so many cycles; never, if infinite."""
        self._counter.interrupt_at = cycles

    def take_interrupt(self) -> bool:
        """Return whether the core was stopped for an interrupt, and forget it."""
        taken = bool(self._counter.interrupted)
        self._counter.interrupted = 0
        return taken

    def jump(self, address: int) -> tuple[int, int]:
        """Note that the core goes on elsewhere without a branch; return what `back` needs."""
        before = self._counter.next_address, self._counter.region
        self._counter.next_address = address
        return before

    def back(self, before: tuple[int, int]) -> None:
        """Note that the core is back from a `jump`."""
        self._counter.next_address, self._counter.region = before

    @property
    def instructions(self) -> int:
        """Instructions so far, to the end of the running block."""
        return int(self._counter.instructions)

    @property
    def cycles(self) -> int:
        """Estimated cycles so far, to the end of the running block."""
        counter = self._counter
        return int(counter.cycles) + self._waits.cycles(counter.taken_branches, counter.flash_reads)

    @property
    def next_address(self) -> int:
        """The address behind the last block."""
        return int(self._counter.next_address)

    @property
    def limit_reached(self) -> bool:
        """Whether the core was stopped at the instruction limit."""
        return bool(self._counter.limit_reached)

    @property
    def no_code(self) -> int | None:
        """The address that the core was stopped at because it is no code; None if it was not."""
        return int(self._counter.no_code_address) if self._counter.no_code else None

    def counts(self) -> Sequence[Count]:
        """Return the counts of each region."""
        return [
            Count(
                r.instructions,
                r.cycles + self._waits.cycles(r.taken_branches, r.flash_reads),
                r.taken_branches,
            )
            for r in self._regions
        ]

    def places(self) -> npt.NDArray[np.void]:
        """Return what happened at each halfword of the code, `PLACE`."""
        return self._places


def add_hook(engine: "Uc", kind: int, hook: ctypes.c_void_p, user: int, begin: int, end: int) -> None:
    """Have a unicorn engine call native code between two addresses; everywhere if the first is higher.

    Raises:
        SimulationError: If the engine refuses it.
    """
    from unicorn.unicorn_py3.unicorn import uclib

    # hook_add takes Python functions only; the handle for the C interface is a private attribute.
    handle = engine._uch  # noqa: SLF001
    status = uclib.uc_hook_add(handle, ctypes.byref(ctypes.c_size_t()), kind, hook, user, begin, end)
    if status != 0:
        raise SimulationError(f"the core refused a hook (status {status})", "install unicorn again")


@functools.cache
def native_library(*names: str) -> Path:
    """Return the library of some C files of this package, from the cache if the same were compiled before.

    Raises:
        ConfigError: If they cannot be compiled for this machine.
    """
    folder = Path(__file__).parent
    sources = [folder / name for name in names]
    identity = " ".join([*find_host_compiler(), sys.platform, platform.machine()]).encode()
    for file in (folder / "block_counter.h", *sources):
        identity += file.read_bytes()
    library = cache_folder() / f"{sources[-1].stem}-{hashlib.sha256(identity).hexdigest()[:16]}.so"
    if not library.exists():
        # Compiled beside and moved in place, because another process may be doing the same.
        with tempfile.TemporaryDirectory(dir=cache_folder()) as work:
            os.replace(compile_host(sources, Path(work, library.name)), library)
    return library
