"""A minimal update server on a pseudo-terminal, written from the specification, with faults to order.

It shares no code with edgekit's client. It is a process of its own: `python smp_server.py CONFIG.json` links
the terminal to `link`, serves until SIGTERM, then writes what it counted to `stats`.
"""

import base64
import contextlib
import hashlib
import json
import os
import random
import select
import signal
import struct
import sys
import time
import tty
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2
from nor_flash import SECTOR, Flash

HEADER = 32
MAGIC = 0x96F3B83D


@dataclass
class Config:
    """What the device is, and what goes wrong.

    Rates are probabilities: of flips and drops for every byte, of the others for every line or reply.
    """

    link: str
    stats: str
    seed: int = 0
    baud: int = 0
    buf_size: int = 1024
    plain: bool = False
    gaps: bool = True
    slot_bytes: int = 18 * SECTOR
    installed: str = ""
    spare: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    mv: int = 0
    healthy: bool = True
    boots: bool = True
    erase_s: float = 0.0
    boot_s: float = 0.1
    flips_in: float = 0.0
    flips_out: float = 0.0
    drops_in: float = 0.0
    drops_out: float = 0.0
    duplicates: float = 0.0
    merges: float = 0.0
    log: float = 0.0
    stale: float = 0.0
    lost: float = 0.0
    lose: list[str] = field(default_factory=list)
    reset_at: int = -1
    vanish_at: int = -1
    vanish_s: float = 0.5
    corrupt_at: int = -1
    silent_after: int = -1


class ResumedError(Exception):
    """The first packet of an upload that is under way: the device answers how far it is."""

    def __init__(self, offset: int) -> None:
        self.offset = offset


class RefusedError(Exception):
    """An error of a group, to be answered."""

    def __init__(self, group: int, code: int) -> None:
        self.group, self.code = group, code


class SilenceError(Exception):
    """No answer."""


