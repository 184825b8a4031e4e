"""Every kind of bad image: refused by edgekit before anything is erased, and by the agent alone."""

import struct
from dataclasses import dataclass, replace

import pytest
from images import (
    FIRMWARE,
    KEY,
    MODEL,
    OTHER_KEY,
    WEIGHTS,
    area,
    assemble,
    model_image,
    other_uuid,
    protected_entries,
    signature_entries,
)
from unit.edgekit.commands import error

from edgekit.errors import EdgekitError
from edgekit.uploader.container import Version
from edgekit.uploader.device import open_device
from edgekit.uploader.facts import Needs
from edgekit.uploader.image import sign
from edgekit.uploader.transfer import Transfer

from .conftest import OLD

GOOD = assemble(protected_entries())
SLOT_BYTES = 18 * 4096
PAYLOAD_END = 32 + len(WEIGHTS)
TLVS = protected_entries()
SIGNED = signature_entries(GOOD[: PAYLOAD_END + len(area(0x6908, TLVS))])


@dataclass(frozen=True)
class Bad:
    """An image, the exit code that says what is wrong with it, and a part of the sentence."""

    data: bytes
    code: int
    says: str = ""


def truncated():
    """Yield the image cut at each boundary: of its areas, of every TLV, and within them."""
    places = {0, 4, 31, 32, 33, PAYLOAD_END - 1, PAYLOAD_END, len(GOOD) - 1}
    at = PAYLOAD_END + 4
    for _, data in TLVS:
        places |= {at, at + 2, at + 4, at + 4 + len(data)}
        at += 4 + len(data)
    at += 4
    for _, data in SIGNED:
        places |= {at - 2, at, at + 4}
        at += 4 + len(data)
    for count in sorted(places):
        yield f"truncated to {count}", Bad(GOOD[:count], 20)


def rearranged():
    """Yield images with each TLV removed, doubled or moved; the signature is right where there is one."""
    for index, (kind, _) in enumerate(TLVS):
        without = TLVS[:index] + TLVS[index + 1 :]
        yield f"without {kind:#x}", Bad(assemble(without), 20)
        yield f"{kind:#x} twice", Bad(assemble([*TLVS, TLVS[index]]), 20)
        yield (
            f"{kind:#x} last",
            Bad(assemble([*without, TLVS[index]]), 20)
            if index < len(TLVS) - 1
            else Bad(assemble([TLVS[-1], *TLVS[:-1]]), 20),
        )
    for index, (kind, _) in enumerate(SIGNED):
        without = SIGNED[:index] + SIGNED[index + 1 :]
        yield f"without {kind:#x}", Bad(assemble(TLVS, unprotected=without), 20)
        yield f"{kind:#x} twice", Bad(assemble(TLVS, unprotected=[*SIGNED, SIGNED[index]]), 20)
    yield "signature first", Bad(assemble(TLVS, unprotected=SIGNED[::-1]), 20)
    yield "unknown TLV", Bad(assemble([*TLVS, (0xA4, b"x")]), 20)


def flipped():
    """Yield images with one bit changed, in each part."""
    digest = GOOD.index(SIGNED[0][1])
    parts = {
        "magic": (0, 20),
        "load address": (4, 20),
        "header size": (8, 20),
        "size of protected TLVs": (10, 20),
        "image size": (12, 20),
        "flags": (16, 20),
        "version": (20, 20),
        "padding": (28, 20),
        "payload": (40, 20),
        "counter": (PAYLOAD_END + 8, 20),
        "graph": (PAYLOAD_END + 84, 20),
        "digest": (digest, 20),
        "key hash": (digest + 36, 21),
        "signature": (len(GOOD) - 1, 20),
    }
    for name, (at, code) in parts.items():
        data = bytearray(GOOD)
        data[at] ^= 1
        yield f"flipped {name}", Bad(bytes(data), code)


def unfit():
    """Yield whole images that are not for this device."""
    abi, needs = MODEL.abi, MODEL.needs
    for name, code, says, changes in (
        ("class", 22, "for another device", {"device_class": other_uuid()}),
        ("vendor", 22, "for another device", {"vendor": other_uuid()}),
        ("abi major", 23, "needs ABI 2.2", {"abi": replace(abi, major=2)}),
        ("abi minor", 23, "needs ABI 1.3", {"abi": replace(abi, minor=3)}),
        ("kernels", 23, "needs ABI", {"abi": replace(abi, kernels=1)}),
        ("graph", 23, "another network: its graph is", {"graph": bytes(32)}),
        (
            "newer firmware",
            23,
            "needs firmware 1.0.1; the device has 1.0.0",
            {"firmware": Version(1, 0, 1, 0)},
        ),
        ("align", 23, "aligned to 64 bytes", {"needs": Needs(needs.ram_bytes, len(WEIGHTS), 64, 3)}),
        ("RAM", 24, "bytes of RAM", {"needs": Needs(20_001, len(WEIGHTS), 4, 3)}),
        ("weights", 24, "bytes of weights", {"needs": Needs(1, len(WEIGHTS) + 1, 4, 3)}),
        ("lower counter", 25, "security counter 6, the device accepts 7", {"counter": MODEL.counter - 1}),
    ):
        yield f"another {name}", Bad(assemble(protected_entries(replace(MODEL, **changes))), code, says)
    yield "another key", Bad(assemble(TLVS, key=OTHER_KEY), 21, "signed with key")
    yield "too big by one byte", Bad(full(SLOT_BYTES + 1), 24, "73,729 bytes, the slot has 73,728")
    unsigned = assemble(TLVS, unprotected=SIGNED[:1])
    yield "unsigned", Bad(unsigned, 20, "not signed")
    yield "zero bytes", Bad(assemble(TLVS, payload=b""), 20, "zero bytes")
    yield "image size overflows", Bad(assemble(TLVS, img_size=0xFFFF_FFFF), 20)
    yield "image size wraps around", Bad(assemble(TLVS, img_size=0xFFFF_FFE0), 20)
    yield "header size overflows", Bad(assemble(TLVS, hdr_size=0xFFFF), 20)
    yield "one byte more", Bad(GOOD + b"\xff", 20)
    yield "bare weights", Bad(WEIGHTS * 10, 20)
    yield "Intel HEX", Bad(b":1000000000000000000000000000000000000000F0\n:00000001FF\n", 20, "Intel HEX")
    yield "ELF", Bad(b"\x7fELF" + bytes(100), 20, "ELF")
    yield "a model without its firmware's version", Bad(assemble(TLVS[:1] + TLVS[2:]), 20)


