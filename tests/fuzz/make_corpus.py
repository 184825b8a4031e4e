"""Write what fuzzing of the update agent starts from."""

import hashlib
import struct
import sys
from pathlib import Path

import cbor2

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from unit.codegen.agent.device import frame, packet  # noqa: E402
from unit.codegen.agent.images import PUBLIC, Image, digest_of, tlv  # noqa: E402

LONGEST = 1024
"""Bytes of a packet that the agent takes."""
GOOD = Image(payload=b"weights!" * 4, needs=(1, 1, 8, 3), counter=4)
NEW = Image(payload=b"weights?" * 4, needs=(1, 1, 8, 3), counter=5)


def header() -> str:
    """Return the good image and its key as C."""

    def array(name: str, data: bytes) -> str:
        rows = [", ".join(f"0x{byte:02X}" for byte in data[at : at + 16]) for at in range(0, len(data), 16)]
        return f"static const uint8_t {name}[{len(data)}] = {{\n    " + ",\n    ".join(rows) + "};\n"

    image = GOOD.build()
    return (
        "/* Written by make_corpus.py: an image that the fuzzed device takes, and the key that signed it. "
        "*/\n"
        f"#define GOOD_TLVS {32 + len(GOOD.payload)}u\n\n"
        + array("good_key", PUBLIC)
        + array("good_image", image)
    )


def packets() -> dict[str, bytes]:
    """Return requests of every kind."""
    image = NEW.build()
    first = {"image": 1, "off": 0, "len": len(image), "sha": hashlib.sha256(image).digest(), "data": image}
    return {
        "echo": packet(2, 0, 0, {"d": "hello"}),
        "parameters": packet(0, 0, 6, {}),
        "reset": packet(2, 0, 5, {"force": 1}),
        "state": packet(0, 1, 0, {}),
        "upload": packet(2, 1, 1, first | {"upgrade": False}),
        "upload_half": packet(2, 1, 1, first | {"data": image[:200]}),
        "upload_rest": packet(2, 1, 1, {"off": 200, "data": image[200:]}),
        "test": packet(2, 1, 0, {"hash": digest_of(image), "confirm": False}),
        "confirm": packet(2, 1, 0, {"confirm": True}),
        "erase": packet(2, 1, 5, {"slot": 1}),
        "info": packet(0, 64, 0, {}),
        "blocks": packet(0, 64, 1, {"slot": 1, "off": 4096}),
        "self_test": packet(2, 64, 2, {"slot": 1}),
        "live": packet(0, 64, 3, {}),
        "revert": packet(2, 64, 4, {}),
        "guard": packet(0, 64, 5, {}),
        "old": packet(0, 1, 0, {}, version=0),
        "nested": packet(2, 0, 0, {"x": [1, -2, {"b": None, "c": [cbor2.CBORTag(1, 2), 1.5]}], "d": "y"}),
        "endless": packet(2, 0, 0, b"\xbf\x61d\x61x\xff"),
    }


def images() -> dict[str, bytes]:
    """Return images, good and bad."""
    return {
        "good": NEW.build(),
        "downgrade": NEW.but(counter=3).build(),
        "short": NEW.build()[:-5],
        "no_tlvs": NEW.build([]),
        "more_tlvs": NEW.build([*NEW.protected(), tlv(0xA4, b"x")]),
        "huge": NEW.but(image_size=0xFFFFFFF0).build(),
    }


def main() -> None:
    """Write corpus and header."""
    corpus = HERE / "corpus"
    corpus.mkdir(exist_ok=True)
    (HERE / "good_image.h").write_text(header())
    asked = packets()
    for name, request in asked.items():
        (corpus / f"line_{name}").write_bytes(b"\0" + frame(request))
        (corpus / f"packet_{name}").write_bytes(b"\1" + struct.pack("<H", len(request)) + request)
        (corpus / f"cbor_{name}").write_bytes(b"\3" + request[8:])
    for name in ("echo", "upload"):
        (corpus / f"frame_{name}").write_bytes(b"\4\0\0" + asked[name])
        (corpus / f"frame_{name}_damaged").write_bytes(b"\4\x09\x07" + asked[name])
    story = [
        "upload_half",
        "upload_rest",
        "state",
        "test",
        "",
        "info",
        "confirm",
        "",
        "state",
        "blocks",
        "erase",
    ]
    steps = [struct.pack("<H", len(asked.get(name, b""))) + asked.get(name, b"") for name in story]
    (corpus / "packets_update").write_bytes(b"\1" + b"".join(steps))
    (corpus / "line_log").write_bytes(
        b"\0<inf> log\r\n" + frame(asked["info"]) + b"\x06\x09AA" + frame(asked["echo"])
    )
    longest = packet(2, 0, 0, {"d": "x" * (LONGEST - 8 - 6)})
    assert len(longest) == LONGEST
    (corpus / "line_longest").write_bytes(b"\0" + frame(longest))
    (corpus / "line_too_long").write_bytes(b"\0" + frame(longest + b"x"))
    # Behind the last byte of the longest packet there comes one more.
    (corpus / "line_one_more").write_bytes(b"\0" + frame(longest).rstrip(b"=\n") + b"A\n")
    for name, image in images().items():
        (corpus / f"image_{name}").write_bytes(b"\2" + image)


if __name__ == "__main__":
    main()
