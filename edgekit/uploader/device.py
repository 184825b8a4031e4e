"""What a device can be asked and told, one method per command of the protocol."""

import contextlib
import hashlib
import time
from dataclasses import dataclass
from typing import Any, TypeVar

from edgekit.errors import DeviceError, EdgekitError, LinkLostError, WrongTargetError
from edgekit.uploader.link import BAUD, Link
from edgekit.uploader.session import (
    ECHO,
    EDGEKIT_GROUP,
    IMAGE_GROUP,
    NOT_SUPPORTED,
    OS_GROUP,
    RefusalError,
    Session,
)
from edgekit.uploader.smp import WRITE

RESET, PARAMETERS = 5, 6
STATE, UPLOAD, ERASE = 0, 1, 5
INFO, BLOCK_HASHES, SELF_TEST, LIVE, REVERT = 0, 1, 2, 3, 4
CONNECT_S = 3.0
RESTART_S = 10.0
RESTART_INTERVAL_S = 0.1
PROBE_S = 0.6
BUFFER_BYTES = 384
"""What a device takes that does not say: the protocol's default."""
BLOCK_HASH_BYTES = 8
INFO_VERSION = 1
SLOTS = 2
"""For each image."""
ERASED = 0xFF

_T = TypeVar("_T")


@dataclass(frozen=True)
class Info:
    """What a device says of itself.

    Attributes:
        device_class: UUID.
        vendor: UUID.
        abi: Major and minor version of the interface to models, and the set of kernels.
        graph: Digest of the graph that its firmware was generated from.
        floor: The least security counter that it accepts.
        slot_bytes: Size of each slot for models.
        ram_bytes: What a model may use.
        firmware: Its version.
        key: Digest of the public key that it trusts.
        public: That key itself; None where it tells the digest alone.
        fitting: Digest of the fitting data.
        battery_mv: Voltage; None where it does not measure it.
    """

    device_class: bytes
    vendor: bytes
    abi: tuple[int, int, int]
    graph: bytes
    floor: int
    slot_bytes: int
    ram_bytes: int
    firmware: str
    key: bytes
    public: bytes | None
    fitting: bytes
    battery_mv: int | None


@dataclass(frozen=True)
class Slot:
    """One slot that holds an image.

    Attributes:
        image: 0 for firmware, 1 for models.
        number: Of the slot among those for that image.
        version: Of what it holds.
        digest: The image's own SHA-256.
        active: Whether it runs.
        confirmed: Whether it stays.
        pending: Whether it runs after the next restart.
    """

    image: int
    number: int
    version: str
    digest: bytes
    active: bool
    confirmed: bool
    pending: bool

    def __str__(self) -> str:
        flags = [name for name in ("active", "confirmed", "pending") if getattr(self, name)]
        return f"slot {self.number}: {self.version} ({', '.join(flags) or 'idle'})"


@dataclass(frozen=True)
class Live:
    """What the device hears now.

    Attributes:
        adv: Arousal, dominance, valence in Q14; None until it has heard enough.
        heard: Samples since its start.
    """

    adv: tuple[int, int, int] | None
    heard: int


