"""The flash of a device that takes new models."""

import dataclasses

import pytest

from codegen.flash_map import LEAST_FIRMWARE_BYTES, flash_map
from edgekit.targets import load_target

TARGET = load_target("hearing-aid")
SECTOR = 4096


def regions(where):
    """Return (address, size) of everything, the firmware first."""
    origin = TARGET.memory.flash_origin
    return [
        (origin, where.firmware_bytes),
        (where.slots[0], where.slot_bytes),
        (where.slots[1], where.slot_bytes),
        (where.journal, 2 * SECTOR),
        (where.fitting, where.fitting_bytes),
    ]


@pytest.mark.parametrize("image_bytes", [1, SECTOR, SECTOR + 1, 97_364])
def test_regions_are_whole_sectors_side_by_side_to_the_end(image_bytes: int) -> None:
    found = regions(flash_map(TARGET, image_bytes))
    assert all(address % SECTOR == size % SECTOR == 0 for address, size in found)
    ends = [address + size for address, size in found]
    assert [address for address, _ in found[1:]] == ends[:-1]
    assert ends[-1] == TARGET.memory.flash_origin + TARGET.memory.flash_bytes
    assert found[1][1] - image_bytes in range(SECTOR)


def test_settings_stay_where_they_are_whatever_the_size_of_the_model() -> None:
    places = {(where.journal, where.fitting) for where in (flash_map(TARGET, n) for n in (1, 50_000, 97_364))}
    assert len(places) == 1


def test_two_models_that_do_not_fit_are_no_map() -> None:
    left = TARGET.memory.flash_bytes - LEAST_FIRMWARE_BYTES - 4 * SECTOR
    most = left // 2 // SECTOR * SECTOR
    assert flash_map(TARGET, most).firmware_bytes >= LEAST_FIRMWARE_BYTES
    assert flash_map(TARGET, most + 1) is None


@pytest.mark.parametrize("name", ["corstone-300", "host"])
def test_boards_without_flash_take_no_updates(name: str) -> None:
    assert flash_map(load_target(name), 1) is None
    inherited = dataclasses.replace(load_target(name), update=TARGET.update)
    assert flash_map(inherited, 1) is None
