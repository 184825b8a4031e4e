"""Whole updates against the independent server, with one fault at a time."""

import itertools

import pytest
from images import OTHER_KEY, TOLD, model_image

from edgekit.errors import (
    ConfigError,
    DeviceError,
    LinkLostError,
    RevertedError,
    TooBigError,
    VerifyError,
    WrongKeyError,
)
from edgekit.uploader import session as session_module
from edgekit.uploader.device import open_device
from edgekit.uploader.image import parse
from edgekit.uploader.install import install
from edgekit.uploader.preflight import check

SECTOR = 4096
CLEAN = {"violations": 0, "active": 1, "confirmed": True}


@pytest.fixture
def new():
    return parse(model_image(40_000))


def update(served, new, confirm=True, checking=check, progress=None):
    device = open_device(served.port, 921_600)
    try:
        shown = [] if progress is None else progress
        outcome = install(
            device, new, lambda info: checking(new, info), confirm, lambda *step: shown.append(step)
        )
    finally:
        device.session.link.close()
    return outcome


def ends_well(served, new, outcome):
    stats = served.stop()
    assert outcome.result == "installed"
    assert {key: stats[key] for key in CLEAN} == CLEAN
    assert stats["digests"][1] == new.digest.hex()
    return stats


class TestWithoutFaults:
    def test_every_byte_is_sent_once(self, serve, new):
        served = serve()
        shown = []
        outcome = update(served, new, progress=shown)
        ends_well(served, new, outcome)
        assert (outcome.slot, outcome.image_bytes) == (1, len(new.data))
        assert outcome.sent_bytes == len(new.data)
        assert outcome.retries == 0
        steps = [what for what, _ in itertools.groupby(shown, lambda step: step[0])]
        assert steps == [
            "checking",
            "writing (bytes)",
            "reading back",
            "restarting",
            "self-test",
            "confirming",
        ]
        written = [done for what, done, _ in shown if what == "writing (bytes)"]
        assert written == sorted(written)
        assert written[-1] == len(new.data)

    @pytest.mark.parametrize("buf_size", [96, 384, 4096])
    def test_buffers_of_other_sizes(self, serve, new, buf_size):
        served = serve(buf_size=buf_size)
        ends_well(served, new, update(served, new))

    def test_a_buffer_that_holds_no_data(self, serve, new):
        served = serve(buf_size=80)
        with pytest.raises(DeviceError, match="too few for an upload"):
            update(served, new)

    def test_a_device_of_somebody_else(self, serve, new):
        served = serve(plain=True)
        ends_well(served, new, update(served, new))

    def test_a_device_without_a_model(self, serve, new):
        served = serve(installed="")
        ends_well(served, new, update(served, new))

    def test_the_old_slot_is_erased_first(self, serve, new):
        served = serve()
        update(served, parse(model_image(40_000, seed=5)))
        shown = []
        outcome = update(served, new, progress=shown)
        assert ("erasing", 0, 1) in shown
        assert outcome.slot == 0
        stats = served.stop()
        assert (stats["active"], stats["digests"][0]) == (0, new.digest.hex())
        assert stats["violations"] == 0

    def test_full_to_the_last_byte(self, serve):
        new = parse(model_image(18 * SECTOR - len(model_image(0))))
        assert len(new.data) == 18 * SECTOR
        served = serve()
        ends_well(served, new, update(served, new))


class TestAgain:
    def test_the_same_image_is_active_already(self, serve, new):
        served = serve()
        update(served, new)
        outcome = update(served, new)
        assert (outcome.result, outcome.sent_bytes, outcome.slot) == ("already active", 0, 1)

    def test_one_on_trial_is_confirmed(self, serve, new):
        served = serve()
        assert update(served, new, confirm=False).result == "on trial"
        assert update(served, new, confirm=False).sent_bytes == 0
        outcome = update(served, new)
        assert outcome.sent_bytes == 0
        ends_well(served, new, outcome)

    def test_on_trial_it_is_not_confirmed(self, serve, new):
        served = serve()
        update(served, new, confirm=False)
        stats = served.stop()
        assert (stats["active"], stats["confirmed"]) == (1, False)

    def test_another_one_on_trial_is_in_the_way(self, serve, new):
        served = serve()
        update(served, parse(model_image(9000, seed=5)), confirm=False)
        with pytest.raises(DeviceError, match="is on trial; nothing on the device has changed"):
            update(served, new)


class TestRefusedBeforeAnything:
    @pytest.mark.parametrize(
        ("config", "kind"),
        [
            ({"mv": 1149}, ConfigError),
            ({"info": TOLD | {"key": bytes(32).hex()}}, WrongKeyError),
            ({"info": TOLD | {"pub": OTHER_KEY.public.raw.hex()}}, WrongKeyError),
            ({"slot_bytes": 8 * SECTOR}, TooBigError),
        ],
        ids=["battery", "key", "key itself", "size"],
    )
    def test_by_the_host(self, serve, new, config, kind):
        served = serve(**config)
        with pytest.raises(
            kind, match="nothing on the device has changed: the old image stays active in slot 0"
        ):
            update(served, new)
        assert served.stop()["taken"] == 0

    def test_by_the_device(self, serve, new):
        served = serve(slot_bytes=8 * SECTOR)
        with pytest.raises(TooBigError, match="the device refuses"):
            update(served, new, checking=lambda *_: None)
        assert served.stop()["taken"] == 0

    def test_a_battery_that_is_strong_enough(self, serve, new):
        served = serve(mv=1150)
        ends_well(served, new, update(served, new))


