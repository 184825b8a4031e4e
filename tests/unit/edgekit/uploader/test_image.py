"""Images: their bytes, what imgtool says of them, and every kind of bad one."""

import hashlib
import json
import re
import struct
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from images import (
    DEVICE,
    FIRMWARE,
    KEY,
    MODEL,
    OTHER_KEY,
    WEIGHTS,
    assemble,
    other_uuid,
    protected_entries,
    signature_entries,
)

from edgekit.errors import (
    ConfigError,
    DowngradeError,
    ImageError,
    TooBigError,
    WrongGraphError,
    WrongKeyError,
    WrongTargetError,
)
from edgekit.uploader.container import HEADER_BYTES, MOST_BYTES, Version, parse_container, read_image
from edgekit.uploader.dump import describe
from edgekit.uploader.facts import FIELDS, VENDOR_NAME, Abi, kernel_set
from edgekit.uploader.image import check_device, parse, sign, sign_again, verify
from edgekit.uploader.keys import generate

IMGTOOL = Path(sys.executable).with_name("imgtool")
DATA = sign(WEIGHTS, MODEL, KEY)


def imgtool(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([IMGTOOL, *map(str, words)], capture_output=True, text=True, check=False)


def refused(data: bytes, error: type[ImageError] = ImageError, device=DEVICE) -> ImageError:
    with pytest.raises(ImageError) as caught:
        verify(data, KEY.public, device, "m.signed.bin")
    assert type(caught.value) is error, caught.value
    assert caught.value.what.startswith("m.signed.bin: ")
    assert caught.value.hint
    return caught.value


class TestBytes:
    def test_are_those_of_the_contract(self):
        """The whole image written out by hand."""
        assert assemble(protected_entries()) == DATA
        firmware = sign(b"code", FIRMWARE, KEY)
        assert firmware == assemble(protected_entries(FIRMWARE), b"code", flags=0)

    @pytest.mark.parametrize(
        ("facts", "digest"),
        [
            (MODEL, "035b6c8b554d43c41cdda3bb1c84d501ed7795199bfb7ffa0a124447b000b4b4"),
            (FIRMWARE, "a6b6e8fd9a0c940baccb91532900056b98e34f3ff9ae3d35701004ffc83c43cd"),
        ],
    )
    def test_are_as_reviewed(self, facts, digest):
        assert hashlib.sha256(sign(WEIGHTS, facts, KEY)).hexdigest() == digest

    def test_are_the_same_every_time(self, capsys):
        assert sign(WEIGHTS, MODEL, KEY) == DATA
        assert capsys.readouterr().out == ""

    def test_say_what_they_were_told(self):
        image = parse(DATA)
        assert (image.facts, image.payload, image.number) == (MODEL, WEIGHTS, 1)
        assert image.digest == hashlib.sha256(DATA[: HEADER_BYTES + len(WEIGHTS) + 168]).digest()
        assert image.key_hash == KEY.public.hash
        firmware = parse(sign(WEIGHTS, FIRMWARE, KEY))
        assert (firmware.facts, firmware.number) == (FIRMWARE, 0)

    def test_signed_again_differ_in_key_and_counter_alone(self):
        again = verify(sign_again(parse(DATA), OTHER_KEY, 9), OTHER_KEY.public)
        assert again.facts == replace(MODEL, counter=9)
        assert again.payload == WEIGHTS
        assert sign_again(parse(DATA), KEY) == DATA

    def test_damaged_are_not_signed_again(self):
        damaged = bytearray(DATA)
        damaged[40] ^= 1
        with pytest.raises(ImageError, match="damaged: its SHA-256"):
            sign_again(parse(bytes(damaged)), KEY)

    def test_of_nothing_are_not_made(self):
        with pytest.raises(ImageError, match="zero bytes"):
            sign(b"", MODEL, KEY)

    @pytest.mark.parametrize("counter", [-1, 1 << 32])
    def test_counter_of_32_bits(self, counter):
        with pytest.raises(ConfigError, match="security counter"):
            sign(WEIGHTS, replace(MODEL, counter=counter), KEY)
        largest = replace(MODEL, counter=(1 << 32) - 1)
        assert parse(sign(WEIGHTS, largest, KEY)).facts == largest


class TestImgtool:
    @pytest.fixture
    def file(self, tmp_path):
        (tmp_path / "m.signed.bin").write_bytes(DATA)
        return tmp_path / "m.signed.bin"

    @pytest.fixture
    def key_files(self, tmp_path):
        generate(tmp_path / "key.pem")
        return tmp_path / "key.pem", tmp_path / "key.pub.pem"

    def test_verifies_ours(self, file, tmp_path):
        (tmp_path / "pub.pem").write_bytes(KEY.public.pem)
        done = imgtool("verify", "-k", tmp_path / "pub.pem", file)
        assert done.returncode == 0, done.stderr
        assert "Image was correctly validated" in done.stdout
        assert "Image version: 1.2.3+4" in done.stdout
        (tmp_path / "other.pem").write_bytes(OTHER_KEY.public.pem)
        assert imgtool("verify", "-k", tmp_path / "other.pem", file).returncode != 0

    def test_reads_the_same_fields(self, file):
        theirs = json.loads(imgtool("dumpinfo", "-f", "json", file).stdout)
        ours = json.loads(json.dumps(describe(parse_container(DATA, file.name))))
        for entry in [*ours["tlv_area"]["tlvs_prot"], *ours["tlv_area"]["tlvs"]]:
            assert entry.pop("value", None) is not None
            assert DATA[entry.pop("offset") + 4 :].startswith(bytes.fromhex(entry["data"]))
            if entry["type"] >= 0xA0:
                entry["type_name"] = "UNKNOWN"
        assert ours == theirs

    @pytest.mark.parametrize("kind", ["model", "firmware"])
    def test_makes_what_we_verify(self, tmp_path, key_files, kind):
        private, public = key_files
        (tmp_path / "payload.bin").write_bytes(WEIGHTS)
        words = [
            "--align",
            1,
            "-S",
            65_536,
            "-H",
            32,
            "--pad-header",
            "-v",
            "1.2.3+4",
            "-s",
            7,
            "-k",
            private,
        ]
        words += ["--vid", VENDOR_NAME, "--cid", "hearing-aid"]
        words += ["--non-bootable", "-d", "(0, 0.9.0)"] if kind == "model" else []
        for type_, data in protected_entries():
            if type_ >= 0xA0:
                (tmp_path / f"{type_}").write_bytes(data)
                words += ["--custom-tlv-file", hex(type_), tmp_path / f"{type_}"]
        done = imgtool("sign", *words, tmp_path / "payload.bin", tmp_path / "out.bin")
        assert done.returncode == 0, done.stderr
        from edgekit.uploader.keys import load_private, load_public

        data = (tmp_path / "out.bin").read_bytes()
        facts = MODEL if kind == "model" else FIRMWARE
        assert verify(data, load_public(public)).facts == facts
        assert data == sign(WEIGHTS, facts, load_private(private))

    def test_without_a_key_is_refused(self, tmp_path):
        (tmp_path / "payload.bin").write_bytes(WEIGHTS)
        words = ["--align", 1, "-S", 65_536, "-H", 32, "--pad-header", "-v", "1.2.3", "-s", 7]
        imgtool("sign", *words, tmp_path / "payload.bin", tmp_path / "out.bin")
        with pytest.raises(ImageError) as caught:
            parse((tmp_path / "out.bin").read_bytes())
        assert caught.value.exit_code == 20


class TestDamaged:
    def test_at_every_bit(self):
        for bit in range(8 * len(DATA)):
            damaged = bytearray(DATA)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(ImageError):
                verify(bytes(damaged), KEY.public)

    def test_truncated_anywhere(self):
        for size in range(len(DATA)):
            with pytest.raises(ImageError) as caught:
                parse(DATA[:size])
            assert caught.value.exit_code == 20

    @pytest.mark.parametrize("more", [b"\0", b"\xff" * 100, DATA])
    def test_longer(self, more):
        assert f"damaged at offset {len(DATA):#x}: {len(more)} bytes behind the image" in str(
            refused(DATA + more)
        )

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            ({"magic": 0}, "not a signed image: its first bytes are 00000000, not 3db8f396"),
            ({"load_addr": 1}, "load address 0x1"),
            ({"hdr_size": 0}, "header size 0x0"),
            ({"hdr_size": 512}, "header size 0x200"),
            ({"hdr_size": 0xFFFF}, "header size 0xffff"),
            ({"img_size": 0xFFFFFFFF}, "the header says 4,294,967,295 bytes of payload, the file ends after"),
            ({"img_size": 101}, "TLVs begin with"),
            ({"img_size": 0}, "TLVs begin with"),
            ({"protected_size": 0}, "TLVs begin with 0x6908, not 0x6907"),
            ({"protected_size": 0xFFFF}, "168 bytes of protected TLVs, the header says 65535"),
            ({"protected_size": 164}, "168 bytes of protected TLVs, the header says 164"),
            ({"flags": 0x14}, "flags 0x14"),
            ({"flags": 0x20}, "flags 0x20"),
            ({"flags": 0}, "protected TLVs are not exactly"),
            ({"padding": 1}, "padding 0x1"),
        ],
    )
    def test_header(self, header, message):
        assert message in str(refused(assemble(protected_entries(), **header)))

    def test_header_and_image_size_together(self):
        """What overflows 32 bits where nobody looks."""
        data = bytearray(DATA)
        struct.pack_into("<HHI", data, 8, 0xFFFF, 0xFFFF, 0xFFFFFFFF)
        refused(bytes(data))

    def test_payload_of_zero_bytes(self):
        assert "an image of zero bytes" in str(refused(assemble(protected_entries(), b"")))

    @pytest.mark.parametrize("area_magic", [0x6907, 0x6908])
    def test_area_that_is_empty_or_ends_elsewhere(self, area_magic):
        start = DATA.index(struct.pack("<H", area_magic), HEADER_BYTES + len(WEIGHTS))
        for total in (0, 3, 4, 5, 0xFFFF):
            data = bytearray(DATA)
            struct.pack_into("<H", data, start + 2, total)
            refused(bytes(data))


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "empty"),
            (b":020000040000FA\n:10000000", "Intel HEX text, not a binary image"),
            (WEIGHTS, "not a signed image: weights without header and signature"),
            (b"\x7fELF" + bytes(100), "not a signed image: an ELF file"),
            (b"\x3d\xb8", "2 bytes, a header has 32"),
            (bytes(100), "not a signed image: its first bytes are 00000000"),
        ],
    )
    def test_are_named(self, data, message):
        assert message in str(refused(data))

    def test_that_cannot_be_read(self, tmp_path):
        for path, message in ((tmp_path / "no", "No such file"), (tmp_path, "Is a directory")):
            with pytest.raises(ConfigError, match=message):
                read_image(path)

    def test_larger_than_any_image(self, tmp_path):
        with (tmp_path / "large").open("wb") as file:
            file.truncate(MOST_BYTES + 1)
        with pytest.raises(ImageError, match="larger than"):
            read_image(tmp_path / "large")


