"""A whole update, step by step."""

import ctypes
import hashlib

import pytest
from unit.codegen.agent.conftest import OLD
from unit.codegen.agent.device import NO_SLOT, SECTOR, RefusedError
from unit.codegen.agent.images import (
    CLASS,
    GRAPH,
    KEY,
    PUBLIC,
    VENDOR,
    Image,
    digest_of,
    full_payload,
    key_hash,
)

NEW = Image(counter=6).build()
RECORDS = 170
"""In a sector of the journal."""


def test_a_model_is_uploaded_tested_and_confirmed(device):
    assert device.running == 0
    assert device.upload(NEW) == {"off": len(NEW), "match": True}
    assert device.running == 0
    state = device.test(NEW)["images"]
    assert [entry["pending"] for entry in state] == [False, True]
    assert device.info()["floor"] == 4
    assert device.start() == 1
    assert device.info()["floor"] == 4
    states = device.states()
    assert (states[1]["active"], states[1]["confirmed"], states[0]["confirmed"]) == (True, False, True)
    device.confirm(NEW)
    assert device.info()["floor"] == 6
    assert device.states()[1]["confirmed"]
    for _ in range(5):
        assert device.start() == 1


def test_the_state_has_zephyrs_keys(device):
    answer = device.request(0, 1, 0)
    assert answer == {
        "images": [
            {
                "image": 1,
                "slot": 0,
                "version": "1.0.0",
                "hash": digest_of(OLD),
                "bootable": False,
                "pending": False,
                "confirmed": True,
                "active": True,
                "permanent": False,
            }
        ],
        "splitStatus": 0,
    }


def test_a_build_number_is_in_the_version(make_device):
    device = make_device(image=Image(version=(255, 0, 65535, 4294967295)).build())
    assert device.states()[0]["version"] == "255.0.65535.4294967295"


def test_info_says_what_images_must_fit(device):
    info = device.info()
    assert info == {
        "v": 1,
        "class": CLASS,
        "vendor": VENDOR,
        "abi": [1, 2, 7],
        "graph": GRAPH,
        "floor": 4,
        "slot": 4 * SECTOR,
        "ram": 65536,
        "fw": "1.0.0",
        "key": key_hash(KEY),
        "pub": PUBLIC,
        "fit": hashlib.sha256(device.fitting).digest(),
    }
    device.library.host_device_set_battery(device.handle, 1250)
    assert device.info()["mv"] == 1250


def test_an_image_that_is_not_confirmed_runs_three_times(device):
    device.upload(NEW)
    device.test(NEW)
    assert [device.start() for _ in range(6)] == [1, 1, 1, 0, 0, 0]
    assert device.info()["floor"] == 4
    with pytest.raises(RefusedError) as refused:
        device.confirm(NEW)
    assert (refused.value.group, refused.value.code) == (64, 32)
    device.update(NEW)
    assert device.start() == 1


def test_a_failed_self_test_at_start_reverts(device):
    device.upload(NEW)
    device.test(NEW)
    device.library.host_device_set_self_test(device.handle, 5)
    assert device.start() == 0
    device.library.host_device_set_self_test(device.handle, 0)
    assert device.start() == 0
    assert device.states()[0]["confirmed"]


def test_the_self_test_on_demand_reverts_what_is_on_trial(device):
    assert device.request(2, 64, 2, {"slot": 0}) == {"ok": True, "rc": 0}
    device.upload(NEW)
    assert device.request(2, 64, 2, {"slot": 1}) == {"ok": True, "rc": 0}
    device.test(NEW)
    device.start()
    device.library.host_device_set_self_test(device.handle, 9)
    assert device.request(2, 64, 2, {"slot": 1}) == {"ok": False, "rc": 9}
    assert device.start() == 0


def test_the_self_test_of_a_bad_image_says_what_is_wrong(device):
    assert device.request(2, 64, 2, {"slot": 1}) == {"ok": False, "rc": 20}


def test_the_host_may_revert(device):
    with pytest.raises(RefusedError) as refused:
        device.request(2, 64, 4)
    assert (refused.value.group, refused.value.code) == (0, 6)
    device.upload(NEW)
    device.test(NEW)
    assert device.request(2, 64, 4) == {}
    assert device.request(2, 64, 4) == {}
    assert not device.states()[1]["pending"]
    assert device.start() == 0
    device.test(NEW)
    device.start()
    device.request(2, 64, 4)
    assert device.states()[0]["pending"]
    with pytest.raises(RefusedError) as refused:
        device.confirm()
    assert refused.value.code == 32
    assert device.start() == 0


