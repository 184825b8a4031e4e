"""Ports that cannot be used: each ends with its own exit code, and the device stays as it is."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import serial
from unit.edgekit.commands import error

NOBODY = 65534


@pytest.fixture(autouse=True)
def nothing_changes(device):
    before = device.everything(), device.counts
    yield
    assert (device.everything(), device.counts) == before


@contextlib.contextmanager
def forbidden(path):
    """Be a user who may not open a port: root may open everything."""
    mode = Path(path).stat().st_mode
    Path(path).chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        Path(path).chmod(mode)


@pytest.mark.parametrize(
    ("port", "what"),
    [
        ("/dev/nothing", "no such port"),
        ("/dev/null", "not a serial port"),
        ("/tmp", "a directory, not a serial port"),
        (__file__, "a file, not a serial port"),
    ],
)
@pytest.mark.parametrize("command", ["upload", "info", "confirm", "erase"])
def test_no_port(edgekit, new, port, what, command):
    words = [new] if command == "upload" else []
    ran = edgekit("flash", command, *words, "--port", port)
    assert ran.code == 10
    assert what in error(ran)[0]
    assert "edgekit ports" in error(ran)[1]


def test_a_port_that_this_user_may_not_open(edgekit, device):
    port = str(device.link.resolve())
    with forbidden(port):
        ran = edgekit("flash", "info", "--port", port)
    assert ran.code == 11
    assert error(ran)[0] == f"{port}: Permission denied"
    assert "dialout" in error(ran)[1]


def test_a_port_that_another_program_holds(edgekit, device, new):
    with serial.Serial(device.port, exclusive=True):
        ran = edgekit("flash", new, "--port", device.port)
    assert ran.code == 12
    assert "is used by another program" in error(ran)[0]


def test_a_port_that_a_monitor_holds(edgekit, device, new):
    words = [sys.executable, "-m", "edgekit.cli", "monitor", "--port", device.port]
    monitor = subprocess.Popen(words, stdout=subprocess.PIPE)
    monitor.stdout.readline()
    ran = edgekit("flash", new, "--port", device.port)
    monitor.send_signal(signal.SIGINT)
    monitor.communicate(timeout=20)
    assert ran.code == 12


def test_several_devices(edgekit, device, make_device, new, monkeypatch):
    ports = [device.port, make_device().port]
    found = [SimpleNamespace(device=port, description="n/a") for port in ports]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: found)
    ran = edgekit("flash", new)
    assert ran.code == 10
    assert error(ran) == (f"devices answer on several ports: {', '.join(ports)}", "choose one by --port")


def test_a_device_without_power(edgekit, device, new):
    device.power_off()
    ran = edgekit("flash", new, "--port", device.port)
    assert ran.code == 10
    assert "no such port" in error(ran)[0]
    device.start()


def test_a_device_that_does_nothing(edgekit, device, new):
    os.kill(device.process.pid, signal.SIGSTOP)
    begun_s = time.monotonic()
    ran = edgekit("flash", new, "--port", device.port)
    assert ran.code == 13
    assert time.monotonic() - begun_s < 10
    os.kill(device.process.pid, signal.SIGCONT)
    assert edgekit("flash", "info", "--port", device.port).code == 0
