"""A line and a device that fail between edgekit's host and the agent's C.

After each: one whole image boots, the old or the new one, fitting bytes are what they were, the exit code
says how it ended, and nothing hangs.
"""

import hashlib
import json
import random

import pytest
from agent_device import SECTOR
from images import model_image
from lines import line_faults, no_longer_than
from unit.edgekit.commands import error

from edgekit.uploader.device import open_device

from .conftest import NEW, OLD

SMALL = model_image(20_000, seed=2)
USED = model_image(25_000, seed=7)
LIMIT_S = 180
SEEDS, IN_CI = 150, 6


def booted(device):
    """Restart a device on a line of its own; return its one active image, whole, and whether it stays."""
    device.restart()
    host = open_device(device.port)
    with host.session.link:
        (active,) = [slot for slot in host.slots() if slot.active]
        assert host.info().fitting == hashlib.sha256(device.fitting).digest()
        assert host.self_test(active.number) == 0
    images = [image for image in (OLD, NEW, SMALL) if device.holds(active.number, image)]
    assert len(images) == 1
    device.assert_sound()
    return images[0], active.confirmed


@pytest.fixture
def flash(edgekit, make_line, tmp_path):
    """Run `edgekit flash` over a bad line; return what it gave and what the line did."""

    def run(device, image, **faults):
        file = tmp_path / "image.bin"
        file.write_bytes(image)
        line = make_line(device, **faults)
        with no_longer_than(LIMIT_S):
            ran = edgekit("flash", file, "--port", line.port, "--json")
        return ran, line.stop()

    return run


def installed(ran):
    assert ran.code == 0, ran.err
    shown = json.loads(ran.out)
    assert shown["result"] == "installed"
    return shown


class TestLine:
    @pytest.mark.parametrize(
        "faults",
        [
            {"flips_in": 1e-5, "flips_out": 1e-5},
            {"flips_in": 1e-4, "flips_out": 1e-4},
            {"flips_in": 1e-3},
            {"flips_out": 1e-3},
            {"drops_in": 3e-4, "drops_out": 3e-4},
            {"duplicates": 0.1},
            {"merges": 0.05},
            {"log": 0.5},
            {"stale": 0.5},
            {"lost": 0.1},
            {"garbage": 3000},
        ],
        ids=lambda faults: "-".join(f"{name}={rate}" for name, rate in faults.items()),
    )
    def test_noise(self, make_device, flash, faults):
        device = make_device()
        ran, did = flash(device, SMALL, seed=11, **faults)
        installed(ran)
        assert booted(device) == (SMALL, True)
        assert did["lines"] > 100

    @pytest.mark.parametrize("place", ["first", "middle", "last"])
    def test_a_lost_reply_to_an_upload(self, make_device, flash, place):
        device = make_device()
        ran, did = flash(device, NEW, lose=[place])
        shown = installed(ran)
        assert did["happened"] == [place]
        assert shown["retries"] >= 1
        assert shown["sent_bytes"] < len(NEW) + 3 * SECTOR
        assert booted(device) == (NEW, True)

    def test_a_port_that_vanishes_and_comes_back(self, make_device, flash):
        device = make_device()
        ran, did = flash(device, SMALL, vanish_at=9_000)
        installed(ran)
        assert did["happened"] == ["vanished"]
        assert booted(device) == (SMALL, True)

    def test_a_port_that_vanishes_for_good(self, make_device, flash, monkeypatch):
        monkeypatch.setattr("edgekit.uploader.link.REOPEN_S", 0.3)
        device = make_device()
        ran, _ = flash(device, SMALL, vanish_at=9_000, vanish_s=2)
        assert ran.code == 14
        what, hint = error(ran)
        assert "is written up to offset" in what
        assert "the old image stays active in slot 0: 1.0.0 (active, confirmed)" in what
        assert "resumes" in hint
        assert booted(device) == (OLD, True)

    @pytest.mark.slow
    def test_a_line_that_is_cut_towards_the_device(self, make_device, flash):
        device = make_device()
        ran, _ = flash(device, SMALL, deaf_at=9_000)
        assert ran.code == 14
        assert "the old image stays active in slot 0" in error(ran)[0]
        assert booted(device) == (OLD, True)


class TestDevice:
    def test_a_reset_in_the_middle(self, make_device, flash):
        device = make_device(spare=USED)
        ran, did = flash(device, NEW, reset_at=30_000)
        shown = installed(ran)
        assert did["happened"] == ["reset"]
        assert shown["sent_bytes"] < len(NEW) + 3 * SECTOR
        assert booted(device) == (NEW, True)

    def test_a_slow_erase_is_ordered_once(self, make_device, flash):
        device = make_device(spare=USED, erase_ms=100)
        installed(flash(device, SMALL)[0])
        assert device.counts["erases"] == -(-len(USED) // SECTOR)
        assert booted(device) == (SMALL, True)

    @pytest.mark.parametrize("torn", [0, 1])
    # While it erases, at the first write, later, at the last, at the records of test, trial and confirmation.
    @pytest.mark.parametrize("at", [0, 3, 7, 20, 31, 32, 33, 34])
    def test_a_power_cut_in_the_middle_of_an_update(self, make_device, flash, at, torn):
        device = make_device(spare=USED)
        device.restart(cut=at, torn=torn)
        ran, _ = flash(device, SMALL, seed=at)
        assert device.power_cuts == 1
        # A cut may end a trial; the command says so, and the next one goes on.
        assert ran.code in (0, 14, 32)
        image, confirmed = booted(device)
        assert image in (OLD, SMALL)
        assert (image == SMALL) == (ran.code == 0)
        assert confirmed
        installed(flash(device, NEW)[0])
        assert booted(device) == (NEW, True)

    def test_a_self_test_that_fails_over_a_bad_line(self, make_device, flash):
        device = make_device(selftest=3)
        ran, _ = flash(device, SMALL, flips_in=1e-4, flips_out=1e-4, seed=4)
        assert ran.code == 32
        device.options["selftest"] = 0
        assert booted(device) == (OLD, True)


def drawn(seed):
    """Return faults of the line, options of the device and an image, drawn by a seed."""
    rng = random.Random(seed)
    image = rng.choice([SMALL, SMALL, NEW])

    line = line_faults(rng, len(image)) | {"garbage": lambda: rng.randrange(1, 3000)}
    chosen = rng.sample(sorted(line), rng.randint(1, 6))
    options = {"spare": USED if rng.random() < 0.5 else b"", "erase_ms": rng.choice([0, 0, 20])}
    power = {"cut": rng.randrange(70), "torn": rng.randrange(2)} if rng.random() < 0.5 else {}
    return {name: line[name]() for name in chosen} | {"seed": seed}, options, power, image


@pytest.mark.parametrize(
    "seed", [seed if seed < IN_CI else pytest.param(seed, marks=pytest.mark.slow) for seed in range(SEEDS)]
)
def test_an_update_under_many_faults(make_device, flash, seed):
    faults, options, power, image = drawn(seed)
    device = make_device(**options)
    if power:
        device.restart(**power)
    ran, _ = flash(device, image, **faults)
    assert ran.code in ((0, 14, 32) if power else (0,)), ran.err
    assert booted(device) == ((image if ran.code == 0 else OLD), True)
    if ran.code:
        installed(flash(device, image)[0])
        assert booted(device) == (image, True)
