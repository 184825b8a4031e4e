"""Images that are wrong in any way are refused, and the old one stays."""

import hashlib
import struct

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from imgtool import image as imgtool_image
from imgtool import keys
from imgtool.version import decode_version
from unit.codegen.agent.conftest import OLD
from unit.codegen.agent.device import SECTOR, Device, RefusedError, packet
from unit.codegen.agent.images import HEADER, OTHER_KEY, Image, digest_of, full_payload, tlv

GOOD = Image()
SLOT = 4 * SECTOR


def refusal(device: Device, image: bytes, **first: object) -> int:
    """Upload an image that must be refused; returns the error of the user group."""
    before = device.erased
    with pytest.raises(RefusedError) as refused:
        device.upload(image, **first)
    assert refused.value.group == 64
    stays_old(device)
    device.was_erased = device.erased != before
    return refused.value.code


def stays_old(device: Device) -> None:
    assert device.holds(0, OLD)
    assert device.start() == 0
    assert device.states()[0]["confirmed"]


def put_and_test(device: Device, image: bytes) -> int:
    """Place an image behind the agent's back; returns the error of a test of it."""
    device.write(device.slot_at(1), image + b"\xff" * (SLOT - len(image)))
    if len(image) < SLOT and 1 not in device.states():
        assert device.request(2, 64, 2, {"slot": 1})["rc"] == 20
        return 20
    with pytest.raises(RefusedError) as refused:
        device.test(image)
    stays_old(device)
    return refused.value.code


EARLY = {
    "other magic": (GOOD.but(header=(0x96F3B83C, 0, 32)), 20),
    "load address": (GOOD.but(header=(0x96F3B83D, 4, 32)), 20),
    "long header": (GOOD.but(header=(0x96F3B83D, 0, 512)), 20),
    "bootable": (GOOD.but(flags=0), 20),
    "encrypted": (GOOD.but(flags=0x14), 20),
    "no payload": (GOOD.but(payload=b""), 20),
    "size 0xFFFFFFFF": (GOOD.but(image_size=0xFFFFFFFF), 20),
    "size overflows": (GOOD.but(image_size=0xFFFFFFFF - 400), 20),
    "size too large by one": (GOOD.but(image_size=len(GOOD.payload) + 1), 20),
    "size too small by one": (GOOD.but(image_size=len(GOOD.payload) - 1), 20),
}


@pytest.mark.parametrize("name", EARLY)
def test_what_the_header_shows_is_refused_before_anything_is_erased(device, name):
    image, code = EARLY[name]
    assert refusal(device, image.build()) == code
    assert not device.was_erased


@pytest.mark.parametrize("text", [b":10000000", b"\x7fELF", b"UF2\n", b"\0" * 64, b"\xff" * 64])
def test_other_files_are_refused_before_anything_is_erased(device, text):
    assert refusal(device, text * 40) == 20
    assert not device.was_erased


