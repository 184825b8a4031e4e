"""How fast the simulated cores are, counting and bare."""

import resource
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.target import Target
from firmware_sim import simulate
from firmware_sim.device import REGISTERS_ADDRESS, REGISTERS_BYTES, Device
from firmware_sim.division_trap import SYSTEM_CONTROL, SYSTEM_CONTROL_BYTES
from firmware_sim.interrupt import AUDIO_VECTOR, enter, leave
from firmware_sim.program import read_program
from firmware_sim.unicorn_faults import unicorn

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc

RUNS = 3
_NEVER = 0xFFFF_FFFE


@dataclass(frozen=True)
class Time:
    """What something took.

    Attributes:
        wall_s: By the clock on the wall.
        cpu_s: Of processors, its child processes included.
    """

    wall_s: float
    cpu_s: float


def timed(run: Callable[[], object]) -> Time:
    """Return the least that `RUNS` runs took; others share the machine."""
    times = []
    for _ in range(RUNS):
        wall, cpu = time.perf_counter(), _cpu_s()
        run()
        times.append(Time(time.perf_counter() - wall, _cpu_s() - cpu))
    return Time(min(found.wall_s for found in times), min(found.cpu_s for found in times))


def _cpu_s() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def counting(elf: Path, target: Target, pcm: NDArray[np.int16]) -> tuple[Time, int]:
    """Return the time of a run with all its counts, and its instructions."""
    instructions = simulate(elf, target, pcm).instructions
    assert instructions is not None
    return timed(lambda: simulate(elf, target, pcm)), instructions


def bare(elf: Path, target: Target, pcm: NDArray[np.int16]) -> Time:
    """Return the time of the same run in unicorn alone: memories and audio, nothing counted or caught."""
    program = read_program(elf)

    def run() -> None:
        uc = unicorn()
        arm = uc.arm_const
        engine = uc.Uc(uc.UC_ARCH_ARM, uc.UC_MODE_THUMB | uc.UC_MODE_MCLASS, arm.UC_CPU_ARM_CORTEX_M33)
        device = Device(pcm, target.audio.block_samples, None, lambda: None, engine.emu_stop)
        memory = target.memory
        engine.mem_map(memory.flash_origin, memory.flash_bytes, uc.UC_PROT_ALL)
        engine.mem_map(memory.ram_origin, memory.ram_bytes, uc.UC_PROT_ALL)
        engine.mem_map(SYSTEM_CONTROL, SYSTEM_CONTROL_BYTES, uc.UC_PROT_ALL)
        engine.mmio_map(
            REGISTERS_ADDRESS,
            REGISTERS_BYTES,
            lambda _engine, offset, _size, _data: device.read(offset),
            None,
            lambda _engine, offset, _size, value, _data: device.write(offset, value),
            None,
        )
        for address, data in program.segments:
            engine.mem_write(address, data)
        top, entry = struct.unpack("<II", bytes(engine.mem_read(memory.flash_origin, 8)))
        engine.reg_write(arm.UC_ARM_REG_SP, top)
        engine.hook_add(uc.UC_HOOK_INTR, lambda _engine, _number, _data: engine.emu_stop())
        handler = int.from_bytes(engine.mem_read(memory.flash_origin + 4 * AUDIO_VECTOR, 4), "little")
        begin: int = entry
        while device.exit_code is None:
            begin = _go_on(engine, device, begin, handler)

    return timed(run)


def _go_on(engine: "Uc", device: Device, begin: int, handler: int) -> int:
    """Run until the firmware waits, or returns from the interrupt; return where it goes on."""
    uc = unicorn()
    try:
        engine.emu_start(begin, _NEVER)
    except uc.UcError:  # it waits
        device.arrive()
        enter(engine, handler)
        return handler
    return 0 if device.exit_code is not None else leave(engine)
