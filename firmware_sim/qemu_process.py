"""The process of QEMU: the machine that has a target's memories, and an end that is sure to come."""

import mmap
import shutil
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from edgekit.errors import ConfigError, SimulationError
from edgekit.target import Target
from firmware_sim.counter import native_library
from firmware_sim.program import PAINT, Program
from firmware_sim.regions import BUG_HINT

QEMU = "qemu-system-arm"
STALL_S = 60.0
"""QEMU without an instruction for so long has hung."""
_POLL_S = 0.005
_VECTORS_BYTES = 64


@dataclass(frozen=True)
class QemuMachine:
    """A machine of QEMU.

    Attributes:
        name: What QEMU calls it.
        vectors: Address of the vector table that it starts with.
        memories: (address, bytes) of its memories.
    """

    name: str
    vectors: int
    memories: tuple[tuple[int, int], ...]


MACHINES = {
    "cortex-m4": QemuMachine("mps2-an386", 0, ((0x0000_0000, 4 << 20), (0x2000_0000, 4 << 20))),
    "cortex-m33": QemuMachine("mps2-an505", 0x1000_0000, ((0x1000_0000, 4 << 20), (0x3800_0000, 2 << 20))),
    "cortex-m55": QemuMachine(
        "mps3-an547",
        0,
        (
            (0x0000_0000, 512 << 10),
            (0x0100_0000, 2 << 20),
            (0x2000_0000, 512 << 10),
            (0x2100_0000, 4 << 20),
            (0x6000_0000, 2 << 30),
        ),
    ),
}
"""QEMU's machines by core."""


@dataclass(frozen=True)
class End:
    """How QEMU ended.

    Attributes:
        exit_code: Its exit code, the firmware's where that ended by itself.
        message: The first line that it said.
    """

    exit_code: int
    message: str


@dataclass(frozen=True)
class Progress:
    """How far the core is: `progress_t` of qemu_plugin.c.

    Attributes:
        instructions: Instructions by QEMU's own count.
        address: The block that it executes.
        held: Whether it waits for a debugger, or has waited.
    """

    instructions: int
    address: int
    held: bool


def require_qemu(target: Target) -> None:
    """Raise a ConfigError if there is no QEMU."""
    if shutil.which(QEMU) is None:
        raise ConfigError(
            f"a {target.core.cpu} runs in QEMU, and there is no {QEMU}", f"run apt install {QEMU}"
        )


def machine_for(program: Program, target: Target) -> QemuMachine:
    """Return QEMU's machine with a target's core and memories.

    Raises:
        SimulationError: If there is none, or the firmware does not fit the memories.
    """
    machine = MACHINES[target.core.cpu]
    memory = target.memory
    flash, ram = (memory.flash_origin, memory.flash_bytes), (memory.ram_origin, memory.ram_bytes)
    for there in (flash, ram):
        if not any(_within(there, has) for has in machine.memories):
            what = f"QEMU's {machine.name} has no memory of {there[1]} bytes at {there[0]:#x}"
            raise SimulationError(what, f"move the memories of target {target.name}")
    parts = [(address, len(data)) for address, data in program.segments]
    parts += [(section.address, section.size_bytes) for section in program.sections]
    if not all(_within(part, flash) or _within(part, ram) for part in parts):
        what = f"the firmware does not fit the memories of {target.name}"
        raise SimulationError(what, "run edgekit codegen again for this target")
    return machine


def _within(part: tuple[int, int], whole: tuple[int, int]) -> bool:
    return whole[0] <= part[0] and part[0] + part[1] <= whole[0] + whole[1]


class Qemu:
    """QEMU with a firmware, from its start to its end; leaving the context ends it.

    Args:
        work: Folder with what `QemuRun.prepare` writes; QEMU works there.
        machine: The machine.
        program: The firmware.
        target: The device.
        options: Further options.
    """

    def __init__(
        self,
        work: Path,
        machine: QemuMachine,
        program: Program,
        target: Target,
        options: Sequence[str] = (),
    ) -> None:
        self.work, self.machine, self.program, self.target = work, machine, program, target
        self._options = options

    def again(self, work: Path, options: Sequence[str]) -> "Qemu":
        """Return another process with the same firmware."""
        return Qemu(work, self.machine, self.program, self.target, options)

    def __enter__(self) -> Self:
        (self.work / "progress").write_bytes(bytes(mmap.PAGESIZE))
        with (self.work / "progress").open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        plugin = native_library("block_counter.c", "qemu_plugin.c")
        quiet = ["-display", "none", "-monitor", "none", "-serial", "none"]
        semihosting = ["-semihosting-config", "enable=on,target=native"]
        command = [QEMU, "-M", self.machine.name, *quiet, *semihosting, "-plugin", str(plugin)]
        command += [*self._options, *self._loaders()]
        with (self.work / "said").open("wb") as said:
            self._process = subprocess.Popen(
                command, cwd=self.work, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._shared.close()

    def _loaders(self) -> list[str]:
        memory, program = self.target.memory, self.program
        # RAM holds anything after power-up; the known pattern also shows later how deep the stack went.
        loaded = [(memory.ram_origin, bytes([PAINT]) * memory.ram_bytes), *program.segments]
        if memory.flash_origin != self.machine.vectors:
            vectors = next(data for address, data in program.segments if address == memory.flash_origin)
            loaded.append((self.machine.vectors, vectors[:_VECTORS_BYTES]))
        options = []
        for index, (address, data) in enumerate(loaded):
            (self.work / f"segment{index}").write_bytes(data)
            options += ["-device", f"loader,file=segment{index},addr={address:#x},force-raw=on"]
        return options

    def progress(self) -> Progress:
        """Return how far the core is."""
        instructions, address, holds = struct.unpack_from("<3Q", self._shared)
        return Progress(instructions, address, holds != 0)

    def wait(self) -> End:
        """Wait for the end.

        Raises:
            SimulationError: If QEMU executes nothing for `STALL_S`.
        """
        self._wait(until_held=False)
        said = (self.work / "said").read_text(errors="replace").strip()
        return End(self._process.returncode, said.splitlines()[0] if said else "no message")

    def wait_until_held(self) -> bool:
        """Wait until the core waits for a debugger; return False where QEMU ended instead.

        Raises:
            SimulationError: If QEMU executes nothing for `STALL_S`.
        """
        return self._wait(until_held=True)

    def _wait(self, *, until_held: bool) -> bool:
        before, since = self.progress(), time.monotonic()
        while self._process.poll() is None:
            now = self.progress()
            if until_held and now.held:
                return True
            if now.instructions != before.instructions:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > STALL_S:
                where = self.program.place_of(now.address)
                raise SimulationError(f"QEMU hangs: no instruction in {STALL_S:g} s, in {where}", BUG_HINT)
            time.sleep(_POLL_S)
        return False
