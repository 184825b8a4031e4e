"""The update agent, built for this machine, and a plain host that talks to it."""

import base64
import binascii
import ctypes
import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
from unit.codegen.agent.images import CLASS, GRAPH, PUBLIC, VENDOR, digest_of

from codegen.update_agent import AGENT, agent_sources, crypto_sources
from edgekit.toolchain import compile_host

SECTOR = 4096
NEVER = 0xFFFF_FFFF
NO_SLOT = 0xFF
FITTING = 2 * SECTOR


class Version(ctypes.Structure):
    _fields_ = [("release", ctypes.c_uint32), ("build", ctypes.c_uint32)]


class DeviceOptions(ctypes.Structure):
    _fields_ = [
        ("key", ctypes.c_uint8 * 32),
        ("vendor", ctypes.c_uint8 * 16),
        ("kind", ctypes.c_uint8 * 16),
        ("graph", ctypes.c_uint8 * 32),
        ("abi_major", ctypes.c_uint16),
        ("abi_minor", ctypes.c_uint16),
        ("kernels", ctypes.c_uint32),
        ("ram", ctypes.c_uint32),
        ("outputs", ctypes.c_uint16),
        ("version", Version),
        ("slot_bytes", ctypes.c_uint32),
        ("fitting_bytes", ctypes.c_uint32),
        ("firmware", ctypes.c_char * 16),
    ]


