"""An update from beginning to end: check, write, read back, try, confirm."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgekit.errors import ConfigError, DeviceError, EdgekitError, RevertedError
from edgekit.progress import Progress, silent
from edgekit.uploader.device import SLOTS, Device, Info, Slot, other_slot
from edgekit.uploader.transfer import Image, Transfer

LEAST_BATTERY_MV = 1_150
"""A zinc-air cell below this may not last through erasing and writing."""
RESTARTS = 3
BOOT_S = 5.0
BOOT_INTERVAL_S = 0.1

Result = Literal["installed", "on trial", "already active"]


@dataclass(frozen=True)
class Outcome:
    """How an update ended.

    Attributes:
        result: What the device runs now.
        slot: Where the image is.
        image_bytes: Its size.
        sent_bytes: How many bytes of it were sent, repeats included; fewer where an earlier run was resumed.
        retries: Packets of it that went unanswered.
        duration_s: From the first question to the last.
    """

    result: Result
    slot: int
    image_bytes: int
    sent_bytes: int
    retries: int
    duration_s: float


def install(
    device: Device,
    image: Image,
    check: Callable[[Info], None],
    confirm: bool = True,
    progress: Progress = silent,
) -> Outcome:
    """Have a device run an image; the old one stays whole until the new one is confirmed.

    Args:
        device: Connected.
        image: To install.
        check: Raises if the device, by what it says of itself, would not take the image. Called before
            anything on the device changes, except with devices that say nothing.
        confirm: Whether the image stays once it has passed its test; otherwise it is on trial.
        progress: Called with what is being done, and how much of it.

    Raises:
        LinkLostError: If the device answers no more; the same call resumes.
        VerifyError: If it does not hold what was sent.
        RevertedError: If it went back to the old image.
        EdgekitError: If it does not take the image, or its battery is weak. All say what it runs now.
    """
    update = _Update(device, image, progress)
    try:
        return update.run(check, confirm)
    except EdgekitError as error:
        error.what = f"{error.what}; {update.state()}"
        raise


class _Update:
    def __init__(self, device: Device, image: Image, progress: Progress) -> None:
        self.device = device
        self.image = image
        self.progress = progress
        self.transfer: Transfer | None = None
        self.old: Slot | None = None
        self.tried = False
        self.begun_s = time.monotonic()

    def state(self) -> str:
        """Return what the device runs, for the end of an error."""
        kind = "model" if self.image.number else "firmware"
        old = f"the old image stays active in {self.old}" if self.old else f"it names no active {kind}"
        if self.tried:
            return (
                f"the new image may be on trial, and goes back by itself unless confirmed; until then {old}"
            )
        if self.transfer is None or not self.transfer.touched:
            return f"nothing on the device has changed: {old}"
        written = f"slot {self.transfer.slot} is written up to offset {self.transfer.offset:,}"
        return f"{written}; {old}"

    def run(self, check: Callable[[Info], None], confirm: bool) -> Outcome:
        self.progress("checking", 0, 1)
        info = self.device.info()
        slots = [slot for slot in self.device.slots() if slot.image == self.image.number]
        self.old = next((slot for slot in slots if slot.active), None)
        if self.old is not None and self.old.digest == self.image.digest:
            return self._active_already(self.old, info, confirm)
        if info is not None:
            _check_battery(info)
            check(info)
        for slot in slots:
            if slot.digest != self.image.digest and (slot.pending or slot.active > slot.confirmed):
                raise DeviceError(f"{slot} is on trial", "run edgekit flash confirm, or edgekit flash revert")
        self._write()
        slot = self._try(info)
        if confirm:
            self._confirm()
        return self._outcome("installed" if confirm else "on trial", slot)

    def _active_already(self, slot: Slot, info: Info | None, confirm: bool) -> Outcome:
        if slot.confirmed:
            return self._outcome("already active", slot)
        self.tried = True
        if confirm:
            self._test(slot, info)
            self._confirm()
        return self._outcome("installed" if confirm else "on trial", slot)

    def _write(self) -> None:
        active = self.old.number if self.old else SLOTS - 1
        self.transfer = Transfer(self.device, self.image, other_slot(active), self.progress)
        if not self.transfer.written():
            self.transfer.run()

    def _try(self, info: Info | None) -> Slot:
        """Restart the device with the image, and test it; return its slot."""
        self.progress("restarting", 0, 1)
        self.tried = True
        self.device.mark(self.image.digest, confirm=False)
        slot = self._restarted()
        if slot is None or not slot.active:
            self.tried = False
            raise RevertedError("the device did not start the new image", "run edgekit flash info")
        self._test(slot, info)
        return slot

    def _restarted(self) -> Slot | None:
        """Return where the image is after a restart: while it is pending, there was none."""
        for _ in range(RESTARTS):
            self.device.restart()
            until_s = time.monotonic() + BOOT_S
            while time.monotonic() < until_s:
                slot = self.device.slot_of(self.image.digest)
                if slot is None or not slot.pending:
                    return slot
                time.sleep(BOOT_INTERVAL_S)
        raise RevertedError("the device does not restart", "restart it by hand, then run the same command")

    def _test(self, slot: Slot, info: Info | None) -> None:
        if info is None or not self.image.number:
            return
        self.progress("self-test", 0, 1)
        if (code := self.device.self_test(slot.number)) != 0:
            self._take_back()
            raise RevertedError(
                f"the new image failed its self-test ({code}) and is taken back",
                "build again; edgekit simulate runs the same model here",
            )

    def _take_back(self) -> None:
        self.device.revert()
        for _ in range(RESTARTS):
            self.device.restart()
            slot = self.device.slot_of(self.image.digest)
            if slot is None or not slot.active:
                self.tried = False
                return

    def _confirm(self) -> None:
        self.progress("confirming", 0, 1)
        self.device.mark(self.image.digest, confirm=True)
        slot = self.device.slot_of(self.image.digest)
        if slot is None or not (slot.active and slot.confirmed):
            raise RevertedError("the device did not confirm the new image", "run edgekit flash info")
        self.tried = False

    def _outcome(self, result: Result, slot: Slot) -> Outcome:
        return Outcome(
            result=result,
            slot=slot.number,
            image_bytes=len(self.image.data),
            sent_bytes=self.transfer.sent_bytes if self.transfer else 0,
            retries=self.transfer.retries if self.transfer else 0,
            duration_s=time.monotonic() - self.begun_s,
        )


def _check_battery(info: Info) -> None:
    if info.battery_mv is not None and info.battery_mv < LEAST_BATTERY_MV:
        raise ConfigError(
            f"the battery is at {info.battery_mv:,} mV; an update needs {LEAST_BATTERY_MV:,} mV",
            "change or charge the battery, then run the same command again",
        )
