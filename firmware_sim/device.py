"""The simulated hearing aid's registers: an audio stream in, results and traces out."""

from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from firmware_sim.peripherals import Peripherals

REGISTERS_ADDRESS = 0x4000_0000
REGISTERS_BYTES = 0x1000

AUDIO_AVAILABLE = 0x00
AUDIO_SAMPLE = 0x04
RESULT_AROUSAL = 0x08
RESULT_DOMINANCE = 0x0C
RESULT_VALENCE = 0x10
RESULT_COMMIT = 0x14
EXIT_CODE = 0x18
TRACE_LAYER = 0x20
TRACE_ADDRESS = 0x24
TRACE_BYTES = 0x28
AUDIO_SKIP = 0x2C
AUDIO_TAKEN = 0x30
AUDIO_START = 0x34

Adv = tuple[int, int, int]
"""Arousal, dominance and valence in Q14."""


class Device:
    """Answers the firmware's register accesses (codegen/board/board_sim.c lists them).

    Audio arrives when the firmware asks for more of it, or, once `arrive` has been called, with each call.

    Args:
        pcm: The microphone signal, int16 (samples,).
        block_samples: Samples that arrive at once.
        read_memory: Returns bytes of the core's memory, for traces; None ignores traces.
        on_block: Called when the firmware turns to the next block of audio, and once at the end.
        on_exit: Called when the firmware ends.
        before_sample: Called before the sample of that number is handed out.
        on_start: Called when the firmware wants to be interrupted for each block of audio.
        on_result: Called at each A/D/V with the block that it stands on, counted from the first that arrived.
        peripherals: What answers the registers of updates; None: nothing does.
        endless: Whether the signal begins anew where it ends.
    """

    def __init__(
        self,
        pcm: npt.NDArray[np.int16],
        block_samples: int,
        read_memory: Callable[[int, int], bytes] | None,
        on_block: Callable[[], None],
        on_exit: Callable[[], None],
        before_sample: Mapping[int, Callable[[], None]] | None = None,
        on_start: Callable[[], None] = lambda: None,
        on_result: Callable[[int], None] = lambda _block: None,
        peripherals: Peripherals | None = None,
        *,
        endless: bool = False,
    ) -> None:
        self._pcm: list[int] = pcm.tolist()
        self._block_samples = block_samples
        self._read_memory = read_memory
        self._on_block = on_block
        self._on_exit = on_exit
        self._before_sample = before_sample or {}
        self._on_start = on_start
        self._on_result = on_result
        self._peripherals = peripherals
        self._endless = endless
        self._next_sample = 0
        self._block_end = 0
        self._taken: int | None = None
        self._read: deque[int] = deque()
        self._written: dict[int, int] = {}
        self.arrived = 0
        self.skipped: list[int] = []
        self.exit_code: int | None = None
        self.results: list[tuple[int, Adv]] = []
        self.traces: list[tuple[int, bytes]] = []

    @property
    def is_at_end(self) -> bool:
        """Whether what arrives next is the end of the audio."""
        return self._block_end == len(self._pcm) and not self.has_ended and not self._endless

    @property
    def has_ended(self) -> bool:
        """Whether the end of the audio has arrived."""
        gone = self.arrived * self._block_samples >= len(self._pcm) + self._block_samples
        return gone and not self._endless

    @property
    def left_samples(self) -> int:
        """What the firmware has not read of the present block, and not skipped."""
        return self._block_end - self._next_sample

    def arrive(self) -> None:
        """Let the next block of audio arrive, or its end; nothing may be left of the one before."""
        self._begin_block()
        self.arrived += 1

    def read(self, offset: int) -> int:
        """Return the value of the register at an offset; registers that cannot be read are 0."""
        if offset == AUDIO_SAMPLE and self._next_sample < self._block_end:
            return self._read_sample()
        if offset == AUDIO_AVAILABLE:
            if self._next_sample == self._block_end and not self.arrived:
                self._begin_block()
            return self.left_samples
        if self._peripherals is not None:
            return self._peripherals.read(offset)
        return 0

    def _begin_block(self) -> None:
        if self._endless and self._block_end == len(self._pcm):
            self._next_sample = self._block_end = 0
        self._block_end = min(self._block_end + self._block_samples, len(self._pcm))
        self._on_block()

    def _read_sample(self) -> int:
        if self._next_sample in self._before_sample:
            self._before_sample[self._next_sample]()
        if self.arrived and self._next_sample % self._block_samples == 0:
            self._read.append(self.arrived - 1)
        sample = self._pcm[self._next_sample]
        self._next_sample += 1
        return sample & 0xFFFF_FFFF

    @property
    def _heard_samples(self) -> int:
        """Samples up to the end of what the firmware works on."""
        if self._taken is None:
            return self._next_sample
        gone = (self._taken + 1) * self._block_samples
        return gone if self._endless else min(gone, len(self._pcm))

    def write(self, offset: int, value: int) -> None:
        """Write the register at an offset."""
        self._written[offset] = value
        if offset == RESULT_COMMIT:
            arousal, dominance, valence = (
                _signed(self._written.get(register, 0))
                for register in (RESULT_AROUSAL, RESULT_DOMINANCE, RESULT_VALENCE)
            )
            self.results.append((self._heard_samples, (arousal, dominance, valence)))
            if self._taken is not None:
                self._on_result(self._taken)
        elif offset == AUDIO_TAKEN and self._read:
            self._taken = self._read.popleft()
        elif offset == AUDIO_SKIP:
            self._skip()
        elif offset == AUDIO_START:
            self._on_start()
        elif offset == TRACE_BYTES and self._read_memory is not None:
            address = self._written.get(TRACE_ADDRESS, 0)
            self.traces.append((self._written.get(TRACE_LAYER, 0), self._read_memory(address, value)))
        elif offset == EXIT_CODE:
            self.exit_code = _signed(value)
            self._on_exit()
        elif self._peripherals is not None:
            self._peripherals.write(offset, value)

    def _skip(self) -> None:
        if self.arrived and self._next_sample < self._block_end:
            self.skipped.append(self.arrived - 1)
        self._next_sample = self._block_end


def _signed(value: int) -> int:
    """Return a 32-bit register value as a two's complement number."""
    return value - (1 << 32) if value & 0x8000_0000 else value
