"""The flash of the simulated device, as hardware is."""

import dataclasses

import pytest

from edgekit.targets import load_target
from firmware_sim.nor_flash import NorFlash

TARGET = load_target("hearing-aid")
ORIGIN = TARGET.memory.flash_origin
DATA = bytes(range(1, 9))


class Cells:
    """A flash of two sectors and what it took."""

    def __init__(self, **changes) -> None:
        self.bytes = bytearray(b"\xff" * 8192)
        self.stalled_us = 0.0
        memory = dataclasses.replace(TARGET.memory, flash_bytes=8192)
        update = dataclasses.replace(TARGET.update, **changes)
        self.flash = NorFlash(memory, update, self.read, self.write, self.stall)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.bytes[address - ORIGIN : address - ORIGIN + size])

    def write(self, address: int, data: bytes) -> None:
        self.bytes[address - ORIGIN : address - ORIGIN + len(data)] = data

    def stall(self, us: float) -> None:
        self.stalled_us += us


def test_cells_are_programmed_once_and_erased_by_sector() -> None:
    cells = Cells()
    assert cells.flash.program(ORIGIN + 8, DATA)
    assert cells.read(ORIGIN, 24) == b"\xff" * 8 + DATA + b"\xff" * 8
    assert not cells.flash.program(ORIGIN + 8, DATA)
    assert cells.flash.violations == [f"program at {ORIGIN + 8:#x}, which is not erased"]
    assert cells.flash.erase(ORIGIN)
    assert cells.flash.program(ORIGIN + 8, bytes(8))
    assert cells.flash.operations == 3
    assert cells.stalled_us == 2 * TARGET.update.program_us + 1000 * TARGET.update.erase_ms


@pytest.mark.parametrize("address", [ORIGIN + 4, ORIGIN - 8, ORIGIN + 8192])
def test_programs_elsewhere_are_refused(address: int) -> None:
    cells = Cells()
    assert not cells.flash.program(address, DATA)
    assert (cells.flash.operations, len(cells.flash.violations)) == (0, 1)


@pytest.mark.parametrize("address", [ORIGIN + 8, ORIGIN - 4096, ORIGIN + 8192])
def test_erases_elsewhere_are_refused(address: int) -> None:
    cells = Cells()
    assert not cells.flash.erase(address)
    assert (cells.flash.operations, len(cells.flash.violations)) == (0, 1)


def test_sectors_wear_out() -> None:
    cells = Cells(endurance_cycles=2)
    assert [cells.flash.erase(ORIGIN) for _ in range(3)] == [True, True, False]
    assert cells.flash.erase(ORIGIN + 4096)


@pytest.mark.parametrize(("torn", "left"), [(False, b"\xff" * 8), (True, DATA[:4] + b"\x5f\xff\xff\xff")])
def test_the_power_goes_in_front_of_an_operation_or_in_it(torn: bool, left: bytes) -> None:
    cells = Cells()
    cells.flash.cut_at, cells.flash.torn = 1, torn
    assert cells.flash.program(ORIGIN + 8, DATA)
    assert not cells.flash.program(ORIGIN, DATA)
    assert cells.flash.is_dead
    assert cells.read(ORIGIN, 16) == left + DATA
    assert not cells.flash.erase(ORIGIN), "nothing happens without power"
    assert cells.read(ORIGIN, 16) == left + DATA


def test_a_torn_erase_leaves_cells_in_between() -> None:
    cells = Cells()
    cells.bytes[:4096] = bytes(4096)
    cells.flash.cut_at, cells.flash.torn = 0, True
    assert not cells.flash.erase(ORIGIN)
    assert cells.read(ORIGIN, 2048) == b"\xff" * 2048
    assert cells.read(ORIGIN + 2048, 2048) == b"\xa5" * 2048
