"""Keys that sign images: ed25519, as PEM files.

A project keeps its private key to itself; devices hold the public one. `DEVELOPMENT_KEY` ships with edgekit:
everybody has it, so it proves nothing.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from edgekit.errors import ConfigError

DEVELOPMENT_KEY = Path(__file__).parent.parent / "data" / "keys" / "development-insecure.pem"
KEYGEN_HINT = "edgekit image keygen FILE makes one"


@dataclass(frozen=True)
class PublicKey:
    """What tells whether an image was signed with a key.

    Attributes:
        key: The key.
    """

    key: Ed25519PublicKey

    @classmethod
    def from_raw(cls, raw: bytes) -> "PublicKey":
        """Return the key of 32 bytes.

        Raises:
            ValueError: If they are none.
        """
        return cls(Ed25519PublicKey.from_public_bytes(raw))

    @property
    def raw(self) -> bytes:
        """Its 32 bytes."""
        return self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def hash(self) -> bytes:
        """SHA-256 of its DER SubjectPublicKeyInfo: how images name the key."""
        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).digest()

    @property
    def pem(self) -> bytes:
        """The key as a PEM file."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Return whether the signature of a message was made with the private key."""
        try:
            self.key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    """What signs images.

    Attributes:
        key: The key.
    """

    key: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        """The key that devices hold."""
        return PublicKey(self.key.public_key())

    @property
    def is_development(self) -> bool:
        """Whether it is the key that ships with edgekit."""
        return self.public.hash == load_private(DEVELOPMENT_KEY).public.hash


def public_file(private: Path) -> Path:
    """Return where the public key of a private key's file is written.

    Example:
        >>> public_file(Path("keys/release.pem")).as_posix()
        'keys/release.pub.pem'
    """
    return private.with_name(f"{private.name.removesuffix('.pem')}.pub.pem")


def generate(file: Path) -> PublicKey:
    """Write a new private key, for its owner alone, and the public key beside it.

    Args:
        file: The private key's file; see `public_file` for the other.

    Raises:
        ConfigError: If one of the files is there already, or cannot be written.
    """
    key = PrivateKey(Ed25519PrivateKey.generate())
    for path in (file, public_file(file)):
        if path.exists():
            raise ConfigError(f"{path}: is there already, and keys are not overwritten", "name another file")
    pem = key.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_new(file, pem, 0o600)
    _write_new(public_file(file), key.public.pem, 0o644)
    return key.public


def _write_new(file: Path, data: bytes, mode: int) -> None:
    """Write a file that must not be there yet, whole or not at all."""
    temporary = file.with_name(f".{file.name}.partial")
    try:
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
            opened.write(data)
        # Unlike a renaming, a link never replaces what somebody else has put there meanwhile.
        os.link(temporary, file)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written ({error.strerror})", "name another file") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_private(file: Path) -> PrivateKey:
    """Return a private key.

    Raises:
        ConfigError: If the file cannot be read, or holds no private ed25519 key, or one with a password.
    """
    pem = _read(file)
    try:
        key = load_pem_private_key(pem, None)
    except TypeError as error:
        raise ConfigError(
            f"{file}: the key has a password", "take it off: openssl pkey -in FILE -out NEW"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{file}: no private key in PEM form", KEYGEN_HINT) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{file}: not an ed25519 key", KEYGEN_HINT)
    return PrivateKey(key)


def load_public(file: Path) -> PublicKey:
    """Return a public key, also that of a private key's file.

    Raises:
        ConfigError: As `load_private`, of a file that holds neither kind of key.
    """
    pem = _read(file)
    if b"PRIVATE KEY" in pem:
        return load_private(file).public
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{file}: no key in PEM form", KEYGEN_HINT) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{file}: not an ed25519 key", KEYGEN_HINT)
    return PublicKey(key)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}", KEYGEN_HINT) from error


def public_key_header(key: PublicKey) -> str:
    """Return a C header with a public key and its hash, for the firmware that checks images."""
    arrays = {"edgekit_public_key": key.raw, "edgekit_key_hash": key.hash}
    lines = [
        f"static const uint8_t {name}[{len(data)}] = {{{', '.join(f'0x{byte:02x}' for byte in data)}}};\n"
        for name, data in arrays.items()
    ]
    return (
        "/* Generated by edgekit: the ed25519 key of signed images, and its hash (KEYHASH). */\n"
        "#ifndef EDGEKIT_KEY_H\n#define EDGEKIT_KEY_H\n\n#include <stdint.h>\n\n"
        f"{''.join(lines)}\n#endif\n"
    )