class Device:
    """A device on a serial port.

    Args:
        session: Over the open port.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.buffer_bytes = BUFFER_BYTES

    def connect(self, patience_s: float = CONNECT_S) -> None:
        """See that it answers, and how long requests may be.

        Raises:
            NoAnswerError: If it does not.
        """
        self.echo(patience_s)
        try:
            self.buffer_bytes = _take(self.session.read(OS_GROUP, PARAMETERS), "buf_size", int)
        except RefusalError as error:
            if error.code != NOT_SUPPORTED:
                raise

    def echo(self, patience_s: float) -> None:
        """Wait until it answers; raises as `Session.read` does."""
        self.session.exchange(WRITE, OS_GROUP, ECHO, lambda _: {"d": "edgekit"}, patience_s)

    def info(self) -> Info | None:
        """Return what it says of itself; None if it is a device of somebody else.

        Raises:
            WrongTargetError: If it speaks a later version of the protocol.
        """
        try:
            body = self.session.read(EDGEKIT_GROUP, INFO)
        except RefusalError as error:
            if error.code == NOT_SUPPORTED:
                return None
            raise
        if (version := _take(body, "v", int)) != INFO_VERSION:
            raise WrongTargetError(
                f"the device speaks version {version} of edgekit's commands", "update edgekit"
            )
        return Info(
            device_class=_take(body, "class", bytes),
            vendor=_take(body, "vendor", bytes),
            abi=_three(body, "abi"),
            graph=_take(body, "graph", bytes),
            floor=_take(body, "floor", int),
            slot_bytes=_take(body, "slot", int),
            ram_bytes=_take(body, "ram", int),
            firmware=_take(body, "fw", str),
            key=_take(body, "key", bytes),
            public=_take(body, "pub", bytes) if "pub" in body else None,
            fitting=_take(body, "fit", bytes),
            battery_mv=_take(body, "mv", int) if "mv" in body else None,
        )

    def slots(self) -> list[Slot]:
        """Return every slot that holds an image."""
        entries = _take(self.session.read(IMAGE_GROUP, STATE), "images", list)
        return [_slot(entry) for entry in entries]

    def slot_of(self, digest: bytes) -> Slot | None:
        """Return the slot that holds an image, if one does."""
        return next((slot for slot in self.slots() if slot.digest == digest), None)

    def block_hashes(self, slot: int) -> tuple[int, list[bytes]]:
        """Return the size of blocks, and the hash of each block of a slot; none where it computes none."""
        hashes: list[bytes] = []
        size = 0
        while True:
            wanted = len(hashes) * size
            try:
                body = self.session.read(EDGEKIT_GROUP, BLOCK_HASHES, {"slot": slot, "off": wanted})
            except RefusalError as error:
                if error.code == NOT_SUPPORTED:
                    return 0, []
                raise
            size, offset, count = (_take(body, key, int) for key in ("bs", "off", "n"))
            data = _take(body, "h", bytes)
            more = [data[at : at + BLOCK_HASH_BYTES] for at in range(0, len(data), BLOCK_HASH_BYTES)]
            if size <= 0 or offset != wanted or (not more and len(hashes) < count):
                raise _nonsense("its block hashes")
            hashes += more
            if len(hashes) >= count:
                return size, hashes

    def written_blocks(self, slot: int) -> tuple[int, list[bool]]:
        """Return the size of blocks, and which of a slot are not erased."""
        size, hashes = self.block_hashes(slot)
        return size, [found != erased_hash(size) for found in hashes]

    def erase(self, slot: int) -> None:
        """Erase a slot: the one order that may take many seconds."""
        self.session.write_slowly(IMAGE_GROUP, ERASE, {"slot": slot})

    def mark(self, digest: bytes, confirm: bool) -> None:
        """Have an image run after the next restart, on trial or for good."""
        self.session.write(IMAGE_GROUP, STATE, {"hash": digest, "confirm": confirm})

    def self_test(self, slot: int) -> int:
        """Return 0 if the model in a slot gives the results that it must, otherwise what failed."""
        body = self.session.write_slowly(EDGEKIT_GROUP, SELF_TEST, {"slot": slot})
        return 0 if _take(body, "ok", bool) else _take(body, "rc", int) or -1

    def live(self) -> Live:
        """Return what it hears now."""
        body = self.session.read(EDGEKIT_GROUP, LIVE)
        adv = _three(body, "adv") if "adv" in body else None
        return Live(adv, _take(body, "heard", int))

    def revert(self) -> None:
        """Have the other image run after the next restart, instead of one on trial."""
        self.session.write(EDGEKIT_GROUP, REVERT)

    def restart(self) -> None:
        """Restart it, and wait until it answers again.

        The order is given once: the device may restart without an answer, or may not have heard it. Whoever
        needs to know looks.

        Raises:
            LinkLostError: If it stays away.
        """
        with contextlib.suppress(LinkLostError):
            self.session.write_once(OS_GROUP, RESET)
        self.reconnect()

    def reconnect(self) -> None:
        """Wait until it answers again; the port may vanish meanwhile, and come back.

        Raises:
            LinkLostError: If it stays away.
        """
        until_s = time.monotonic() + RESTART_S
        while True:
            try:
                self.echo(max(PROBE_S, until_s - time.monotonic()))
            except LinkLostError:
                if time.monotonic() >= until_s:
                    raise
                time.sleep(RESTART_INTERVAL_S)
                self.session.link.reopen()
            else:
                return


def other_slot(number: int) -> int:
    """Return the slot beside one."""
    return (number + 1) % SLOTS


def block_hash(data: bytes) -> bytes:
    """Return what a device answers for a block that holds this."""
    return hashlib.sha256(data).digest()[:BLOCK_HASH_BYTES]


def erased_hash(size: int) -> bytes:
    """Return what a device answers for an erased block."""
    return block_hash(bytes([ERASED]) * size)


def open_device(port: str, baud: int = BAUD) -> Device:
    """Return the device on a port, connected; close its `session.link` in the end.

    Raises:
        PortError: If the port cannot be used; PortPermissionError and PortBusyError say why.
        NoAnswerError: If nothing answers.
    """
    link = Link(port, baud)
    try:
        device = Device(Session(link))
        device.connect()
    except BaseException:
        link.close()
        raise
    return device


def _slot(entry: Any) -> Slot:
    if not isinstance(entry, dict):
        raise _nonsense("its list of images")
    flags = {name: bool(entry.get(name, False)) for name in ("active", "confirmed", "pending")}
    # The protocol lets a device leave out the number where it has one image only.
    image = _take(entry, "image", int) if "image" in entry else 0
    digest = _take(entry, "hash", bytes)
    return Slot(image, _take(entry, "slot", int), _take(entry, "version", str), digest, **flags)


def _three(body: dict[str, Any], key: str) -> tuple[int, int, int]:
    match _take(body, key, list):
        case [int(a), int(b), int(c)]:
            return a, b, c
    raise _nonsense(key)


def _take(body: dict[str, Any], key: str, kind: type[_T]) -> _T:
    """Return a value of an answer.

    Raises:
        DeviceError: If it is missing or of another kind.
    """
    value = body.get(key)
    if not isinstance(value, kind):
        raise _nonsense(key)
    return value


def _nonsense(what: str) -> EdgekitError:
    return DeviceError(f"the device's answer makes no sense: {what}", "update its firmware")
