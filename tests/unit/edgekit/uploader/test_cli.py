"""`edgekit flash`, `ports` and `monitor` against the independent server."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from images import model_image
from lines import bars_until, started
from unit.edgekit.commands import error

from edgekit import artifact
from edgekit.cli.app import main
from edgekit.cli.progress import PlainProgress

FAST = ("--baud", 921_600)


@pytest.fixture
def new(tmp_path):
    file = tmp_path / "new.bin"
    file.write_bytes(model_image(30_000))
    return file


class TestUpload:
    def test_says_what_was_done(self, edgekit, serve, new):
        served = serve()
        ran = edgekit("flash", new, "--port", served.port, *FAST)
        assert ran.code == 0
        assert ran.out.startswith("model 1.2.3+4 (")
        assert "is installed in slot 1: 30,344 of 30,344 bytes sent in" in ran.out
        phases = [line for line in ran.err.splitlines() if not line.startswith("writing")]
        assert phases == [
            *("connecting", "checking", "reading back", "restarting", "self-test", "confirming")
        ]
        assert "writing (bytes) 30,344/30,344, 100 %" in ran.err
        assert "KiB/s" in ran.err
        assert served.stop()["confirmed"]

    def test_again_there_is_nothing_to_do(self, edgekit, serve, new):
        served = serve()
        edgekit("flash", new, "--port", served.port, *FAST)
        ran = edgekit("flash", "upload", new, "--port", served.port, *FAST)
        assert ran.code == 0
        assert ran.out.endswith("is already active, nothing to do\n")

    def test_as_json(self, edgekit, serve, new):
        served = serve()
        ran = edgekit("flash", "--port", served.port, "--json", new)
        shown = json.loads(ran.out)
        assert shown["digest"] == served.stop()["digests"][1]
        assert (shown["result"], shown["image"], shown["slot"], shown["retries"]) == (
            "installed",
            "model",
            1,
            0,
        )

    def test_on_trial(self, edgekit, serve, new):
        served = serve()
        ran = edgekit("flash", new, "--port", served.port, "--test", *FAST)
        assert "on trial in slot 1" in ran.out
        assert "run edgekit flash confirm" in ran.out
        assert not served.stop()["confirmed"]

    def test_of_a_build(self, edgekit, serve, tmp_path):
        build = tmp_path / "build"
        with artifact.writing(build / "firmware", "firmware", {}, {}) as work:
            (work / "model.signed.bin").write_bytes(model_image(5000))
        served = serve()
        assert edgekit("flash", build, "--port", served.port, *FAST).code == 0

    def test_of_a_build_without_images(self, edgekit, tmp_path):
        what, hint = error(edgekit("flash", tmp_path))
        assert what.startswith(f"{tmp_path / 'firmware'}: no firmware artifact here")
        assert hint.startswith("run edgekit build")

    def test_of_a_build_that_was_damaged(self, edgekit, tmp_path):
        with artifact.writing(tmp_path / "firmware", "firmware", {}, {}) as work:
            (work / "model.signed.bin").write_bytes(model_image(5000))
        (tmp_path / "firmware" / "model.signed.bin").write_bytes(model_image(5000, seed=2))
        assert "checksum differs" in error(edgekit("flash", tmp_path))[0]

    def test_the_other_kind_of_image(self, edgekit, new):
        ran = edgekit("flash", new, "--image", "firmware")
        assert ran.code == 22
        assert error(ran) == (f"{new}: not a firmware image", "give --image model")

    def test_no_image(self, edgekit, tmp_path):
        assert edgekit("flash", tmp_path / "none.bin").code == 2
        (tmp_path / "bad.bin").write_bytes(bytes(100))
        assert edgekit("flash", tmp_path / "bad.bin").code == 20

    def test_a_damaged_image(self, edgekit, new):
        data = bytearray(new.read_bytes())
        data[1000] ^= 1
        new.write_bytes(data)
        ran = edgekit("flash", new)
        assert ran.code == 20
        assert error(ran)[0].startswith(f"{new}: damaged: its SHA-256 is ")

    def test_no_port(self, edgekit, new):
        ran = edgekit("flash", new, "--port", "/dev/nothing")
        assert ran.code == 10
        assert error(ran)[0] == "/dev/nothing: no such port: No such file or directory"

    def test_no_answer(self, edgekit, new):
        master, slave = os.openpty()
        ran = edgekit("flash", new, "--port", os.ttyname(slave))
        os.close(master)
        os.close(slave)
        assert ran.code == 13

    @pytest.mark.parametrize(("config", "code"), [({"healthy": False}, 32), ({"mv": 900}, 2)])
    def test_what_goes_wrong_says_what_runs_now(self, edgekit, serve, new, config, code):
        served = serve(**config)
        ran = edgekit("flash", new, "--port", served.port, *FAST)
        assert ran.code == code
        assert "the old image stays active in slot 0: 1.2.3.4 (active, confirmed)" in error(ran)[0]


class TestCtrlC:
    def test_then_the_same_command_resumes(self, edgekit, serve, new):
        served = serve(baud=115_200)
        process = started("flash", new, "--port", served.port, "--json", stdout=subprocess.PIPE)
        for line in process.stderr:
            if line.startswith("writing"):
                break
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (130, "")
        assert "run the same command again" in err
        shown = json.loads(edgekit("flash", new, "--port", served.port, "--json").out)
        # At least a second of the line need not be repeated.
        assert shown["sent_bytes"] < shown["image_bytes"] - 6_000
        assert shown["result"] == "installed"
        stats = served.stop()
        assert stats["taken"] < shown["image_bytes"] + 4096
        assert stats["violations"] == 0


class TestDevice:
    def test_info(self, edgekit, serve):
        served = serve(mv=1300)
        ran = edgekit("flash", "info", "--port", served.port)
        assert "battery_mv    1,300\n" in ran.out
        assert "abi           1.2, kernels 12345678\n" in ran.out
        assert "model         slot 0: 1.2.3.4 (active, confirmed) " in ran.out
        shown = json.loads(edgekit("flash", "info", "--port", served.port, "--json").out)
        assert shown["device"]["battery_mv"] == 1300
        assert [slot["active"] for slot in shown["slots"]] == [True]

    def test_info_of_a_device_of_somebody_else(self, edgekit, serve):
        served = serve(plain=True)
        assert json.loads(edgekit("flash", "info", "--port", served.port, "--json").out)["device"] is None

    def test_inspect(self, edgekit, serve):
        served = serve()
        ran = edgekit("flash", "inspect", "--port", served.port)
        assert "########..........  8 of 18 blocks of 4,096 bytes are written" in ran.out
        assert "slot 1: no image\n  ..................  0 of 18" in ran.out
        shown = json.loads(edgekit("flash", "inspect", "--port", served.port, "--json").out)
        assert [sum(row["written"]) for row in shown] == [8, 0]

    def test_confirm(self, edgekit, serve, new):
        served = serve()
        edgekit("flash", new, "--port", served.port, "--test", *FAST)
        ran = edgekit("flash", "confirm", "--port", served.port)
        assert ran.out == "confirmed: slot 1: 1.2.3.4 (active, confirmed)\n"
        assert served.stop()["confirmed"]

    def test_revert(self, edgekit, serve, new):
        served = serve()
        edgekit("flash", new, "--port", served.port, "--test", *FAST)
        ran = edgekit("flash", "revert", "--port", served.port, "--json")
        assert json.loads(ran.out)["active"]["number"] == 0
        ran = edgekit("flash", "revert", "--port", served.port)
        assert ran.code == 31
        assert "nothing is on trial" in error(ran)[0]
        assert served.stop()["active"] == 0

    def test_erase(self, edgekit, serve, new):
        served = serve(spare=str(new))
        ran = edgekit("flash", "erase", "--port", served.port)
        assert ran.out == "erased slot 1; active: slot 0: 1.2.3.4 (active, confirmed)\n"
        assert served.stop()["erases"] == 8


class TestPorts:
    @pytest.fixture
    def machine(self, monkeypatch):
        found = []
        monkeypatch.setattr("serial.tools.list_ports.comports", lambda: found)
        return lambda *paths: found.extend(SimpleNamespace(device=p, description="n/a") for p in paths)

    def test_none(self, edgekit, machine, new):
        assert edgekit("ports").out == "no serial port\n"
        ran = edgekit("flash", new)
        assert (ran.code, error(ran)[0]) == (10, "this machine has no serial port")

    def test_with_and_without_a_device(self, edgekit, machine, serve):
        served = serve()
        machine(served.port, "/dev/nothing")
        assert f"{served.port}  device\n" in edgekit("ports").out
        shown = json.loads(edgekit("ports", "--json").out)
        assert {row["path"]: row["device"] for row in shown} == {served.port: True, "/dev/nothing": False}

    def test_auto_is_the_one_that_answers(self, edgekit, machine, serve, new):
        served = serve()
        machine("/dev/nothing", served.port)
        assert edgekit("flash", new, *FAST).code == 0
        assert served.stop()["confirmed"]

    def test_auto_where_none_answers(self, edgekit, machine, new):
        machine("/dev/nothing")
        ran = edgekit("flash", new)
        assert ran.code == 10
        assert "no device answers: /dev/nothing: no such port" in error(ran)[0]

    def test_auto_where_two_answer(self, edgekit, machine, serve, new):
        ports = sorted([serve().port, serve().port])
        machine(*ports)
        ran = edgekit("flash", new)
        assert ran.code == 10
        assert error(ran) == (f"devices answer on several ports: {', '.join(ports)}", "choose one by --port")


class TestMonitor:
    def test_lines_until_ctrl_c(self, serve):
        served = serve()
        process = started("monitor", "--port", served.port, stdout=subprocess.PIPE)
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (130, "")
        nothing = dict.fromkeys(("arousal", "dominance", "valence"))
        assert lines[0] == {**nothing, "heard_samples": 1600}
        assert lines[2] == {"arousal": 0.5, "dominance": 0.25, "valence": -0.0061, "heard_samples": 4800}

    def test_bars_on_a_terminal(self, serve):
        served = serve()
        code, shown = bars_until(b"0.500 ####", served.port)
        assert code == 130
        assert b"arousal" in shown
        assert b"0.500 ####" in shown

    def test_a_device_that_goes_away(self, serve):
        served = serve()
        process = started("monitor", "--port", served.port, stdout=subprocess.PIPE)
        process.stdout.readline()
        served.process.kill()
        _, err = process.communicate(timeout=20)
        assert process.returncode == 14
        assert "has gone" in err


def test_retries_are_shown_beside_the_bytes(capsys):
    clock = iter([0.0, 6.0])
    progress = PlainProgress(sys.stderr, lambda: next(clock))
    progress("writing (bytes)", 0, 20_480)
    progress("writing (bytes); 3 retries", 10_240, 20_480)
    assert capsys.readouterr().err.splitlines() == [
        "writing (bytes) 0/20,480, 0 %",
        "writing (bytes) 10,240/20,480, 50 %, 1.7 KiB/s, 6 s left, 3 retries",
    ]


def test_help_of_the_group_names_every_exit_code(capsys):
    main(["flash", "--help"])
    out = capsys.readouterr().out
    assert all(f" {code}  " in out for code in (*range(10, 15), *range(20, 26), *range(30, 33)))
