"""What would meet the budgets that a build misses: other clocks, windows and students, each computed.

Nothing is guessed: the cycles are those of runs, and every remedy is laid out by the scheduler
under its own policy and clock.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.artifact import Artifact
from edgekit.target import Policy, Target
from firmware_sim.program import read_program
from firmware_sim.schedule import Schedule, average_uw, schedule

WINDOWS_S = (2.0, 1.5, 1.0, 0.5)
"""Lengths of windows that are tried, the longest first."""
STEP_S = 0.1
BUSY = {"core_load_percent", "average_uw", "deadlines"}
"""What less work at a time, or a faster core, can mend."""
ENTRY_BYTES = 2
"""Where in its window a block of the queue is (codegen/board/audio.c)."""
STEPS = 20
"""Tried beyond the shortest period: work that fits on the average begins a block late, and no more."""
MOST_TIMES_THE_CLOCK = 2


@dataclass(frozen=True)
class Candidate:
    """A firmware that was simulated on the target.

    Attributes:
        name: How it differs from the build; empty for the build itself.
        block_cycles: Cycles of each block of audio.
        samples: Of audio in all blocks.
        ram_bytes: Static RAM and stack.
        flash_bytes: Code, tables and model.
        window_bytes: More flash that it needs under a window policy.
        onnx_bytes: Size of its ONNX file.
        accuracy: How well its student follows the teacher, in words.
    """

    name: str
    block_cycles: tuple[int, ...]
    samples: int
    ram_bytes: int
    flash_bytes: int
    window_bytes: int
    onnx_bytes: int
    accuracy: str


@dataclass(frozen=True)
class Remedy:
    """One way to change the build or the device.

    Attributes:
        change: What to change, in words.
        candidate: The firmware.
        plan: Its schedule, of the changed target.
        why: What the figures rest on.
    """

    change: str
    candidate: Candidate
    plan: Schedule
    why: str

    @property
    def total_ram_bytes(self) -> int:
        """RAM of the firmware and of the audio that waits, with what a window policy keeps of each block."""
        target = self.plan.target
        entries = target.policy.buffer_blocks * (target.policy.mode == "window")
        return self.candidate.ram_bytes + target.audio_buffer_bytes + ENTRY_BYTES * entries

    @property
    def flash_bytes(self) -> int:
        """Code, tables and model, under the policy of the plan."""
        in_windows = self.plan.target.policy.mode == "window"
        return self.candidate.flash_bytes + in_windows * self.candidate.window_bytes

    @property
    def average_uw(self) -> float | None:
        """Average power of the model's work; None if the target's power is not known."""
        return average_uw(self.plan)

    @property
    def over(self) -> tuple[str, ...]:
        """The budgets that it exceeds, and `deadlines` if any is missed."""
        actual = {
            "total_ram_bytes": self.total_ram_bytes,
            "flash_bytes": self.flash_bytes,
            "onnx_bytes": self.candidate.onnx_bytes,
            "core_load_percent": self.plan.model_load_percent,
            "average_uw": self.average_uw,
        }
        limits = {name: getattr(self.plan.target.budget, name) for name in actual}
        over = [
            name
            for name, value in actual.items()
            if value is not None and limits[name] is not None and value > limits[name]
        ]
        return (*over, *(["deadlines"] if self.plan.missed_deadlines else []))

    @property
    def held(self) -> bool:
        """Whether every budget and every deadline is held."""
        return not self.over

    def to_dict(self) -> dict[str, Any]:
        """Return the remedy as JSON values, the unit in every key."""
        return {
            "change": self.change,
            "core_load_percent": self.plan.model_load_percent,
            "total_ram_bytes": self.total_ram_bytes,
            "longest_result_ms": self.plan.longest_result_ms,
            "missed_deadlines": self.plan.missed_deadlines,
            "average_uw": self.average_uw,
            "flash_bytes": self.flash_bytes,
            "onnx_bytes": self.candidate.onnx_bytes,
            "held": self.held,
            "over": list(self.over),
            "how": "; ".join(filter(None, (self.why, self.candidate.accuracy))),
        }


def candidate(name: str, built: Mapping[str, Artifact], in_windows: Path | None = None) -> Candidate:
    """Return the firmware that stages have built and simulated.

    Args:
        name: How it differs from the build; empty for the build itself.
        built: Stage name to artifact.
        in_windows: The same firmware compiled for a window policy, if its flash is to be known.
    """
    profile = json.loads(built["simulate"].file("profile.json").read_text())
    metrics = json.loads(built["distill"].file("metrics.json").read_text())
    agreement = metrics["student_vs_teacher"].values()
    clips = metrics["clips"][metrics["measured_on"]]
    shown = " / ".join("undefined" if ccc is None else f"{ccc:.2f}" for ccc in agreement)
    return Candidate(
        name=name,
        block_cycles=tuple(profile["latency"]["block_cycles"]),
        samples=profile["audio"]["samples"],
        ram_bytes=profile["memory"]["static_bytes"] + profile["memory"]["stack_bytes"],
        flash_bytes=(flash_bytes := profile["flash"]["flash_bytes"]),
        window_bytes=read_program(in_windows).flash_bytes - flash_bytes if in_windows else 0,
        onnx_bytes=built["quantize"].file("model.onnx").stat().st_size,
        accuracy=f"student follows teacher by {shown} on {clips} {metrics['measured_on']} clips",
    )


def holds(candidate: Candidate, target: Target) -> bool:
    """Return whether a firmware as it is holds every budget and deadline of the target."""
    return Remedy("", candidate, schedule(candidate.block_cycles, target, candidate.samples), "").held


def remedies(candidates: Sequence[Candidate], target: Target) -> list[Remedy]:
    """Return what was tried for each candidate, what holds every budget first; nothing if the build does.

    Args:
        candidates: The build first, then firmware that could replace it.
        target: The device.
    """
    if holds(candidates[0], target):
        return []
    found = [remedy for candidate in candidates for remedy in _of(candidate, target)]
    return sorted(found, key=lambda remedy: not remedy.held)


def _of(candidate: Candidate, target: Target) -> Iterator[Remedy]:
    how = "measured" if target.core.simulator == "native" else "simulated"
    as_it_is = Remedy(
        candidate.name, candidate, schedule(candidate.block_cycles, target, candidate.samples), how
    )
    if candidate.name:
        yield as_it_is
    if not BUSY.intersection(as_it_is.over):
        return
    yield from _faster(candidate, target)
    yield from _in_windows(candidate, target)


def _change(candidate: Candidate, what: str) -> str:
    return f"{candidate.name} and {what}" if candidate.name else what


def _faster(candidate: Candidate, target: Target) -> Iterator[Remedy]:
    """Yield the lowest whole number of MHz that holds load and deadlines, as the power per MHz stays.

    The clock of this computer cannot be chosen.
    """
    if target.core.simulator == "native":
        return
    needed = schedule(candidate.block_cycles, target, candidate.samples)
    least = needed.model_cycles / (target.budget.core_load_percent / 100) / 1e6
    if needed.model_load_percent <= target.budget.core_load_percent and needed.missed_deadlines == 0:
        return
    least = max(least, target.core.clock_hz / 1e6)
    for mhz in range(math.ceil(least), math.ceil(MOST_TIMES_THE_CLOCK * least) + 1):
        faster = dataclasses.replace(target, core=dataclasses.replace(target.core, clock_hz=mhz * 1_000_000))
        plan = schedule(candidate.block_cycles, faster, candidate.samples)
        if plan.missed_deadlines == 0:
            yield Remedy(_change(candidate, f"a clock of {mhz} MHz"), candidate, plan, "same power per MHz")
            return


def _in_windows(candidate: Candidate, target: Target) -> Iterator[Remedy]:
    """Yield the longest window, as often as the budgets allow, whose waiting audio fits into the RAM."""
    tried = [found for window_s in WINDOWS_S if (found := _window(candidate, target, window_s))]
    fitting = [remedy for remedy in tried if remedy.held]
    yield from (fitting or tried[-1:])[:1]


def _window(candidate: Candidate, target: Target, window_s: float) -> Remedy | None:
    """Return the shortest period of windows of a length that holds load, power and deadlines, if any does."""
    budget, blocks = target.budget, len(candidate.block_cycles)
    heard = _listening(target, window_s, window_s, 1).window_blocks
    cycles = sum(candidate.block_cycles[index % blocks] for index in range(heard))
    allowed = target.core.clock_hz * budget.core_load_percent / 100
    if target.power is not None and budget.average_uw is not None:
        allowed = min(allowed, 1e6 * budget.average_uw / target.power.active_uw_per_mhz)
    first = math.ceil(max(window_s, cycles / allowed) / STEP_S)
    for step in range(first, first + STEPS):
        every_s = round(step * STEP_S, 1)
        patient = schedule(candidate.block_cycles, _listening(target, window_s, every_s, heard))
        listening = _listening(target, window_s, every_s, patient.waiting_blocks)
        plan = schedule(candidate.block_cycles, listening)
        if plan.missed_deadlines == 0:
            what = _change(candidate, f"a window of {window_s:g} s every {every_s:g} s")
            return Remedy(what, candidate, plan, _waits(plan))
    return None


def _waits(plan: Schedule) -> str:
    blocks = plan.target.policy.buffer_blocks
    return f"{plan.buffer_bytes:,} bytes of audio wait at worst (buffer_blocks = {blocks})"


def in_windows(target: Target) -> Target:
    """Return a target with a window policy: firmware for it has the same code for windows of any length."""
    return _listening(target, WINDOWS_S[0], WINDOWS_S[0], target.policy.buffer_blocks)


def _listening(target: Target, window_s: float, every_s: float, buffer_blocks: int) -> Target:
    policy = Policy("window", buffer_blocks, "computed", window_s, every_s)
    return dataclasses.replace(target, policy=policy)
