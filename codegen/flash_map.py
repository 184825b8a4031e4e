"""Where everything lies in the flash of a device that takes new models."""

import json
from dataclasses import dataclass

from edgekit.artifact import Artifact
from edgekit.target import SECTOR_BYTES, Target

LEAST_FIRMWARE_BYTES = 44 * 1024
"""Firmware with its update agent takes about 40."""
JOURNAL_BYTES = 2 * SECTOR_BYTES
FILE = "updates.json"
"""Of a firmware artifact: its flash map, if it has the update agent."""


@dataclass(frozen=True)
class FlashMap:
    """Regions of whole sectors; the firmware is at the origin.

    Attributes:
        firmware_bytes: What the firmware may take.
        journal: Address of the commit records.
        fitting: Address of the wearer's settings.
        fitting_bytes: Their size.
        slots: Addresses of the two slots for models.
        slot_bytes: Size of each.
    """

    firmware_bytes: int
    journal: int
    fitting: int
    fitting_bytes: int
    slots: tuple[int, int]
    slot_bytes: int


def flash_map(target: Target, image_bytes: int) -> FlashMap | None:
    """Return where everything lies; None if the target takes no updates, or two models do not fit.

    Args:
        target: The device.
        image_bytes: Size of a signed model.
    """
    if target.update is None or not target.takes_updates:
        return None
    memory, fitting_bytes = target.memory, target.update.fitting_bytes
    slot_bytes = -(-image_bytes // SECTOR_BYTES) * SECTOR_BYTES
    end = (memory.flash_origin + memory.flash_bytes) // SECTOR_BYTES * SECTOR_BYTES
    # Last: they stay where they are, whatever the size of the model, and are no part of firmware.bin.
    fitting = end - fitting_bytes
    journal = fitting - JOURNAL_BYTES
    slots = journal - 2 * slot_bytes, journal - slot_bytes
    firmware_bytes = slots[0] - memory.flash_origin
    if firmware_bytes < LEAST_FIRMWARE_BYTES:
        return None
    return FlashMap(firmware_bytes, journal, fitting, fitting_bytes, slots, slot_bytes)


def built_map(firmware: Artifact) -> FlashMap | None:
    """Return where everything lies in a firmware's flash; None if it takes no updates."""
    regions = json.loads(firmware.file(FILE).read_text())["flash"]
    return None if regions is None else FlashMap(**{**regions, "slots": tuple(regions["slots"])})
