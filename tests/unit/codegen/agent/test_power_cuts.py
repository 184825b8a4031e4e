"""The power goes at every single flash operation: one good image runs, and the update still succeeds."""

import contextlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from unit.codegen.agent.device import NEVER, SECTOR, Device, NoAnswerError
from unit.codegen.agent.images import Image, full_payload

OLD_COUNTER, NEW_COUNTER = 4, 6
RECORDS = 170
"""In a sector of the journal."""


USED = bytes(range(1, 65)) * (18 * SECTOR // 64)
"""What the free slot holds before an update: no image, and no sector of it blank."""


@dataclass(frozen=True)
class Pair:
    """Two images, and the slot that both must fit."""

    old: bytes
    new: bytes
    slot_bytes: int


def pair(slot_bytes: int, total: int) -> Pair:
    needs = (1, 1, 8, 3)
    old = Image(version=(1, 0, 0, 0), counter=OLD_COUNTER, payload=full_payload(total)[::-1], needs=needs)
    new = Image(version=(1, 0, 1, 0), counter=NEW_COUNTER, payload=full_payload(total), needs=needs)
    return Pair(old.build(), new.build(), slot_bytes)


SMALL = pair(2 * SECTOR, SECTOR + 700)
LARGE = pair(18 * SECTOR, 60 * 1024)


def update(device: Device, images: Pair) -> None:
    """Bring the new image onto a device in any state, as a host does: look, then do what is left."""
    if not device.holds(device.running, images.new):
        if not device.states().get(1 - device.running, {}).get("pending"):
            device.upload(images.new, chunk=880)
            device.test(images.new)
        device.start()
    device.confirm()


def never_confirmed(device: Device, images: Pair) -> None:
    device.upload(images.new, chunk=880)
    device.test(images.new)
    for _ in range(5):
        device.start()


def fails_its_self_test(device: Device, images: Pair) -> None:
    device.upload(images.new, chunk=880)
    device.test(images.new)
    device.library.host_device_set_self_test(device.handle, 3)
    try:
        device.start()
        if device.is_dead():
            raise NoAnswerError
    finally:
        device.library.host_device_set_self_test(device.handle, 0)


def reverted_by_the_host(device: Device, images: Pair) -> None:
    device.upload(images.new, chunk=880)
    device.test(images.new)
    device.start()
    device.request(2, 64, 4)
    device.start()


def reverted_before_its_test(device: Device, images: Pair) -> None:
    device.upload(images.new, chunk=880)
    device.test(images.new)
    device.request(2, 64, 4)
    device.start()


def erased(device: Device, images: Pair) -> None:
    device.upload(images.new, chunk=880)
    device.request(2, 1, 5)


SCENARIOS: dict[str, Callable[[Device, Pair], None]] = {
    "update": update,
    "never confirmed": never_confirmed,
    "self-test fails": fails_its_self_test,
    "reverted": reverted_by_the_host,
    "reverted before its test": reverted_before_its_test,
    "erased": erased,
}


class Bench:
    """A device that is put back to one state again and again."""

    def __init__(self, device: Device, images: Pair, records: int = 0) -> None:
        self.device, self.images, self.cuts = device, images, 0
        # Sectors that are blank are not erased: these have to be.
        device.write(device.slot_at(1), USED[: images.slot_bytes])
        if records:
            self._fill_journal(records)
        assert device.start() == 0
        self.state = bytes(device.flash)

    def _fill_journal(self, records: int) -> None:
        """Write the last record again until the sector holds so many."""
        device = self.device
        assert device.read(SECTOR, 24) == b"\xff" * 24
        record = device.read(0, 24)
        for number in range(1, records):
            body = record[:4] + (number + 1).to_bytes(4, "little") + record[8:20]
            device.write(24 * number, body + zlib.crc32(body).to_bytes(4, "little"))

    def restore(self, state: bytes | None = None) -> None:
        self.device.flash[:] = self.state if state is None else state
        self.device.cut()
        self.device.start()

    def operations_of(self, work: Callable[[], None]) -> int:
        """Return how many flash operations some work takes without a cut."""
        self.device.cut()
        work()
        return self.device.operations

    def run_until_cut(self, work: Callable[[], None], at: int, *, torn: bool) -> None:
        """Do some work; the power goes at one of its flash operations."""
        self.device.cut(at, torn=torn)
        with contextlib.suppress(NoAnswerError):
            work()
        assert self.device.is_dead(), at
        self.cuts += 1

    def check(self) -> None:
        """Switch on: one good image runs, again and again; fitting bytes and counter are right."""
        device, images = self.device, self.images
        device.cut()
        for _ in range(2):
            running = device.start()
            is_old, is_new = device.holds(running, images.old), device.holds(running, images.new)
            assert is_old != is_new
            states = device.states()
            assert [slot for slot, state in states.items() if state["active"]] == [running]
            assert device.read(2 * SECTOR, len(device.fitting)) == device.fitting
            confirmed_new = states[running]["confirmed"] and is_new
            assert device.info()["floor"] == (NEW_COUNTER if confirmed_new else OLD_COUNTER)
        assert device.violations == 0

    def finish(self) -> None:
        """The update still succeeds."""
        device = self.device
        device.cut()
        device.start()
        update(device, self.images)
        assert device.holds(device.start(), self.images.new)
        assert device.info()["floor"] == NEW_COUNTER


@pytest.fixture
def make_bench(make_device):
    def make(images: Pair, records: int = 0) -> Bench:
        return Bench(make_device(image=images.old, slot_bytes=images.slot_bytes), images, records)

    return make


def sweep(bench: Bench, scenario: Callable[[Device, Pair], None], *, finish: bool) -> int:
    """Cut at every operation, clean and torn; returns how many operations there are."""
    work = lambda: scenario(bench.device, bench.images)  # noqa: E731
    bench.restore()
    operations = bench.operations_of(work)
    for at in range(operations):
        for torn in (False, True):
            bench.restore()
            bench.run_until_cut(work, at, torn=torn)
            bench.check()
            if finish:
                bench.finish()
    return operations


@pytest.mark.parametrize("name", ["update", "erased"])
def test_every_cut_of_a_full_size_image(make_bench, name):
    bench = make_bench(LARGE)
    operations = sweep(bench, SCENARIOS[name], finish=name == "update")
    assert operations > 80
    assert bench.cuts == 2 * operations


@pytest.mark.parametrize("records", [0, *range(RECORDS - 6, RECORDS + 1)])
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_cut_of_a_small_image_wherever_the_journal_changes_its_sector(make_bench, name, records):
    bench = make_bench(SMALL, records)
    operations = sweep(bench, SCENARIOS[name], finish=True)
    assert bench.cuts == 2 * operations


@pytest.mark.parametrize("records", [0, RECORDS - 1])
@pytest.mark.parametrize("name", ["update", "never confirmed", "reverted"])
def test_a_second_cut_at_every_operation_of_the_recovery(make_bench, name, records):
    bench = make_bench(SMALL, records)
    work = lambda: SCENARIOS[name](bench.device, bench.images)  # noqa: E731

    def recover() -> None:
        bench.device.start()
        if bench.device.is_dead():
            raise NoAnswerError
        update(bench.device, bench.images)

    bench.restore()
    for at in range(bench.operations_of(work)):
        for torn in (False, True):
            bench.restore()
            bench.run_until_cut(work, at, torn=torn)
            left = bytes(bench.device.flash)
            bench.device.cut()
            for second in range(bench.operations_of(recover)):
                for second_torn in (False, True):
                    bench.device.flash[:] = left
                    bench.run_until_cut(recover, second, torn=second_torn)
                    bench.check()
    assert bench.cuts > 300


def test_a_cut_at_the_very_first_start(make_device):
    images = SMALL
    device = make_device(image=images.old, slot_bytes=images.slot_bytes)
    blank = b"\xff" * 2 * SECTOR
    for at in range(2):
        for torn in (False, True):
            device.write(0, blank)
            device.cut(at, torn=torn)
            device.start()
            assert device.is_dead()
            device.cut()
            assert device.start() == 0
            assert device.states()[0]["confirmed"]


def test_without_the_cut_nothing_is_left_to_do(make_bench):
    bench = make_bench(SMALL)
    bench.device.cut(NEVER)
    bench.finish()
    assert not bench.device.is_dead()
