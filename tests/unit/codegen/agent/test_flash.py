"""What the agent may change in flash, and what not."""

import ctypes

import pytest
from unit.codegen.agent.device import FITTING, SECTOR

OK, FLASH_ERROR = 0, 31


@pytest.fixture
def call(device):
    """Return the agent's flash functions, called by name."""
    access = ctypes.c_void_p(device.library.host_device_access(device.handle))

    def by_name(name: str, at: int, *more: object) -> int:
        function = getattr(device.library, f"ag_flash_{name}")
        return int(function(access, ctypes.c_uint32(at), *more))

    return by_name


def places(device) -> dict[str, tuple[int, int]]:
    """Return address and size of what must not change, and of what lies across its border."""
    end = len(device.flash)
    return {
        "fitting": (2 * SECTOR, FITTING),
        "into the fitting region": (2 * SECTOR - 8, 16),
        "out of the fitting region": (2 * SECTOR + FITTING - 8, 16),
        "across two slots": (device.slot_at(1) - 8, 16),
        "behind the flash": (end, 8),
        "across the end": (end - 8, 16),
        "around": (2**32 - 8, 16),
        "everything": (0, end),
        "more than there is": (0, 2**32 - 8),
    }


def test_nothing_outside_journal_and_slots_is_written(device, call):
    before, data = bytes(device.flash), bytes(len(device.flash))
    for name, (at, count) in places(device).items():
        assert call("write", at, data, ctypes.c_uint32(count)) == FLASH_ERROR, name
    assert bytes(device.flash) == before
    assert device.violations == 0


def test_nothing_outside_journal_and_slots_is_erased(device, call):
    before = device.erased
    for at in (2 * SECTOR, 3 * SECTOR, len(device.flash), 2**32 - SECTOR, device.slot_at(1) + 8, 8):
        assert call("erase", at) == FLASH_ERROR, at
    assert device.erased == before
    assert call("erase", device.slot_at(1)) == OK


@pytest.mark.parametrize(("at", "count"), [(1, 8), (4, 8), (0, 4), (0, 9)])
def test_what_is_not_aligned_is_not_written(device, call, at, count):
    data = bytes(16)
    assert call("write", device.slot_at(1) + at, data, ctypes.c_uint32(count)) == FLASH_ERROR
    assert call("write", device.slot_at(1), data, ctypes.c_uint32(8)) == OK


def test_regions_are_read_whole_and_no_further(device, call):
    data = ctypes.create_string_buffer(device.slot_bytes + 8)
    for at, count in ((0, 2 * SECTOR), (2 * SECTOR, FITTING), (device.slot_at(0), device.slot_bytes)):
        assert call("read", at, data, ctypes.c_uint32(count)) == OK
        assert call("read", at, data, ctypes.c_uint32(count + 1)) == FLASH_ERROR
