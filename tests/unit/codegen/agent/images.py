"""Model images for tests of the update agent: good ones, and ones with anything wrong."""

import hashlib
import struct
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HEADER = 32
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC = KEY.public_key().public_bytes_raw()
VENDOR, CLASS, GRAPH = bytes(range(16)), bytes(range(16, 32)), bytes(range(64, 96))
DER = bytes.fromhex("302a300506032b6570032100")


def key_hash(key: Ed25519PrivateKey) -> bytes:
    """Return the SHA-256 of the key's SubjectPublicKeyInfo."""
    return hashlib.sha256(DER + key.public_key().public_bytes_raw()).digest()


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", kind, len(value)) + value


@dataclass(frozen=True)
class Image:
    """An image that is good unless something is replaced."""

    payload: bytes = b"weights!" * 1000
    version: tuple[int, int, int, int] = (1, 2, 3, 0)
    counter: int = 5
    firmware: tuple[int, int, int, int] = (1, 0, 0, 0)
    vendor: bytes = VENDOR
    kind: bytes = CLASS
    abi: tuple[int, int, int] = (1, 2, 7)
    graph: bytes = GRAPH
    needs: tuple[int, int, int, int] = (1000, 8000, 8, 3)
    key: Ed25519PrivateKey = field(default_factory=lambda: KEY)
    flags: int = 0x10
    header: tuple[int, int, int] = (0x96F3B83D, 0, HEADER)
    image_size: int | None = None

    def protected(self) -> list[bytes]:
        return [
            tlv(0x50, struct.pack("<I", self.counter)),
            tlv(0x40, struct.pack("<B3xBBHI", 0, *self.firmware)),
            tlv(0x74, self.vendor),
            tlv(0x75, self.kind),
            tlv(0xA0, struct.pack("<HHI", *self.abi)),
            tlv(0xA1, self.graph),
            tlv(0xA2, struct.pack("<IIHH", *self.needs)),
            tlv(0xA3, bytes(32)),
        ]

    def signed(self, digest: bytes) -> list[bytes]:
        return [tlv(0x10, digest), tlv(0x01, key_hash(self.key)), tlv(0x24, self.key.sign(digest))]

    def hashed(self, protected: list[bytes] | None = None) -> bytes:
        values = b"".join(self.protected() if protected is None else protected)
        magic, load, header = self.header
        size = len(self.payload) if self.image_size is None else self.image_size
        head = struct.pack("<IIHHII", magic, load, header, len(values) + 4, size, self.flags)
        head += struct.pack("<BBHI", *self.version) + bytes(4)
        return head + self.payload + struct.pack("<HH", 0x6908, len(values) + 4) + values

    def build(self, protected: list[bytes] | None = None, plain: list[bytes] | None = None) -> bytes:
        """Return the image's bytes; with other TLVs if they are given."""
        covered = self.hashed(protected)
        signed = b"".join(self.signed(hashlib.sha256(covered).digest()) if plain is None else plain)
        return covered + struct.pack("<HH", 0x6907, len(signed) + 4) + signed

    def but(self, **changes: object) -> "Image":
        return replace(self, **changes)


def digest_of(image: bytes) -> bytes:
    """Return the hash that names an image."""
    (payload,) = struct.unpack_from("<I", image, 12)
    return image[HEADER + payload + 176 :][:32]


def full_payload(total: int) -> bytes:
    """Return a payload with which an image has `total` bytes."""
    return bytes(index * 7 & 0xFF for index in range(total - HEADER - 312))
