"""The clock of a run in time: audio arrives when it is due, not when the firmware waits for it."""

from dataclasses import dataclass
from typing import Any

from edgekit.target import Target
from firmware_sim.schedule import Core


class Clock:
    """Wall cycles of a core whose audio path takes the beginning of every block.

    What a firmware executes is counted; the audio path, which is not ours, is not executed: each interrupt
    sets the clock forward by what it takes.

    Args:
        core: The core that the audio path shares.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._start = self._idle = self.blocks = 0

    def start(self, counted: int) -> None:
        """Begin the first block of audio, when so many cycles have been executed."""
        self._start = counted

    def wall(self, counted: int) -> int:
        """Return the cycles since the start, when so many have been executed.

        Behind the end of the audio no more of it arrives, but the audio path has the core as before.
        """
        over = counted - self.next_at()
        paths = self.blocks + max(0, -(-over // self._core.background))
        return counted - self._start + self._idle + paths * self._core.audio_path

    def next_at(self) -> int:
        """Return how many cycles have been executed when the next block arrives, if the core never sleeps."""
        gone = self._idle + self.blocks * self._core.audio_path
        return self._start + (self.blocks + 1) * self._core.block - gone

    def sleep(self, counted: int) -> None:
        """Let time pass until the next block arrives."""
        self._idle += max(0, self.next_at() - counted)

    def stall(self, us: float) -> None:
        """Let time pass in which the core waits for its flash."""
        self._idle += round(us * self._core.clock_hz / 1e6)

    def arrive(self) -> None:
        """Let the audio path have the core for a block that has arrived."""
        self.blocks += 1

    def since_arrival(self, block: int, counted: int) -> int:
        """Return the cycles since a block arrived, the first being 0."""
        return self.wall(counted) - (block + 1) * self._core.block


@dataclass(frozen=True)
class InTime:
    """What happened in a run in which audio interrupted the model, by the clock.

    Attributes:
        target: The device.
        blocks: Interrupts that handed over a block of audio, heard or not.
        lost_blocks: Of those that the model listens to, how many found no place: it was late.
        results: How often there was an A/D/V.
        longest_result_cycles: From the arrival of the last block of a window (in a continuous policy: of any
            block) to its A/D/V, at worst; None if there was none.
    """

    target: Target
    blocks: int
    lost_blocks: int
    results: int
    longest_result_cycles: int | None

    @property
    def longest_result_ms(self) -> float | None:
        """`longest_result_cycles` in milliseconds."""
        cycles = self.longest_result_cycles
        return None if cycles is None else 1000 * cycles / self.target.core.clock_hz

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, the unit in every key."""
        audio = self.target.audio
        return {
            "audio_s": self.blocks * audio.block_samples / audio.sample_rate_hz,
            "blocks": self.blocks,
            "lost_blocks": self.lost_blocks,
            "results": self.results,
            "longest_result_ms": self.longest_result_ms,
        }
