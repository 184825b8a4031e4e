"""The simulated device's registers for updates: serial line, flash controller and reset."""

from collections import deque
from collections.abc import Callable

from firmware_sim.nor_flash import NorFlash

SERIAL_AVAILABLE = 0x40
SERIAL_DATA = 0x44
SERIAL_START = 0x48
FLASH_ADDRESS = 0x50
FLASH_LOW = 0x54
FLASH_HIGH = 0x58
FLASH_COMMAND = 0x5C
FLASH_STATUS = 0x60
RESET = 0x64
PROGRAM, ERASE = 1, 2


class Peripherals:
    """Answers the accesses to the registers from 0x40 on (codegen/board/board_sim.c lists them).

    Args:
        flash: The flash that its controller programs.
        on_reset: Called when the firmware wants to begin anew.

    Attributes:
        incoming: Bytes of the line that the firmware has not read.
        outgoing: Bytes that it has sent.
        has_serial: Whether it wants to be interrupted for bytes.
    """

    def __init__(self, flash: NorFlash, on_reset: Callable[[], None]) -> None:
        self.flash = flash
        self._on_reset = on_reset
        self._written: dict[int, int] = {}
        self._failed = 0
        self.incoming: deque[int] = deque()
        self.outgoing = bytearray()
        self.has_serial = False

    def read(self, offset: int) -> int:
        """Return the value of the register at an offset; registers that cannot be read are 0."""
        if offset == SERIAL_AVAILABLE:
            return len(self.incoming)
        if offset == SERIAL_DATA and self.incoming:
            return self.incoming.popleft()
        return self._failed if offset == FLASH_STATUS else 0

    def write(self, offset: int, value: int) -> None:
        """Write the register at an offset."""
        self._written[offset] = value
        if offset == SERIAL_DATA:
            self.outgoing.append(value & 0xFF)
        elif offset == SERIAL_START:
            self.has_serial = True
        elif offset == FLASH_COMMAND:
            self._failed = int(not self._command(value))
        elif offset == RESET:
            self._on_reset()

    def _command(self, command: int) -> bool:
        address = self._written.get(FLASH_ADDRESS, 0)
        if command == ERASE:
            return self.flash.erase(address)
        words = (self._written.get(register, 0) for register in (FLASH_LOW, FLASH_HIGH))
        data = b"".join(word.to_bytes(4, "little") for word in words)
        return command == PROGRAM and self.flash.program(address, data)
