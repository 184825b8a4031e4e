"""edgekit's commands against the firmware of a build on the simulated core, its flash and serial line."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from simulated_device import TARGET, SimulatedDevice, SmallBuild, make_build

from edgekit.uploader.container import HEADER_BYTES
from edgekit.uploader.device import open_device


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> SmallBuild:
    return make_build(tmp_path_factory.mktemp("build"))


@pytest.fixture
def device(build: SmallBuild, tmp_path: Path) -> Iterator[SimulatedDevice]:
    made = SimulatedDevice(build, tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()
    made.log.close()


def told(edgekit, device, *words):
    """Return what a command says as JSON."""
    ran = edgekit("flash", *words, "--port", device.port, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def heard(device: SimulatedDevice) -> list[int]:
    """Return a reading that is new."""
    import contextlib

    asked = open_device(device.port, 115_200)
    with contextlib.closing(asked.session.link):
        for _ in range(200):
            live = asked.live()
            if live.adv is not None and live.heard > 8_000:
                return list(live.adv)
    raise AssertionError("no reading")


def test_a_new_model_changes_what_a_running_device_says(edgekit, device, build) -> None:
    device.start()
    before = heard(device)
    made = told(edgekit, device, build.new)
    assert (made["result"], made["slot"]) == ("installed", 1)
    after = heard(device)
    assert all(b > a for a, b in zip(before, after, strict=True)), (before, after)
    again = told(edgekit, device, build.new)
    assert again["result"] == "already active"
    # It stays after the power was away.
    device.stop()
    device.start()
    states = [(slot["active"], slot["confirmed"]) for slot in told(edgekit, device, "info")["slots"]]
    assert states == [(False, False), (True, True)]
    assert heard(device) > before


def test_a_model_of_another_graph_is_refused_and_it_says_why(edgekit, device, build) -> None:
    device.start()
    ran = edgekit("flash", build.foreign, "--port", device.port)
    assert ran.code == 23
    assert "another network" in ran.err
    assert "nothing on the device has changed" in ran.err


def test_a_model_that_fails_its_golden_vector_is_taken_back(edgekit, device, build) -> None:
    device.start()
    before = heard(device)
    ran = edgekit("flash", build.broken, "--port", device.port)
    assert ran.code == 32, ran.err
    slots = told(edgekit, device, "info")["slots"]
    assert [slot["number"] for slot in slots if slot["active"]] == [0]
    assert heard(device)[0] == pytest.approx(before[0], abs=1500)
    assert told(edgekit, device, build.new)["result"] == "installed"


# A start writes the first commit record, three programs; an update programs the image, and two records more.
FIRST_RECORD, TRIAL_RECORD, CONFIRMED_RECORD = 3, "test", "confirm"
CUTS = [0, 2, FIRST_RECORD, 700, TRIAL_RECORD, CONFIRMED_RECORD]
IN_CI = [(2, True), (700, False), (TRIAL_RECORD, True)]


def at(cut, build: SmallBuild) -> int:
    """Return the flash operation of a cut, counted from 0."""
    written = FIRST_RECORD + -(-len(build.new.read_bytes()) // 8)
    return {TRIAL_RECORD: written + 1, CONFIRMED_RECORD: written + 7}.get(cut, cut)


@pytest.mark.parametrize(
    ("cut", "torn"),
    [
        pytest.param(cut, torn, marks=() if (cut, torn) in IN_CI else pytest.mark.slow)
        for cut in CUTS
        for torn in (False, True)
    ],
)
def test_a_power_cut_leaves_one_good_image_and_the_fitting(edgekit, device, build, cut, torn) -> None:
    device.start("--cut", at(cut, build), *(["--torn"] if torn else []))
    if device.process.poll() is None:
        assert edgekit("flash", build.new, "--port", device.port).code != 0
    device.cut()
    fitting = device.region(build.where.fitting, build.where.fitting_bytes)
    device.start()
    slots = told(edgekit, device, "info")["slots"]
    assert sum(slot["active"] for slot in slots) == 1
    assert told(edgekit, device, build.new)["result"] in ("installed", "already active")
    device.stop()
    assert device.region(build.where.fitting, build.where.fitting_bytes) == fitting
    assert device.region(build.where.slots[1], len(build.new.read_bytes())) == build.new.read_bytes()


def test_ctrl_c_ends_it_and_keeps_its_flash(edgekit, device, build) -> None:
    device.start()
    told(edgekit, device, "info")
    assert device.stop() == 130
    assert not device.link.exists()
    assert device.region(build.where.slots[0], len(build.old.read_bytes())) == build.old.read_bytes()


def test_weights_that_the_firmware_does_not_take_leave_a_device_that_can_be_flashed(
    edgekit, device, build
) -> None:
    device.start()
    assert told(edgekit, device, build.new)["slot"] == 1
    device.stop()
    # As after a firmware of another graph was programmed, journal and slots as they were.
    flash = bytearray(device.flash.read_bytes())
    at = build.where.slots[1] - TARGET.memory.flash_origin + HEADER_BYTES
    flash[at] ^= 1
    device.flash.write_bytes(flash)
    device.start()
    assert told(edgekit, device, build.old)["result"] == "installed"
    assert heard(device)


def test_what_is_no_flash_is_refused(edgekit, build, tmp_path) -> None:
    (tmp_path / "flash.bin").write_bytes(b"short")
    ran = edgekit("device", build.folder, "--flash", tmp_path / "flash.bin")
    assert ran.code == 2
    assert "5 bytes, the flash has 262,144" in ran.err


def test_a_file_is_no_place_for_a_link(edgekit, build, tmp_path) -> None:
    (tmp_path / "port").write_text("mine")
    ran = edgekit("device", build.folder, "--link", tmp_path / "port")
    assert (ran.code, (tmp_path / "port").read_text()) == (2, "mine")


def test_a_link_to_something_else_stays(edgekit, build, tmp_path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "port").symlink_to(tmp_path / "mine")
    ran = edgekit("device", build.folder, "--link", tmp_path / "port")
    assert (ran.code, (tmp_path / "port").read_text()) == (2, "mine")


def test_two_devices_share_neither_link_nor_flash(edgekit, device, build, tmp_path) -> None:
    device.start()
    for taken in (["--link", device.link], ["--flash", device.flash]):
        ran = edgekit("device", build.folder, *taken)
        assert ran.code == 2
        assert "another edgekit is writing it" in ran.err
    told(edgekit, device, "info")


def test_it_comes_back_after_it_was_killed(edgekit, device) -> None:
    device.start()
    device.process.kill()
    device.process.wait()
    assert device.link.is_symlink()
    device.start()
    # The link of the killed one does not answer.
    for _ in range(100):
        if edgekit("flash", "info", "--port", device.port).code == 0:
            break
    else:
        raise AssertionError("no answer")


def test_the_flash_of_another_firmware_is_refused(edgekit, build, tmp_path) -> None:
    flash = bytearray(b"\xff" * 262_144)
    flash[: build.where.firmware_bytes] = bytes(build.where.firmware_bytes)
    (tmp_path / "flash.bin").write_bytes(flash)
    ran = edgekit("device", build.folder, "--flash", tmp_path / "flash.bin")
    assert ran.code == 2
    assert "another firmware" in ran.err


def test_less_than_a_block_of_audio_is_refused(edgekit, build, tmp_path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(30), 16_000)
    ran = edgekit("device", build.folder, "--audio", tmp_path / "short.wav")
    assert (ran.code, ran.out) == (7, "")
    assert "30 samples of audio, a block has 64" in ran.err


@pytest.mark.parametrize("options", [["--flash", "."], ["--link", "."], ["--torn"]])
def test_what_cannot_be_is_refused(edgekit, build, options) -> None:
    ran = edgekit("device", build.folder, *options)
    assert (ran.code, ran.out) == (2, "")


def test_it_runs_without_a_terminal(device) -> None:
    device.start()
    assert isinstance(device.process, subprocess.Popen)
    assert device.process.poll() is None
