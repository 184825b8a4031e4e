"""edgekit's commands against the agent's C: updates from beginning to end, left, and resumed."""

import json
import signal
import subprocess
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from agent_device import SECTOR
from images import MODEL, model_image
from lines import bars_until, started
from unit.edgekit.commands import error

from .conftest import NEW, OLD

RESUME = "run the same command again"


def told(edgekit, device, *words):
    """Return what a command says as JSON."""
    ran = edgekit("flash", *words, "--port", device.port, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


class TestUpdate:
    def test_a_model_is_installed_tested_and_confirmed(self, edgekit, device, new):
        ran = edgekit("flash", new, "--port", device.port)
        assert (ran.code, ran.out[:12]) == (0, "model 1.2.3+")
        assert "is installed in slot 1: 61,784 of 61,784 bytes sent in" in ran.out
        steps = [line.partition(" ")[0] for line in ran.err.splitlines()]
        assert list(dict.fromkeys(steps)) == [
            *("connecting", "checking", "writing", "reading", "restarting", "self-test", "confirming")
        ]
        assert device.holds(1, NEW)
        assert device.holds(0, OLD)
        device.restart()
        slots = told(edgekit, device, "info")["slots"]
        assert [(slot["active"], slot["confirmed"]) for slot in slots] == [(False, False), (True, True)]
        assert told(edgekit, device, "info")["device"]["floor"] == MODEL.counter

    def test_again_nothing_is_done(self, edgekit, device, new):
        edgekit("flash", new, "--port", device.port)
        before = device.counts, device.everything()
        ran = edgekit("flash", new, "--port", device.port)
        assert ran.code == 0
        assert ran.out.endswith("is already active, nothing to do\n")
        assert (device.counts, device.everything()) == before

    def test_back_and_forth_each_sector_is_erased_once_for_each_update(self, edgekit, device, new, tmp_path):
        old = tmp_path / "old.bin"
        old.write_bytes(OLD)
        assert edgekit("flash", new, "--port", device.port).code == 0
        # Slot 1 was blank.
        assert device.counts["erases"] == 0
        # Slot 0 still holds the old one: nothing is sent or erased.
        back = told(edgekit, device, old)
        assert (back["result"], back["slot"], back["sent_bytes"]) == ("installed", 0, 0)
        assert device.counts["erases"] == 0
        third = tmp_path / "third.bin"
        third.write_bytes(model_image(61_440, seed=3))
        before = device.counts["erases"]
        assert edgekit("flash", third, "--port", device.port).code == 0
        assert device.counts["erases"] - before == -(-len(NEW) // SECTOR)

    @pytest.mark.parametrize("sectors", [17, 64])
    def test_slots_of_other_sizes(self, edgekit, make_device, new, sectors):
        device = make_device(slot_sectors=sectors, fitting_sectors=5)
        assert told(edgekit, device, "info")["device"]["slot_bytes"] == sectors * SECTOR
        assert edgekit("flash", new, "--port", device.port).code == 0
        assert device.holds(1, NEW)

    def test_a_device_without_a_model(self, edgekit, make_device, new):
        device = make_device(installed=b"")
        assert edgekit("flash", new, "--port", device.port).code == 0
        assert device.holds(0, NEW)


class TestTrial:
    def test_test_then_confirm(self, edgekit, device, new):
        ran = edgekit("flash", new, "--port", device.port, "--test")
        assert ran.code == 0
        assert "on trial in slot 1" in ran.out
        # The floor waits for the confirmation.
        assert told(edgekit, device, "info")["device"]["floor"] == MODEL.counter
        ran = edgekit("flash", "confirm", "--port", device.port)
        assert ran.out == "confirmed: slot 1: 1.2.3.4 (active, confirmed)\n"
        device.restart()
        assert told(edgekit, device, "info")["slots"][1]["confirmed"]

    def test_the_floor_rises_when_it_is_confirmed(self, edgekit, device, tmp_path):
        higher = tmp_path / "higher.bin"
        higher.write_bytes(model_image(9_000, facts=replace(MODEL, counter=20)))
        assert edgekit("flash", higher, "--port", device.port, "--test").code == 0
        assert told(edgekit, device, "info")["device"]["floor"] == MODEL.counter
        assert edgekit("flash", higher, "--port", device.port).code == 0
        assert told(edgekit, device, "info")["device"]["floor"] == 20

    def test_test_then_revert(self, edgekit, device, new):
        edgekit("flash", new, "--port", device.port, "--test")
        ran = edgekit("flash", "revert", "--port", device.port)
        assert ran.out == "reverted: slot 0: 1.0.0 (active, confirmed)\n"
        ran = edgekit("flash", "revert", "--port", device.port)
        assert ran.code == 31
        assert "nothing is on trial" in error(ran)[0]
        device.restart()
        assert told(edgekit, device, "info")["slots"][0]["active"]

    def test_a_trial_that_nobody_confirms_ends_by_itself(self, edgekit, device, new):
        edgekit("flash", new, "--port", device.port, "--test")
        for _ in range(3):
            device.restart()
        assert told(edgekit, device, "info")["slots"][0]["active"]
        ran = edgekit("flash", "confirm", "--port", device.port, "--json")
        assert json.loads(ran.out)["active"]["version"] == "1.0.0"

    def test_a_second_model_waits_for_the_end_of_the_trial(self, edgekit, device, new, tmp_path):
        edgekit("flash", new, "--port", device.port, "--test")
        other = tmp_path / "other.bin"
        other.write_bytes(model_image(9_000, seed=5))
        ran = edgekit("flash", other, "--port", device.port)
        assert ran.code == 31
        assert "slot 1: 1.2.3.4 (active) is on trial" in error(ran)[0]

    def test_a_model_that_fails_its_self_test(self, edgekit, make_device, new):
        device = make_device(selftest=7)
        ran = edgekit("flash", new, "--port", device.port)
        assert ran.code == 32
        assert "the old image stays active in slot 0: 1.0.0" in error(ran)[0]
        slots = told(edgekit, device, "info")["slots"]
        assert [slot["active"] for slot in slots] == [True, False]

    def test_a_weak_battery(self, edgekit, make_device, new):
        device = make_device(mv=1149)
        ran = edgekit("flash", new, "--port", device.port)
        assert ran.code == 2
        assert "1,149 mV" in error(ran)[0]
        assert device.counts["erases"] == 0


class TestResume:
    def interrupted(self, device, line, new, stop):
        """Start an upload, stop it somewhere in the middle; return the process's exit code and output."""
        process = started("flash", new, "--port", line.port, "--json", stdout=subprocess.PIPE)
        until_s = time.monotonic() + 30
        while not device.slot(1, 30_000)[-1000:].strip(b"\xff"):
            assert time.monotonic() < until_s
            time.sleep(0.02)
        stop(process)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def test_after_ctrl_c(self, edgekit, device, make_line, new):
        line = make_line(device, baud=230_400)
        code, out, err = self.interrupted(device, line, new, lambda p: p.send_signal(signal.SIGINT))
        assert (code, out) == (130, "")
        assert RESUME in err
        again = told(edgekit, line, new)
        assert again["result"] == "installed"
        # It goes on where it was, but for the packet under way.
        assert again["sent_bytes"] < len(NEW) - 30_000 + SECTOR
        assert device.holds(1, NEW)

    def test_after_a_power_loss_by_the_hashes_of_blocks(self, edgekit, device, make_line, new):
        line = make_line(device, baud=230_400)
        ended = self.interrupted(device, line, new, lambda p: p.send_signal(signal.SIGINT))
        assert ended[0] == 130
        device.restart()
        again = told(edgekit, line, new)
        assert again["result"] == "installed"
        # The block under way, and the first one up to its end, are written again.
        assert again["sent_bytes"] < len(NEW) - 30_000 + 3 * SECTOR
        assert device.holds(1, NEW)

    def test_a_power_loss_in_the_middle_of_one_command(self, device, make_line, new):
        line = make_line(device, baud=230_400)
        code, out, _ = self.interrupted(device, line, new, lambda _: device.restart())
        assert code == 0
        shown = json.loads(out)
        assert shown["result"] == "installed"
        assert shown["sent_bytes"] < len(NEW) + 3 * SECTOR
        assert device.holds(1, NEW)

    @pytest.mark.slow
    def test_a_device_that_stays_away(self, device, make_line, new):
        line = make_line(device, baud=230_400)
        code, out, err = self.interrupted(device, line, new, lambda _: device.power_off())
        assert (code, out) == (14, "")
        assert "the old image stays active in slot 0" in err
        assert RESUME in err
        device.start()


class TestOtherCommands:
    def test_info(self, edgekit, make_device):
        device = make_device(mv=1300)
        ran = edgekit("flash", "info", "--port", device.port)
        assert "battery_mv    1,300\n" in ran.out
        assert f"graph         {MODEL.graph.hex()}\n" in ran.out
        assert "model         slot 0: 1.0.0 (active, confirmed) " in ran.out

    def test_inspect(self, edgekit, device):
        ran = edgekit("flash", "inspect", "--port", device.port)
        assert "########..........  8 of 18 blocks of 4,096 bytes are written" in ran.out
        assert "slot 1: no image\n  ..................  0 of 18" in ran.out

    def test_erase_is_of_the_slot_that_is_not_active_and_of_used_sectors_alone(self, edgekit, make_device):
        device = make_device(spare=model_image(9_000, seed=5))
        ran = edgekit("flash", "erase", "--port", device.port)
        assert ran.out == "erased slot 1; active: slot 0: 1.0.0 (active, confirmed)\n"
        assert device.counts["erases"] == 3
        assert device.slot(1, device.slot_bytes) == b"\xff" * device.slot_bytes
        edgekit("flash", "erase", "--port", device.port)
        assert device.counts["erases"] == 3

    def test_erase_during_a_trial_is_refused(self, edgekit, device, new):
        edgekit("flash", new, "--port", device.port, "--test")
        before = device.everything()
        ran = edgekit("flash", "erase", "--port", device.port)
        assert ran.code == 31
        assert "an image is pending or on trial" in error(ran)[0]
        assert device.everything() == before

    def test_ports(self, edgekit, device, make_device, monkeypatch):
        other = make_device()
        paths = [device.port, "/dev/nothing"]
        found = lambda: [SimpleNamespace(device=path, description="n/a") for path in paths]  # noqa: E731
        monkeypatch.setattr("serial.tools.list_ports.comports", found)
        shown = json.loads(edgekit("ports", "--json").out)
        assert {row["path"]: row["device"] for row in shown} == {device.port: True, "/dev/nothing": False}
        assert json.loads(edgekit("flash", "info", "--json").out)["device"]["fitting"]
        paths.append(other.port)
        ran = edgekit("flash", "info")
        assert ran.code == 10
        assert error(ran)[1] == "choose one by --port"

    def test_monitor_as_lines(self, make_device):
        device = make_device(adv="8192,4096,-100", heard=4800)
        process = started("monitor", "--port", device.port, stdout=subprocess.PIPE)
        shown = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert (process.communicate(timeout=20)[1], process.returncode) == ("", 130)
        assert shown == {"arousal": 0.5, "dominance": 0.25, "valence": -0.0061, "heard_samples": 4800}

    def test_monitor_as_bars(self, make_device):
        device = make_device(adv="8192,4096,-100", heard=4800)
        code, shown = bars_until(b"0.500 ####", device.port)
        assert code == 130
        assert b"0.500 ####" in shown
