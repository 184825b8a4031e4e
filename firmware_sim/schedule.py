"""When the model's work is done on a core that serves audio first.

The audio path owns the core at the beginning of every block of audio; the model is background work that it
interrupts. What the firmware computes does not depend on when it runs, so the cycles that a run has counted
for each block are laid out in time afterwards, exactly: no sampling, no simulated clock.

Two clocks are used. Wall cycles go on always. Background cycles go on only while the audio path does not have
the core; in them, work takes exactly what was counted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.target import Target

SHOWN_BLOCKS = 64
LEAST_WINDOWS = 3
STEADY_ROUNDS = 2


@dataclass(frozen=True)
class Core:
    """A core that the audio path shares, in cycles.

    Attributes:
        block: From one block of audio to the next.
        audio_path: Of these, what the audio path takes, at their beginning.
        clock_hz: Cycles in a second.
    """

    block: int
    audio_path: int
    clock_hz: int = 0

    @property
    def background(self) -> int:
        """What is left to the model in each block."""
        return self.block - self.audio_path

    def background_at(self, wall: int) -> int:
        """Return the background cycles that have gone by."""
        blocks, rest = divmod(wall, self.block)
        return blocks * self.background + max(0, rest - self.audio_path)

    def wall_at(self, background: int) -> int:
        """Return the first wall cycle at which so many background cycles have gone by.

        Example:
            >>> core = Core(block=100, audio_path=70)
            >>> core.wall_at(30), core.wall_at(31), core.background_at(171)
            (100, 171, 31)
        """
        if background == 0:
            return 0
        blocks, rest = divmod(background - 1, self.background)
        return blocks * self.block + self.audio_path + rest + 1


@dataclass(frozen=True)
class Work:
    """The model's work on one block of audio, in wall cycles.

    Attributes:
        arrival: When the block is complete.
        begin: When the model turns to it.
        end: When the model is done with it.
        due: The last moment for it: then its audio is overwritten, or the next window begins.
    """

    arrival: int
    begin: int
    end: int
    due: int

    @property
    def missed(self) -> bool:
        """Whether the model was too late."""
        return self.end > self.due


@dataclass(frozen=True)
class Schedule:
    """What a policy makes of a run.

    Attributes:
        target: The device.
        core: Its core, in cycles of a block.
        model_cycles: Of a second of wall time, what the model needs.
        works: Every block that the model hears, in order.
        longest_result: Wall cycles from the end of a window (in a continuous policy: of a block) to its A/D/V
            at worst; None if the work piles up without end.
        waiting_blocks: Most blocks of audio that wait or are worked on at once.
    """

    target: Target
    core: Core
    model_cycles: float
    works: tuple[Work, ...]
    longest_result: int | None
    waiting_blocks: int

    @property
    def model_load_percent(self) -> float:
        """Share of all cycles that the model needs."""
        return 100 * self.model_cycles / self.target.core.clock_hz

    @property
    def audio_path_load_percent(self) -> float:
        """Share of all cycles that the audio path takes."""
        return 100 * self.core.audio_path / self.core.block

    @property
    def missed_deadlines(self) -> int:
        """Blocks that the model was too late for."""
        return sum(work.missed for work in self.works)

    @property
    def buffer_bytes(self) -> int:
        """Audio that waits at worst, as int16 samples."""
        return 2 * self.waiting_blocks * self.target.audio.block_samples

    @property
    def longest_result_ms(self) -> float | None:
        """`longest_result` in milliseconds."""
        return None if self.longest_result is None else self._ms(self.longest_result)

    def _ms(self, cycles: int) -> float:
        return 1000 * cycles / self.target.core.clock_hz

    def to_dict(self) -> dict[str, object]:
        """Return the schedule as JSON values, the unit in every key."""
        policy, audio = self.target.policy, self.target.audio
        block_ms = 1000 * audio.block_samples / audio.sample_rate_hz
        return {
            "policy": policy.mode,
            "window_s": policy.window_s or None,
            "every_s": policy.every_s or None,
            "block_ms": block_ms,
            "audio_path_cycles_per_block": self.core.audio_path,
            "model_load_percent": self.model_load_percent,
            "audio_path_load_percent": self.audio_path_load_percent,
            "total_load_percent": self.model_load_percent + self.audio_path_load_percent,
            "longest_result_ms": self.longest_result_ms,
            "missed_deadlines": self.missed_deadlines,
            "blocks": len(self.works),
            "deadline_ms": policy.buffer_blocks * block_ms,
            "buffer_bytes": self.buffer_bytes,
            "timeline": [
                {
                    "arrival_ms": self._ms(work.arrival),
                    "begin_ms": self._ms(work.begin),
                    "end_ms": self._ms(work.end),
                    "due_ms": self._ms(work.due),
                    "missed": work.missed,
                }
                for work in self.works[:SHOWN_BLOCKS]
            ],
        }


def schedule(block_cycles: Sequence[int], target: Target, samples: int | None = None) -> Schedule:
    """Lay out the model's work under the target's policy.

    Args:
        block_cycles: Cycles of the model for each block of audio, as a run counted them; at least one. Under
            a window policy these are the blocks of one window; blocks that a window has more repeat them.
        target: The device, its audio path and policy.
        samples: Of audio in the run, if its last block is not a whole one.

    Returns:
        The schedule of at least `STEADY_ROUNDS` times the run, or of `LEAST_WINDOWS` windows.
    """
    core, costs = core_of(target), _costs(block_cycles, target)
    works: list[Work] = []
    done = 0
    for index, cycles in enumerate(costs):
        arrival = _arrival(index, target, core)
        begun = max(core.background_at(arrival), done)
        done = begun + cycles
        begin, end = core.wall_at(begun + 1) - 1, max(arrival, core.wall_at(done))
        works.append(Work(arrival, begin, end, _due(index, target, core)))
    needed, span = sum(costs), _span(target, core, len(costs), samples)
    longest = max(
        work.end - work.arrival for work in works[_result_every(target) - 1 :: _result_every(target)]
    )
    return Schedule(
        target,
        core,
        model_cycles=needed / span * target.core.clock_hz,
        works=tuple(works),
        longest_result=None if needed > core.background_at(span) else longest,
        waiting_blocks=_waiting(works),
    )


def average_uw(plan: Schedule) -> float | None:
    """Return the average power of the model's work; None if the target's power is not known."""
    power = plan.target.power
    return None if power is None else plan.model_cycles / 1e6 * power.active_uw_per_mhz


def core_of(target: Target) -> Core:
    """Return the core of a target as the audio path shares it."""
    audio = target.audio
    block = target.core.clock_hz * audio.block_samples / audio.sample_rate_hz
    taken = round(block * (100 - audio.core_share_percent) / 100)
    return Core(math.floor(block), min(taken, math.floor(block) - 1), target.core.clock_hz)


def _result_every(target: Target) -> int:
    """Return after how many blocks that the model hears there is a result."""
    return target.window_blocks or 1


def _costs(block_cycles: Sequence[int], target: Target) -> list[int]:
    """Return what each block that the model hears costs."""
    if target.policy.mode == "continuous":
        return list(block_cycles) * STEADY_ROUNDS
    one = [block_cycles[index % len(block_cycles)] for index in range(target.window_blocks)]
    return one * LEAST_WINDOWS


def _arrival(index: int, target: Target, core: Core) -> int:
    """Return when a block that the model hears is complete."""
    window, within = divmod(index, _result_every(target))
    return core.block * (window * (target.every_blocks or 1) + within + 1)


def _due(index: int, target: Target, core: Core) -> int:
    """Return the last moment for a block: its audio is overwritten, or the next window begins.

    Where no pause is between windows, the next begins as the last block of one arrives, which is all audio.
    """
    overwritten = _arrival(index + target.policy.buffer_blocks, target, core)
    if target.every_blocks in (0, target.window_blocks):
        return overwritten
    return min(overwritten, core.block * (index // target.window_blocks + 1) * target.every_blocks)


def _span(target: Target, core: Core, blocks: int, samples: int | None) -> int:
    """Return the wall cycles that the blocks stand for."""
    if target.policy.mode == "continuous":
        heard = STEADY_ROUNDS * (samples or 0) * target.core.clock_hz / target.audio.sample_rate_hz
        return round(heard) or core.block * blocks
    return core.block * LEAST_WINDOWS * target.every_blocks


def _waiting(works: Sequence[Work]) -> int:
    """Return the most blocks that have arrived and are not done."""
    most = finished = 0
    for index, work in enumerate(works):
        while works[finished].end <= work.arrival and finished < index:
            finished += 1
        most = max(most, index + 1 - finished)
    return most
