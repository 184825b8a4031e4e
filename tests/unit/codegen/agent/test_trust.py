"""Bytes that nobody signed never run, whatever the order of requests and whatever the flash has lost."""

import contextlib
import hashlib
import random

import pytest
from unit.codegen.agent.conftest import OLD
from unit.codegen.agent.device import NO_SLOT, SECTOR, RefusedError
from unit.codegen.agent.images import Image, digest_of

NEW = Image(counter=6).build()
FORGED = NEW[:SECTOR] + bytes(SECTOR // 2) + NEW[SECTOR + SECTOR // 2 :]
"""Another payload under the header, digest and signature of a good image."""


def send_forged(device, start=0):
    """Send what fails the checks at the end, and is in the slot all the same if it was taken."""
    with contextlib.suppress(RefusedError):
        device.upload(FORGED, start=start)


def test_an_upload_that_has_begun_does_not_change_what_was_tested(device):
    device.upload(NEW)
    sha = hashlib.sha256(FORGED).digest()
    device.request(2, 1, 1, {"image": 1, "off": SECTOR, "len": len(FORGED), "sha": sha, "data": b""})
    device.test(NEW)
    with pytest.raises(RefusedError) as refused:
        device.request(2, 1, 1, {"off": SECTOR, "data": FORGED[SECTOR : SECTOR + 900]})
    assert (refused.value.group, refused.value.code) == (1, 9)
    assert device.start() == 1
    assert device.holds(1, NEW)


def test_a_first_image_that_was_tested_cannot_be_overwritten(make_device):
    device = make_device(image=b"")
    device.upload(NEW)
    device.test(NEW)
    send_forged(device)
    assert device.start() == 0
    assert device.holds(0, NEW)


def test_a_record_does_not_vouch_for_what_is_written_after_its_image_was_lost(make_device):
    device = make_device(image=NEW)
    device.write(device.slot_at(0), b"\0")
    assert device.start() == NO_SLOT
    send_forged(device)
    assert device.holds(0, FORGED)
    assert [device.start(), device.start()] == [NO_SLOT, NO_SLOT]
    device.update(NEW)
    assert device.start() == 0


def test_a_record_still_vouches_for_an_image_that_comes_back(device):
    before = device.slot(0, 1)
    device.write(device.slot_at(0), b"\0")
    assert device.start() == NO_SLOT
    device.write(device.slot_at(0), before)
    assert device.start() == 0


def test_a_trial_does_not_fall_back_to_what_nobody_checked(device):
    unsigned = bytearray(Image(counter=6, payload=b"unsigned" * 1000).build())
    unsigned[-1] ^= 1
    with pytest.raises(RefusedError):
        device.upload(bytes(unsigned))
    device.write(device.slot_at(0), b"\0")
    assert device.start() == NO_SLOT
    device.upload(NEW)
    device.test(NEW)
    assert device.start() == 0
    device.request(2, 64, 4)
    assert device.start() == NO_SLOT


def test_an_image_on_trial_that_is_lost_can_be_replaced(make_device):
    device = make_device(image=b"")
    device.upload(NEW)
    device.test(NEW)
    device.write(device.slot_at(0), b"\0")
    assert device.start() == NO_SLOT
    send_forged(device)
    assert device.start() == NO_SLOT
    device.update(NEW)
    assert device.states()[0]["hash"] == digest_of(NEW)


OTHER = Image(counter=6, payload=b"another!" * 1000).build()
SIGNED = (OLD, NEW, OTHER)
UPLOADED = (NEW, OTHER, FORGED, OTHER[:SECTOR] + FORGED[SECTOR:])
WALKS, STEPS = 150, 40


def step(device, rng) -> None:
    """Ask a device for anything, in any order; or let it lose an image, or its power."""
    image = rng.choice(UPLOADED)
    first = {"image": 1, "len": len(image), "sha": hashlib.sha256(image).digest()}
    off = rng.choice([0, SECTOR])
    some = image[off : off + rng.choice([0, 32, 900])]
    asked = {
        "upload": lambda: device.upload(image),
        "begin": lambda: device.request(2, 1, 1, {**first, "off": off, "data": some}),
        "go on": lambda: [
            device.request(2, 1, 1, {"off": at, "data": image[at : at + 900]})
            for at in range(off, len(image), 900)
        ],
        "test": lambda: device.test(image),
        "confirm": device.confirm,
        "revert": lambda: device.request(2, 64, 4),
        "erase": lambda: device.request(2, 1, 5),
        "start": device.start,
        "lose": lambda: device.write(device.slot_at(rng.randrange(2)), b"\0"),
    }
    with contextlib.suppress(RefusedError):
        asked[rng.choices([*asked], [4, 4, 4, 8, 4, 2, 1, 6, 1])[0]]()


@pytest.mark.parametrize("seed", range(WALKS))
def test_only_what_was_signed_runs_after_any_requests(make_device, seed):
    rng = random.Random(seed)
    device = make_device(image=rng.choice([OLD, b""]))
    for _ in range(STEPS):
        step(device, rng)
        if device.running != NO_SLOT:
            # But for the byte that it may just have lost.
            assert any(device.slot(device.running, len(image))[1:] == image[1:] for image in SIGNED)
