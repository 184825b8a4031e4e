import errno
import os
import time
import tty

import pytest
import serial

from edgekit.errors import LinkLostError, PortBusyError, PortError, PortPermissionError
from edgekit.uploader import link as module
from edgekit.uploader.link import Link
from edgekit.uploader.smp import to_lines


class Pty:
    def __init__(self):
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        self.ends = [self.master, slave]

    def vanish(self):
        while self.ends:
            os.close(self.ends.pop())


@pytest.fixture
def pty():
    made = Pty()
    yield made
    made.vanish()


def fails(monkeypatch, error):
    def opened(*_args, **_options):
        raise error

    monkeypatch.setattr(serial, "Serial", opened)


class TestOpening:
    @pytest.mark.parametrize(
        ("path", "what"),
        [
            ("/dev/nothing", "/dev/nothing: no such port: No such file or directory"),
            ("/dev/null", "/dev/null: not a serial port: Inappropriate ioctl for device"),
            ("/tmp", "/tmp: a directory, not a serial port"),
            (__file__, f"{__file__}: a file, not a serial port"),
        ],
    )
    def test_what_is_no_port(self, path, what):
        with pytest.raises(PortError) as raised:
            Link(path)
        assert (raised.value.what, raised.value.exit_code) == (what, 10)

    def test_one_that_another_program_holds(self, pty):
        with Link(pty.path), pytest.raises(PortBusyError) as raised:
            Link(pty.path)
        assert raised.value.exit_code == 12
        assert "Resource temporarily unavailable" in raised.value.what

    @pytest.mark.parametrize(
        ("number", "kind", "code"),
        [
            (errno.EACCES, PortPermissionError, 11),
            (errno.EPERM, PortPermissionError, 11),
            (errno.EBUSY, PortBusyError, 12),
            (errno.ENXIO, PortError, 10),
            (errno.EMFILE, PortError, 10),
        ],
    )
    def test_errors_of_the_system(self, monkeypatch, pty, number, kind, code):
        fails(monkeypatch, serial.SerialException(number, "could not open port"))
        with pytest.raises(kind) as raised:
            Link(pty.path)
        assert type(raised.value) is kind
        assert raised.value.exit_code == code
        assert os.strerror(number) in raised.value.what
        assert pty.path in raised.value.what

    def test_a_speed_that_the_port_cannot(self, monkeypatch, pty):
        fails(monkeypatch, ValueError("Failed to set custom baud rate (7): ..."))
        with pytest.raises(PortError, match="custom baud rate"):
            Link(pty.path, 7)


class TestReceiving:
    def test_whole_packets_one_by_one(self, pty):
        with Link(pty.path) as link:
            os.write(pty.master, b"log\n" + to_lines(b"one") + to_lines(b"two")[:5])
            assert link.receive(time.monotonic() + 5) == b"one"
            assert link.receive(time.monotonic() + 0.05) is None
            os.write(pty.master, to_lines(b"two")[5:] + to_lines(b"three"))
            assert link.receive(time.monotonic() + 5) == b"two"
            assert link.receive(time.monotonic()) == b"three"

    def test_waits_no_longer_than_told(self, pty):
        with Link(pty.path) as link:
            begin = time.monotonic()
            assert link.receive(begin + 0.1) is None
            assert time.monotonic() - begin < 5

    def test_a_port_that_vanishes(self, pty):
        with Link(pty.path) as link:
            pty.vanish()
            with pytest.raises(LinkLostError) as raised:
                link.receive(time.monotonic() + 5)
        assert raised.value.exit_code == 14


class TestSending:
    def test_begins_with_a_newline(self, pty):
        with Link(pty.path) as link:
            link.send(b"one")
            assert os.read(pty.master, 100) == b"\n" + to_lines(b"one")

    def test_to_a_device_that_does_not_read(self, pty, monkeypatch):
        monkeypatch.setattr(module, "WRITE_TIMEOUT_S", 0.05)
        with Link(pty.path) as link:
            for _ in range(20):
                link.send(bytes(1000))

    def test_to_a_port_that_vanished(self, pty):
        with Link(pty.path) as link:
            pty.vanish()
            with pytest.raises(LinkLostError, match="Input/output error"):
                link.send(b"one")


class TestOpeningAgain:
    def test_a_port_that_comes_back(self, pty, tmp_path):
        path = tmp_path / "port"
        path.symlink_to(pty.path)
        with Link(str(path)) as link:
            link.reopen()
            os.write(pty.master, to_lines(b"one"))
            assert link.receive(time.monotonic() + 5) == b"one"

    def test_one_that_stays_away(self, pty, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "REOPEN_S", 0.2)
        path = tmp_path / "port"
        path.symlink_to(pty.path)
        with Link(str(path)) as link:
            path.unlink()
            with pytest.raises(LinkLostError, match="no such port"):
                link.reopen()
            with pytest.raises(LinkLostError):
                link.send(b"one")


def test_time_on_the_line(pty):
    with Link(pty.path, 9600) as link:
        assert link.line_s(960) == pytest.approx(1.0)