def test_the_size_is_checked_before_anything_is_erased(device):
    image = Image(payload=full_payload(SLOT + 1)).build()
    assert len(image) == SLOT + 1
    assert refusal(device, image) == 24
    assert not device.was_erased
    for length in (2**31, 2**32 - 2):
        with pytest.raises(RefusedError) as refused:
            device.request(
                2, 1, 1, {"image": 1, "off": 0, "len": length, "data": image[:400], "sha": bytes(32)}
            )
        assert (refused.value.group, refused.value.code) == (64, 24)
    for length in (0, 31):
        with pytest.raises(RefusedError) as refused:
            device.request(2, 1, 1, {"image": 1, "off": 0, "len": length, "data": b"", "sha": bytes(32)})
        assert (refused.value.group, refused.value.code) == (64, 20)
    assert not device.erased[device.slot_at(1) // SECTOR]


@pytest.mark.parametrize("short", range(10))
def test_an_image_that_fills_the_slot_is_taken(device, short):
    image = Image(payload=full_payload(SLOT - short), needs=(1, 1, 4, 3)).build()
    assert len(image) == SLOT - short
    device.update(image)
    assert device.start() == 1


LATE = {
    "wrong key": (GOOD.but(key=OTHER_KEY), 21),
    "other vendor": (GOOD.but(vendor=bytes(16)), 22),
    "other class": (GOOD.but(kind=bytes(16)), 22),
    "other graph": (GOOD.but(graph=bytes(32)), 23),
    "ABI major above": (GOOD.but(abi=(2, 0, 7)), 23),
    "ABI major below": (GOOD.but(abi=(0, 0, 7)), 23),
    "ABI minor above": (GOOD.but(abi=(1, 3, 7)), 23),
    "other kernels": (GOOD.but(abi=(1, 2, 8)), 23),
    "firmware too old": (GOOD.but(firmware=(1, 0, 1, 0)), 23),
    "firmware too old by a build": (GOOD.but(firmware=(1, 0, 0, 1)), 23),
    "other outputs": (GOOD.but(needs=(1000, 8000, 8, 4)), 23),
    "no alignment": (GOOD.but(needs=(1000, 8000, 0, 3)), 23),
    "alignment": (GOOD.but(needs=(1000, 8000, 64, 3)), 23),
    "too much RAM": (GOOD.but(needs=(65537, 8000, 8, 3)), 24),
    "more weights than payload": (GOOD.but(needs=(1000, 8001, 8, 3)), 24),
    "lower counter": (GOOD.but(counter=3), 25),
}


@pytest.mark.parametrize("name", LATE)
def test_what_does_not_fit_is_refused_before_the_commit_record(device, name):
    image, code = LATE[name]
    assert refusal(device, image.build()) == code
    assert put_and_test(device, image.build()) == code


@pytest.mark.parametrize(
    "image",
    [
        GOOD.but(counter=4),
        GOOD.but(abi=(1, 0, 7)),
        GOOD.but(abi=(1, 2, 7), firmware=(0, 9, 9, 9)),
        GOOD.but(needs=(65536, 8000, 32, 3)),
        GOOD.but(needs=(0, 0, 1, 3)),
        GOOD.but(payload=b"x", needs=(0, 1, 1, 3)),
    ],
)
def test_what_just_fits_is_taken(device, image):
    device.update(image.build())
    assert device.start() == 1


def variants() -> dict[str, bytes]:
    """Return images with other TLVs than the ones that are taken; signed by the right key where possible."""
    made = {}
    protected = GOOD.protected()
    for index, value in enumerate(protected):
        made[f"without protected {index}"] = GOOD.build([*protected[:index], *protected[index + 1 :]])
        made[f"twice protected {index}"] = GOOD.build(
            [*protected[: index + 1], value, *protected[index + 1 :]]
        )
        swapped = [*protected[:index], *protected[index + 1 :], value]
        if swapped != protected:
            made[f"moved protected {index}"] = GOOD.build(swapped)
        longer = struct.pack("<HH", *struct.unpack_from("<HH", value)) + value[4:] + b"\0"
        made[f"long protected {index}"] = GOOD.build([*protected[:index], longer, *protected[index + 1 :]])
    made["unknown protected"] = GOOD.build([*protected, tlv(0xA4, b"")])
    made["no protected"] = GOOD.build([])
    digest = hashlib.sha256(GOOD.hashed()).digest()
    plain = GOOD.signed(digest)
    for index, value in enumerate(plain):
        made[f"without plain {index}"] = GOOD.build(plain=[*plain[:index], *plain[index + 1 :]])
        made[f"twice plain {index}"] = GOOD.build(plain=[*plain, value])
        made[f"moved plain {index}"] = (
            GOOD.build(plain=[value, *plain[:index], *plain[index + 1 :]]) if index else b""
        )
    made["unsigned"] = GOOD.build(plain=plain[:1])
    made["pure signature"] = GOOD.build(plain=[*plain, tlv(0x25, b"\1")])
    made["without hash, key as it is"] = GOOD.build(plain=[tlv(0x10, digest), tlv(0x02, bytes(32)), plain[2]])
    made["trailing byte"] = GOOD.build() + b"\0"
    made["trailing sector"] = GOOD.build() + b"\xff" * 4096
    return {name: image for name, image in made.items() if image}


@pytest.mark.parametrize("name", variants())
def test_other_tlvs_are_refused(device, name):
    image = variants()[name]
    assert refusal(device, image) == 20
    if not name.startswith("trailing"):
        assert put_and_test(device, image) == 20


def boundaries(image: bytes) -> list[int]:
    payload = len(GOOD.payload)
    inside = [*range(0, 36, 4), HEADER + payload - 1, *range(HEADER + payload, len(image), 4)]
    return sorted({*inside, len(image) - 1, SECTOR - 1, SECTOR, SECTOR + 1})


def test_an_image_cut_short_anywhere_is_refused(device):
    image = GOOD.build()
    for count in boundaries(image):
        assert put_and_test(device, image[:count]) == 20
    for count in boundaries(image):
        assert refusal(device, image[:count]) == 20 if count else True


def test_a_flipped_bit_anywhere_is_refused(device):
    image = GOOD.build()
    payload = len(GOOD.payload)
    places = [*range(HEADER), HEADER, HEADER + payload // 2, *range(HEADER + payload, len(image))]
    for place in places:
        changed = bytearray(image)
        changed[place] ^= 1 << place % 8
        code = put_and_test(device, bytes(changed))
        # The hash that names the key is outside what is signed: another one is another key.
        key_hash = range(HEADER + payload + 212, HEADER + payload + 244)
        assert code == (21 if place in key_hash else 20), place


def test_a_file_that_is_not_the_promised_one_has_no_match(device):
    assert device.upload(GOOD.build(), sha=bytes(32)) == {"off": len(GOOD.build()), "match": False}
    assert device.upload(GOOD.build())["match"]


def test_the_slot_is_named_as_a_model(device):
    for number in (0, 2):
        with pytest.raises(RefusedError) as refused:
            device.upload(GOOD.build(), image=number)
        assert (refused.value.group, refused.value.code) == (1, 14)


def test_an_upgrade_must_be_newer(device):
    for version in ((1, 0, 0, 0), (0, 9, 9, 9)):
        with pytest.raises(RefusedError) as refused:
            device.upload(GOOD.but(version=version).build(), upgrade=True)
        assert (refused.value.group, refused.value.code) == (1, 27)
    assert not device.erased[device.slot_at(1) // SECTOR]
    for version in ((1, 0, 0, 1), (1, 0, 1, 0), (1, 1, 0, 0), (2, 0, 0, 0)):
        assert device.upload(GOOD.but(version=version).build(), upgrade=True)["match"]


def test_requests_that_miss_a_field_are_invalid(device):
    for body in (
        {},
        {"off": 0},
        {"off": 0, "data": b""},
        {"data": b"", "len": 5},
        {"off": 0, "len": 5},
        {"off": -1, "data": b""},
    ):
        with pytest.raises(RefusedError) as refused:
            device.request(2, 1, 1, body)
        assert (refused.value.group, refused.value.code) == (0, 3)


@pytest.mark.parametrize("chunk", [1, 7, 33, 96, 128, 511, 900])
def test_chunks_of_any_size(device, chunk):
    image = GOOD.but(payload=full_payload(5000), needs=(1, 1, 1, 3)).build()
    assert device.upload(image, chunk)["match"]
    assert device.holds(1, image)


def test_repeated_and_early_chunks_change_nothing(device):
    image = GOOD.build()
    sha = hashlib.sha256(image).digest()
    first = {"image": 1, "len": len(image), "sha": sha, "off": 0, "data": image[:500]}
    assert device.request(2, 1, 1, {"off": 500, "data": b"x"}) == {"off": 0}
    assert device.request(2, 1, 1, first) == {"off": 500}
    assert device.request(2, 1, 1, first) == {"off": 500}
    assert device.request(2, 1, 1, {"off": 0, "len": len(image), "sha": sha, "image": 1, "data": b""}) == {
        "off": 500
    }
    assert device.request(2, 1, 1, {"off": 300, "data": image[300:500]}) == {"off": 500}
    assert device.request(2, 1, 1, {"off": 501, "data": b"y"}) == {"off": 500}
    with pytest.raises(RefusedError) as refused:
        device.request(
            2, 1, 1, {"off": 500, "data": image[500:1000], "len": len(image) - 1, "image": 1, "sha": sha}
        )
    assert refused.value.code == 20
    at = 500
    while at < len(image):
        answer = device.request(2, 1, 1, {"off": at, "data": image[at : at + 800]})
        at = answer["off"]
    assert answer == {"off": len(image), "match": True}
    assert device.request(2, 1, 1, {"off": at - 300, "data": image[at - 300 :]}) == answer
    assert device.holds(1, image)


def test_too_much_data_is_refused(device):
    image = GOOD.build()
    device.request(2, 1, 1, {"image": 1, "len": len(image), "off": 0, "data": image[:500]})
    at = 500
    while len(image) - at > 800:
        at = device.request(2, 1, 1, {"off": at, "data": image[at : at + 800]})["off"]
    with pytest.raises(RefusedError) as refused:
        device.request(2, 1, 1, {"off": at, "data": image[at:] + b"x"})
    assert (refused.value.group, refused.value.code) == (1, 31)
    assert device.request(2, 1, 1, {"off": at, "data": image[at:]}) == {"off": len(image)}


def test_erasing_forgets_the_upload(device):
    image = GOOD.build()
    first = {
        "image": 1,
        "len": len(image),
        "sha": hashlib.sha256(image).digest(),
        "off": 0,
        "data": image[:500],
    }
    device.request(2, 1, 1, first)
    device.request(2, 1, 5)
    assert device.request(2, 1, 1, {"off": 500, "data": b"x"}) == {"off": 0}
    assert device.upload(image)["match"]


def test_block_hashes_let_an_upload_go_on_after_a_power_loss(device):
    image = Image(payload=full_payload(SLOT - 100), needs=(1, 1, 1, 3)).build()
    sent = 2 * SECTOR + 1500
    offset = 0
    while offset < sent:
        first = {} if offset else {"image": 1, "len": len(image), "sha": hashlib.sha256(image).digest()}
        offset = device.request(2, 1, 1, {"off": offset, "data": image[offset : offset + 500], **first})[
            "off"
        ]
    device.start()
    blocks = device.request(0, 64, 1, {"slot": 1, "off": 0})
    assert (blocks["bs"], blocks["off"], blocks["n"]) == (SECTOR, 0, 4)
    expected = [hashlib.sha256(image[at : at + SECTOR]).digest()[:8] for at in range(0, 2 * SECTOR, SECTOR)]
    assert blocks["h"][:16] == b"".join(expected)
    assert device.request(0, 64, 1, {"slot": 1, "off": SECTOR})["h"] == blocks["h"][8:]
    assert device.request(0, 64, 1, {"slot": 1, "off": SLOT})["h"] == b""
    before = device.erased
    assert device.upload(image, start=2 * SECTOR)["match"]
    assert [after - old for after, old in zip(device.erased, before, strict=True)][-4:] == [0, 0, 1, 0]
    device.test(image)
    assert device.start() == 1


@pytest.mark.parametrize("body", [{"slot": 2}, {"slot": 1, "off": 1}, {"slot": 1, "off": SLOT + SECTOR}])
def test_block_hashes_of_no_block_are_invalid(device, body):
    with pytest.raises(RefusedError) as refused:
        device.request(0, 64, 1, body)
    assert (refused.value.group, refused.value.code) == (0, 3)


def test_an_upload_that_skips_blocks_which_differ_is_found_out(device):
    image = Image(payload=full_payload(SLOT - 100), needs=(1, 1, 1, 3)).build()
    device.upload(image)
    changed = bytearray(image)
    changed[SECTOR + 5] ^= 1
    device.write(device.slot_at(1), bytes(changed))
    assert device.upload(image, start=2 * SECTOR)["match"] is False
    with pytest.raises(RefusedError):
        device.test(image)


def test_imgtools_images_are_taken(device, tmp_path):
    made = GOOD
    (tmp_path / "key.pem").write_bytes(
        made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (tmp_path / "model.bin").write_bytes(made.payload)
    key = keys.load(str(tmp_path / "key.pem"))
    built = imgtool_image.Image(
        version=decode_version("1.2.3"),
        header_size=32,
        pad_header=True,
        slot_size=1 << 20,
        align=8,
        security_counter=made.counter,
        non_bootable=True,
        vid=made.vendor.hex(),
        cid=made.kind.hex(),
    )
    built.load(str(tmp_path / "model.bin"))
    own = {
        kind: value[4:] for kind, value in zip((0xA0, 0xA1, 0xA2, 0xA3), made.protected()[4:], strict=True)
    }
    needed = {imgtool_image.DEP_IMAGES_KEY: ["0"], imgtool_image.DEP_VERSIONS_KEY: [decode_version("1.0.0")]}
    built.create(key, "hash", None, dependencies=needed, custom_tlvs=own)
    assert bytes(built.payload) == made.build()
    assert digest_of(bytes(built.payload)) == built.image_hash
    device.update(bytes(built.payload))


def test_a_request_of_any_length_is_answered_or_dropped(device):
    for count in range(0, 1016, 9):
        body = {"off": 0, "data": bytes(count), "len": 8000, "image": 1}
        device.feed(packet(2, 1, 1, body))
    stays_old(device)
