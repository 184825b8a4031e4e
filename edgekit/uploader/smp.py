"""SMP messages, and how they travel over a serial console.

A packet is its length, a message and a CRC, in base64, cut into lines of at most 127 bytes. The first line of
a packet and those that continue it begin with different markers. There is no negative acknowledgement: what
is damaged on the way is dropped, and the sender notices by waiting in vain.
"""

import base64
import binascii
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cbor2

FIRST, CONTINUED = b"\x06\x09", b"\x04\x14"
LINE_BYTES = 127
READ, WRITE = 0, 2
VERSION_2 = 0x08
HEADER = struct.Struct(">BBHHBB")
LENGTH = struct.Struct(">H")
CRC_BYTES = 2
OVERHEAD_BYTES = LENGTH.size + CRC_BYTES

_PIECE_BYTES = (LINE_BYTES - len(FIRST) - 1) // 4 * 3
# Markers are no base64: what stands between two of them belongs to the first, even where a newline was lost.
_SEGMENT = re.compile(rb"(\x06\x09|\x04\x14)([A-Za-z0-9+/]*={0,2})")
# Far longer than any line: noise has swallowed the newlines.
_LONGEST_LINE = 4096


@dataclass(frozen=True)
class Message:
    """One request or reply.

    Attributes:
        op: READ or WRITE; one more in a reply.
        group: Of the command.
        sequence: From 0 to 255; a reply has that of its request.
        command: Within the group.
        body: What a CBOR map held.
    """

    op: int
    group: int
    sequence: int
    command: int
    body: dict[str, Any]

    def encoded(self) -> bytes:
        """Return the message with its header."""
        body = cbor2.dumps(self.body)
        return HEADER.pack(self.op | VERSION_2, 0, len(body), self.group, self.sequence, self.command) + body


def decode_message(packet: bytes) -> Message:
    """Return the message in a packet.

    Raises:
        ValueError: If it holds none.
    """
    if len(packet) < HEADER.size:
        raise ValueError("shorter than a header")
    op, _, length, group, sequence, command = HEADER.unpack_from(packet)
    if length != len(packet) - HEADER.size:
        raise ValueError("the header's length is not the packet's")
    try:
        body = cbor2.loads(packet[HEADER.size :])
    except cbor2.CBORError as error:
        raise ValueError(f"no CBOR: {error}") from error
    if type(body) is not dict:
        raise ValueError("no CBOR map")
    return Message(op & 0x07, group, sequence, command, body)


def to_lines(packet: bytes) -> bytes:
    r"""Return a packet as lines for a serial console.

    Example:
        >>> to_lines(b"hi")
        b'\x06\tAARoaX8M\n'
    """
    crc = LENGTH.pack(binascii.crc_hqx(packet, 0))
    data = LENGTH.pack(len(packet) + CRC_BYTES) + packet + crc
    pieces = [data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES)]
    markers = [FIRST] + [CONTINUED] * (len(pieces) - 1)
    return b"".join(m + base64.b64encode(piece) + b"\n" for m, piece in zip(markers, pieces, strict=True))


def line_bytes(packet_bytes: int) -> int:
    """Return how many bytes a packet of that size is on the line.

    Example:
        >>> line_bytes(2), line_bytes(90)
        (11, 134)
    """
    data = packet_bytes + OVERHEAD_BYTES
    return -(-data // _PIECE_BYTES) * (len(FIRST) + 1) + -(-data // 3) * 4


class Deframer:
    """Finds packets in what a serial line brings: in any portions, between log text and damaged lines."""

    def __init__(self) -> None:
        self._text = b""
        self._packet: bytearray | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the packets that `data` completes."""
        *lines, self._text = (self._text + data).split(b"\n")
        if len(self._text) > _LONGEST_LINE:
            self._text, self._packet = b"", None
        for line in lines:
            for marker, text in _SEGMENT.findall(line):
                if (packet := self._take(marker, text)) is not None:
                    yield packet

    def _take(self, marker: bytes, text: bytes) -> bytes | None:
        """Return the packet that a line ends, if it ends one."""
        if marker == FIRST:
            self._packet = bytearray()
        if self._packet is None:
            return None
        try:
            self._packet += base64.b64decode(text, validate=True)
        except binascii.Error:
            self._packet = None
            return None
        return self._finished()

    def _finished(self) -> bytes | None:
        data = self._packet
        if data is None or len(data) < LENGTH.size:
            return None
        end = LENGTH.size + LENGTH.unpack_from(data)[0]
        if len(data) < end:
            return None
        self._packet = None
        # The CRC of a message followed by its CRC is 0.
        if end < OVERHEAD_BYTES or binascii.crc_hqx(bytes(data[LENGTH.size : end]), 0) != 0:
            return None
        return bytes(data[LENGTH.size : end - CRC_BYTES])
