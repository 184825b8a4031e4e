"""Frames and CBOR: what hosts send, and what lines make of it."""

import base64
import random
import struct

import cbor2
import pytest
from unit.codegen.agent.device import NoAnswerError, RefusedError, frame, packet, unframe

ECHO = packet(2, 0, 0, {"d": "hello"})


def answers(device, data: bytes) -> list[dict]:
    return [cbor2.loads(answer[8:]) for answer in unframe(device.feed(data))]


def test_echo_of_every_length(device):
    for length in (0, 1, 2, 23, 24, 80, 81, 82, 83, 84, 85, 200, 255, 256, 480):
        assert device.request(2, 0, 0, {"d": "x" * length}) == {"r": "x" * length}
    with pytest.raises(RefusedError) as refused:
        device.request(2, 0, 0, {"d": "x" * 600})
    assert (refused.value.group, refused.value.code) == (0, 7)


def test_parameters_say_the_longest_packet(device):
    parameters = device.request(0, 0, 6)
    assert parameters == {"buf_size": 1024, "buf_count": 1}
    content = 1024 - 8 - len(cbor2.dumps({"d": "", "x": bytes(700)})) - 2
    body = cbor2.dumps({"d": "y" * 300, "x": bytes(700 + content - 300)})
    assert 1020 <= len(body) + 8 <= 1024
    assert device.request(2, 0, 0, body) == {"r": "y" * 300}
    with pytest.raises(NoAnswerError):
        device.request(2, 0, 0, {"d": "", "x": bytes(1030)})
    assert device.request(2, 0, 0, {"d": "z"}) == {"r": "z"}


def test_text_between_lines_is_ignored(device):
    lines = frame(packet(2, 0, 0, {"d": "x" * 300})).splitlines(keepends=True)
    assert len(lines) > 2
    log = b"<inf> battery 1250 mV\r\n\n"
    assert answers(device, log + log.join(lines) + log) == [{"r": "x" * 300}]


def test_carriage_returns_are_ignored(device):
    assert answers(device, frame(ECHO).replace(b"\n", b"\r\n")) == [{"r": "hello"}]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x06\x09",
        b"\x06\x09AAAA\n",
        b"\x06\x09AAAAAAAA",
        b"\x06\x09AAA",
        b"\x06\x09A=\n",
        b"\x06\x09AA=A\n",
        b"\x06\x09!!!!\n",
        b"\x06\x09//////",
        b"\x04\x14AAAA\n",
        b"\x06\x06\x09",
        b"\x06\x04\x14",
        b"\x06",
        b"\x04",
        b"\xff" * 300,
        b"\0" * 3000,
        frame(ECHO)[:-1],
        frame(ECHO)[:-3],
        frame(packet(2, 0, 0, {"d": "x" * 300}))[:200],
        b"\x06\x09" + base64.b64encode(b"\0\0") + b"\n",
        b"\x06\x09" + base64.b64encode(b"\0\1x") + b"\n",
        b"\x06\x09" + base64.b64encode(struct.pack(">H", 1027)) + b"\n",
        b"\x06\x09" + base64.b64encode(b"\xff\xff" + bytes(80)) + b"\n",
    ],
)
def test_after_garbage_the_next_packet_is_answered(device, garbage):
    heard = answers(device, garbage + frame(ECHO))
    assert heard[-1] == {"r": "hello"}
    assert answers(device, frame(ECHO)) == [{"r": "hello"}]


def test_two_lines_run_together_are_still_a_packet(device):
    lines = frame(packet(2, 0, 0, {"d": "x" * 300})).splitlines(keepends=True)
    assert answers(device, lines[0][:-1] + b"".join(lines[1:])) == [{"r": "x" * 300}]


def test_no_flipped_bit_is_answered_as_if_it_were_good(device):
    good = frame(ECHO)
    for bit in range(8 * len(good)):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        heard = answers(device, bytes(data) + b"\n")
        assert heard in ([], [{"r": "hello"}]), bit
        # Only the line's own end may be flipped without harm: the host's extra one replaces it.
        if heard:
            assert bit // 8 in (len(good) - 1,) or bytes(data)[bit // 8 : bit // 8 + 1] in b"\r\n="


def test_frames_with_a_wrong_crc_length_or_header_have_no_answer(device):
    whole = struct.pack(">H", len(ECHO) + 2) + ECHO
    for bad in (whole + b"\0\0", whole + b"\x12\x34\x56\x78"):
        assert answers(device, b"\x06\x09" + base64.b64encode(bad) + b"\n") == []
    for bad in (
        ECHO[:7],
        ECHO[:-1],
        ECHO + b"\0",
        b"\x0b" + ECHO[1:],
        b"\x09" + ECHO[1:],
        b"\x0e" + ECHO[1:],
    ):
        assert answers(device, frame(bad)) == [], bad


