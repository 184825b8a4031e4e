"""A serial line between a host and a device, with faults to order: `python bad_line.py CONFIG.json`.

It is a process between two pseudo-terminals: it opens the device's, and links one of its own to `link` for
the host. It understands packets just enough to lose one of them whole, and shares no code with either side.
On SIGTERM it writes what it did to `stats`.
"""

import base64
import binascii
import contextlib
import json
import os
import random
import select
import signal
import struct
import sys
import termios
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2

UPLOAD = (1, 1)
RESET = (0, 5)
RESET_SEQUENCE = 0xA5
LOG = b"[00:00:01.123] <inf> adv: heard \x06\x09 something, \x04\x14 too\r\n"


@dataclass
class Config:
    """The line, and what goes wrong on it.

    Rates are probabilities: of flips and drops for every byte, of the others for every line or reply. `_in`
    is what the device hears, `_out` what the host hears. Offsets are those that answers to an upload have.
    """

    device: str
    link: str
    stats: str
    seed: int = 0
    baud: int = 0
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
    deaf_at: int = -1
    garbage: int = 0


def to_lines(packet: bytes) -> bytes:
    """Return a packet as lines of a console."""
    data = struct.pack(">H", len(packet) + 2) + packet + struct.pack(">H", binascii.crc_hqx(packet, 0))
    pieces = [data[at : at + 93] for at in range(0, len(data), 93)]
    marks = [b"\x06\x09"] + [b"\x04\x14"] * (len(pieces) - 1)
    return b"".join(mark + base64.b64encode(piece) + b"\n" for mark, piece in zip(marks, pieces, strict=True))


class Packets:
    """Cuts what the device says into packets; what is between them comes as it is."""

    def __init__(self) -> None:
        self.text = b""
        self.lines: list[bytes] = []
        self.data = b""

    def feed(self, text: bytes) -> Iterator[tuple[list[bytes], bytes]]:
        """Yield lines that belong together, and the packet that they hold."""
        *lines, self.text = (self.text + text).split(b"\n")
        for line in lines:
            if line[:2] == b"\x06\x09":
                self.lines, self.data = [], b""
            self.lines.append(line + b"\n")
            self.data += base64.b64decode(line[2:])
            if len(self.data) >= 2 + int.from_bytes(self.data[:2]):
                yield self.lines, self.data[2:-2]
                self.lines, self.data = [], b""


