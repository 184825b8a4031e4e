"""Writing an image into a slot: what is there stays, what got lost is sent again, all of it is read back."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edgekit.errors import DeviceError, ImageError, LinkLostError, VerifyError
from edgekit.progress import IN_BYTES, Progress
from edgekit.uploader.device import ERASED, UPLOAD, Device, block_hash, erased_hash
from edgekit.uploader.session import IMAGE_GROUP, RefusalError
from edgekit.uploader.smp import OVERHEAD_BYTES, WRITE, Message

PASSES = 8
"""How often a transfer is begun again: the device restarts, or what it holds is wrong."""
REPAIRS = 2
"""How often what the device holds may be wrong."""
STALLS = 20
"""How often in a row the device may answer that it took nothing."""
ALIGN_BYTES = 8
LEAST_CHUNK_BYTES = 128
GROW_AFTER = 8
_DATA_HEAD_BYTES = 4

_WORN = "run the same command again; if it fails again, the flash is worn or broken"


class Image(Protocol):
    """What a transfer needs to know of an image."""

    @property
    def data(self) -> bytes:
        """All of it, as it goes to the device."""

    @property
    def number(self) -> int:
        """Which image of a device it is: 0 for firmware, 1 for a model."""

    @property
    def digest(self) -> bytes:
        """The SHA-256 that it states, by which the device names it."""


class _RestartedError(Exception):
    """The device has forgotten the transfer."""


class Transfer:
    """One image on its way into one slot.

    Args:
        device: Connected.
        image: To write.
        slot: Number of the slot that it is going into.
        progress: Called with what is being done, and bytes.

    Attributes:
        offset: Up to where the image is written.
        sent_bytes: How many bytes of the image were sent, repeats included.
        retries: How many packets went unanswered.
        touched: Whether anything in the slot may have changed.
    """

    def __init__(self, device: Device, image: Image, slot: int, progress: Progress) -> None:
        self.device = device
        self.image = image
        self.slot = slot
        self.progress = progress
        self.offset = 0
        self.sent_bytes = 0
        self.retries = 0
        self.touched = False
        self._blocks = _Blocks(image.data)
        self._may_skip = True
        self._most = 0
        self._chunk = 0
        self._in_a_row = 0
        self._retries_before = device.session.retries

    def run(self) -> None:
        """Write the image, and read back that it is there.

        Raises:
            LinkLostError: If the device answers no more.
            VerifyError: If what it holds stays wrong.
            DeviceError: If it takes no data, or refuses; ImageError and others say what it refuses.
        """
        wrong = 0
        for _ in range(PASSES):
            try:
                self._pass(fresh=wrong > 0)
            except LinkLostError:
                self.device.reconnect()
                continue
            except _RestartedError:
                # Its last reply may have been the one that got lost.
                if self.written():
                    return
                continue
            except ImageError:
                # The CRC misses one damaged packet in 65,536: the digest does not.
                if wrong == REPAIRS or self.offset + self._most < len(self.image.data):
                    raise
            else:
                self.progress("reading back", 0, 1)
                if self.written():
                    return
                if wrong == REPAIRS:
                    raise VerifyError(f"what slot {self.slot} holds is not the image", _WORN)
            wrong += 1
        raise LinkLostError(f"the device restarted {PASSES} times during the upload", "check its supply")

    def written(self) -> bool:
        """Return whether the slot holds the image, by the device's word and by the hash of every block."""
        found = self.device.slot_of(self.image.digest)
        if found is None or found.image != self.image.number:
            return False
        self._blocks.read(self.device, found.number, self.image.number)
        return self._blocks.all_same()

    def _pass(self, fresh: bool) -> None:
        data = self.image.data
        self._blocks.read(self.device, self.slot, self.image.number)
        # A device without hashes erases by itself; after a failure it must also forget the transfer.
        if fresh or (self._blocks.known and not self._blocks.worth_keeping()):
            self._erase()
        self._most = self._chunk = self._room({"off": len(data)})
        touched, self.touched = self.touched, True
        self.progress(self._what(), 0, len(data))
        try:
            self.offset = self._begin()
        except RefusalError:
            # What it refuses by the first packet, it has not written.
            self.touched = touched
            raise
        if self._may_skip and not fresh:
            # Only now is it known what the first packet has left of them.
            self._blocks.read(self.device, self.slot, self.image.number)
        else:
            self._blocks.forget()
        stalls = 0
        while self.offset < len(data):
            before = self.offset
            self._next()
            stalls = stalls + 1 if self.offset <= before else 0
            if stalls > STALLS:
                raise DeviceError(f"the device takes nothing at offset {self.offset:,}", "restart the device")
            self.progress(self._what(), self.offset, len(data))

    def _erase(self) -> None:
        if self._blocks.blank():
            return
        self.progress("erasing", 0, 1)
        self.touched = True
        self.device.erase(self.slot)

    def _what(self) -> str:
        retries = self.retries = self.device.session.retries - self._retries_before
        return f"writing{IN_BYTES}" + (f"; {retries} retries" if retries else "")

    def _begin(self) -> int:
        """Send the first packet; return where the device wants to go on.

        It is sent as one that may take long: some devices erase then.
        """
        chunk = self.image.data[: self._room(self._head(0))]
        self.sent_bytes += len(chunk)
        body = {**self._head(0), "data": chunk}
        return self._wanted(self.device.session.write_slowly(IMAGE_GROUP, UPLOAD, body))

    def _head(self, offset: int) -> dict[str, Any]:
        """Return what a packet has beside data that begins a transfer, or goes on behind a gap."""
        data = self.image.data
        sha = hashlib.sha256(data).digest()
        return {"image": self.image.number, "off": offset, "len": len(data), "sha": sha}

    def _next(self) -> None:
        """Send one more chunk; shorter ones when they get lost, as noise hits them less."""
        start = self._blocks.skip(self.offset) if self._may_skip else self.offset
        if start >= len(self.image.data):
            # Something has to be the last packet.
            start = self.offset
        head = {"off": start} if start == self.offset else self._head(start)
        limit = min(self._blocks.run_end(start), start + self._room(head))

        def body(attempt: int) -> Mapping[str, Any]:
            if attempt:
                self._chunk, self._in_a_row = max(LEAST_CHUNK_BYTES, self._chunk // 2), 0
                self._chunk = min(self._chunk // ALIGN_BYTES * ALIGN_BYTES, self._most)
            chunk = self.image.data[start : min(start + self._chunk, limit)]
            self.sent_bytes += len(chunk)
            return {**head, "data": chunk}

        wanted = self._sent(body)
        self._in_a_row += 1
        if self._in_a_row >= GROW_AFTER:
            self._chunk, self._in_a_row = min(self._most, self._chunk * 2), 0
        if start != self.offset and wanted == self.offset:
            # It takes no gaps: everything is sent.
            self._may_skip = False
        elif wanted < min(self.offset, start):
            raise _RestartedError
        self.offset = wanted

    def _sent(self, body: Callable[[int], Mapping[str, Any]]) -> int:
        try:
            reply = self.device.session.exchange(WRITE, IMAGE_GROUP, UPLOAD, body)
        except RefusalError as error:
            raise _RestartedError from error
        return self._wanted(reply)

    def _wanted(self, reply: Mapping[str, Any]) -> int:
        offset = reply.get("off")
        if not isinstance(offset, int) or not 0 <= offset <= len(self.image.data):
            raise DeviceError("the device's answer to an upload makes no sense", "update its firmware")
        return offset

    def _room(self, body: Mapping[str, Any]) -> int:
        """Return how many bytes of the image a packet holds beside the rest of its body."""
        packet = Message(WRITE, IMAGE_GROUP, 0, UPLOAD, {**body, "data": b""}).encoded()
        room = self.device.buffer_bytes - OVERHEAD_BYTES - len(packet) - _DATA_HEAD_BYTES
        if room < ALIGN_BYTES:
            raise DeviceError(
                f"the device takes requests of {self.device.buffer_bytes} bytes: too few for an upload",
                "update its firmware",
            )
        return room // ALIGN_BYTES * ALIGN_BYTES


class _Blocks:
    """Which blocks of a slot hold already what they should.

    Args:
        data: The image.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = 0
        self.hashes: list[bytes] = []

    @property
    def known(self) -> bool:
        """Whether the device has told."""
        return bool(self.hashes)

    def forget(self) -> None:
        """Take no block for the same."""
        self.size, self.hashes = 0, []

    def read(self, device: Device, slot: int, image: int) -> None:
        """Ask the device; it hashes slots of models only."""
        self.size, self.hashes = device.block_hashes(slot) if image else (0, [])

    def all_same(self) -> bool:
        """Return whether every block of the image is there; a device that computes no hashes is believed."""
        return not self.known or all(map(self.same, range(self._count())))

    def worth_keeping(self) -> bool:
        """Return whether a transfer has begun: a device may write the first block last."""
        return any(self.same(block) for block in range(1, self._count()))

    def blank(self) -> bool:
        """Return whether the slot is erased."""
        return self.known and all(found == erased_hash(self.size) for found in self.hashes)

    def same(self, block: int) -> bool:
        """Return whether a block holds what it should."""
        if block >= min(len(self.hashes), self._count()):
            return False
        wanted = self.data[block * self.size : (block + 1) * self.size]
        return self.hashes[block] == block_hash(wanted.ljust(self.size, bytes([ERASED])))

    def skip(self, offset: int) -> int:
        """Return where the next byte is that has to be sent: behind all blocks that are there."""
        while self.size and offset % self.size == 0 and self.same(offset // self.size):
            offset += self.size
        return offset

    def run_end(self, offset: int) -> int:
        """Return where a chunk must end: a write into a block that is there would erase it."""
        if not self.size:
            return len(self.data)
        block = offset // self.size + 1
        while block < self._count() and not self.same(block):
            block += 1
        return min(block * self.size, len(self.data))

    def _count(self) -> int:
        return -(-len(self.data) // self.size) if self.size else 0