PLACES = range(8)
NAMES = [FIELDS[kind].name for kind, _ in protected_entries()]


class TestProtectedTlvs:
    """Signed as they are: the signature is right, the image is not."""

    @pytest.mark.parametrize("place", PLACES, ids=NAMES)
    def test_removed(self, place):
        entries = protected_entries()
        del entries[place]
        assert f"0 x {NAMES[place]}, not one" in str(refused(assemble(entries)))

    @pytest.mark.parametrize("place", PLACES, ids=NAMES)
    def test_twice(self, place):
        entries = protected_entries()
        entries.append(entries[place])
        assert f"2 x {NAMES[place]}, not one" in str(refused(assemble(entries)))

    @pytest.mark.parametrize("place", PLACES, ids=NAMES)
    def test_in_another_order(self, place):
        entries = protected_entries()
        entries.insert((place + 1) % 8, entries.pop(place))
        assert "protected TLVs are not exactly SEC_CNT, DEPENDENCY," in str(refused(assemble(entries)))

    @pytest.mark.parametrize("place", PLACES, ids=NAMES)
    @pytest.mark.parametrize("change", [-1, 1])
    def test_of_another_length(self, place, change):
        entries = protected_entries()
        kind, data = entries[place]
        entries[place] = kind, data[:-1] if change < 0 else data + b"\0"
        length = len(data) + change
        assert f"{NAMES[place]} of {length} bytes at offset" in str(refused(assemble(entries)))

    def test_none(self):
        refused(assemble([]))

    def test_unknown(self):
        entries = [*protected_entries(), (0x60, b"boot record")]
        assert "unknown TLV 0x0060 at offset 0x12c" in str(refused(assemble(entries)))

    def test_dependency_on_another_image(self):
        entries = protected_entries()
        entries[1] = 0x40, b"\1" + entries[1][1][1:]
        assert "depends on image 1" in str(refused(assemble(entries)))

    def test_dependency_with_something_in_its_padding(self):
        entries = protected_entries()
        entries[1] = 0x40, b"\0\1" + entries[1][1][2:]
        assert "depends on image 256" in str(refused(assemble(entries)))

    def test_dependency_of_firmware(self):
        assert "not exactly" in str(refused(assemble(protected_entries(), flags=0)))