def build_library(out: Path) -> ctypes.CDLL:
    """Compile agent and modelled device."""
    sources = [*agent_sources(), *crypto_sources(), AGENT / "host_device.c"]
    library = ctypes.CDLL(str(compile_host(sources, out / "libagent.so", include=[AGENT])))
    pointer, number = ctypes.c_void_p, ctypes.c_uint32
    for name, result, *arguments in (
        ("new", pointer, pointer),
        ("free", None, pointer),
        ("start", number, pointer),
        ("feed", number, pointer, ctypes.c_char_p, number),
        ("flash", pointer, pointer),
        ("access", pointer, pointer),
        ("flash_bytes", number, pointer),
        ("sent", pointer, pointer),
        ("resets", number, pointer),
        ("operations", number, pointer),
        ("violations", number, pointer),
        ("dead", number, pointer),
        ("erases", number, pointer, number),
        ("cut", None, pointer, number, number),
        ("set_self_test", None, pointer, ctypes.c_int32),
        ("set_adv", None, pointer, ctypes.c_int32 * 3, number),
        ("set_battery", None, pointer, number),
    ):
        function = getattr(library, f"host_device_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class RefusedError(Exception):
    """The device answered with an error."""

    def __init__(self, group: int, code: int) -> None:
        super().__init__(f"group {group} error {code}")
        self.group, self.code = group, code


class NoAnswerError(Exception):
    """The device did not answer."""


def frame(packet: bytes) -> bytes:
    """Return a packet as lines of a console."""
    whole = struct.pack(">H", len(packet) + 2) + packet + struct.pack(">H", binascii.crc_hqx(packet, 0))
    text = base64.b64encode(whole)
    lines = [text[at : at + 124] for at in range(0, len(text), 124)]
    return b"".join(
        (b"\x04\x14" if index else b"\x06\x09") + line + b"\n" for index, line in enumerate(lines)
    )


def unframe(lines: bytes) -> Iterator[bytes]:
    """Yield the packets of a console's text; every one must be whole."""
    whole = b""
    for line in lines.splitlines(keepends=True):
        assert len(line) <= 127
        assert line.endswith(b"\n")
        if line[:2] == b"\x06\x09":
            whole = b""
        else:
            assert line[:2] == b"\x04\x14"
        whole += base64.b64decode(line[2:-1], validate=True)
        (length,) = struct.unpack_from(">H", whole)
        if len(whole) == length + 2:
            packet, crc = whole[2:-2], whole[-2:]
            assert struct.pack(">H", binascii.crc_hqx(packet, 0)) == crc
            yield packet


def packet(
    op: int, group: int, command: int, body: dict[str, Any] | bytes, sequence: int = 7, version: int = 1
) -> bytes:
    """Return a packet of SMP."""
    content = body if isinstance(body, bytes) else cbor2.dumps(body)
    return struct.pack(">BBHHBB", op | version << 3, 0, len(content), group, sequence, command) + content


class Device:
    """A modelled device with a confirmed image in slot 0, if one is given."""

    def __init__(self, library: ctypes.CDLL, slot_bytes: int = 4 * SECTOR, image: bytes = b"") -> None:
        options = DeviceOptions(
            key=(ctypes.c_uint8 * 32)(*PUBLIC),
            vendor=(ctypes.c_uint8 * 16)(*VENDOR),
            kind=(ctypes.c_uint8 * 16)(*CLASS),
            graph=(ctypes.c_uint8 * 32)(*GRAPH),
            abi_major=1,
            abi_minor=2,
            kernels=7,
            ram=65536,
            outputs=3,
            version=Version(1 << 24, 0),
            slot_bytes=slot_bytes,
            fitting_bytes=FITTING,
            firmware=b"1.0.0",
        )
        self.library, self.slot_bytes = library, slot_bytes
        self.handle = library.host_device_new(ctypes.byref(options))
        self.flash = (ctypes.c_uint8 * library.host_device_flash_bytes(self.handle)).from_address(
            library.host_device_flash(self.handle)
        )
        self.fitting = bytes(index * 31 & 0xFF for index in range(FITTING))
        self.write(2 * SECTOR, self.fitting)
        self.running = NO_SLOT
        if image:
            self.write(self.slot_at(0), image)
        self.start()

    def close(self) -> None:
        self.library.host_device_free(self.handle)

    def slot_at(self, slot: int) -> int:
        return 2 * SECTOR + FITTING + slot * self.slot_bytes

    def write(self, at: int, data: bytes) -> None:
        """Change the flash behind the agent's back."""
        self.flash[at : at + len(data)] = data

    def read(self, at: int, count: int) -> bytes:
        return bytes(self.flash[at : at + count])

    def slot(self, slot: int, count: int) -> bytes:
        return self.read(self.slot_at(slot), count)

    def holds(self, slot: int, image: bytes) -> bool:
        return slot != NO_SLOT and self.slot(slot, len(image)) == image

    def fitting_is_untouched(self) -> bool:
        return self.read(2 * SECTOR, FITTING) == self.fitting and not any(
            self.library.host_device_erases(self.handle, sector) for sector in (2, 3)
        )

    def start(self) -> int:
        """Switch the device on; returns the slot that runs."""
        self.running = int(self.library.host_device_start(self.handle))
        return self.running

    def cut(self, at: int = NEVER, *, torn: bool = False) -> None:
        self.library.host_device_cut(self.handle, at, torn)

    @property
    def operations(self) -> int:
        return int(self.library.host_device_operations(self.handle))

    @property
    def erased(self) -> list[int]:
        count = len(self.flash) // SECTOR
        return [self.library.host_device_erases(self.handle, sector) for sector in range(count)]

    @property
    def violations(self) -> int:
        return int(self.library.host_device_violations(self.handle))

    @property
    def resets(self) -> int:
        return int(self.library.host_device_resets(self.handle))

    def is_dead(self) -> bool:
        return bool(self.library.host_device_dead(self.handle))

    def feed(self, data: bytes) -> bytes:
        count = self.library.host_device_feed(self.handle, data, len(data))
        return ctypes.string_at(self.library.host_device_sent(self.handle), count)

    def exchange(self, request: bytes) -> bytes:
        """Send a packet; returns the one that comes back."""
        answers = list(unframe(self.feed(frame(request))))
        if self.is_dead() or not answers:
            raise NoAnswerError
        assert len(answers) == 1
        return answers[0]

    def request(
        self, op: int, group: int, command: int, body: dict[str, Any] | bytes = b"\xa0"
    ) -> dict[str, Any]:
        """Ask; returns the answer's map, or raises what it says is wrong."""
        answer = self.exchange(packet(op, group, command, body))
        assert struct.unpack_from(">BBHHBB", answer) == (op + 9, 0, len(answer) - 8, group, 7, command)
        content = cbor2.loads(answer[8:])
        if "err" in content:
            raise RefusedError(content["err"]["group"], content["err"]["rc"])
        if "rc" in content and "ok" not in content:
            raise RefusedError(0, content["rc"])
        return content

    def upload(self, data: bytes, chunk: int = 900, start: int = 0, **first: Any) -> dict[str, Any]:
        """Upload as hosts do, at the offsets that the device asks for."""
        answer: dict[str, Any] = {"off": start}
        sha = hashlib.sha256(data).digest()
        is_first = True
        while answer["off"] < len(data) or is_first:
            offset = answer["off"]
            body: dict[str, Any] = {"off": offset, "data": data[offset : offset + chunk]}
            if is_first:
                body |= {"image": 1, "len": len(data), "sha": sha, **first}
            answer = self.request(2, 1, 1, body)
            is_first = False
        return answer

    def test(self, image: bytes) -> dict[str, Any]:
        return self.request(2, 1, 0, {"hash": digest_of(image)})

    def confirm(self, image: bytes | None = None) -> dict[str, Any]:
        return self.request(2, 1, 0, {"confirm": True} | ({"hash": digest_of(image)} if image else {}))

    def states(self) -> dict[int, dict[str, Any]]:
        return {entry["slot"]: entry for entry in self.request(0, 1, 0)["images"]}

    def info(self) -> dict[str, Any]:
        return self.request(0, 64, 0)

    def update(self, image: bytes, chunk: int = 900) -> None:
        """Upload, test, start, confirm."""
        self.upload(image, chunk)
        self.test(image)
        self.start()
        self.confirm(image)
