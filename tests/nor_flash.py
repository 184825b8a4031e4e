"""NOR flash for `smp_server.py`: what a device writes without erasing first is counted as a violation."""

import time

SECTOR = 4096


class Flash:
    """Two slots of NOR flash: erased by sectors, programmed once per erase."""

    def __init__(self, size: int, erase_s: float) -> None:
        self.slots = [bytearray(b"\xff" * size) for _ in range(2)]
        self.erase_s = erase_s
        self.erases = 0
        self.violations = 0

    def erase(self, slot: int, sector: int) -> None:
        memory, start = self.slots[slot], sector * SECTOR
        if memory[start : start + SECTOR] != b"\xff" * SECTOR:
            time.sleep(self.erase_s)
            memory[start : start + SECTOR] = b"\xff" * SECTOR
            self.erases += 1

    def program(self, slot: int, at: int, data: bytes) -> None:
        memory = self.slots[slot]
        if any(value != 0xFF for value in memory[at : at + len(data)]):
            self.violations += 1
        memory[at : at + len(data)] = bytes(
            a & b for a, b in zip(memory[at : at + len(data)], data, strict=True)
        )
