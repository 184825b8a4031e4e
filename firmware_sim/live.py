"""A simulated device in real time, on a pseudo-terminal, until it is stopped or loses its power."""

import contextlib
import os
import select
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.artifact import exclusive
from edgekit.errors import AudioError, ConfigError
from edgekit.target import Target
from firmware_sim.clock import Clock
from firmware_sim.debug_info import DebugInfo
from firmware_sim.nor_flash import NorFlash
from firmware_sim.program import read_program
from firmware_sim.regions import default_regions
from firmware_sim.run import Run
from firmware_sim.schedule import core_of
from firmware_sim.simulator import LIMIT

_BITS_PER_BYTE = 10
_MOST_BEHIND_S = 0.5
"""Further behind real time than this, a device that is simulated too slowly does not try to catch up."""
_SAVE_EVERY_S = 0.5


class SerialLine:
    """The device's end of a pseudo-terminal, at the speed of a serial line.

    Args:
        baud: Bits per second towards the device.

    Attributes:
        path: The other end, for hosts.
    """

    def __init__(self, baud: int) -> None:
        # Its other end stays open, so that hosts may come and go.
        self._own, self._other = os.openpty()
        tty.setraw(self._other)
        os.set_blocking(self._own, False)
        self.path = os.ttyname(self._other)
        self._baud = baud
        self._credit = 0.0

    def close(self) -> None:
        """Close both ends."""
        os.close(self._own)
        os.close(self._other)

    def exchange(self, outgoing: bytes, gone_s: float, wait_s: float) -> bytes:
        """Send bytes, and return those that have come in.

        Args:
            outgoing: What is sent; what nobody takes is lost, as on a line.
            gone_s: How long the line had for what comes in.
            wait_s: How long to wait, whatever comes in.
        """
        with contextlib.suppress(BlockingIOError):
            while outgoing:
                outgoing = outgoing[os.write(self._own, outgoing) :]
        until_s = time.monotonic() + wait_s
        room = self._credit + gone_s * self._baud / _BITS_PER_BYTE
        incoming = b""
        with contextlib.suppress(BlockingIOError):
            if room >= 1 and select.select([self._own], [], [], wait_s)[0]:
                incoming = os.read(self._own, int(room))
        # A line that was idle does not save up.
        self._credit = min(room - len(incoming), 1.0)
        time.sleep(max(0.0, until_s - time.monotonic()))
        return incoming


class LiveDevice(Run):
    """A device in real time.

    Args:
        elf: Its firmware, with the update agent.
        target: The device.
        pcm: What it hears, again and again; int16 (samples,).
        line: Its serial line.
        flash: Its flash, if it is not that of the firmware as it was built.
        save: Called with the flash from time to time, if it has changed, and at the end.
        fast: Whether time is not waited for.

    Raises:
        AudioError: If it hears less than a block.
    """

    def __init__(
        self,
        elf: Path,
        target: Target,
        pcm: npt.NDArray[np.int16],
        line: SerialLine,
        flash: bytes | None = None,
        save: Callable[[bytes], None] = lambda _flash: None,
        *,
        fast: bool = False,
    ) -> None:
        program = read_program(elf)
        whole = len(pcm) // target.audio.block_samples * target.audio.block_samples
        if whole == 0:
            what = f"{len(pcm)} samples of audio, a block has {target.audio.block_samples}"
            raise AudioError(what, "give longer --audio")
        super().__init__(
            program,
            DebugInfo(elf, program),
            target,
            pcm[:whole],
            default_regions(program),
            trace=False,
            block_instruction_limit=LIMIT,
            flips=(),
            clock=Clock(core_of(target)),
            endless=True,
        )
        self._line = line
        self._save = save
        self._fast = fast
        self._saved = 0
        self._saved_s = self._begun_s = time.monotonic()
        assert self.peripherals is not None, "serial_line has refused other targets"
        self._update = self.peripherals
        if flash is not None:
            self.engine.mem_write(target.memory.flash_origin, flash)

    @property
    def flash(self) -> bytes:
        """All of its flash."""
        return self._read_memory(self.target.memory.flash_origin, self.target.memory.flash_bytes)

    def live(self) -> None:
        """Run until it is stopped, or its power is gone.

        Raises:
            SimulationError: If the firmware faults.
        """
        try:
            self._emulate()
        finally:
            self._save(self.flash)

    def _on_start(self) -> None:
        super()._on_start()
        self._begun_s = time.monotonic()

    def _on_block(self) -> None:
        """Let a block's time pass, and bytes with it."""
        super()._on_block()
        for grown in (self.snapshots, self.latencies, self.device.results, self.device.skipped):
            grown.clear()
        audio, peripherals = self.target.audio, self._update
        outgoing, peripherals.outgoing = bytes(peripherals.outgoing), bytearray()
        block_s = audio.block_samples / audio.sample_rate_hz
        wait_s = 0.0 if self._fast else max(0.0, self._ahead_s())
        peripherals.incoming.extend(self._line.exchange(outgoing, block_s, wait_s))
        self._save_sometimes()

    def _go_on(self, begin: int) -> int | None:
        return None if self._update.flash.is_dead else super()._go_on(begin)

    @property
    def nor(self) -> NorFlash:
        """Its flash as hardware: operations, wear, and when the power goes."""
        return self._update.flash

    def _ahead_s(self) -> float:
        """Return how far the device is ahead of real time."""
        assert self.clock is not None
        now_s = self.clock.wall(self.counter.cycles) / self.target.core.clock_hz
        ahead_s = self._begun_s + now_s - time.monotonic()
        if ahead_s < -_MOST_BEHIND_S:
            self._begun_s -= ahead_s
        return ahead_s

    def _save_sometimes(self) -> None:
        operations = self._update.flash.operations
        if operations != self._saved and time.monotonic() - self._saved_s > _SAVE_EVERY_S:
            self._save(self.flash)
            self._saved, self._saved_s = operations, time.monotonic()


@contextlib.contextmanager
def serial_line(target: Target, baud: int | None = None, link: Path | None = None) -> Iterator[SerialLine]:
    """Yield the serial line of a device.

    Args:
        target: The device.
        baud: Its speed; None: that of the target.
        link: A path that becomes a link to the terminal, and is removed in the end.

    Raises:
        ConfigError: If the target takes no updates, there is something else at that path, or another device's
            link.
    """
    if target.update is None or not target.takes_updates:
        what = f"{target.name} has no serial line: its firmware takes no updates"
        raise ConfigError(what, "choose a target with [update]: edgekit targets list")
    line = SerialLine(baud or target.update.baud)
    try:
        with contextlib.nullcontext() if link is None else _linked(link, Path(line.path)):
            yield line
    finally:
        line.close()


@contextlib.contextmanager
def _linked(link: Path, terminal: Path) -> Iterator[None]:
    """Have a link to a terminal; a device that was killed may have left one, a living one keeps its own."""
    is_old = link.is_symlink() and link.readlink().parent == terminal.parent
    if not is_old and (link.is_symlink() or link.exists()):
        raise ConfigError(f"{link}: there is a file already", "choose another --link")
    with exclusive(link.with_name(f".{link.name}.lock"), "--link"):
        link.unlink(missing_ok=True)
        link.symlink_to(terminal)
        try:
            yield
        finally:
            link.unlink(missing_ok=True)
