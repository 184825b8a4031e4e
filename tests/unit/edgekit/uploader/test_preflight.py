import struct
from dataclasses import replace

import pytest
from unit.edgekit.uploader.images import CLASS, GRAPH, KERNELS, KEY, VENDOR, image

from edgekit.errors import (
    ConfigError,
    DowngradeError,
    ImageError,
    TooBigError,
    WrongGraphError,
    WrongKeyError,
    WrongTargetError,
)
from edgekit.uploader.contents import MODEL, read_contents
from edgekit.uploader.device import Info
from edgekit.uploader.preflight import check

INFO = Info(
    device_class=CLASS,
    vendor=VENDOR,
    abi=(1, 2, KERNELS),
    graph=GRAPH,
    floor=3,
    slot_bytes=65_536,
    ram_bytes=9_000,
    firmware="1.0.0",
    key=KEY,
    fitting=bytes(32),
    battery_mv=None,
)


def contents(tmp_path, data):
    file = tmp_path / "model.bin"
    file.write_bytes(data)
    return read_contents(file)


class TestContents:
    def test_of_a_model(self, tmp_path):
        data = image(1000)
        made = contents(tmp_path, data)
        assert made.data == data
        assert (made.number, made.version, made.counter) == (MODEL, "1.2.3+4", 3)
        assert (made.vendor, made.device_class, made.key) == (VENDOR, CLASS, KEY)
        assert (made.abi, made.graph, made.ram_bytes) == ((1, 2, KERNELS), GRAPH, 9000)
        assert data.count(made.digest) == 1

    def test_truncated_anywhere(self, tmp_path):
        data = image(200)
        for end in range(len(data)):
            with pytest.raises(ImageError):
                contents(tmp_path, data[:end])

    def test_with_something_behind(self, tmp_path):
        with pytest.raises(ImageError, match="truncated or damaged"):
            contents(tmp_path, image(200) + b"\0")

    @pytest.mark.parametrize(
        ("data", "what"),
        [
            (b"\x7fELF" + bytes(100), "no image: it does not begin with the magic number"),
            (b"", "unpack_from requires"),
            (
                struct.pack("<IIHHIIBBHII", 0x96F3B83D, 0, 32, 0, 0xFFFFFFFF, 0, *[0] * 5),
                "unpack_from requires",
            ),
        ],
    )
    def test_what_is_no_image(self, tmp_path, data, what):
        with pytest.raises(ImageError, match=what) as raised:
            contents(tmp_path, data)
        assert raised.value.exit_code == 20

    def test_unsigned(self, tmp_path):
        data = bytearray(image(200))
        at = data.rindex(struct.pack("<HH", 0x24, 64))
        data[at] = 0x25
        with pytest.raises(ImageError, match="without signature"):
            contents(tmp_path, bytes(data))

    def test_no_file(self, tmp_path):
        with pytest.raises(ConfigError, match="No such file"):
            read_contents(tmp_path / "none.bin")


class TestCheck:
    def test_what_fits_exactly(self, tmp_path):
        made = contents(tmp_path, image(1000))
        check(made, replace(INFO, slot_bytes=len(made.data)))

    @pytest.mark.parametrize(
        ("changes", "kind", "code"),
        [
            ({"device_class": bytes(16)}, WrongTargetError, 22),
            ({"key": bytes(32)}, WrongKeyError, 21),
            ({"graph": bytes(32)}, WrongGraphError, 23),
            ({"minor": 3}, WrongGraphError, 23),
            ({"ram": 9001}, TooBigError, 24),
            ({"counter": 2}, DowngradeError, 25),
        ],
    )
    def test_what_does_not(self, tmp_path, changes, kind, code):
        with pytest.raises(kind) as raised:
            check(contents(tmp_path, image(1000, **changes)), INFO)
        assert raised.value.exit_code == code
        assert raised.value.hint

    def test_too_big_by_one(self, tmp_path):
        made = contents(tmp_path, image(1000))
        with pytest.raises(TooBigError, match="a slot"):
            check(made, replace(INFO, slot_bytes=len(made.data) - 1))

    @pytest.mark.parametrize(
        "abi", [(2, 2, KERNELS), (1, 1, KERNELS), (1, 2, KERNELS + 1)], ids=["major", "minor", "kernels"]
    )
    def test_interface(self, tmp_path, abi):
        with pytest.raises(WrongGraphError, match=r"needs interface 1\.2"):
            check(contents(tmp_path, image(1000)), replace(INFO, abi=abi))

    def test_older_interface(self, tmp_path):
        check(contents(tmp_path, image(1000, minor=1)), INFO)

    def test_vendor(self, tmp_path):
        with pytest.raises(WrongTargetError, match="vendor"):
            check(contents(tmp_path, image(1000)), replace(INFO, vendor=bytes(16)))
