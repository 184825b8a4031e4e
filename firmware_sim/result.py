"""What a simulated run found, and its JSON form."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgekit.target import Target, Timing
from firmware_sim.clock import InTime
from firmware_sim.counter import Count
from firmware_sim.device import Adv
from firmware_sim.program import Program, Symbol
from firmware_sim.schedule import Schedule, average_uw, schedule
from firmware_sim.timing import timing_of

ALL_LAYERS = "all"
"""The only row of a run in which layers are not told apart."""
START_UP = "start-up"
"""The row of what comes before the first block of audio, the agent's check of the model among it."""
AUDIO_QUEUE = "audio_queue"
"""The firmware's variable that audio waits in."""


@dataclass(frozen=True)
class SimResult:
    """What a run found.

    On a simulated core, instruction counts are exact and cycles are estimates. On this computer itself,
    cycles are nanoseconds that were measured, and instructions are not counted.

    Attributes:
        target: The device.
        program: The firmware.
        exit_code: What the firmware ended with; 0 is success.
        samples: Samples of audio that it was given.
        results: (samples heard, (arousal, dominance, valence) in Q14) of each result.
        traces: (layer, bytes) of each traced output, in order.
        regions: Region name to its counts, in the order of the code; none where nothing is counted.
        startup_cycles: Cycles before the first block of audio.
        block_cycles: Cycles of each block of audio; what comes after the end of the audio is in the last one.
        block_instructions: Instructions of each block of audio; None where they are not counted.
        stack_bytes: Stack high-water mark, and what an interrupt at that point needs where there is one.
        in_time: What a second run found, in which audio interrupted the model by the clock (`run_in_time`).
        startup: What each region had counted before the first block of audio; none where that is not known.
    """

    target: Target
    program: Program
    exit_code: int
    samples: int
    results: tuple[tuple[int, Adv], ...]
    traces: tuple[tuple[int, bytes], ...]
    regions: dict[str, Count]
    startup_cycles: int
    block_cycles: tuple[int, ...]
    block_instructions: tuple[int, ...] | None
    stack_bytes: int
    in_time: InTime | None = None
    startup: tuple[Count, ...] = ()

    @property
    def adv(self) -> Adv | None:
        """The last result; None if there was none."""
        return self.results[-1][1] if self.results else None

    @property
    def instructions(self) -> int | None:
        """All executed instructions; None where they are not counted."""
        if self.block_instructions is None:
            return None
        return sum(count.instructions for count in self.regions.values())

    @property
    def cycles(self) -> int:
        """Cycles of the whole run."""
        if self.block_instructions is None:
            return self.startup_cycles + sum(self.block_cycles)
        return sum(count.cycles for count in self.regions.values())

    @property
    def worst_block_cycles(self) -> int:
        """Cycles of the slowest block of audio."""
        return max(self.block_cycles)

    @property
    def mean_block_cycles(self) -> float:
        """Mean cycles of a block of audio."""
        return sum(self.block_cycles) / len(self.block_cycles)

    @property
    def audio_s(self) -> float:
        """Duration of the audio."""
        return self.samples / self.target.audio.sample_rate_hz

    @property
    def cycles_per_second_of_audio(self) -> float:
        """Cycles for a second of audio, start-up left out."""
        return sum(self.block_cycles) / self.audio_s

    @property
    def instructions_per_second_of_audio(self) -> float | None:
        """Instructions for a second of audio, start-up left out; None where they are not counted."""
        if self.block_instructions is None:
            return None
        return sum(self.block_instructions) / self.audio_s

    @cached_property
    def schedule(self) -> Schedule:
        """What the target's policy makes of the run."""
        return schedule(self.block_cycles, self.target, self.samples)

    @property
    def average_uw(self) -> float | None:
        """Average power of the core's work on the audio, under the target's policy; None if not known."""
        return average_uw(self.schedule)

    @property
    def static_bytes(self) -> int:
        """RAM of variables, without the audio that may wait."""
        writable = sum(section.size_bytes for section in self.program.sections if section.writable)
        return writable - self._queue_bytes

    @property
    def _queue_bytes(self) -> int:
        return sum(symbol.size_bytes for symbol in self.program.objects if symbol.name == AUDIO_QUEUE)

    @property
    def audio_buffer_bytes(self) -> int:
        """RAM of the audio that may wait: the firmware's queue, or what the target's policy asks for."""
        return self._queue_bytes or self.target.audio_buffer_bytes

    @property
    def total_ram_bytes(self) -> int:
        """RAM of variables, the stack's high-water mark, and the audio that may wait."""
        return self.static_bytes + self.stack_bytes + self.audio_buffer_bytes

    @property
    def flash_bytes(self) -> int:
        """Flash of code, constants, model and initial values."""
        return self.program.flash_bytes

    def to_profile(self) -> dict[str, Any]:
        """Return the result as JSON values, the unit in every key."""
        audio = self.target.audio
        return {
            "target": self.target.name,
            "exit_code": self.exit_code,
            "instructions": self.instructions,
            "cycles": self.cycles,
            "timing": self._timing(),
            "audio": {
                "samples": self.samples,
                "duration_s": self.audio_s,
                "sample_rate_hz": audio.sample_rate_hz,
                "block_samples": audio.block_samples,
            },
            "layers": self._layers(),
            "latency": self._latency(),
            "schedule": {
                **self.schedule.to_dict(),
                "in_time": None if self.in_time is None else self.in_time.to_dict(),
            },
            "energy": self._energy(),
            "memory": self._memory(),
            "flash": self._flash(),
            "results": [
                {"sample": sample, "arousal_q14": a, "dominance_q14": d, "valence_q14": v}
                for sample, (a, d, v) in self.results
            ],
        }

    def _timing(self) -> dict[str, Any]:
        timing, counted = self.target.timing, self.block_instructions is not None
        table = timing_of(timing.table) if counted else None
        return {
            "table": timing.table,
            "source": f"{table.source}; {timing.source}" if table else timing.source,
            "fetch_wait_cycles": timing.fetch_wait_cycles,
            "data_wait_cycles": timing.data_wait_cycles,
            "error": _error(timing),
            "cycles_are_upper_bound": table is not None and table.vector is not None,
            "basis": {"instructions": "measured", "cycles": "estimated" if counted else "measured"},
        }

    def _layers(self) -> list[dict[str, Any]]:
        if self.block_instructions is None:
            return [{"name": ALL_LAYERS, "instructions": None, "cycles": self.cycles}]
        before = self.startup or (Count(0, 0, 0),) * len(self.regions)
        rows: list[dict[str, Any]] = [
            {
                "name": name,
                "instructions": count.instructions - start.instructions,
                "cycles": count.cycles - start.cycles,
            }
            for (name, count), start in zip(self.regions.items(), before, strict=True)
        ]
        if self.startup:
            totals = {
                "instructions": sum(count.instructions for count in before),
                "cycles": sum(count.cycles for count in before),
            }
            rows.append({"name": START_UP, **totals})
        return rows

    def _energy(self) -> dict[str, float | None]:
        power, average = self.target.power, self.average_uw
        hours = 1000 * power.battery_mwh / average if power and average else None
        return {"average_uw": average, "battery_hours": hours}

    def _latency(self) -> dict[str, Any]:
        return {
            "startup_cycles": self.startup_cycles,
            "worst_block_cycles": self.worst_block_cycles,
            "mean_block_cycles": self.mean_block_cycles,
            "cycles_per_second_of_audio": self.cycles_per_second_of_audio,
            "instructions_per_second_of_audio": self.instructions_per_second_of_audio,
            "core_load_percent": self.schedule.model_load_percent,
            "block_cycles": list(self.block_cycles),
        }

    def _memory(self) -> dict[str, Any]:
        writable = {section.name for section in self.program.sections if section.writable}
        return {
            "static_bytes": self.static_bytes,
            "stack_bytes": self.stack_bytes,
            "audio_buffer_bytes": self.audio_buffer_bytes,
            "stack_reserved_bytes": self.program.stack_top - self.program.stack_limit,
            "total_ram_bytes": self.total_ram_bytes,
            "symbols": _by_size([symbol for symbol in self.program.objects if symbol.section in writable]),
        }

    def _flash(self) -> dict[str, Any]:
        loaded = {
            section.name for section in self.program.sections if section.loaded and not section.writable
        }
        symbols = [*self.program.functions, *self.program.objects]
        return {
            "flash_bytes": self.flash_bytes,
            "sections": [
                {"name": section.name, "size_bytes": section.size_bytes}
                for section in self.program.sections
                if section.loaded
            ],
            "symbols": _by_size([symbol for symbol in symbols if symbol.section in loaded]),
        }


def _error(timing: Timing) -> dict[str, Any] | None:
    """Return how far off the cycles are; None where nothing measured is known."""
    if timing.worst_error_percent is None:
        return None
    errors = {"worst_percent": timing.worst_error_percent, "mean_percent": timing.mean_error_percent}
    return {**errors, "how": timing.error_source}


def _by_size(symbols: list[Symbol]) -> list[dict[str, Any]]:
    ordered = sorted(symbols, key=lambda symbol: (-symbol.size_bytes, symbol.name))
    return [
        {"name": symbol.name, "section": symbol.section, "size_bytes": symbol.size_bytes}
        for symbol in ordered
        if symbol.size_bytes > 0
    ]