class TestUnprotectedTlvs:
    """Not covered by the signature: all that is not exactly right is refused by its form."""

    def entries(self):
        covered = DATA[: HEADER_BYTES + len(WEIGHTS) + 168]
        return signature_entries(covered)

    def assemble(self, entries):
        return assemble(protected_entries(), unprotected=entries)

    def test_right(self):
        assert self.assemble(self.entries()) == DATA

    @pytest.mark.parametrize("place", range(3))
    def test_removed_twice_or_moved(self, place):
        entries = self.entries()
        moved = list(entries)
        moved.insert((place + 1) % 3, moved.pop(place))
        for bad in (entries[:place] + entries[place + 1 :], [*entries, entries[place]], moved):
            refused(self.assemble(bad))

    @pytest.mark.parametrize("count", [0, 1])
    def test_unsigned(self, count):
        refused(self.assemble(self.entries()[:count]))
        assert "not signed: 0 x ED25519" in str(refused(self.assemble(self.entries()[:2])))

    def test_more(self):
        assert "unknown TLV 0x0022" in str(refused(self.assemble([*self.entries(), (0x22, bytes(64))])))

    def test_digest_of_something_else(self):
        entries = self.entries()
        entries[0] = 0x10, bytes(32)
        assert "damaged: its SHA-256" in str(refused(self.assemble(entries)))

    def test_signature_of_something_else(self):
        entries = self.entries()
        for signature in (bytes(64), b"\xff" * 64, KEY.key.sign(b"another digest")):
            entries[2] = 0x24, signature
            assert "the signature is wrong" in str(refused(self.assemble(entries)))

    def test_signature_of_another_key_under_our_name(self):
        entries = self.entries()
        entries[2] = 0x24, OTHER_KEY.key.sign(entries[0][1])
        assert "the signature is wrong" in str(refused(self.assemble(entries)))


