"""What an image says about itself in its protected TLVs, and how that is written.

MCUboot defines some of the TLVs. Those from 0xA0 on are edgekit's own; all numbers are little-endian.
"""

import struct
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgekit.uploader.container import Version

Kind = Literal["firmware", "model"]
IMAGE_NUMBERS: Mapping[Kind, int] = {"firmware": 0, "model": 1}
"""Which image of a device it is, to MCUboot and to SMP."""

KEY_HASH = 0x01
SHA256 = 0x10
ED25519 = 0x24
DEPENDENCY = 0x40
COUNTER = 0x50
VENDOR = 0x74
DEVICE_CLASS = 0x75
ABI = 0xA0
GRAPH = 0xA1
NEEDS = 0xA2
PROVENANCE = 0xA3

VENDOR_NAME = "edgekit"
"""Names the vendor's UUID, as a domain does in imgtool; devices of all targets have this vendor."""

# MCUboot has one byte and three of padding for the number: read as one, the padding is checked too.
_DEPENDENCY = struct.Struct("<IBBHI")
_COUNTER = struct.Struct("<I")
_ABI = struct.Struct("<HHI")
_NEEDS = struct.Struct("<IIHH")


@dataclass(frozen=True)
class Abi:
    """What weights and code must agree on beside the graph.

    Attributes:
        major: Weights need exactly this one.
        minor: Weights need this one or a later one.
        kernels: What the kernels expect of the layout of the weights, see `kernel_set`.
    """

    major: int
    minor: int
    kernels: int

    def accepts(self, needed: "Abi") -> bool:
        """Return whether code of this ABI runs weights that need another."""
        return (self.major, self.kernels) == (needed.major, needed.kernels) and needed.minor <= self.minor

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}, kernels {self.kernels:08x}"


@dataclass(frozen=True)
class Needs:
    """What a model needs of the device; a firmware image says it of the model inside.

    Attributes:
        ram_bytes: State, or the arena of a network that runs whole.
        weights_bytes: Size of the weights blob.
        align: Alignment of the blob in bytes.
        outputs: Numbers in one result.
    """

    ram_bytes: int
    weights_bytes: int
    align: int
    outputs: int


@dataclass(frozen=True)
class Facts:
    """What an image says about itself.

    Attributes:
        kind: `firmware`, or `model`: weights alone.
        version: Of the edgekit that built it.
        counter: Security counter: a device refuses images whose counter is below its own.
        vendor: Who made the device.
        device_class: Which device it is for.
        abi: What the weights need, or the firmware offers.
        graph: SHA-256 of the graph's structure; weights run only in firmware of the same graph.
        needs: RAM and flash.
        provenance: SHA-256 of the manifest of the C that it was built from.
        firmware: The oldest firmware that runs it; None in a firmware image.
    """

    kind: Kind
    version: Version
    counter: int
    vendor: uuid.UUID
    device_class: uuid.UUID
    abi: Abi
    graph: bytes
    needs: Needs
    provenance: bytes
    firmware: Version | None = None

    def own_tlvs(self) -> dict[int, bytes]:
        """Return the TLVs that MCUboot does not define, by type, in their order."""
        needs = self.needs
        return {
            ABI: _ABI.pack(self.abi.major, self.abi.minor, self.abi.kernels),
            GRAPH: self.graph,
            NEEDS: _NEEDS.pack(needs.ram_bytes, needs.weights_bytes, needs.align, needs.outputs),
            PROVENANCE: self.provenance,
        }


def vendor_uuid() -> uuid.UUID:
    """Return the vendor's UUID: version 5 of its name, as imgtool makes it of `--vid`."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, VENDOR_NAME)


def class_uuid(target: str) -> uuid.UUID:
    """Return the UUID of a class of devices: version 5 of the target's name, as imgtool's of `--cid`.

    Example:
        >>> class_uuid("hearing-aid") == class_uuid("nrf5340")
        False
    """
    return uuid.uuid5(vendor_uuid(), target)


def kernel_set(blob: bytes, instructions: str) -> int:
    """Return the id of what reads a weights blob in place.

    It is a CRC-32 over the blob's magic, format, size and layout, and over the core's instructions.
    """
    return zlib.crc32(blob[:16] + instructions.encode())


def decode_dependency(data: bytes) -> tuple[int, Version]:
    """Return the number of the image that another one needs, and the oldest version that will do."""
    image, *version = _DEPENDENCY.unpack(data)
    return image, Version(*version)


def decode_counter(data: bytes) -> int:
    """Return a security counter."""
    return int(_COUNTER.unpack(data)[0])


def decode_abi(data: bytes) -> Abi:
    """Return an ABI."""
    return Abi(*_ABI.unpack(data))


def decode_needs(data: bytes) -> Needs:
    """Return what a model needs."""
    return Needs(*_NEEDS.unpack(data))


@dataclass(frozen=True)
class Field:
    """A TLV that edgekit knows.

    Attributes:
        name: As `imgtool dumpinfo` calls it; its own ones have no name there.
        length: The length that it has in every image.
        decode: Its meaning.
    """

    name: str
    length: int
    decode: Callable[[bytes], Any] = bytes.hex


FIELDS: Mapping[int, Field] = {
    COUNTER: Field("SEC_CNT", _COUNTER.size, decode_counter),
    DEPENDENCY: Field("DEPENDENCY", _DEPENDENCY.size, decode_dependency),
    VENDOR: Field("UUID_VID", 16, lambda data: uuid.UUID(bytes=data)),
    DEVICE_CLASS: Field("UUID_CID", 16, lambda data: uuid.UUID(bytes=data)),
    ABI: Field("ABI", _ABI.size, decode_abi),
    GRAPH: Field("GRAPH", 32),
    NEEDS: Field("NEEDS", _NEEDS.size, decode_needs),
    PROVENANCE: Field("PROVENANCE", 32),
    SHA256: Field("SHA256", 32),
    KEY_HASH: Field("KEYHASH", 32),
    ED25519: Field("ED25519", 64),
}
"""Every TLV that an image of edgekit has, by type, in the order in which it has them."""
