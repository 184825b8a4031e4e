"""Update images: made with imgtool, which only this module knows, and read and checked by code of our own.

Image 0 of a device is its firmware, image 1 its model: weights alone, which run in place. Both are MCUboot
images signed with ed25519. The same payload, facts and key give the same bytes.
"""

import contextlib
import hashlib
import io
import uuid
from dataclasses import dataclass, replace

from edgekit.errors import (
    ConfigError,
    DowngradeError,
    ImageError,
    TooBigError,
    WrongGraphError,
    WrongKeyError,
    WrongTargetError,
)
from edgekit.uploader import facts as tlvs
from edgekit.uploader.container import (
    AGAIN_HINT,
    HEADER_BYTES,
    NON_BOOTABLE,
    SIGN_HINT,
    Container,
    Tlv,
    Version,
    parse_container,
)
from edgekit.uploader.facts import FIELDS, IMAGE_NUMBERS, Abi, Facts, Kind
from edgekit.uploader.keys import PrivateKey, PublicKey

COUNTER_END = 1 << 32
_OWN = (tlvs.ABI, tlvs.GRAPH, tlvs.NEEDS, tlvs.PROVENANCE)
_PROTECTED: dict[Kind, tuple[int, ...]] = {
    "firmware": (tlvs.COUNTER, tlvs.VENDOR, tlvs.DEVICE_CLASS, *_OWN),
    "model": (tlvs.COUNTER, tlvs.DEPENDENCY, tlvs.VENDOR, tlvs.DEVICE_CLASS, *_OWN),
}
_UNPROTECTED = (tlvs.SHA256, tlvs.KEY_HASH, tlvs.ED25519)
_FLAGS: dict[int, Kind] = {0: "firmware", NON_BOOTABLE: "model"}
_UPDATE_FIRMWARE = "update the firmware first: this model was built for another one"


@dataclass(frozen=True)
class Image:
    """A signed image whose form is right; nothing is said yet about digest, signature or device.

    Attributes:
        container: Its parts.
        facts: What it says about itself.
        digest: SHA-256 that it states.
        key_hash: The key that it says it is signed with.
        signature: Of the digest.
    """

    container: Container
    facts: Facts
    digest: bytes
    key_hash: bytes
    signature: bytes

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.container.name

    @property
    def data(self) -> bytes:
        """All of it, as it goes to the device."""
        return self.container.data

    @property
    def payload(self) -> bytes:
        """Firmware or weights."""
        return self.container.payload

    @property
    def number(self) -> int:
        """Which image of a device it is, to MCUboot and to SMP."""
        return IMAGE_NUMBERS[self.facts.kind]


@dataclass(frozen=True)
class DeviceFacts:
    """What is known of the device that an image is for. What is None is not checked.

    Attributes:
        vendor: Its vendor.
        device_class: Its class.
        slot_bytes: Room for an image of the kind in question.
        abi: What its firmware offers to weights.
        graph: The graph of its firmware.
        ram_bytes: RAM that its firmware has for a model.
        floor: Its security counter for images of the kind.
        firmware: Version of its firmware.
        key_hash: The key whose images it accepts.
    """

    vendor: uuid.UUID
    device_class: uuid.UUID
    slot_bytes: int | None = None
    abi: Abi | None = None
    graph: bytes | None = None
    ram_bytes: int | None = None
    floor: int | None = None
    firmware: Version | None = None
    key_hash: bytes | None = None


def sign(payload: bytes, facts: Facts, key: PrivateKey) -> bytes:
    """Return a signed image.

    Args:
        payload: Firmware or weights.
        facts: What the image says about itself.
        key: The key that signs.

    Raises:
        ImageError: If there is no payload.
        ConfigError: If the security counter has more than 32 bits.
    """
    from imgtool import image, keys
    from imgtool.version import SemiSemVersion

    if not 0 <= facts.counter < COUNTER_END:
        raise ConfigError(f"a security counter of {facts.counter}", f"give one from 0 to {COUNTER_END - 1}")
    needed = facts.firmware
    made = image.Image(
        version=SemiSemVersion(*facts.version),
        header_size=HEADER_BYTES,
        pad_header=True,
        security_counter=facts.counter,
        non_bootable=facts.kind == "model",
        vid=facts.vendor.hex,
        cid=facts.device_class.hex,
    )
    made.payload = bytes(HEADER_BYTES) + payload
    images = None if needed is None else {"images": [0], "versions": [SemiSemVersion(*needed)]}
    # imgtool says on standard output what it does, where results of commands go.
    with contextlib.redirect_stdout(io.StringIO()):
        made.create(keys.Ed25519(key.key), "hash", None, images, custom_tlvs=facts.own_tlvs())
    data = bytes(made.payload)
    check_signature(parse(data, f"new {facts.kind} image"), key.public)
    return data