def test_what_runs_and_what_a_trial_falls_back_to_cannot_be_overwritten(device):
    with pytest.raises(RefusedError) as refused:
        device.request(2, 1, 5, {"slot": 0})
    assert (refused.value.group, refused.value.code) == (1, 14)
    device.upload(NEW)
    device.test(NEW)
    for _ in range(2):
        with pytest.raises(RefusedError) as refused:
            device.upload(OLD)
        assert (refused.value.group, refused.value.code) == (1, 9)
        with pytest.raises(RefusedError) as refused:
            device.request(2, 1, 5)
        assert (refused.value.group, refused.value.code) == (1, 28)
        device.start()
    assert device.holds(0, OLD)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, (1, 24)),
        ({"hash": b"short"}, (1, 24)),
        ({"hash": bytes(32)}, (1, 8)),
        ({"hash": digest_of(OLD)}, (1, 33)),
        ({"hash": digest_of(NEW), "confirm": True}, (1, 32)),
    ],
)
def test_wrong_state_writes_are_refused(device, body, error):
    device.upload(NEW)
    with pytest.raises(RefusedError) as refused:
        device.request(2, 1, 0, body)
    assert (refused.value.group, refused.value.code) == error


def test_an_erased_slot_is_blank(device):
    device.upload(NEW)
    device.request(2, 1, 5, {"slot": 1})
    assert device.slot(1, device.slot_bytes) == b"\xff" * device.slot_bytes
    assert 1 not in device.states()


def test_a_device_without_an_image_takes_one(make_device):
    device = make_device(image=b"")
    assert device.running == NO_SLOT
    assert device.states() == {}
    device.update(NEW)
    assert device.start() == 0


def test_a_first_image_that_fails_leaves_none_and_can_be_replaced(make_device):
    device = make_device(image=b"")
    device.upload(NEW)
    device.test(NEW)
    device.library.host_device_set_self_test(device.handle, 1)
    assert device.start() == NO_SLOT
    device.library.host_device_set_self_test(device.handle, 0)
    device.update(OLD)
    assert device.start() == 0


def test_an_active_image_that_is_not_the_confirmed_one_does_not_run(device):
    device.update(NEW)
    # Signed, but not what the record names; and in the other slot is an image below the floor.
    device.write(device.slot_at(1), OLD)
    assert device.start() == NO_SLOT
    device.write(device.slot_at(0), Image(counter=6, version=(9, 0, 0, 0)).build())
    assert [device.start(), device.start()] == [0, 0]
    assert device.states()[0]["confirmed"]


def test_a_damaged_active_image_can_be_replaced(device):
    device.write(device.slot_at(0), b"\0")
    assert device.start() == NO_SLOT
    device.update(NEW)
    assert device.start() == 0


def test_reset_answers_first(device):
    assert device.request(2, 0, 5) == {}
    assert device.resets == 1


def test_the_guard_and_live_results(device):
    assert device.request(0, 64, 5) == {"lock": True}
    assert device.request(0, 64, 3) == {"heard": 0}
    device.library.host_device_set_adv(device.handle, (ctypes.c_int32 * 3)(-16384, 0, 8191), 70000)
    assert device.request(0, 64, 3) == {"adv": [-16384, 0, 8191], "heard": 70000}


def test_many_updates_turn_the_journal_over(device):
    for number in range(120):
        image = Image(counter=6, version=(2, 0, number, 0)).build()
        device.update(image, chunk=950)
        assert device.start() == (number + 1) % 2
    assert device.erased[0] + device.erased[1] >= 3
    assert device.info()["floor"] == 6


