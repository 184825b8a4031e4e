"""Hashes and signatures: the standards' vectors, and the cryptography package on random ones."""

import ctypes
import hashlib
import random

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19

# RFC 8032, section 7.1: public key, message, signature.
RFC_8032 = {
    "empty": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "one byte": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "two bytes": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    "SHA(abc)": (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
}

# FIPS 180-4's examples and NIST's long message: bits, message, digest.
NIST = [
    (256, b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (256, b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (
        256,
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ),
    (256, b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    (
        512,
        b"abc",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ),
    (
        512,
        b"a" * 1_000_000,
        "e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973eb"
        "de0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b",
    ),
]


@pytest.fixture
def verify(agent_library):
    function = agent_library.ag_ed25519_verify
    function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]

    def call(signature: bytes, key: bytes, message: bytes) -> bool:
        return bool(function(signature, key, message, len(message)))

    return call


def theirs(signature: bytes, key: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def hashed(library, bits: int, pieces: list[bytes]) -> bytes:
    state, digest = ctypes.create_string_buffer(256), ctypes.create_string_buffer(bits // 8)
    update = getattr(library, f"ag_sha{bits}_update")
    update.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    getattr(library, f"ag_sha{bits}_init")(state)
    for piece in pieces:
        update(state, piece, len(piece))
    getattr(library, f"ag_sha{bits}_final")(state, digest)
    return digest.raw


@pytest.mark.parametrize(("bits", "message", "digest"), NIST, ids=range(len(NIST)))
def test_hashes_of_the_standard(agent_library, bits, message, digest):
    assert hashed(agent_library, bits, [message]).hex() == digest


@pytest.mark.parametrize("bits", [256, 512])
def test_hashes_of_every_length_in_any_pieces(agent_library, bits):
    random_numbers = random.Random(1)
    for length in range(300):
        message = random_numbers.randbytes(length)
        cut = random_numbers.randrange(length + 1)
        digest = hashlib.new(f"sha{bits}", message).digest()
        assert hashed(agent_library, bits, [message[:cut], message[cut:]]) == digest


@pytest.mark.parametrize("name", RFC_8032)
def test_signatures_of_the_standard(verify, name):
    key, message, signature = RFC_8032[name]
    assert verify(*(bytes.fromhex(text) for text in (signature, key, message)))


def test_random_signatures_and_flipped_bits(verify):
    random_numbers = random.Random(2)
    for length in range(150):
        private = Ed25519PrivateKey.from_private_bytes(random_numbers.randbytes(32))
        key, message = private.public_key().public_bytes_raw(), random_numbers.randbytes(length)
        signature = private.sign(message)
        assert verify(signature, key, message)
        for values in ([signature, key, message], [key, signature, message]):
            changed = bytearray(values[0])
            changed[random_numbers.randrange(len(changed))] ^= 1 << random_numbers.randrange(8)
            bad = (bytes(changed), key) if values[0] is signature else (signature, bytes(changed))
            assert not verify(*bad, message)
            assert not theirs(*bad, message)
        assert not verify(signature, key, message + b"x")


def test_every_bit_of_a_signature_counts(verify):
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    key, signature = private.public_key().public_bytes_raw(), private.sign(b"digest")
    for bit in range(512):
        changed = (int.from_bytes(signature, "little") ^ 1 << bit).to_bytes(64, "little")
        assert not verify(changed, key, b"digest")


def test_s_of_the_order_or_above_is_refused(verify):
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    key, signature = private.public_key().public_bytes_raw(), private.sign(b"digest")
    s = int.from_bytes(signature[32:], "little")
    for more in range(1, 16):
        if s + more * ORDER < 2**256:
            bad = signature[:32] + (s + more * ORDER).to_bytes(32, "little")
            assert not verify(bad, key, b"digest")
            assert not theirs(bad, key, b"digest")
    assert not verify(signature[:32] + ORDER.to_bytes(32, "little"), key, b"digest")


def is_on_curve(y: int) -> bool:
    d = -121665 * pow(121666, -1, PRIME)
    square = (y * y - 1) * pow(d * y * y + 1, -1, PRIME) % PRIME
    return square == 0 or pow(square, (PRIME - 1) // 2, PRIME) == 1


def test_keys_that_are_no_points_are_refused(verify):
    # S = 0 and R = the neutral point hold for a key of the neutral point: only its encoding is wrong.
    neutral = (1).to_bytes(32, "little")
    trivial = neutral + bytes(32)
    assert verify(trivial, neutral, b"anything")
    for y in (PRIME, PRIME + 1, PRIME + 18, 2**255 - 1):
        assert not verify(trivial, y.to_bytes(32, "little"), b"anything")
    assert not verify(trivial, (1 | 1 << 255).to_bytes(32, "little"), b"anything")
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    signature = private.sign(b"digest")
    off = [y for y in range(2, 60) if not is_on_curve(y)]
    assert len(off) > 15
    for y in off:
        assert not verify(signature, y.to_bytes(32, "little"), b"digest")
        assert not theirs(signature, y.to_bytes(32, "little"), b"digest")


def field(library, name: str, *values: int) -> int:
    words = [(ctypes.c_uint32 * 8)(*(value >> 32 * i & 0xFFFFFFFF for i in range(8))) for value in values]
    out = (ctypes.c_uint32 * 8)()
    getattr(library, f"ag_field_{name}")(out, *words)
    library.ag_field_reduce(out)
    return sum(word << 32 * i for i, word in enumerate(out))


EDGES = [
    0,
    1,
    18,
    19,
    37,
    38,
    PRIME - 1,
    PRIME,
    PRIME + 1,
    PRIME + 18,
    2**255 - 1,
    2**255,
    2 * PRIME - 1,
    2 * PRIME,
    2**256 - 39,
    2**256 - 38,
    2**256 - 1,
]


def test_the_field_is_right_at_its_edges(agent_library):
    for a in EDGES:
        assert field(agent_library, "add", a, 0) == a % PRIME
        assert field(agent_library, "invert", a) == pow(a, PRIME - 2, PRIME)
        for b in EDGES:
            assert field(agent_library, "add", a, b) == (a + b) % PRIME
            assert field(agent_library, "sub", a, b) == (a - b) % PRIME
            assert field(agent_library, "mul", a, b) == a * b % PRIME


def test_the_field_is_right_for_random_values(agent_library):
    random_numbers = random.Random(3)
    for _ in range(300):
        a, b = random_numbers.getrandbits(256), random_numbers.getrandbits(256)
        assert field(agent_library, "mul", a, b) == a * b % PRIME
        assert field(agent_library, "sub", a, b) == (a - b) % PRIME
