"""The rows of a report's tables: layers, symbols, parity, the schedule and what would meet the budgets."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgekit.report.figures import Basis, Interval

Part = Literal["front end", "network", "around", "all"]
"""Of the firmware: what makes log-mels of audio, what hears them, the program around both; or all of it."""


@dataclass(frozen=True)
class Remedy:
    """A change of the build or of the device, and what it would come to.

    Attributes:
        change: What to change.
        core_load_percent: The load with it.
        total_ram_bytes: The RAM with it.
        longest_result_ms: The longest wait for a result; None if the core never catches up.
        missed_deadlines: Blocks of audio that would be late.
        average_uw: The power with it; None where the target's is not known.
        flash_bytes: The flash with it.
        held: Whether all budgets and deadlines would hold.
        over: The budgets that would not, and `deadlines` if any is missed.
        how: How this was found.
        onnx_bytes: The size of model.onnx with it; None where it was not kept.
    """

    change: str
    core_load_percent: float
    total_ram_bytes: int
    longest_result_ms: float | None
    missed_deadlines: int
    average_uw: float | None
    flash_bytes: int
    held: bool
    over: tuple[str, ...]
    how: str
    onnx_bytes: int | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        values = {**asdict(self), "over": list(self.over)}
        return {name: value for name, value in values.items() if name != "onnx_bytes" or value is not None}


@dataclass(frozen=True)
class TimingError:
    """How far a timing profile is from measured devices.

    Attributes:
        worst_percent: The largest error.
        mean_percent: The mean of the errors' sizes.
        how: What it was compared with.
    """

    worst_percent: float
    mean_percent: float
    how: str


@dataclass(frozen=True)
class Timing:
    """The timing profile that turns instructions into cycles, or says how these were measured.

    Attributes:
        table: Its name.
        source: Where its numbers come from.
        fetch_wait_cycles: Wait states of the flash for code.
        data_wait_cycles: Wait states of the flash for data.
        error: How far it is from devices; None where it was never compared.
        cycles_are_upper_bound: Whether its cycles are the most that the device may need.
        cycles_basis: Whether they are estimates, or nanoseconds that were measured.
    """

    table: str
    source: str
    fetch_wait_cycles: float
    data_wait_cycles: float
    error: TimingError | None
    cycles_are_upper_bound: bool
    cycles_basis: Basis

    @property
    def about(self) -> str:
        """The mark before its cycles, and what follows from them."""
        return "~" if self.cycles_basis == "estimated" else ""

    @property
    def how(self) -> str:
        """Where its cycles come from, in a few words."""
        if self.cycles_basis == "measured":
            return "processor time of this computer, not repeatable"
        return f"timing profile {self.table}, {self.accuracy}"

    @property
    def accuracy(self) -> str:
        """What is known of its error, in a few words."""
        if self.error is not None:
            return f"error up to {self.error.worst_percent:g} %"
        if self.cycles_are_upper_bound:
            return "uncalibrated: an interval"
        return "not compared with a board"

    @property
    def statement(self) -> str:
        """The profile and its error, as a sentence."""
        profile = f"Timing profile {self.table}"
        if self.cycles_basis == "measured":
            return f"{profile}: cycles are nanoseconds measured on this computer, no error known."
        if self.error is not None:
            return f"{profile}: {self.accuracy}, {self.error.mean_percent:g} % on average."
        if self.cycles_are_upper_bound:
            return (
                f"{profile}: uncalibrated. Cycles are an interval, from 1 per instruction to the "
                "upper bound, which budgets are held to."
            )
        return f"{profile}: {self.accuracy}."

    def factors(self, instructions: float | None, cycles: float) -> Interval | None:
        """Return the least and the most that a device needs, as multiples of the cycles; None if unknown."""
        if instructions is None:
            return None
        if self.error is not None:
            error = self.error.worst_percent / 100
            return max(0.0, 1 - error), 1 + error
        return (instructions / cycles, 1.0) if self.cycles_are_upper_bound else None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Block:
    """One block of audio on the core's time line.

    Attributes:
        arrival_ms: When its last sample is there.
        begin_ms: When the core turns to it.
        end_ms: When the core is done with it.
        due_ms: Its deadline: its audio is overwritten, or the next window begins.
        missed: Whether the core is done after that.
    """

    arrival_ms: float
    begin_ms: float
    end_ms: float
    due_ms: float
    missed: bool


@dataclass(frozen=True)
class InTime:
    """What happened in a run in which audio interrupted the model by the clock.

    Attributes:
        audio_s: Audio of the run.
        blocks: Interrupts, one for each block of it.
        lost_blocks: Blocks for the model that found no place, because it was late.
        results: How often there was an A/D/V.
        longest_result_ms: From the end of the audio to its A/D/V, at worst; None if there was none.
    """

    audio_s: float
    blocks: int
    lost_blocks: int
    results: int
    longest_result_ms: float | None


@dataclass(frozen=True)
class Schedule:
    """When the core works on what it hears.

    Attributes:
        policy: `continuous`, or `window`: a window of audio every now and then.
        window_s: Length of a window.
        every_s: From one window to the next.
        block_ms: Duration of a block of audio.
        deadline_ms: From the arrival of a block until its audio is overwritten.
        audio_path_cycles_per_block: What the audio path takes of the core first.
        model_load_percent: Share of the core that the model takes.
        audio_path_load_percent: Share of the core that the audio path takes.
        total_load_percent: Both.
        longest_result_ms: From the end of the audio to its A/D/V; None if the core never catches up.
        missed_deadlines: Blocks that were late.
        blocks: Blocks that were laid out.
        buffer_bytes: Audio that waits, at worst.
        timeline: The first blocks.
        in_time: What happened when the firmware was run so; None where nothing can interrupt it.
    """

    policy: str
    window_s: float | None
    every_s: float | None
    block_ms: float
    deadline_ms: float
    audio_path_cycles_per_block: int
    model_load_percent: float
    audio_path_load_percent: float
    total_load_percent: float
    longest_result_ms: float | None
    missed_deadlines: int
    blocks: int
    buffer_bytes: int
    timeline: tuple[Block, ...]
    in_time: InTime | None

    @property
    def late_blocks(self) -> int:
        """Blocks that were late, laid out or run in time, whichever are more."""
        return max(self.missed_deadlines, self.in_time.lost_blocks if self.in_time else 0)

    @property
    def late_of_blocks(self) -> int:
        """How many blocks those are of."""
        ran = self.in_time
        return ran.blocks if ran and ran.lost_blocks > self.missed_deadlines else self.blocks

    @property
    def statement(self) -> str:
        """What is heard, and when the core works on it, as a sentence."""
        if self.policy == "window":
            return f"The model hears {self.window_s:g} s of audio every {self.every_s:g} s."
        return f"The model hears all audio, in blocks of {self.block_ms:g} ms."

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {**asdict(self), "timeline": [asdict(block) for block in self.timeline]}


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs for a second of audio.

    Attributes:
        layer: Its name in the integer graph.
        part: The part of the firmware that it belongs to.
        instructions_per_second_of_audio: Instructions, counted; None where they are not.
        cycles_per_second_of_audio: Cycles, by the timing profile.
        cycles_basis: Whether these are estimated or measured.
        macs_per_second_of_audio: Multiply-accumulates; None where the layer has none to count.
        interval: Least and most cycles, as far as the error of the timing profile is known.
    """

    layer: str
    part: Part
    instructions_per_second_of_audio: float | None
    cycles_per_second_of_audio: float
    cycles_basis: Basis
    macs_per_second_of_audio: float | None
    interval: Interval | None

    @property
    def cycles_per_mac(self) -> float | None:
        """Cycles for one multiply-accumulate; None where the layer has none."""
        macs = self.macs_per_second_of_audio
        return self.cycles_per_second_of_audio / macs if macs else None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        values = {
            "layer": self.layer,
            "part": self.part,
            "instructions_per_second_of_audio": self.instructions_per_second_of_audio,
            "cycles_per_second_of_audio": self.cycles_per_second_of_audio,
            "macs_per_second_of_audio": self.macs_per_second_of_audio,
            "cycles_per_mac": self.cycles_per_mac,
            "basis": {"instructions": "measured", "cycles": self.cycles_basis, "macs": "measured"},
        }
        return values | ({"cycles_interval": list(self.interval)} if self.interval else {})


