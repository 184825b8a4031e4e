import base64

import cbor2
import pytest
import smp_server

from edgekit.uploader.smp import (
    HEADER,
    READ,
    WRITE,
    Deframer,
    Message,
    decode_message,
    line_bytes,
    to_lines,
)


def packets(data: bytes) -> list[bytes]:
    return list(Deframer().feed(data))


class TestMessage:
    def test_header_is_that_of_version_2(self):
        encoded = Message(WRITE, 0x1234, 200, 7, {"a": 1}).encoded()
        assert encoded[:8] == bytes([0x0A, 0, 0, 4, 0x12, 0x34, 200, 7])
        assert cbor2.loads(encoded[8:]) == {"a": 1}

    def test_comes_back(self):
        message = Message(READ, 64, 255, 3, {"h": b"\x00\xff", "n": [1, 2]})
        assert decode_message(message.encoded()) == message

    @pytest.mark.parametrize(
        ("packet", "what"),
        [
            (b"\x03\x00\x00", "shorter than a header"),
            (HEADER.pack(1, 0, 5, 0, 0, 0) + b"\xa0", "length"),
            (HEADER.pack(1, 0, 1, 0, 0, 0) + b"\xff", "no CBOR"),
            (HEADER.pack(1, 0, 1, 0, 0, 0) + b"\x01", "no CBOR map"),
            (HEADER.pack(1, 0, 1, 0, 0, 0) + b"\xbf", "no CBOR"),
        ],
    )
    def test_nonsense(self, packet, what):
        with pytest.raises(ValueError, match=what):
            decode_message(packet)

    def test_indefinite_length(self):
        body = b"\xbf\x63off\x05\xff"
        assert decode_message(HEADER.pack(3, 0, len(body), 1, 2, 1) + body).body == {"off": 5}


class TestLines:
    @pytest.mark.parametrize("size", [0, 1, 88, 89, 90, 91, 92, 93, 400, 2000])
    def test_are_as_the_specification_says(self, size):
        lines = to_lines(bytes(size)).splitlines(keepends=True)
        assert lines[0][:2] == b"\x06\x09"
        assert {line[:2] for line in lines[1:]} <= {b"\x04\x14"}
        assert max(map(len, lines)) <= 127
        content = b"".join(base64.b64decode(line[2:-1], validate=True) for line in lines)
        assert int.from_bytes(content[:2]) == len(content) - 2 == size + 2
        assert int.from_bytes(content[-2:]) == smp_server.crc16(bytes(size))
        assert line_bytes(size) == sum(map(len, lines))

    def test_merged_by_a_lost_newline(self):
        assert packets(to_lines(bytes(200)).replace(b"\n", b"", 1)) == [bytes(200)]

    def test_two_packets_merged(self):
        assert packets(to_lines(b"one")[:-1] + to_lines(b"two")) == [b"one", b"two"]

    def test_behind_text(self):
        assert packets(b"<inf> booting " + to_lines(b"one")) == [b"one"]

    def test_between_text(self):
        first, second = to_lines(bytes(120)).splitlines(keepends=True)
        assert packets(first + b"[00:01] <wrn> \x06 \x09 low\r\n\n" + second) == [bytes(120)]

    def test_marker_in_garbage(self):
        assert packets(b"\x06\x09\xff\xfe\x06\x09" + to_lines(b"one")) == [b"one"]

    def test_a_continuation_alone_is_nothing(self):
        assert packets(b"\x04\x14" + to_lines(b"one")[2:]) == []

    def test_of_a_doubled_line_nothing_wrong_comes(self):
        first, second = to_lines(bytes(range(120))).splitlines(keepends=True)
        assert packets(first + second + second) == [bytes(range(120))]
        assert packets(first + first + second) == [bytes(range(120))]

    @pytest.mark.parametrize("at", range(2, 12))
    def test_a_flipped_bit_is_noticed(self, at):
        line = bytearray(to_lines(b"hello"))
        line[at] ^= 0x01
        assert packets(bytes(line) + to_lines(b"next")) == [b"next"]

    @pytest.mark.parametrize("length", [0, 1])
    def test_too_short_for_a_crc(self, length):
        content = length.to_bytes(2) + bytes(length)
        assert packets(b"\x06\x09" + base64.b64encode(content) + b"\n") == []

    def test_endless_noise_is_not_kept(self):
        deframer = Deframer()
        for _ in range(100):
            assert list(deframer.feed(b"x" * 1000)) == []
        assert len(deframer._text) < 10_000
        assert list(deframer.feed(b"\n" + to_lines(b"one"))) == [b"one"]