def sign_again(image: Image, key: PrivateKey, counter: int | None = None) -> bytes:
    """Return an image signed with another key; everything else stays.

    Args:
        image: A signed image.
        key: The key that signs now.
        counter: Its new security counter; None: the one that it has.

    Raises:
        ImageError: If the image's digest does not match its content.
        ConfigError: If the counter has more than 32 bits.
    """
    check_digest(image)
    facts = image.facts if counter is None else replace(image.facts, counter=counter)
    return sign(image.payload, facts, key)


def parse(data: bytes, name: str = "image") -> Image:
    """Return an image's parts, after checking its form strictly.

    The TLVs must be those that `sign` writes, each once, in that order and of the right length.

    Args:
        data: All bytes of it.
        name: What messages call it, its file for example.

    Raises:
        ImageError: If anything about its form is wrong; the message says what and where.
    """
    container = parse_container(data, name)
    if container.flags not in _FLAGS:
        raise ImageError(f"{name}: flags {container.flags:#x} in the header are not supported", SIGN_HINT)
    if not container.payload:
        raise ImageError(f"{name}: an image of zero bytes", AGAIN_HINT)
    kind = _FLAGS[container.flags]
    found = _named(container.protected, _PROTECTED[kind], "protected", name)
    digest, key_hash, signature = _named(container.unprotected, _UNPROTECTED, "unprotected", name).values()
    return Image(container, _facts(kind, container, found), digest, key_hash, signature)


def _named(entries: tuple[Tlv, ...], wanted: tuple[int, ...], area: str, name: str) -> dict[int, bytes]:
    """Return the data of an area's TLVs by type, if they are exactly those wanted."""
    for entry in entries:
        if entry.type not in FIELDS:
            what = f"{name}: unknown TLV {entry.type:#06x} at offset {entry.offset:#x}"
            raise ImageError(what, SIGN_HINT)
        if len(entry.data) != FIELDS[entry.type].length:
            what = f"{FIELDS[entry.type].name} of {len(entry.data)} bytes at offset {entry.offset:#x}"
            raise ImageError(f"{name}: {what}, not {FIELDS[entry.type].length}", AGAIN_HINT)
    types = [entry.type for entry in entries]
    for kind in wanted:
        if types.count(kind) != 1:
            unsigned = kind in (tlvs.KEY_HASH, tlvs.ED25519) and kind not in types
            what = "not signed: " if unsigned else ""
            raise ImageError(f"{name}: {what}{types.count(kind)} x {FIELDS[kind].name}, not one", SIGN_HINT)
    if tuple(types) != wanted:
        order = ", ".join(FIELDS[kind].name for kind in wanted)
        raise ImageError(f"{name}: {area} TLVs are not exactly {order}", SIGN_HINT)
    return {entry.type: entry.data for entry in entries}


def _facts(kind: Kind, container: Container, found: dict[int, bytes]) -> Facts:
    firmware = None
    if tlvs.DEPENDENCY in found:
        number, firmware = tlvs.decode_dependency(found[tlvs.DEPENDENCY])
        if number != IMAGE_NUMBERS["firmware"]:
            raise ImageError(f"{container.name}: depends on image {number}, not on the firmware", SIGN_HINT)
    return Facts(
        kind=kind,
        version=container.version,
        counter=tlvs.decode_counter(found[tlvs.COUNTER]),
        vendor=uuid.UUID(bytes=found[tlvs.VENDOR]),
        device_class=uuid.UUID(bytes=found[tlvs.DEVICE_CLASS]),
        abi=tlvs.decode_abi(found[tlvs.ABI]),
        graph=found[tlvs.GRAPH],
        needs=tlvs.decode_needs(found[tlvs.NEEDS]),
        provenance=found[tlvs.PROVENANCE],
        firmware=firmware,
    )


def verify(data: bytes, key: PublicKey, device: DeviceFacts | None = None, name: str = "image") -> Image:
    """Check an image in full: form, digest, key, signature, and that the device can run it.

    Args:
        data: All bytes of it.
        key: The key that must have signed it.
        device: What it is for; None: no particular one.
        name: What messages call it, its file for example.

    Raises:
        ImageError: If it must not be installed; the class says why, see `edgekit.errors`.
    """
    image = parse(data, name)
    check_signature(image, key)
    if device is not None:
        check_device(image, device)
    return image