class Line:
    """Both ends, and what is done to bytes between them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.random = random.Random(config.seed)
        self.replies, self.requests = Packets(), b""
        self.device = -1
        self.free_s = 0.0
        self.last_reply: list[bytes] = []
        self.happened: set[str] = set()
        self.counts = {"flipped": 0, "dropped": 0, "lines": 0, "lost": 0}
        self.stop = False

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

    def reach_device(self) -> bool:
        """Return whether the device is there; it goes away with its power."""
        if self.device < 0:
            with contextlib.suppress(OSError, termios.error):
                self.device = os.open(self.config.device, os.O_RDWR | os.O_NOCTTY)
                tty.setraw(self.device)
                self.replies = Packets()
        return self.device >= 0

    def lose_device(self) -> None:
        os.close(self.device)
        self.device = -1

    def serve(self) -> None:
        self.open()
        if self.config.garbage:
            os.write(self.master, self.random.randbytes(self.config.garbage))
        while not self.stop:
            ends = [self.master, self.device] if self.reach_device() else [self.master]
            for end in select.select(ends, [], [], 0.05)[0]:
                if end == self.master:
                    self.to_device(os.read(self.master, 4096))
                elif self.device < 0 or not self.to_host():
                    break

    def to_device(self, data: bytes) -> None:
        self.pace(len(data))
        *lines, self.requests = (self.requests + data).split(b"\n")
        out = b"".join(self.disturbed([line + b"\n" for line in lines], log=False))
        if self.device >= 0 and "deaf" not in self.happened:
            try:
                os.write(self.device, self.spoiled(out, self.config.flips_in, self.config.drops_in))
            except OSError:
                self.lose_device()

    def to_host(self) -> bool:
        """Pass on what the device says; return whether both ends are still the same."""
        try:
            said = os.read(self.device, 4096)
        except OSError:
            said = b""
        if not said:
            self.lose_device()
            return False
        for lines, packet in self.replies.feed(said):
            _, _, _, group, sequence, command = struct.unpack_from(">BBHHBB", packet)
            if (group, command, sequence) == (*RESET, RESET_SEQUENCE):
                continue
            if (group, command) == UPLOAD and self.trouble(cbor2.loads(packet[8:])):
                return "vanished" not in self.happened
            self.reply(lines)
        return True

    def trouble(self, answer: dict[str, Any]) -> bool:
        """Do what is ordered to go wrong at the offset that is answered; return whether that is lost."""
        config, at = self.config, answer.get("off", -1)
        if 0 <= config.reset_at <= at and self.first_time("reset"):
            body = b"\xa0"
            head = struct.pack(">BBHHBB", 2 | 8, 0, len(body), RESET[0], RESET_SEQUENCE, RESET[1])
            os.write(self.device, b"\n" + to_lines(head + body))
        if 0 <= config.vanish_at <= at and self.first_time("vanished"):
            self.close()
            time.sleep(config.vanish_s)
            self.open()
            return True
        if 0 <= config.deaf_at <= at:
            self.happened.add("deaf")
        places = {"first": at > 0, "middle": at > 20_000, "last": "match" in answer}
        return any(places[place] and self.first_time(place) for place in config.lose)

    def first_time(self, what: str) -> bool:
        new = what not in self.happened
        self.happened.add(what)
        return new

    def reply(self, lines: list[bytes]) -> None:
        if self.random.random() < self.config.lost:
            self.counts["lost"] += 1
            return
        stale = self.last_reply if self.random.random() < self.config.stale else []
        self.last_reply = lines
        out = b"".join(self.disturbed([*stale, *lines], log=True))
        out = self.spoiled(out, self.config.flips_out, self.config.drops_out)
        self.pace(len(out))
        # Whoever does not read loses.
        os.set_blocking(self.master, False)
        with contextlib.suppress(BlockingIOError):
            os.write(self.master, out)
        os.set_blocking(self.master, True)

    def disturbed(self, lines: list[bytes], *, log: bool) -> list[bytes]:
        """Return lines with some of them doubled, run together, or with log text before them."""
        chance, config = self.random.random, self.config
        shown = []
        for line in lines:
            self.counts["lines"] += 1
            if log and chance() < config.log:
                shown.append(LOG)
            whole = line[:-1] if chance() < config.merges else line
            shown += [whole] * (1 + (chance() < config.duplicates))
        return shown

    def spoiled(self, data: bytes, flips: float, drops: float) -> bytes:
        if not flips and not drops:
            return data
        kept = bytearray()
        for value in data:
            if self.random.random() < drops:
                self.counts["dropped"] += 1
                continue
            flip = 1 << self.random.randrange(8) if self.random.random() < flips else 0
            self.counts["flipped"] += flip != 0
            kept.append(value ^ flip)
        return bytes(kept)

    def pace(self, count: int) -> None:
        """Let as much time pass as so many bytes take on the line."""
        if self.config.baud:
            self.free_s = max(time.monotonic(), self.free_s) + count * 10 / self.config.baud
            time.sleep(max(0.0, self.free_s - time.monotonic()))


def main() -> None:
    config = Config(**json.loads(Path(sys.argv[1]).read_text()))
    line = Line(config)

    def stop(*_: object) -> None:
        line.stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line.serve()
    Path(config.stats).write_text(json.dumps({"happened": sorted(line.happened), **line.counts}))


if __name__ == "__main__":
    main()
