"""What the uploader reads in an image file: its header and its list of fields (TLVs)."""

import struct
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ConfigError, ImageError

MAGIC = 0x96F3B83D
HEADER = struct.Struct("<IIHHIIBBHII")
AREA = struct.Struct("<HH")
FIELD = struct.Struct("<HH")
PROTECTED_MAGIC, MAGIC_OF_FIELDS = 0x6908, 0x6907
FIRMWARE, MODEL = 0, 1
NON_BOOTABLE = 0x10
KEY_HASH, SHA256, SIGNATURE, SECURITY_COUNTER, VENDOR, DEVICE_CLASS = 0x01, 0x10, 0x24, 0x50, 0x74, 0x75
ABI, GRAPH, NEEDS = 0xA0, 0xA1, 0xA2
_ABI = struct.Struct("<HHI")
_COUNTER = struct.Struct("<I")
_NEEDS = struct.Struct("<IIHH")
_SIGN_AGAIN = "run edgekit image sign"


@dataclass(frozen=True)
class Contents:
    """An image, and what it says of itself.

    Attributes:
        data: The whole file.
        number: FIRMWARE or MODEL.
        version: As `major.minor.revision+build`.
        digest: Its SHA-256, by which the device names it.
        key: Digest of the public key of whoever signed it.
        counter: Its security counter.
        vendor: UUID; None where it does not say.
        device_class: UUID of the devices that it is for; None where it does not say.
        abi: Major and minor version of the interface, and the set of kernels; None in firmware.
        graph: Digest of the graph; None in firmware.
        ram_bytes: What a model needs.
    """

    data: bytes
    number: int
    version: str
    digest: bytes
    key: bytes
    counter: int
    vendor: bytes | None
    device_class: bytes | None
    abi: tuple[int, int, int] | None
    graph: bytes | None
    ram_bytes: int


def read_contents(path: Path) -> Contents:
    """Return what an image file holds; the device checks digest and signature.

    Raises:
        ConfigError: If it cannot be read.
        ImageError: If it is no image, truncated or unsigned.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}", "name an image file, or the folder of a build"
        ) from error
    try:
        return _contents(data)
    except (ValueError, struct.error) as error:
        raise ImageError(f"{path}: {error}", _SIGN_AGAIN) from error


def _contents(data: bytes) -> Contents:
    magic, _, header_bytes, protected_bytes, image_bytes, flags, *version, _ = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise ValueError("no image: it does not begin with the magic number")
    fields = _fields(data, header_bytes + image_bytes, protected_bytes)
    for kind, name in ((SHA256, "digest"), (KEY_HASH, "key"), (SIGNATURE, "signature")):
        if kind not in fields:
            raise ValueError(f"an image without {name}: it is unsigned")
    major, minor, revision, build = version
    abi = _ABI.unpack(fields[ABI]) if ABI in fields else None
    return Contents(
        data=data,
        number=MODEL if flags & NON_BOOTABLE else FIRMWARE,
        version=f"{major}.{minor}.{revision}+{build}",
        digest=fields[SHA256],
        key=fields[KEY_HASH],
        counter=_COUNTER.unpack(fields.get(SECURITY_COUNTER, bytes(4)))[0],
        vendor=fields.get(VENDOR),
        device_class=fields.get(DEVICE_CLASS),
        abi=abi,
        graph=fields.get(GRAPH),
        ram_bytes=_NEEDS.unpack(fields[NEEDS])[0] if NEEDS in fields else 0,
    )


def _fields(data: bytes, at: int, protected_bytes: int) -> dict[int, bytes]:
    """Return both lists of fields behind the payload, which must end where the file does."""
    areas = [(PROTECTED_MAGIC, at), (MAGIC_OF_FIELDS, at + protected_bytes)][not protected_bytes :]
    found: dict[int, bytes] = {}
    for expected, start in areas:
        magic, length = AREA.unpack_from(data, start)
        end = start + length
        if magic != expected or end > len(data):
            raise ValueError("a truncated or damaged image")
        at = start + AREA.size
        while at < end:
            kind, size = FIELD.unpack_from(data, at)
            found[kind] = data[at + FIELD.size : at + FIELD.size + size]
            at += FIELD.size + size
    if at != len(data):
        raise ValueError("a truncated or damaged image")
    return found