@dataclass(frozen=True)
class Symbol:
    """A variable, table or function of the firmware.

    Attributes:
        name: Its name.
        section: The section that it lies in.
        size_bytes: Its size.
    """

    name: str
    section: str
    size_bytes: int

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Life:
    """Steps of a program in which a buffer has one size."""

    first_step: int
    last_step: int
    size_bytes: int


@dataclass(frozen=True)
class Buffer:
    """A tensor or scratch memory in the arena.

    Attributes:
        name: Its name.
        offset_bytes: Where it begins.
        lives: When it is there, and how large.
    """

    name: str
    offset_bytes: int
    lives: tuple[Life, ...]


@dataclass(frozen=True)
class Arena:
    """The memory of a network that runs whole.

    Attributes:
        steps: The operator that runs at each step; at the last, results are read.
        buffers: What lies in it.
    """

    steps: tuple[str, ...]
    buffers: tuple[Buffer, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        rows = [{**asdict(each), "lives": [asdict(life) for life in each.lives]} for each in self.buffers]
        return {"steps": list(self.steps), "buffers": rows}


@dataclass(frozen=True)
class LayerError:
    """How far a layer of the integer graph is from the float student's.

    Attributes:
        layer: Its name in the integer graph.
        error_percent: Root mean square of the difference, in percent of that of the layer's values.
        signal_to_noise_db: The same in decibels; None where there is no difference.
        elements: Values compared.
    """

    layer: str
    error_percent: float
    signal_to_noise_db: float | None
    elements: int

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {**asdict(self), "basis": "measured"}


@dataclass(frozen=True)
class Parity:
    """How one back end compares with the integer graph, over all layers.

    Attributes:
        layers: Layers compared.
        elements: Values compared.
        mismatches: Values that differ.
        max_lsb: Largest difference in units of the last place.
        allowed_lsb: Largest difference that this back end is allowed in any layer.
        held: Whether something was compared, and every layer stays within what it is allowed.
    """

    layers: int
    elements: int
    mismatches: int
    max_lsb: int
    allowed_lsb: int
    held: bool

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        counts = {"layers": self.layers, "elements": self.elements, "mismatches": self.mismatches}
        largest = {"max_lsb": self.max_lsb, "allowed_lsb": self.allowed_lsb}
        verdict = "pass" if self.held else "fail"
        return {"verdict": verdict, **counts, **largest, "basis": "measured"}


@dataclass(frozen=True)
class Learning:
    """How the student learned.

    Attributes:
        kept_step: The step whose weights were kept.
        steps: One row for each measurement: step, learning rate, loss and agreement on development clips.
    """

    kept_step: int
    steps: tuple[Mapping[str, float | None], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"kept_step": self.kept_step, "basis": "measured", "steps": [dict(row) for row in self.steps]}
