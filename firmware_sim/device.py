"""The simulated hearing aid's registers: an audio stream in, results and traces out."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

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

Adv = tuple[int, int, int]
"""Arousal, dominance and valence in Q14."""


class Device:
    """Answers the firmware's register accesses (codegen/board/board_sim.c lists them).

    Args:
        pcm: The microphone signal, int16 (samples,).
        block_samples: Samples that arrive at once.
        read_memory: Returns bytes of the core's memory, for traces; None ignores traces.
        on_block: Called when the firmware turns to the next block of audio, and once at the end.
        on_exit: Called when the firmware ends.
        before_sample: Called before the sample of that number is handed out.
    """

    def __init__(
        self,
        pcm: npt.NDArray[np.int16],
        block_samples: int,
        read_memory: Callable[[int, int], bytes] | None,
        on_block: Callable[[], None],
        on_exit: Callable[[], None],
        before_sample: Mapping[int, Callable[[], None]] | None = None,
    ) -> None:
        self._pcm: list[int] = pcm.tolist()
        self._block_samples = block_samples
        self._read_memory = read_memory
        self._on_block = on_block
        self._on_exit = on_exit
        self._before_sample = before_sample or {}
        self._next_sample = 0
        self._block_end = 0
        self._written: dict[int, int] = {}
        self.exit_code: int | None = None
        self.results: list[tuple[int, Adv]] = []
        self.traces: list[tuple[int, bytes]] = []

    def read(self, offset: int) -> int:
        """Return the value of the register at an offset; registers that cannot be read are 0."""
        if offset == AUDIO_SAMPLE and self._next_sample < self._block_end:
            if self._next_sample in self._before_sample:
                self._before_sample[self._next_sample]()
            sample = self._pcm[self._next_sample]
            self._next_sample += 1
            return sample & 0xFFFF_FFFF
        if offset == AUDIO_AVAILABLE:
            if self._next_sample == self._block_end:
                self._block_end = min(self._block_end + self._block_samples, len(self._pcm))
                self._on_block()
            return self._block_end - self._next_sample
        return 0

    def write(self, offset: int, value: int) -> None:
        """Write the register at an offset."""
        self._written[offset] = value
        if offset == RESULT_COMMIT:
            arousal, dominance, valence = (
                _signed(self._written.get(register, 0))
                for register in (RESULT_AROUSAL, RESULT_DOMINANCE, RESULT_VALENCE)
            )
            self.results.append((self._next_sample, (arousal, dominance, valence)))
        elif offset == TRACE_BYTES and self._read_memory is not None:
            address = self._written.get(TRACE_ADDRESS, 0)
            self.traces.append((self._written.get(TRACE_LAYER, 0), self._read_memory(address, value)))
        elif offset == EXIT_CODE:
            self.exit_code = _signed(value)
            self._on_exit()


def _signed(value: int) -> int:
    """Return a 32-bit register value as a two's complement number."""
    return value - (1 << 32) if value & 0x8000_0000 else value