def check_digest(image: Image) -> None:
    """Check that header, payload and protected TLVs are what was signed.

    Raises:
        ImageError: If they are not.
    """
    found = hashlib.sha256(image.container.covered).digest()
    if found != image.digest:
        what = f"its SHA-256 is {found.hex()[:12]}..., it says {image.digest.hex()[:12]}..."
        raise ImageError(f"{image.name}: damaged: {what}", AGAIN_HINT)


def check_signature(image: Image, key: PublicKey) -> None:
    """Check an image's digest, and that a key signed it.

    Raises:
        ImageError: If it is damaged, or the signature is wrong.
        WrongKeyError: If it says that another key signed it.
    """
    check_digest(image)
    _require_key(image, key.hash)
    if not key.accepts(image.signature, image.digest):
        raise ImageError(f"{image.name}: the signature is wrong", SIGN_HINT)


def check_device(image: Image, device: DeviceFacts) -> None:
    """Check that a device can run an image, as far as the device is known.

    Raises:
        WrongKeyError: If the device accepts another key.
        WrongTargetError: If it is of another vendor or class.
        WrongGraphError: If its firmware has another graph, ABI or an older version.
        TooBigError: If its slot or RAM is too small.
        DowngradeError: If the image's security counter is below the device's.
    """
    if device.key_hash is not None:
        _require_key(image, device.key_hash)
    _require_class(image, device)
    if image.facts.kind == "model":
        _require_firmware(image, device)
    _require_room(image, device)
    counter = image.facts.counter
    if device.floor is not None and counter < device.floor:
        what = f"security counter {counter}, the device accepts {device.floor} or more"
        raise DowngradeError(f"{image.name}: a downgrade: {what}", "flash an image that is not older")


def _require_key(image: Image, key_hash: bytes) -> None:
    if image.key_hash != key_hash:
        what = f"signed with key {image.key_hash.hex()[:12]}..., not with {key_hash.hex()[:12]}..."
        hint = "sign it with the device's key: edgekit image sign IMAGE --key FILE --out FILE"
        raise WrongKeyError(f"{image.name}: {what}", hint)


def _require_class(image: Image, device: DeviceFacts) -> None:
    wanted = {
        "vendor": (image.facts.vendor, device.vendor),
        "class": (image.facts.device_class, device.device_class),
    }
    for what, (said, there) in wanted.items():
        if said != there:
            text = f"{image.name}: for another device: its {what} is {said}, the device's {there}"
            raise WrongTargetError(text, "build for this device: edgekit build --target NAME")


def _require_firmware(image: Image, device: DeviceFacts) -> None:
    facts, name = image.facts, image.name
    if device.graph is not None and facts.graph != device.graph:
        what = f"{facts.graph.hex()[:12]}..., the firmware's is {device.graph.hex()[:12]}..."
        raise WrongGraphError(f"{name}: another network: its graph is {what}", _UPDATE_FIRMWARE)
    if device.abi is not None and not device.abi.accepts(facts.abi):
        what = f"needs ABI {facts.abi}; the firmware has {device.abi}"
        raise WrongGraphError(f"{name}: {what}", _UPDATE_FIRMWARE)
    if facts.needs.align == 0 or HEADER_BYTES % facts.needs.align:
        what = (
            f"weights aligned to {facts.needs.align} bytes; on the device they lie {HEADER_BYTES} into a slot"
        )
        raise WrongGraphError(f"{name}: {what}", AGAIN_HINT)
    if device.firmware is not None and facts.firmware and facts.firmware.numbers > device.firmware.numbers:
        what = f"needs firmware {facts.firmware}; the device has {device.firmware}"
        raise WrongGraphError(f"{name}: {what}", _UPDATE_FIRMWARE)


def _require_room(image: Image, device: DeviceFacts) -> None:
    size, needed = len(image.data), image.facts.needs.ram_bytes
    if device.slot_bytes is not None and size > device.slot_bytes:
        what = f"{size:,} bytes, the slot has {device.slot_bytes:,}"
        raise TooBigError(f"{image.name}: too big: {what}", "build a smaller model, or for a larger device")
    if image.facts.kind == "model" and (weights := image.facts.needs.weights_bytes) > len(image.payload):
        what = f"says {weights:,} bytes of weights, and holds {len(image.payload):,}"
        raise TooBigError(f"{image.name}: {what}", AGAIN_HINT)
    too_much = device.ram_bytes is not None and needed > device.ram_bytes
    if image.facts.kind == "model" and too_much:
        what = f"needs {needed:,} bytes of RAM, the firmware has {device.ram_bytes:,}"
        raise TooBigError(f"{image.name}: {what}", _UPDATE_FIRMWARE)