class TestFaults:
    @pytest.mark.parametrize("place", ["first", "middle", "last"])
    def test_a_lost_reply(self, serve, new, place):
        served = serve(lose=[place])
        assert place in ends_well(served, new, update(served, new))["happened"]

    @pytest.mark.parametrize(
        "config",
        [
            {"flips_in": 1e-3, "flips_out": 1e-3},
            {"drops_in": 3e-4, "drops_out": 3e-4},
            {"duplicates": 0.2},
            {"merges": 0.05},
            {"log": 0.5},
            {"stale": 0.5},
            {"lost": 0.1},
        ],
        ids=lambda config: next(iter(config)),
    )
    def test_a_bad_line(self, serve, new, config):
        served = serve(**config)
        ends_well(served, new, update(served, new))

    def test_a_restart_goes_on_at_the_last_whole_block(self, serve, new):
        served = serve(reset_at=30_000)
        outcome = update(served, new)
        ends_well(served, new, outcome)
        assert outcome.sent_bytes < len(new.data) + 4 * SECTOR

    def test_a_restart_of_a_device_that_takes_no_gaps(self, serve, new):
        served = serve(reset_at=30_000, gaps=False)
        outcome = update(served, new)
        ends_well(served, new, outcome)
        assert outcome.sent_bytes > len(new.data) + 20_000

    def test_a_slow_erase(self, serve, new):
        served = serve(erase_s=0.15)
        update(served, parse(model_image(40_000, seed=5)))
        update(served, new)
        stats = served.stop()
        # Eight sectors of the image that was there, each once: the order was not given twice.
        assert (stats["erase_orders"], stats["erases"], stats["violations"]) == (1, 8, 0)

    def test_a_port_that_vanishes_and_comes_back(self, serve, new):
        served = serve(vanish_at=20_000)
        outcome = update(served, new)
        assert ends_well(served, new, outcome)["happened"] == ["vanish"]
        assert outcome.sent_bytes < len(new.data) + SECTOR

    def test_a_port_that_vanishes_for_good(self, serve, new, monkeypatch):
        monkeypatch.setattr("edgekit.uploader.link.REOPEN_S", 0.3)
        served = serve(vanish_at=20_000, vanish_s=60)
        with pytest.raises(
            LinkLostError, match=r"slot 1 is written up to offset 1\d,\d\d\d; the old image stays"
        ) as e:
            update(served, new)
        assert e.value.exit_code == 14
        assert "resumes" in e.value.hint

    def test_a_device_that_falls_silent(self, serve, new, monkeypatch):
        monkeypatch.setattr(session_module, "PATIENCE_S", 0.5)
        monkeypatch.setattr("edgekit.uploader.device.RESTART_S", 0.5)
        served = serve(silent_after=20_000)
        device = open_device(served.port, 921_600)
        monkeypatch.setattr(device.session, "exchange", impatient(device.session.exchange))
        with device.session.link, pytest.raises(LinkLostError, match="no answer"):
            install(device, new, lambda info: None)

    def test_a_block_that_went_wrong_is_written_again(self, serve, new):
        served = serve(corrupt_at=9_000)
        outcome = update(served, new)
        assert "corrupt" in ends_well(served, new, outcome)["happened"]
        assert outcome.sent_bytes == 2 * len(new.data)

    def test_a_device_whose_word_is_wrong(self, serve, new, monkeypatch):
        served = serve()
        monkeypatch.setattr("edgekit.uploader.transfer.Transfer.written", lambda _: False)
        with pytest.raises(
            VerifyError, match="what slot 1 holds is not the image; slot 1 is written up to offset 40,"
        ) as raised:
            update(served, new)
        assert raised.value.exit_code == 30


def impatient(exchange):
    return lambda op, group, command, body, patience_s=0: exchange(op, group, command, body, 0.5)


class TestTrial:
    def test_an_image_that_fails_its_test_is_taken_back(self, serve, new):
        served = serve(healthy=False)
        with pytest.raises(RevertedError, match=r"failed its self-test \(7\)") as raised:
            update(served, new)
        assert raised.value.exit_code == 32
        assert served.stop()["active"] == 0

    def test_an_image_that_does_not_start(self, serve, new):
        served = serve(boots=False)
        with pytest.raises(RevertedError, match="did not start the new image; slot 1 is written"):
            update(served, new)
        assert served.stop()["active"] == 0


class TestResume:
    def test_an_image_that_is_there_is_not_sent(self, serve, new):
        served = serve(healthy=False)
        with pytest.raises(RevertedError):
            update(served, new)
        with pytest.raises(RevertedError):
            update(served, new)
        assert served.stop()["taken"] == len(new.data)

    @pytest.mark.parametrize("restarted", [False, True], ids=["by its memory", "by its blocks"])
    def test_an_interrupted_upload_goes_on(self, serve, new, restarted):
        served = serve()

        class EnoughError(Exception):
            pass

        def stop(what, done, total):
            if done > 25_000:
                raise EnoughError

        device = open_device(served.port, 921_600)
        with device.session.link:
            with pytest.raises(EnoughError):
                install(device, new, lambda info: None, progress=stop)
            if restarted:
                device.restart()
        outcome = update(served, new)
        ends_well(served, new, outcome)
        assert outcome.sent_bytes < len(new.data) - 25_000 + (3 if restarted else 1) * SECTOR