def test_versions(device):
    for version in (0, 1):
        answer = device.exchange(packet(2, 0, 0, {"d": "x"}, version=version))
        assert answer[0] == 3 | version << 3
    assert cbor2.loads(device.exchange(packet(2, 0, 0, {"d": "x"}, version=2))[8:]) == {"rc": 13}
    old = cbor2.loads(device.exchange(packet(2, 1, 0, {}, version=0))[8:])
    new = cbor2.loads(device.exchange(packet(2, 1, 0, {}, version=1))[8:])
    assert (old, new) == ({"rc": 1}, {"err": {"group": 1, "rc": 24}})


def test_the_answer_has_the_requests_sequence_and_command(device):
    for sequence in range(256):
        answer = device.exchange(packet(0, 0, 6, {}, sequence=sequence))
        assert answer[4:8] == bytes([0, 0, sequence, 6])


@pytest.mark.parametrize(
    ("op", "group", "command"),
    [
        (0, 0, 1),
        (0, 0, 5),
        (2, 0, 6),
        (0, 1, 1),
        (0, 1, 5),
        (2, 1, 3),
        (2, 64, 0),
        (0, 64, 2),
        (0, 64, 4),
        (0, 64, 6),
        (2, 65, 0),
        (2, 16384, 0),
    ],
)
def test_what_is_not_there_is_not_supported(device, op, group, command):
    with pytest.raises(RefusedError) as refused:
        device.request(op, group, command)
    assert (refused.value.group, refused.value.code) == (0, 8)


def echo_of(device, body: bytes) -> str | int:
    """Return what comes back for a body, or the error."""
    answer = cbor2.loads(device.exchange(packet(2, 0, 0, body))[8:])
    return answer.get("r", answer.get("rc"))


HELLO = cbor2.dumps("d") + cbor2.dumps("hello")


@pytest.mark.parametrize(
    "body",
    [
        b"\xa1" + HELLO,
        b"\xbf" + HELLO + b"\xff",
        b"\xb8\x01" + HELLO,
        b"\xbb" + bytes(7) + b"\x01" + HELLO,
        b"\xa1\x61d\x78\x05hello",
        b"\xa1\x61d\x7b" + bytes(7) + b"\x05hello",
        b"\xa2"
        + HELLO
        + cbor2.dumps("x")
        + cbor2.dumps({"a": [1, -2, {"b": None}, b"c", 1.5, True], "d": "no"}),
        b"\xa2" + cbor2.dumps("x") + cbor2.dumps(cbor2.CBORTag(1, 5)) + HELLO,
        b"\xa2" + cbor2.dumps("x") + b"\x84\x80\xa0\x40\x60" + HELLO,
        b"\xa2" + cbor2.dumps("x") + b"\xf8\x20" + HELLO,
        b"\xa2" + cbor2.dumps("d") + b"\xf6" + HELLO,
        b"\xa2" + cbor2.dumps("x") + b"\x81" * 300 + b"\x00" + HELLO,
    ],
)
def test_forms_of_a_map(device, body):
    assert echo_of(device, body) == "hello"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xa1",
        b"\xff",
        b"\x80",
        b"\xa1" + HELLO[:-1],
        b"\xa1" + HELLO + b"\x00",
        b"\xa2" + HELLO,
        b"\xa2" + HELLO + HELLO,
        b"\xbf" + HELLO,
        b"\xa1\x61d\x7f\x65hello\xff",
        b"\xa1\x61d\x7a\xff\xff\xff\xffhello",
        b"\xa1\x61d\x7b" + b"\xff" * 8 + b"hello",
        b"\xa1\x7a\xff\xff\xff\xffd\x65hello",
        b"\xba\xff\xff\xff\xff" + HELLO,
        b"\xa1\x61d\x45hello",
        b"\xa1\x61d\x05",
        b"\xa1\x61d\xf5",
        b"\xa1\x41d\x65hello",
        b"\xa1\x61d\xff",
        b"\xa1\x61d\x7c",
        b"\xa2\x61x\x9f\x01\xff" + HELLO,
        b"\xa2\x61x\xbf\xff" + HELLO,
        b"\xa2\x61x\x9a\xff\xff\xff\xff" + HELLO,
        b"\xa2\x61x\xba\x80\x00\x00\x01" + HELLO,
        b"\xa2\x61x\xbb" + b"\xff" * 8 + HELLO,
        b"\xa2\x61x\xff" + HELLO,
        b"\xa2\x61x\x1c" + HELLO,
        b"\xa1\x61x" + b"\x81" * 500,
        b"\xa1\x61x\xc1",
    ],
)
def test_bodies_that_are_no_such_map_are_invalid(device, body):
    assert echo_of(device, body) == 3


def test_random_bytes_get_no_false_answer(device):
    numbers = random.Random(4)
    for _ in range(300):
        body = numbers.randbytes(numbers.randrange(60))
        assert echo_of(device, body) in (3, "") or body[0] >> 5 == 5
        device.feed(numbers.randbytes(300) + b"\n")
    assert answers(device, frame(ECHO)) == [{"r": "hello"}]
