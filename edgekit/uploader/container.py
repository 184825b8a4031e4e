"""MCUboot's image container: a header of 32 bytes, the payload, and two areas of TLVs, one of them protected.

Read strictly: every boundary is checked, and whatever is not as edgekit and imgtool write it is an error.
`edgekit.uploader.facts` says what the TLVs mean, `edgekit.uploader.image` which of them an image must have.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgekit.errors import ConfigError, ImageError

HEADER_BYTES = 32
MAGIC = 0x96F3B83D
PROTECTED_MAGIC = 0x6908
UNPROTECTED_MAGIC = 0x6907
NON_BOOTABLE = 0x10
"""The flag of an image that holds no code."""
MOST_BYTES = 64 << 20
"""Larger files are not read: no hearing aid has that much flash."""

_HEADER = struct.Struct("<IIHHIIBBHII")
_TLV = struct.Struct("<HH")
_VERSION = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,5})(?:[.+]([0-9]{1,10}))?")
SIGN_HINT = "make one with edgekit build, or edgekit image sign"
AGAIN_HINT = "copy or download it again, or run edgekit build again"


class Version(NamedTuple):
    """A version as image headers have it.

    Example:
        >>> str(Version(1, 2, 3)), str(Version(1, 2, 3, 4))
        ('1.2.3', '1.2.3+4')
        >>> Version.parse("1.2.3.4") == Version.parse("1.2.3+4") == (1, 2, 3, 4)
        True
    """

    major: int
    minor: int
    revision: int
    build: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}" + (f"+{self.build}" if self.build else "")

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Return a version as edgekit writes it, or as devices do: they have a dot before the build number.

        Raises:
            ValueError: If it is none.
        """
        found = _VERSION.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no version")
        return cls(*(int(number) for number in found.groups("0")))

    @property
    def numbers(self) -> tuple[int, int, int]:
        """What decides which version is newer: like MCUboot, without the build number."""
        return self[:3]


@dataclass(frozen=True)
class Tlv:
    """One entry behind the payload.

    Attributes:
        type: What it is.
        data: Its bytes.
        offset: Where the entry begins in the image.
    """

    type: int
    data: bytes
    offset: int


@dataclass(frozen=True)
class Container:
    """An image taken apart.

    Attributes:
        name: What messages call it, its file for example.
        data: All of it.
        flags: Of the header.
        version: Of the header.
        payload: Firmware or weights.
        protected: TLVs that digest and signature cover.
        unprotected: TLVs behind them: digest, key hash, signature.
    """

    name: str
    data: bytes
    flags: int
    version: Version
    payload: bytes
    protected: tuple[Tlv, ...]
    unprotected: tuple[Tlv, ...]

    @property
    def protected_bytes(self) -> int:
        """Size of the protected area, 0 where there is none."""
        return area_bytes(self.protected)

    @property
    def covered(self) -> bytes:
        """What the digest covers: header, payload and protected TLVs."""
        return self.data[: HEADER_BYTES + len(self.payload) + self.protected_bytes]


def area_bytes(tlvs: tuple[Tlv, ...]) -> int:
    """Return the size of an area of TLVs; one without entries is not there."""
    return sum(_TLV.size + len(tlv.data) for tlv in tlvs) + (_TLV.size if tlvs else 0)


def read_image(file: Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        ConfigError: If it cannot be read.
        ImageError: If it is larger than any image.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}", "name an image, *.signed.bin") from error
    if len(data) > MOST_BYTES:
        raise ImageError(f"{file}: not an image, it is larger than {MOST_BYTES:,} bytes", SIGN_HINT)
    return data


def parse_container(data: bytes, name: str) -> Container:
    """Take an image apart.

    Args:
        data: All bytes of it.
        name: What messages call it.

    Raises:
        ImageError: If it is no image, truncated, or not exactly as its sizes say.
    """
    _require_header(data, name)
    magic, load, header, protected, size, flags, *version, padding = _HEADER.unpack_from(data)
    _require_magic(magic, data, name)
    expected = {"load address": (load, 0), "header size": (header, HEADER_BYTES), "padding": (padding, 0)}
    for what, (found, wanted) in expected.items():
        if found != wanted:
            raise _damaged(name, 0, f"{what} {found:#x} in the header, not {wanted:#x}")
    end = HEADER_BYTES + size
    if end > len(data):
        what = f"the header says {size:,} bytes of payload, the file ends after {len(data):,} bytes"
        raise _damaged(name, len(data), what)
    covered: tuple[Tlv, ...] = ()
    if protected:
        covered = _read_area(data, end, PROTECTED_MAGIC, name)
        if area_bytes(covered) != protected:
            what = f"{area_bytes(covered)} bytes of protected TLVs, the header says {protected}"
            raise _damaged(name, end, what)
    rest = _read_area(data, end + protected, UNPROTECTED_MAGIC, name)
    if (behind := end + protected + area_bytes(rest)) != len(data):
        raise _damaged(name, behind, f"{len(data) - behind:,} bytes behind the image")
    return Container(name, data, flags, Version(*version), data[HEADER_BYTES:end], covered, rest)


def _damaged(name: str, offset: int, what: str) -> ImageError:
    return ImageError(f"{name}: damaged at offset {offset:#x}: {what}", AGAIN_HINT)


def _require_header(data: bytes, name: str) -> None:
    if not data:
        raise ImageError(f"{name}: empty", AGAIN_HINT)
    if data[:1] == b":" and data[:9].removeprefix(b":").isalnum():
        raise ImageError(f"{name}: Intel HEX text, not a binary image", "give the .signed.bin instead")
    if len(data) < HEADER_BYTES:
        raise _damaged(name, len(data), f"{len(data)} bytes, a header has {HEADER_BYTES}")


def _require_magic(magic: int, data: bytes, name: str) -> None:
    if magic == MAGIC:
        return
    known = {b"EKM1": "weights without header and signature", b"\x7fELF": "an ELF file"}
    what = known.get(
        data[:4], f"its first bytes are {data[:4].hex()}, not {MAGIC.to_bytes(4, 'little').hex()}"
    )
    raise ImageError(f"{name}: not a signed image: {what}", SIGN_HINT)


def _read_area(data: bytes, offset: int, magic: int, name: str) -> tuple[Tlv, ...]:
    """Return the TLVs of an area, which must end exactly where its own header says."""
    found, total = _unpack(data, offset, len(data), name)
    end = offset + total
    if found != magic:
        raise _damaged(name, offset, f"TLVs begin with {found:#06x}, not {magic:#06x}")
    if end > len(data):
        raise _damaged(name, offset, f"{total} bytes of TLVs, {len(data) - offset} are there")
    tlvs: list[Tlv] = []
    place = offset + _TLV.size
    while place < end:
        kind, length = _unpack(data, place, end, name)
        behind = place + _TLV.size + length
        if behind > end:
            raise _damaged(name, place, f"TLV {kind:#06x} of {length} bytes ends behind its area")
        tlvs.append(Tlv(kind, data[place + _TLV.size : behind], place))
        place = behind
    return tuple(tlvs)


def _unpack(data: bytes, offset: int, end: int, name: str) -> tuple[int, int]:
    if offset + _TLV.size > end:
        raise _damaged(name, offset, "the image ends inside its TLVs")
    first, second = _TLV.unpack_from(data, offset)
    return first, second