class TestErasing:
    def test_blank_sectors_are_not_erased(self, device):
        device.upload(NEW)
        assert sum(device.erased) == device.erased[0]
        device.request(2, 1, 5)
        used = -(-len(NEW) // SECTOR)
        assert erased_in_slot_1(device) == [1] * used + [0] * (device.slot_bytes // SECTOR - used)
        device.request(2, 1, 5)
        assert sum(erased_in_slot_1(device)) == used

    @pytest.mark.parametrize("at", [0, SECTOR - 1, SECTOR, 3 * SECTOR - 1])
    def test_one_byte_makes_a_sector_used(self, device, at):
        device.write(device.slot_at(1) + at, b"\xfe")
        device.upload(NEW)
        assert erased_in_slot_1(device) == [int(sector == at // SECTOR) for sector in range(4)]
        assert device.holds(1, NEW)

    def test_the_next_update_erases_what_the_last_but_one_has_left(self, device):
        device.update(NEW)
        device.upload(Image(counter=6, version=(3, 0, 0, 0)).build())
        used = -(-len(OLD) // SECTOR)
        at = device.slot_at(0) // SECTOR
        assert device.erased[at : at + used] == [1] * used


def erased_in_slot_1(device):
    return device.erased[device.slot_at(1) // SECTOR :]


class TestFloor:
    """The least security counter follows what is confirmed, and nothing else."""

    def test_neither_upload_nor_test_nor_trial_raise_it(self, device):
        high = Image(counter=9, version=(3, 0, 0, 0)).build()
        device.upload(high)
        assert device.info()["floor"] == 4
        device.test(high)
        assert device.info()["floor"] == 4
        device.start()
        device.request(2, 64, 2, {"slot": 1})
        assert device.info()["floor"] == 4

    @pytest.mark.parametrize("end", ["revert", "trial runs out", "self-test"])
    def test_an_image_that_was_given_up_leaves_it(self, device, end):
        high = Image(counter=9, version=(3, 0, 0, 0)).build()
        device.upload(high)
        device.test(high)
        device.start()
        if end == "revert":
            device.request(2, 64, 4)
        elif end == "self-test":
            device.library.host_device_set_self_test(device.handle, 1)
            device.request(2, 64, 2, {"slot": 1})
            device.library.host_device_set_self_test(device.handle, 0)
        for _ in range(5):
            device.start()
        assert (device.running, device.info()["floor"]) == (0, 4)
        lower = Image(counter=4, version=(1, 5, 0, 0)).build()
        device.update(lower)
        assert device.info()["floor"] == 4

    def test_confirming_raises_it_for_good(self, device):
        high = Image(counter=9, version=(3, 0, 0, 0)).build()
        device.update(high)
        assert [device.start(), device.info()["floor"]] == [1, 9]
        for image, taken in ((NEW, False), (Image(counter=9, version=(0, 0, 1, 0)).build(), True)):
            if taken:
                device.update(image)
            else:
                with pytest.raises(RefusedError) as refused:
                    device.upload(image)
                assert (refused.value.group, refused.value.code) == (64, 25)
            assert device.info()["floor"] == 9

    def test_confirming_once_more_changes_nothing(self, device):
        device.update(NEW)
        before = device.operations
        device.confirm(NEW)
        device.confirm()
        assert (device.info()["floor"], device.operations) == (6, before)

    @pytest.mark.parametrize("image", [0, 2])
    def test_an_image_for_the_firmware_is_refused_and_leaves_it(self, device, image):
        firmware = Image(counter=99, flags=0).build()
        before = device.operations
        with pytest.raises(RefusedError) as refused:
            device.upload(firmware, image=image)
        assert (refused.value.group, refused.value.code) == (1, 14)
        with pytest.raises(RefusedError) as refused:
            device.upload(firmware)
        assert (refused.value.group, refused.value.code) == (64, 20)
        assert (device.info()["floor"], device.operations) == (4, before)


class TestTornRecords:
    """What power cuts leave in the journal."""

    @pytest.mark.parametrize("written", [1, 8, 12, 20, 23])
    def test_a_sector_full_of_them(self, device, written):
        record = device.read(0, 24)
        torn = record[:written] + b"\x5a" * (24 - written)
        device.write(SECTOR, torn * RECORDS)
        assert device.start() == 0
        # Also behind the last good one, up to the end: the next goes to the other sector.
        device.write(24, torn * (RECORDS - 1))
        assert device.start() == 0
        device.update(NEW)
        assert device.erased[:2] == [1, 1]
        assert [device.start(), device.info()["floor"]] == [1, 6]

    def test_nothing_but_them(self, device):
        device.write(0, b"\xe6\x00" * (SECTOR // 2) * 2)
        assert device.start() == 0
        device.update(NEW)
        assert device.start() == 1

    def test_every_record_of_a_trial_torn_leaves_the_old_image(self, device):
        device.upload(NEW)
        device.test(NEW)
        test_record = 24
        device.write(test_record, b"\0" * 8)
        for at in range(2 * 24, RECORDS * 24, 24):
            device.write(at, b"\xe6" + bytes(23))
        assert device.start() == 0
        assert device.states()[0]["confirmed"]


@pytest.mark.parametrize("sectors", [3, 4, 17, 64])
def test_slots_of_any_size(make_device, sectors):
    device = make_device(slot_bytes=sectors * SECTOR)
    full = Image(payload=full_payload(sectors * SECTOR), needs=(1, 1, 8, 3), counter=6).build()
    assert len(full) == sectors * SECTOR
    assert device.info()["slot"] == sectors * SECTOR
    with pytest.raises(RefusedError) as refused:
        device.upload(full + b"x")
    assert (refused.value.group, refused.value.code) == (64, 24)
    device.update(full)
    assert device.start() == 1
