"""Images mutated at random: they are refused with an ImageError, or they are whole."""

import contextlib
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from images import DEVICE, KEY, MODEL, WEIGHTS, assemble, protected_entries

from edgekit.errors import ImageError
from edgekit.uploader.container import Version, parse_container
from edgekit.uploader.dump import describe, describe_text
from edgekit.uploader.facts import Abi, Facts, Needs, class_uuid, vendor_uuid
from edgekit.uploader.image import parse, sign, verify

DATA = sign(WEIGHTS, MODEL, KEY)
U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
INTERESTING = st.sampled_from([0, 1, 3, 4, 5, 31, 32, 33, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFE0, 0xFFFFFFFF])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Draw an image with numbers overwritten, pieces cut out, doubled or moved, and bytes at its end."""
    data = bytearray(DATA)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        end = draw(st.integers(place, len(data)))
        match draw(st.sampled_from(["16", "32", "cut", "double", "move", "end"])):
            case "16" if len(data) >= place + 2:
                struct.pack_into("<H", data, place, draw(INTERESTING) & 0xFFFF)
            case "32" if len(data) >= place + 4:
                struct.pack_into("<I", data, place, draw(INTERESTING))
            case "cut":
                del data[place:end]
            case "double":
                data[place:place] = data[place:end]
            case "move":
                data = data[end:] + data[:end]
            case "end":
                data += draw(st.binary(max_size=40))
    return bytes(data)


@given(st.one_of(mutated(), st.binary(max_size=400)))
@settings(max_examples=1500)
def test_nothing_but_an_image_error(data):
    with contextlib.suppress(ImageError):
        assert verify(data, KEY.public, DEVICE).data == DATA
    with contextlib.suppress(ImageError):
        container = parse_container(data, "image")
        assert container.covered + data[len(container.covered) :] == data
        describe(container)
        assert list(describe_text(container))


ENTRY = st.tuples(
    st.sampled_from([kind for kind, _ in protected_entries()] + [0, 0x60, 0xFFFF]), st.binary(max_size=40)
)


@given(
    st.one_of(
        st.lists(st.one_of(ENTRY, st.sampled_from(protected_entries())), max_size=10),
        st.permutations(protected_entries()),
        st.tuples(
            *(st.binary(min_size=len(data), max_size=len(data)) for _, data in protected_entries())
        ).map(
            lambda values: [
                (kind, value) for (kind, _), value in zip(protected_entries(), values, strict=True)
            ]
        ),
    )
)
@settings(max_examples=500)
def test_any_tlvs_rightly_signed(entries):
    data = assemble(entries)
    with contextlib.suppress(ImageError):
        found = parse(data).facts
        assert entries == protected_entries(found)


VERSIONS = st.builds(Version, st.integers(0, 255), st.integers(0, 255), U16, U32)
FACTS = st.builds(
    Facts,
    kind=st.just("model"),
    version=VERSIONS,
    counter=U32,
    vendor=st.just(vendor_uuid()),
    device_class=st.text(min_size=1).map(class_uuid),
    abi=st.builds(Abi, U16, U16, U32),
    graph=st.binary(min_size=32, max_size=32),
    needs=st.builds(Needs, U32, U32, U16, U16),
    provenance=st.binary(min_size=32, max_size=32),
    firmware=VERSIONS,
)


@given(FACTS, st.binary(min_size=1, max_size=100))
@settings(max_examples=100)
def test_what_is_signed_is_read(facts, payload):
    image = verify(sign(payload, facts, KEY), KEY.public)
    assert (image.facts, image.payload) == (facts, payload)