def full(size: int) -> bytes:
    """Return a good image of a size."""
    made = model_image(size - len(model_image(0)))
    assert len(made) == size
    return made


BAD = dict([*truncated(), *rearranged(), *flipped(), *unfit()])


@pytest.fixture(scope="module")
def one_device(agent_program, tmp_path_factory):
    from agent_device import AgentDevice

    device = AgentDevice(agent_program, tmp_path_factory.mktemp("bad"), OLD)
    yield device
    device.close()
    device.assert_sound()


@pytest.mark.parametrize("name", BAD)
def test_edgekit_refuses_it_before_anything_changes(edgekit, one_device, tmp_path, name):
    bad = BAD[name]
    file = tmp_path / "bad.bin"
    file.write_bytes(bad.data)
    before = one_device.counts, one_device.everything()
    ran = edgekit("flash", file, "--port", one_device.port)
    assert ran.code == bad.code, ran.err
    what, hint = error(ran)
    assert bad.says in what
    assert hint
    assert (one_device.counts, one_device.everything()) == before
    one_device.assert_sound()


@dataclass(frozen=True)
class Unchecked:
    """An image that nobody has looked at."""

    data: bytes
    digest: bytes
    number: int = 1


def header_is_right(data: bytes) -> bool:
    """Return whether an image's header is of the one form that there is, and its sizes are the file's."""
    if not 32 <= len(data) <= SLOT_BYTES:
        return False
    magic, load, header, protected, size, flags, _, padding = struct.unpack("<IIHHII8sI", data[:32])
    form = (magic, load, header, protected, flags, padding)
    return form == (0x96F3B83D, 0, 32, 168, 0x10, 0) and 0 < size == len(data) - 344


@pytest.mark.parametrize("name", [name for name, bad in BAD.items() if bad.data])
def test_the_agent_refuses_it_and_keeps_the_old_one(make_device, name):
    """Whoever uploads without looking first: the free slot is lost, and nothing else."""
    bad = BAD[name]
    device = make_device()
    host = open_device(device.port)
    with host.session.link:
        with pytest.raises(EdgekitError) as refused:
            Transfer(host, Unchecked(bad.data, bytes(32)), 1, lambda *_: None).run()
        # What the header shows is refused before anything is written.
        assert (device.slot(1, 32) == bad.data[:32]) == header_is_right(bad.data)
        assert header_is_right(bad.data) or device.counts["erases"] == 0
        (active,) = [slot for slot in host.slots() if slot.active]
        assert active.confirmed
        assert host.info().floor == MODEL.counter
    assert refused.value.exit_code == bad.code
    assert device.holds(0, OLD)


class TestGood:
    """What looks like a bad one, and is none."""

    @pytest.mark.parametrize(
        "data",
        [
            GOOD,
            full(SLOT_BYTES),
            assemble(protected_entries(replace(MODEL, abi=replace(MODEL.abi, minor=1)))),
        ],
        ids=["with the counter that the device has", "as big as the slot", "of an older interface"],
    )
    def test_it_is_installed(self, edgekit, device, tmp_path, data):
        file = tmp_path / "good.bin"
        file.write_bytes(data)
        ran = edgekit("flash", file, "--port", device.port)
        assert ran.code == 0, ran.err
        assert device.holds(1, data)


class TestFirmware:
    def test_an_agent_for_models_refuses_it_before_anything_changes(self, edgekit, device, tmp_path):
        file = tmp_path / "firmware.bin"
        file.write_bytes(sign(bytes(5000), replace(FIRMWARE, counter=99), KEY))
        before = device.counts, device.everything()
        ran = edgekit("flash", file, "--port", device.port)
        assert ran.code == 31
        assert error(ran)[0] == (
            "the device refuses: it has no such image or slot to update; "
            "nothing on the device has changed: it names no active firmware"
        )
        assert (device.counts, device.everything()) == before
        host = open_device(device.port)
        with host.session.link:
            assert host.info().floor == MODEL.counter


def test_the_list_is_the_one_of_the_format():
    """Every area and field of the format is in it."""
    assert len(BAD) > 100
    assert {bad.code for bad in BAD.values()} == {20, 21, 22, 23, 24, 25}
    assert struct.unpack_from("<I", GOOD)[0] == 0x96F3B83D
