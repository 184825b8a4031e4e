"""The core in QEMU just before a run went wrong: the run is repeated up to there, and QEMU's debugger asked.

Registers at a fault are lost when its handler runs, all the more after a stack overflow, which leaves no
room to save them. Runs are deterministic: the block that went wrong is found again by its instruction count.
"""

import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import SimulationError
from firmware_sim.debug_info import PC
from firmware_sim.fault import Machine
from firmware_sim.qemu_process import STALL_S, Qemu

_HOLDS_MS = (100, 500, 2500)
"""How long the core waits for the debugger. Too short, and the stop is late: the run is repeated."""
_MOST_STEPS = 2000
"""More instructions than a block of QEMU has."""
_FAULT_STATUS, _PROTECTION_ADDRESS, _BUS_ADDRESS = 0xE000_ED28, 0xE000_ED34, 0xE000_ED38
_REGISTERS = 16
_PROGRAM_STATUS = "p19"
_STOPPED = "T"
_EXCEPTION_MASK = 0x1FF


@dataclass(frozen=True)
class Stopped:
    """The core at the instruction that went wrong.

    Attributes:
        machine: Its registers and memory.
        exception: The number of the exception that it took.
        fault_status: Its Configurable Fault Status Register.
        fault_address: What the memory protection and the bus say that was accessed.
    """

    machine: Machine
    exception: int
    fault_status: int
    fault_address: tuple[int, int]


class _Debugger:
    """QEMU's debugger, by the remote protocol of GDB. The core stops when it connects."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(STALL_S)
        self._socket.connect(str(path))
        self._received = b""
        # QEMU names the program status only to who has asked for the descriptions of registers.
        self.ask("qXfer:features:read:target.xml:0,1")

    def ask(self, command: str) -> str:
        """Return the answer to a command that leaves the core as it is."""
        self._send(command)
        # That the core has stopped is said without being asked.
        while (answer := self._answer()).startswith(_STOPPED):
            pass
        return answer

    def step(self) -> None:
        """Execute one instruction."""
        self._send("s")
        self._answer()

    def _send(self, command: str) -> None:
        data = command.encode()
        self._socket.sendall(b"$%s#%02x" % (data, sum(data) & 0xFF))

    def _answer(self) -> str:
        while b"#" not in self._received or len(self._received) < self._received.index(b"#") + 3:
            received = self._socket.recv(4096)
            if not received:
                raise OSError("QEMU has closed the connection")
            self._received += received
        packet, _, rest = self._received.partition(b"#")
        self._received = rest[2:]
        self._socket.sendall(b"+")
        return packet.partition(b"$")[2].decode()

    def registers(self) -> list[int]:
        """Return R0 to R15 and the program status."""
        words = bytes.fromhex(self.ask("g")[: 8 * _REGISTERS] + self.ask(_PROGRAM_STATUS))
        return [int.from_bytes(words[i : i + 4], "little") for i in range(0, len(words), 4)]

    def word(self, address: int) -> int | None:
        """Return a word of memory; None where there is none."""
        answer = self.ask(f"m{address:x},4")
        return None if len(answer) != 8 else int.from_bytes(bytes.fromhex(answer), "little")

    def bytes_at(self, address: int, size: int) -> bytes:
        """Return memory."""
        content = b""
        while len(content) < size:
            part = min(1024, size - len(content))
            content += bytes.fromhex(self.ask(f"m{address + len(content):x},{part:x}"))
        return content

    def close(self) -> None:
        self._socket.close()


def machine_before_end(
    qemu: Qemu, prepare: Callable[[Path, int], None], instructions: int, handler: int, steps: int | None
) -> Stopped:
    """Repeat a run and return the core as it was just before it went wrong.

    Args:
        qemu: The process that ran.
        prepare: Writes what the run needs into a folder, for a core that waits so many milliseconds in the
            block before the last.
        instructions: Instructions before the last block.
        handler: The address that every fault ends at.
        steps: Instructions of the last block to execute; None: up to the fault.

    Raises:
        SimulationError: If the run does not repeat.
    """
    for hold_ms in _HOLDS_MS:
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            prepare(work, hold_ms)
            with qemu.again(work, ["-gdb", "unix:debugger,server=on,wait=off"]) as again:
                if not again.wait_until_held():
                    break
                debugger = _Debugger(work / "debugger")
                try:
                    registers = debugger.registers()
                    if again.progress().instructions == instructions:
                        return _step_to_end(qemu, debugger, registers, handler, steps)
                finally:
                    debugger.close()
    raise SimulationError("QEMU's run went wrong and cannot be repeated", "run the same command again")


def _step_to_end(
    qemu: Qemu, debugger: _Debugger, registers: list[int], handler: int, steps: int | None
) -> Stopped:
    exception = 0
    for _ in range(_MOST_STEPS if steps is None else steps):
        debugger.step()
        after = debugger.registers()
        if after[PC] == handler:
            exception = after[_REGISTERS] & _EXCEPTION_MASK
            break
        registers = after
    limit, top = qemu.program.stack_limit, qemu.program.stack_top
    stack = debugger.bytes_at(limit, top - limit)

    def read(address: int) -> int | None:
        if not limit <= address <= top - 4:
            return None
        return int.from_bytes(stack[address - limit :][:4], "little")

    status = debugger.word(_FAULT_STATUS) or 0
    addresses = (debugger.word(_PROTECTION_ADDRESS) or 0, debugger.word(_BUS_ADDRESS) or 0)
    machine = Machine(dict(enumerate(registers[:_REGISTERS])), registers[_REGISTERS], read)
    return Stopped(machine, exception, status, addresses)
