"""Update images for tests: the facts of a device, and images put together by hand, right or wrong."""

import hashlib
import random
import struct
import uuid
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgekit.uploader import facts as tlvs
from edgekit.uploader.container import NON_BOOTABLE, Version
from edgekit.uploader.facts import Abi, Facts, Needs, class_uuid, vendor_uuid
from edgekit.uploader.image import DeviceFacts
from edgekit.uploader.keys import PrivateKey

KEY = PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER_KEY = PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
WEIGHTS = b"EKM1" + bytes(range(96))
MODEL = Facts(
    kind="model",
    version=Version(1, 2, 3, 4),
    counter=7,
    vendor=vendor_uuid(),
    device_class=class_uuid("hearing-aid"),
    abi=Abi(1, 2, 0x12345678),
    graph=bytes(range(32)),
    needs=Needs(17_000, len(WEIGHTS), 4, 3),
    provenance=bytes(range(32, 64)),
    firmware=Version(0, 9, 0),
)
FIRMWARE = replace(MODEL, kind="firmware", firmware=None)
DEVICE = DeviceFacts(
    vendor=MODEL.vendor,
    device_class=MODEL.device_class,
    slot_bytes=4096,
    abi=MODEL.abi,
    graph=MODEL.graph,
    ram_bytes=17_000,
    floor=7,
    firmware=Version(0, 9, 0),
    key_hash=KEY.public.hash,
)
TOLD = {
    "class": MODEL.device_class.hex,
    "vendor": MODEL.vendor.hex,
    "abi": [1, 2, MODEL.abi.kernels],
    "graph": MODEL.graph.hex(),
    "floor": 7,
    "ram": 20_000,
    "key": KEY.public.hash.hex(),
    "pub": KEY.public.raw.hex(),
    "fit": bytes(32).hex(),
}
"""What a device that takes the model says of itself, for `smp_server`."""

Entries = list[tuple[int, bytes]]


def protected_entries(facts: Facts = MODEL) -> Entries:
    """Return the protected TLVs, written out from the contract."""
    abi, needs, v = facts.abi, facts.needs, facts.firmware
    dependency = (
        [] if v is None else [(0x40, struct.pack("<IBBHI", 0, v.major, v.minor, v.revision, v.build))]
    )
    return [
        (0x50, struct.pack("<I", facts.counter)),
        *dependency,
        (0x74, facts.vendor.bytes),
        (0x75, facts.device_class.bytes),
        (0xA0, struct.pack("<HHI", abi.major, abi.minor, abi.kernels)),
        (0xA1, facts.graph),
        (0xA2, struct.pack("<IIHH", needs.ram_bytes, needs.weights_bytes, needs.align, needs.outputs)),
        (0xA3, facts.provenance),
    ]


def area(magic: int, entries: Entries) -> bytes:
    """Return an area of TLVs."""
    body = b"".join(struct.pack("<HH", kind, len(data)) + data for kind, data in entries)
    return struct.pack("<HH", magic, len(body) + 4) + body if entries else b""


def assemble(
    protected: Entries,
    payload: bytes = WEIGHTS,
    unprotected: Entries | None = None,
    key: PrivateKey = KEY,
    **header: int,
) -> bytes:
    """Return an image with these TLVs, its digest and signature right unless `unprotected` is given.

    Args:
        protected: Of these, whatever they are.
        payload: Firmware or weights.
        unprotected: Instead of digest, key hash and signature.
        key: The key that signs.
        header: Fields that differ from what they should be.
    """
    covered_area = area(0x6908, protected)
    fields = {
        "magic": 0x96F3B83D,
        "load_addr": 0,
        "hdr_size": 32,
        "protected_size": len(covered_area),
        "img_size": len(payload),
        "flags": NON_BOOTABLE,
        **dict(zip(("major", "minor", "revision", "build"), MODEL.version, strict=True)),
        "padding": 0,
    } | header
    covered = struct.pack("<IIHHIIBBHII", *fields.values()) + payload + covered_area
    if unprotected is None:
        unprotected = signature_entries(covered, key)
    return covered + area(0x6907, unprotected)


def model_image(size: int = 61_440, seed: int = 1, facts: Facts = MODEL, key: PrivateKey = KEY) -> bytes:
    """Return a model image with weights of a size, drawn by a seed."""
    facts = replace(facts, needs=replace(facts.needs, weights_bytes=size))
    version = dict(zip(("major", "minor", "revision", "build"), facts.version, strict=True))
    return assemble(protected_entries(facts), random.Random(seed).randbytes(size), key=key, **version)


def signature_entries(covered: bytes, key: PrivateKey = KEY) -> Entries:
    """Return the unprotected TLVs of what they cover."""
    digest = hashlib.sha256(covered).digest()
    return [(0x10, digest), (0x01, key.public.hash), (0x24, key.key.sign(digest))]


def other_uuid() -> uuid.UUID:
    """Return the class of some other device."""
    return tlvs.class_uuid("nrf5340")
