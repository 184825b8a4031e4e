"""Images by the format's description, for tests of what carries them."""

import hashlib
import random
import struct

CLASS, VENDOR = bytes(range(16)), bytes(range(16, 32))
GRAPH, KEY = hashlib.sha256(b"graph").digest(), hashlib.sha256(b"key").digest()
KERNELS = 0xC0DE
INFO = {
    "class": CLASS.hex(),
    "vendor": VENDOR.hex(),
    "abi": [1, 2, KERNELS],
    "graph": GRAPH.hex(),
    "floor": 3,
    "ram": 20_000,
    "key": KEY.hex(),
    "fit": bytes(32).hex(),
}


def image(size: int = 61_440, seed: int = 1, **changes: bytes | int) -> bytes:
    """Return a model image: `changes` replace what a device would accept."""
    payload = random.Random(seed).randbytes(size)
    return signed(payload, **changes)


def signed(payload: bytes, **changes: bytes | int) -> bytes:
    own = {"counter": 3, "graph": GRAPH, "device_class": CLASS, "key": KEY, "ram": 9000, "minor": 2} | changes
    protected = fields(
        0x6908,
        {
            0x50: struct.pack("<I", own["counter"]),
            0x74: VENDOR,
            0x75: own["device_class"],
            0xA0: struct.pack("<HHI", 1, own["minor"], KERNELS),
            0xA1: own["graph"],
            0xA2: struct.pack("<IIHH", own["ram"], len(payload), 16, 3),
        },
    )
    header = struct.pack("<IIHHIIBBHII", 0x96F3B83D, 0, 32, len(protected), len(payload), 0x10, 1, 2, 3, 4, 0)
    covered = header + payload + protected
    digest = hashlib.sha256(covered).digest()
    return covered + fields(0x6907, {0x10: digest, 0x01: own["key"], 0x24: bytes(64)})


def fields(magic: int, entries: dict[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<HH", kind, len(data)) + data for kind, data in entries.items())
    return struct.pack("<HH", magic, len(body) + 4) + body
