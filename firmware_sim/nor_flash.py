"""NOR flash as firmware sees it: cells are programmed once, sectors are erased, and both take time."""

from collections import Counter
from collections.abc import Callable

from edgekit.target import SECTOR_BYTES, Memory, Update

PROGRAM_BYTES = 8
_ERASED = b"\xff" * PROGRAM_BYTES


class NorFlash:
    """The flash of a simulated device.

    Args:
        memory: Where it is.
        update: How long it takes, and how much it stands.
        read: Returns bytes of the core's memory.
        write: Writes them.
        stall: Called with the microseconds that the core waits.

    Attributes:
        operations: Programs and erases so far.
        erases: Sector address to how often it was erased.
        violations: What hardware does not allow, in words: programs of cells that are not erased, addresses
            that are not aligned or elsewhere, sectors that are worn out.
        cut_at: Before which operation the power goes, counted from 0; None: never.
        torn: Whether half of that operation happens.
        is_dead: Whether the power is gone: nothing is done any more.
    """

    def __init__(
        self,
        memory: Memory,
        update: Update,
        read: Callable[[int, int], bytes],
        write: Callable[[int, bytes], None],
        stall: Callable[[float], None] = lambda _us: None,
    ) -> None:
        self._begin, self._end = memory.flash_origin, memory.flash_origin + memory.flash_bytes
        self._update = update
        self._read = read
        self._write = write
        self._stall = stall
        self.operations = 0
        self.erases: Counter[int] = Counter()
        self.violations: list[str] = []
        self.cut_at: int | None = None
        self.torn = False
        self.is_dead = False

    def program(self, address: int, data: bytes) -> bool:
        """Program 8 bytes; return whether that was allowed and is done."""
        if address % PROGRAM_BYTES or not self._begin <= address <= self._end - PROGRAM_BYTES:
            return self._refuse(f"program at {address:#x}")
        if self._read(address, PROGRAM_BYTES) != _ERASED:
            return self._refuse(f"program at {address:#x}, which is not erased")
        half = data[: PROGRAM_BYTES // 2] + bytes([data[PROGRAM_BYTES // 2] | 0x5A]) + _ERASED[:3]
        return self._do(address, data, half, self._update.program_us)

    def erase(self, address: int) -> bool:
        """Erase a sector; return whether that was allowed and is done."""
        if address % SECTOR_BYTES or not self._begin <= address <= self._end - SECTOR_BYTES:
            return self._refuse(f"erase at {address:#x}")
        if self.erases[address] >= self._update.endurance_cycles:
            return self._refuse(f"erase at {address:#x}, which is worn out")
        blank = b"\xff" * SECTOR_BYTES
        before = self._read(address, SECTOR_BYTES)
        rest = bytes(byte | 0xA5 for byte in before[SECTOR_BYTES // 2 :])
        self.erases[address] += 1
        torn = blank[: SECTOR_BYTES // 2] + rest
        return self._do(address, blank, torn, 1000 * self._update.erase_ms)

    def _refuse(self, what: str) -> bool:
        self.violations.append(what)
        return False

    def _do(self, address: int, data: bytes, torn: bytes, took_us: float) -> bool:
        """Do an operation unless the power is gone; at the cut, leave what a torn one does if it is torn."""
        if self.is_dead:
            return False
        self.is_dead = self.operations == self.cut_at
        self.operations += 1
        if not self.is_dead or self.torn:
            self._write(address, torn if self.is_dead else data)
        self._stall(took_us)
        return not self.is_dead