class TestDevice:
    """Right images that this device must not take."""

    def model(self, **changes) -> bytes:
        return sign(WEIGHTS, replace(MODEL, **changes), KEY)

    def test_right(self):
        assert verify(DATA, KEY.public, DEVICE).facts == MODEL

    def test_another_key(self):
        error = refused(sign(WEIGHTS, MODEL, OTHER_KEY), WrongKeyError)
        assert error.exit_code == 21
        assert "edgekit image sign" in error.hint
        with pytest.raises(WrongKeyError):
            check_device(parse(sign(WEIGHTS, MODEL, OTHER_KEY)), DEVICE)

    @pytest.mark.parametrize("what", ["vendor", "device_class"])
    def test_another_device(self, what):
        changed = {what: uuid.UUID(int=1) if what == "vendor" else other_uuid()}
        assert refused(self.model(**changed), WrongTargetError).exit_code == 22
        firmware = sign(WEIGHTS, replace(FIRMWARE, **changed), KEY)
        assert refused(firmware, WrongTargetError).exit_code == 22

    @pytest.mark.parametrize(
        "changed",
        [
            {"graph": bytes(32)},
            {"abi": Abi(0, 2, 0x12345678)},
            {"abi": Abi(2, 2, 0x12345678)},
            {"abi": Abi(1, 3, 0x12345678)},
            {"abi": Abi(1, 2, 0x12345679)},
            {"firmware": Version(0, 9, 1)},
            {"firmware": Version(0, 10, 0)},
            {"firmware": Version(1, 0, 0)},
        ],
    )
    def test_another_firmware(self, changed):
        error = refused(self.model(**changed), WrongGraphError)
        assert error.exit_code == 23
        assert "update the firmware first" in error.hint

    @pytest.mark.parametrize(
        "changed",
        [{"abi": Abi(1, 1, 0x12345678)}, {"firmware": Version(0, 8, 9)}, {"firmware": Version(0, 9, 0, 9)}],
    )
    def test_older_needs_are_met(self, changed):
        verify(self.model(**changed), KEY.public, DEVICE)

    def test_firmware_brings_its_own_graph(self):
        other = replace(
            FIRMWARE, graph=bytes(32), abi=Abi(2, 0, 0), needs=replace(MODEL.needs, ram_bytes=1 << 20)
        )
        verify(sign(WEIGHTS, other, KEY), KEY.public, DEVICE)

    def test_size(self):
        room = replace(DEVICE, slot_bytes=len(DATA))
        verify(DATA, KEY.public, room)
        error = refused(DATA, TooBigError, replace(DEVICE, slot_bytes=len(DATA) - 1))
        assert error.exit_code == 24
        assert f"{len(DATA)} bytes, the slot has {len(DATA) - 1}" in str(error)

    def test_ram(self):
        needs = replace(MODEL.needs, ram_bytes=17_001)
        assert refused(self.model(needs=needs), TooBigError).exit_code == 24

    def test_counter(self):
        for counter in (7, 8):
            verify(self.model(counter=counter), KEY.public, DEVICE)
        error = refused(self.model(counter=6), DowngradeError)
        assert (error.exit_code, "security counter 6" in str(error)) == (25, True)

    def test_what_is_not_known_is_not_checked(self):
        little = replace(
            DEVICE,
            slot_bytes=None,
            abi=None,
            graph=None,
            ram_bytes=None,
            floor=None,
            firmware=None,
            key_hash=None,
        )
        verify(self.model(graph=bytes(32), counter=0), KEY.public, little)


def test_kernels_differ_with_layout_and_instructions():
    sets = {kernel_set(blob, core) for blob in (WEIGHTS, b"EKM2" + WEIGHTS[4:]) for core in ("dsp", "mve")}
    assert len(sets) == 4
    assert kernel_set(WEIGHTS, "dsp") == kernel_set(WEIGHTS[:16] + b"other weights", "dsp")


def test_messages_name_offsets_that_exist():
    for size in (33, 140, 200, 330):
        with pytest.raises(ImageError) as caught:
            parse(DATA[:size])
        assert int(re.search(r"offset (0x\w+)", str(caught.value))[1], 16) <= size
