"""Any packets, in any portions, between any garbage that holds no marker."""

from hypothesis import given
from hypothesis import strategies as st

from edgekit.uploader.smp import Deframer, Message, decode_message, to_lines

packets = st.lists(st.binary(max_size=600), max_size=4)
garbage = st.binary(max_size=80).map(lambda data: data.replace(b"\x06", b"").replace(b"\x04", b"") + b"\n")


def fed(data: bytes, cuts: list[int]) -> list[bytes]:
    deframer, found, at = Deframer(), [], 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        found += deframer.feed(data[at:cut])
        at = cut
    return found


@given(packets, st.lists(st.integers(0, 5000), max_size=10))
def test_any_split(wanted, cuts):
    assert fed(b"".join(map(to_lines, wanted)), cuts) == wanted


@given(packets, st.lists(garbage, min_size=40, max_size=40))
def test_garbage_between_lines(wanted, noise):
    lines = [line for packet in wanted for line in to_lines(packet).splitlines(keepends=True)]
    mixed = b"".join(line + noise[n % len(noise)] for n, line in enumerate(lines))
    assert fed(noise[0] + mixed, []) == wanted


pieces = st.sampled_from(
    [b"\x06\x09", b"\x04\x14", b"\n", b"AAAA", b"/w==", b"=", *to_lines(bytes(150)).splitlines()]
)
noise = st.lists(pieces | st.binary(max_size=50), max_size=30).map(b"".join)


@given(noise, st.binary(max_size=300))
def test_any_bytes_are_survived(data, packet):
    # A newline ends whatever was begun; a packet in one piece then comes through.
    assert fed(data + b"\n" + to_lines(packet), [])[-1:] == [packet]


@given(st.binary(max_size=300))
def test_any_packet_is_a_message_or_none(packet):
    try:
        message = decode_message(packet)
    except ValueError:
        return
    assert isinstance(message.body, dict)


bodies = st.dictionaries(
    st.text(max_size=8), st.integers(-(2**63), 2**63) | st.binary(max_size=200) | st.booleans(), max_size=6
)


@given(st.integers(0, 3), st.integers(0, 65535), st.integers(0, 255), st.integers(0, 255), bodies)
def test_any_message_comes_back(op, group, sequence, command, body):
    message = Message(op, group, sequence, command, body)
    assert decode_message(message.encoded()) == message
