from dataclasses import replace

import pytest
from images import (
    FIRMWARE,
    KEY,
    MODEL,
    OTHER_KEY,
    WEIGHTS,
    assemble,
    model_image,
    other_uuid,
    protected_entries,
)

from edgekit.errors import (
    DeviceError,
    DowngradeError,
    ImageError,
    TooBigError,
    WrongGraphError,
    WrongKeyError,
    WrongTargetError,
)
from edgekit.uploader.device import Info
from edgekit.uploader.image import parse, sign
from edgekit.uploader.preflight import check

KERNELS = MODEL.abi.kernels
INFO = Info(
    device_class=MODEL.device_class.bytes,
    vendor=MODEL.vendor.bytes,
    abi=(1, 2, KERNELS),
    graph=MODEL.graph,
    floor=7,
    slot_bytes=65_536,
    ram_bytes=17_000,
    firmware="1.0.0",
    key=KEY.public.hash,
    public=KEY.public.raw,
    fitting=bytes(32),
    battery_mv=None,
)


def model(key=KEY, **changes):
    return parse(model_image(1000, facts=replace(MODEL, **changes), key=key))


class TestModel:
    def test_what_fits_exactly(self):
        made = model()
        check(made, replace(INFO, slot_bytes=len(made.data), firmware="0.9.0"))

    @pytest.mark.parametrize(
        ("changes", "kind", "code"),
        [
            ({"device_class": other_uuid()}, WrongTargetError, 22),
            ({"vendor": other_uuid()}, WrongTargetError, 22),
            ({"key": OTHER_KEY}, WrongKeyError, 21),
            ({"graph": bytes(32)}, WrongGraphError, 23),
            ({"abi": replace(MODEL.abi, minor=3)}, WrongGraphError, 23),
            ({"needs": replace(MODEL.needs, ram_bytes=17_001)}, TooBigError, 24),
            ({"needs": replace(MODEL.needs, align=64)}, WrongGraphError, 23),
            ({"needs": replace(MODEL.needs, align=0)}, WrongGraphError, 23),
            ({"counter": 6}, DowngradeError, 25),
        ],
    )
    def test_what_does_not(self, changes, kind, code):
        with pytest.raises(kind) as raised:
            check(model(**changes), INFO)
        assert raised.value.exit_code == code
        assert raised.value.hint

    def test_fewer_weights_than_it_says(self):
        facts = replace(MODEL, needs=replace(MODEL.needs, weights_bytes=len(WEIGHTS) + 1))
        with pytest.raises(TooBigError, match="says 101 bytes of weights, and holds 100"):
            check(parse(assemble(protected_entries(facts))), INFO)

    def test_too_big_by_one(self):
        made = model()
        with pytest.raises(TooBigError, match="the slot has"):
            check(made, replace(INFO, slot_bytes=len(made.data) - 1))

    @pytest.mark.parametrize(
        "abi", [(2, 2, KERNELS), (1, 1, KERNELS), (1, 2, KERNELS + 1)], ids=["major", "minor", "kernels"]
    )
    def test_interface(self, abi):
        with pytest.raises(WrongGraphError, match=r"needs ABI 1\.2"):
            check(model(), replace(INFO, abi=abi))

    def test_older_interface(self):
        check(model(abi=replace(MODEL.abi, minor=1)), INFO)

    @pytest.mark.parametrize("firmware", ["0.8.9", "0.8.9.99", "0.8.9+99"])
    def test_older_firmware(self, firmware):
        with pytest.raises(WrongGraphError, match=r"needs firmware 0\.9\.0; the device has 0\.8\.9"):
            check(model(), replace(INFO, firmware=firmware))


class TestFirmware:
    def test_is_not_compared_with_the_room_for_models(self):
        check(parse(sign(WEIGHTS, FIRMWARE, KEY)), replace(INFO, slot_bytes=1, ram_bytes=1))

    def test_of_another_key(self):
        with pytest.raises(WrongKeyError):
            check(parse(sign(WEIGHTS, FIRMWARE, OTHER_KEY)), INFO)

    def test_is_not_compared_with_the_floor_of_models(self):
        check(parse(sign(WEIGHTS, replace(FIRMWARE, counter=0), KEY)), replace(INFO, floor=99))


class TestSignature:
    @pytest.fixture
    def forged(self):
        data = bytearray(model_image(1000))
        data[-1] ^= 1
        return parse(bytes(data))

    def test_a_wrong_one_is_found_before_anything_is_erased(self, forged):
        with pytest.raises(ImageError, match="the signature is wrong") as raised:
            check(forged, INFO)
        assert raised.value.exit_code == 20

    def test_a_device_that_tells_the_digest_of_its_key_alone_finds_it_itself(self, forged):
        check(forged, replace(INFO, public=None))


@pytest.mark.parametrize(
    "nonsense",
    [
        *({"vendor": b""}, {"device_class": bytes(17)}, {"public": bytes(31)}),
        *({"firmware": ""}, {"firmware": "1.0"}, {"firmware": "x"}),
    ],
)
def test_answers_that_make_no_sense(nonsense):
    with pytest.raises(DeviceError, match="makes no sense"):
        check(model(), replace(INFO, **nonsense))