class Server:
    """The device behind the line: slots, commands, restarts."""

    def __init__(self, config: Config, seed: int) -> None:
        self.config = config
        self.flash = Flash(config.slot_bytes, config.erase_s)
        self.active = 0
        self.confirmed = [True, False]
        self.pending = -1
        self.boots_left = 0
        self.upload: dict[str, Any] | None = None
        self.taken = 0
        self.erase_orders = 0
        self.once: set[str] = set()
        self.random = random.Random(seed)
        self.heard = 0
        self.vanish = False
        self.silent_until = 0.0
        for memory, file in zip(self.flash.slots, (config.installed, config.spare), strict=True):
            if file:
                data = Path(file).read_bytes()
                memory[: len(data)] = data

    def answer(self, op: int, group: int, command: int, body: dict[str, Any]) -> dict[str, Any]:
        handlers = {
            (0, 0): lambda: {"r": body["d"]},
            (0, 5): self.restart,
            (0, 6): lambda: {"buf_size": self.config.buf_size, "buf_count": 1},
            (1, 0): lambda: self.state(op, body),
            (1, 1): lambda: self.take(body),
            (1, 5): lambda: self.erase(body.get("slot", 1)),
        }
        if not self.config.plain:
            handlers |= {
                (64, 0): self.info,
                (64, 1): lambda: self.blocks(body["slot"], body["off"]),
                (64, 2): lambda: {"ok": self.config.healthy, "rc": 0 if self.config.healthy else 7},
                (64, 3): self.live,
                (64, 4): self.revert,
            }
        if (group, command) not in handlers:
            return {"rc": 8}
        return handlers[group, command]()

    def info(self) -> dict[str, Any]:
        told = {key: bytes.fromhex(v) if isinstance(v, str) else v for key, v in self.config.info.items()}
        told |= {"v": 1, "slot": self.config.slot_bytes, "fw": "1.0.0"}
        return told | ({"mv": self.config.mv} if self.config.mv else {})

    def live(self) -> dict[str, Any]:
        self.heard += 1600
        return {"heard": self.heard} | ({"adv": [8192, 4096, -100]} if self.heard > 3200 else {})

    def image(self, slot: int) -> bytes | None:
        """Return the image in a slot, if it is whole."""
        memory = self.flash.slots[slot]
        magic, _, header, protected, size, _ = struct.unpack_from("<IIHHII", memory)
        if magic != MAGIC:
            return None
        end = header + size + protected
        if end + 4 > len(memory):
            return None
        length = struct.unpack_from("<HH", memory, end)[1]
        data = bytes(memory[: end + length])
        digest = hashlib.sha256(data[:end]).digest()
        # The unprotected list begins with the digest.
        return data if data[end + 8 : end + 40] == digest else None

    def state(self, op: int, body: dict[str, Any]) -> dict[str, Any]:
        if op == 2:
            slots = [n for n in range(2) if self.digest(n) is not None and self.digest(n) == body["hash"]]
            if not slots:
                raise RefusedError(1, 5)
            if body.get("confirm"):
                self.confirmed[slots[0]] = True
            elif slots[0] != self.active:
                self.pending = slots[0]
                self.confirmed[self.pending] = False
        return {"images": [self.entry(n) for n in range(2) if self.image(n)], "splitStatus": 0}

    def entry(self, slot: int) -> dict[str, Any]:
        data = self.image(slot)
        assert data is not None
        version = struct.unpack_from("<BBHI", data, 20)
        active = slot == self.active
        return {
            "image": 1,
            "slot": slot,
            "version": ".".join(map(str, version)),
            "hash": self.digest(slot),
            "bootable": False,
            "pending": slot == self.pending,
            "confirmed": active and self.confirmed[slot],
            "active": active,
            "permanent": False,
        }

    def digest(self, slot: int) -> bytes | None:
        data = self.image(slot)
        if data is None:
            return None
        _, _, header, protected, size, _ = struct.unpack_from("<IIHHII", data)
        return hashlib.sha256(data[: header + size + protected]).digest()

    def blocks(self, slot: int, offset: int) -> dict[str, Any]:
        first = offset // SECTOR
        memory, count = self.flash.slots[slot], self.config.slot_bytes // SECTOR
        fit = max(1, (self.config.buf_size - 80) // 8)
        hashes = [
            hashlib.sha256(memory[n * SECTOR : (n + 1) * SECTOR]).digest()[:8]
            for n in range(first, min(count, first + fit))
        ]
        return {"bs": SECTOR, "off": offset, "h": b"".join(hashes), "n": count}

    def erase(self, slot: int) -> dict[str, Any]:
        if slot == self.active:
            raise RefusedError(1, 1)
        self.erase_orders += 1
        self.upload = None
        for sector in range(self.config.slot_bytes // SECTOR):
            self.flash.erase(slot, sector)
        return {}

    def restart(self) -> dict[str, Any]:
        self.silent_until = time.monotonic() + self.config.boot_s
        self.upload = None
        if self.pending >= 0 and self.config.boots:
            self.active, self.boots_left = self.pending, 3
        elif not self.confirmed[self.active]:
            self.boots_left -= 1
            if self.boots_left < 0:
                self.active = 1 - self.active
        self.pending = -1
        return {}

    def revert(self) -> dict[str, Any]:
        if self.confirmed[self.active]:
            return {"rc": 6}
        self.pending = 1 - self.active
        return {}

    def take(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.upload is None or body["off"] == 0:
            self.begin(body)
        upload = self.upload
        assert upload is not None
        at, data = body["off"], body["data"]
        if "len" in body and at % SECTOR == 0 and self.config.gaps:
            upload["off"] = at
        if at != upload["off"]:
            return {"off": upload["off"]}
        self.write(upload["slot"], at, data)
        self.taken += len(data)
        upload["off"] = at + len(data)
        self.trouble(upload)
        if upload["off"] == upload["len"]:
            self.finish(upload)
            return {"off": upload["len"], "match": True}
        return {"off": upload["off"]}

    def begin(self, body: dict[str, Any]) -> None:
        if body["off"] != 0:
            # Devices differ: some name the offset that they want, some refuse.
            if self.config.gaps:
                raise ResumedError(0)
            raise RefusedError(1, 14)
        if self.upload and (self.upload["sha"], self.upload["len"]) == (body["sha"], body["len"]):
            raise ResumedError(self.upload["off"])
        if body["len"] > self.config.slot_bytes:
            raise RefusedError(64, 24)
        if struct.unpack_from("<I", body["data"])[0] != MAGIC:
            raise RefusedError(64, 20)
        slot = 1 - self.active
        self.upload = {"off": 0, "len": body["len"], "sha": body["sha"], "slot": slot, "header": b""}

    def write(self, slot: int, at: int, data: bytes) -> None:
        assert self.upload is not None
        if at < HEADER:
            # The header comes last: without it there is no image.
            if at == 0:
                self.flash.erase(slot, 0)
            kept = data[: HEADER - at]
            self.upload["header"] = self.upload["header"][:at] + kept
            at, data = at + len(kept), data[len(kept) :]
        for sector in range(at // SECTOR + (at % SECTOR > 0), -(-(at + len(data)) // SECTOR)):
            self.flash.erase(slot, sector)
        self.flash.program(slot, at, data)

    def finish(self, upload: dict[str, Any]) -> None:
        self.upload = None
        slot = upload["slot"]
        self.flash.program(slot, 0, upload["header"])
        if self.image(slot) is None:
            self.flash.slots[slot][:HEADER] = bytes(HEADER)
            raise RefusedError(64, 20)

    def trouble(self, upload: dict[str, Any]) -> None:
        """Do what is ordered to go wrong at this offset, once."""
        config, at = self.config, upload["off"]
        if 0 <= config.corrupt_at <= at and self.first_time("corrupt"):
            self.flash.slots[upload["slot"]][config.corrupt_at] = 0
        if 0 <= config.reset_at <= at and self.first_time("reset"):
            self.restart()
            raise SilenceError
        if 0 <= config.vanish_at <= at and self.first_time("vanish"):
            self.vanish = True
            raise SilenceError
        if 0 <= config.silent_after <= at:
            self.silent_until = float("inf")
            raise SilenceError
        places = {"first": True, "middle": 2 * at >= upload["len"], "last": at == upload["len"]}
        for place in config.lose:
            if places[place] and self.first_time(place):
                if at == upload["len"]:
                    self.finish(upload)
                raise SilenceError

    def first_time(self, what: str) -> bool:
        new = what not in self.once
        self.once.add(what)
        return new


class Line:
    """The serial line: framing, pace and faults."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.random = random.Random(config.seed)
        self.server = Server(config, config.seed)
        self.text = b""
        self.body: bytes | None = None
        self.free_s = 0.0
        self.last_reply = b""
        self.stop = False
        self.requests = 0

    def open(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        link = Path(self.config.link)
        fresh = link.with_suffix(".new")
        fresh.symlink_to(os.ttyname(self.slave))
        fresh.replace(link)

    def close(self) -> None:
        Path(self.config.link).unlink()
        os.close(self.master)
        os.close(self.slave)

    def serve(self) -> None:
        self.open()
        while not self.stop:
            if not select.select([self.master], [], [], 0.05)[0]:
                continue
            data = os.read(self.master, 4096)
            self.wait(len(data))
            if time.monotonic() < self.server.silent_until:
                self.text, self.body = b"", None
                continue
            self.take(self.spoiled(data, self.config.flips_in, self.config.drops_in))
            if self.server.vanish:
                self.server.vanish = False
                self.close()
                time.sleep(self.config.vanish_s)
                self.open()

    def wait(self, count: int) -> None:
        """Let as much time pass as so many bytes take on the line."""
        if self.config.baud:
            self.free_s = max(time.monotonic(), self.free_s) + count * 10 / self.config.baud
            time.sleep(max(0.0, self.free_s - time.monotonic()))

    def spoiled(self, data: bytes, flips: float, drops: float) -> bytes:
        if not flips and not drops:
            return data
        kept = bytearray()
        for value in data:
            if self.random.random() < drops:
                continue
            flip = 1 << self.random.randrange(8) if self.random.random() < flips else 0
            kept.append(value ^ flip)
        return bytes(kept)

    def take(self, data: bytes) -> None:
        *lines, self.text = (self.text + data).split(b"\n")
        self.text = self.text[-2000:]
        for line in lines:
            start = max(line.rfind(b"\x06\x09"), line.rfind(b"\x04\x14"))
            if start < 0:
                continue
            for _ in range(1 + (self.random.random() < self.config.duplicates)):
                self.take_line(line[start:])

    def take_line(self, line: bytes) -> None:
        if line[0] == 6:
            self.body = b""
        if self.body is None:
            return
        try:
            self.body += base64.b64decode(line[2:], validate=True)
        except ValueError:
            self.body = None
            return
        if len(self.body) >= 2 and len(self.body) >= 2 + int.from_bytes(self.body[:2]):
            packet, self.body = self.body[2 : 2 + int.from_bytes(self.body[:2])], None
            if len(packet) >= 10 and crc16(packet[:-2]) == int.from_bytes(packet[-2:]):
                assert len(packet) + 2 <= self.config.buf_size
                self.request(packet[:-2])

    def request(self, packet: bytes) -> None:
        op, _, length, group, sequence, command = struct.unpack_from(">BBHHBB", packet)
        if length != len(packet) - 8:
            return
        self.requests += 1
        try:
            body = cbor2.loads(packet[8:])
            reply = self.server.answer(op & 7, group, command, body)
        except SilenceError:
            return
        except ResumedError as error:
            reply = {"off": error.offset}
        except RefusedError as error:
            reply = {"err": {"group": error.group, "rc": error.code}}
        except (cbor2.CBORError, KeyError, TypeError, struct.error):
            # The CRC let a damaged request through.
            reply = {"rc": 3}
        content = cbor2.dumps(reply)
        self.send(struct.pack(">BBHHBB", op + 1, 0, len(content), group, sequence, command) + content)

    def send(self, packet: bytes) -> None:
        data = packet + crc16(packet).to_bytes(2)
        data = len(data).to_bytes(2) + data
        pieces = [data[at : at + 93] for at in range(0, len(data), 93)]
        lines = [
            (b"\x04\x14" if n else b"\x06\x09") + base64.b64encode(piece) + b"\n"
            for n, piece in enumerate(pieces)
        ]
        reply = b"".join(self.disturbed(lines))
        if self.random.random() < self.config.lost:
            return
        if self.random.random() < self.config.stale:
            reply = self.last_reply + reply
        self.last_reply = reply
        reply = self.spoiled(reply, self.config.flips_out, self.config.drops_out)
        self.wait(len(reply))
        # Whoever does not read loses.
        os.set_blocking(self.master, False)
        with contextlib.suppress(BlockingIOError):
            os.write(self.master, reply)
        os.set_blocking(self.master, True)

    def disturbed(self, lines: list[bytes]) -> list[bytes]:
        chance, config = self.random.random, self.config
        shown = []
        for line in lines:
            if chance() < config.log:
                shown.append(b"[00:00:01.123] <inf> adv: heard \x06\x09 something\n")
            whole = line[:-1] if chance() < config.merges else line
            shown += [whole] * (1 + (chance() < config.duplicates))
        return shown


def crc_of_byte(value: int) -> int:
    crc = value << 8
    for _ in range(8):
        crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
    return crc & 0xFFFF


CRC_TABLE = [crc_of_byte(value) for value in range(256)]


def crc16(data: bytes) -> int:
    """Return the CRC of polynomial 0x1021 from 0: XMODEM's."""
    crc = 0
    for value in data:
        crc = (crc << 8 & 0xFFFF) ^ CRC_TABLE[crc >> 8 ^ value]
    return crc


def main() -> None:
    config = Config(**json.loads(Path(sys.argv[1]).read_text()))
    line = Line(config)

    def stop(*_: object) -> None:
        line.stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line.serve()
    server = line.server
    stats = {
        "active": server.active,
        "confirmed": server.confirmed[server.active],
        "digests": [(server.digest(n) or b"").hex() for n in range(2)],
        "taken": server.taken,
        "requests": line.requests,
        "erase_orders": server.erase_orders,
        "erases": server.flash.erases,
        "violations": server.flash.violations,
        "happened": sorted(server.once),
    }
    Path(config.stats).write_text(json.dumps(stats))


if __name__ == "__main__":
    main()
