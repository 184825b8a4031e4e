"""Targets: the device that a model is built for, with what must hold of its numbers.

A target states its core, memories, audio path, power and budgets, each with the source of its numbers.
"""

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from typing import Literal

from edgekit.errors import TargetError

PAGE_BYTES = 4096
"""Memories start and end on this boundary, because the simulator maps whole pages."""

_EXTENSIONS = {
    "cortex-m0": frozenset[str](),
    "cortex-m3": frozenset[str](),
    "cortex-m4": frozenset({"dsp", "fpu"}),
    "cortex-m33": frozenset({"dsp", "fpu"}),
    "cortex-m55": frozenset({"dsp", "fpu", "mve"}),
    "host": frozenset[str](),
}
MEASURED = "host"
"""The timing table of what runs on this computer: cycles are nanoseconds of processor time, measured."""
NANOSECONDS_HZ = 1_000_000_000
InstructionSet = Literal["portable", "dsp", "mve"]
"""Instructions that kernels are written for: C99 alone, the DSP extension, or Helium (MVE)."""
_DEVICES = (range(0x4000_0000, 0x6000_0000), range(0xE000_0000, 1 << 32))
"""Peripherals and system registers in the address map of every Cortex-M."""
SECTOR_BYTES = 4096
"""What is erased at once (AG_SECTOR_BYTES of codegen/agent/ag_flash.h)."""


def _require(holds: bool, what: str, hint: str) -> None:
    if not holds:
        raise TargetError(what, hint)


def _require_positive(section: object, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        possible = value > 0 and math.isfinite(value)
        _require(possible, f"{name} = {value} is not positive", f"give {name} a positive value")


@dataclass(frozen=True)
class Core:
    """The processor core.

    Attributes:
        cpu: Core name as compilers spell it, for example `cortex-m33`; `host` is this computer.
        dsp: Whether it has the DSP extension (SMLAD and friends).
        fpu: Whether it has a floating-point unit; the firmware uses none.
        clock_hz: Clock frequency.
        source: Where the numbers come from.
        mve: Whether it has Helium, the vector extension MVE, at least for integers.

    Raises:
        TargetError: If no such core exists.
    """

    cpu: str
    dsp: bool
    fpu: bool
    clock_hz: int
    source: str
    mve: bool = False

    def __post_init__(self) -> None:
        _require(
            self.cpu in _EXTENSIONS,
            f"cpu = {self.cpu!r} is not a supported core",
            f"choose one of {', '.join(_EXTENSIONS)}",
        )
        for extension in ("dsp", "fpu", "mve"):
            possible = not getattr(self, extension) or extension in _EXTENSIONS[self.cpu]
            _require(possible, f"{self.cpu} has no {extension.upper()}", f"set {extension} = false")
        _require_positive(self, "clock_hz")

    @property
    def instructions(self) -> InstructionSet:
        """The instructions that its kernels are written for."""
        if self.mve:
            return "mve"
        return "dsp" if self.dsp else "portable"

    @property
    def simulator(self) -> Literal["unicorn", "qemu", "native"]:
        """What runs its programs: unicorn, QEMU for a Cortex-M55, or this computer itself (`native`)."""
        if self.cpu == "host":
            return "native"
        return "qemu" if self.cpu == "cortex-m55" else "unicorn"


@dataclass(frozen=True)
class Timing:
    """How the simulator estimates the cycles of this device, and how far off that is.

    Attributes:
        table: Name of the core's instruction timing table; `host` where time is measured.
        source: Where the numbers come from.
        fetch_wait_cycles: Mean wait for instructions behind each taken branch.
        data_wait_cycles: Mean wait of each load from flash.
        worst_error_percent: Largest error of predicted cycles against measured ones; absent where none are.
        mean_error_percent: Their mean error; absent with the other.
        error_source: Where the errors come from.

    Raises:
        TargetError: If a wait is negative, or one error comes without the other.
    """

    table: str
    source: str
    fetch_wait_cycles: float = 0.0
    data_wait_cycles: float = 0.0
    worst_error_percent: float | None = None
    mean_error_percent: float | None = None
    error_source: str = ""

    def __post_init__(self) -> None:
        for name in ("fetch_wait_cycles", "data_wait_cycles"):
            value = getattr(self, name)
            _require(
                0 <= value < math.inf, f"{name} = {value} is negative or endless", f"give {name} 0 or more"
            )
        both = (self.worst_error_percent is None) == (self.mean_error_percent is None)
        _require(both, "one of worst_error_percent and mean_error_percent is missing", "give both or none")
        mean, worst = self.mean_error_percent or 0.0, self.worst_error_percent or 0.0
        ordered = 0 <= mean <= worst < math.inf
        _require(ordered, f"a mean error of {mean} % and a worst of {worst} %", "give 0 <= mean <= worst")


@dataclass(frozen=True)
class Memory:
    """The memories that the firmware may use.

    Attributes:
        flash_origin: First address of the flash; the vector table lies there.
        flash_bytes: Size of the flash.
        ram_origin: First address of the RAM.
        ram_bytes: Size of the RAM.
        stack_bytes: RAM reserved for the stack, at the start of the RAM so that an overflow faults.
        source: Where the numbers come from.

    Raises:
        TargetError: If the memories overlap, are not whole pages, or the stack does not fit.
    """

    flash_origin: int
    flash_bytes: int
    ram_origin: int
    ram_bytes: int
    stack_bytes: int
    source: str

    def __post_init__(self) -> None:
        _require_positive(self, "flash_bytes", "ram_bytes", "stack_bytes")
        for name in ("flash_origin", "flash_bytes", "ram_origin", "ram_bytes"):
            value = getattr(self, name)
            aligned = value >= 0 and value % PAGE_BYTES == 0
            _require(aligned, f"{name} = {value:#x} is not a multiple of {PAGE_BYTES}", f"round {name}")
        for kind in ("flash", "ram"):
            end = getattr(self, f"{kind}_origin") + getattr(self, f"{kind}_bytes")
            _require(end <= 1 << 32, f"{kind} ends beyond 32-bit addresses", f"lower {kind}_origin")
        apart = (
            self.flash_origin + self.flash_bytes <= self.ram_origin
            or self.ram_origin + self.ram_bytes <= self.flash_origin
        )
        _require(apart, "flash and RAM overlap", "move flash_origin or ram_origin")
        _require(self.stack_bytes % 8 == 0, "stack_bytes is not a multiple of 8", "round stack_bytes")
        _require(self.stack_bytes < self.ram_bytes, "the stack fills the RAM", "lower stack_bytes")


@dataclass(frozen=True)
class Audio:
    """The audio path that the model listens to.

    Attributes:
        sample_rate_hz: Rate of the microphone signal.
        block_samples: Samples that arrive at once.
        core_share_percent: Share of the core left to the model, above 0, at most 100.
        source: Where the numbers come from.

    Raises:
        TargetError: If a value is out of its range.
    """

    sample_rate_hz: int
    block_samples: int
    core_share_percent: float
    source: str

    def __post_init__(self) -> None:
        _require_positive(self, "sample_rate_hz", "block_samples", "core_share_percent")
        share = self.core_share_percent
        _require(share <= 100, f"core_share_percent = {share} is above 100", "give at most 100")


@dataclass(frozen=True)
class Policy:
    """When the model listens, and how long audio may wait for it.

    Attributes:
        mode: `continuous`: to everything; `window`: to the beginning of every `every_s`.
        buffer_blocks: Blocks of audio that may wait while the model is busy: a block's deadline.
        source: Where the numbers come from.
        window_s: Length of a window.
        every_s: From the beginning of one window to that of the next.

    Raises:
        TargetError: If a value is out of its range, or belongs to the other mode.
    """

    mode: str
    buffer_blocks: int
    source: str
    window_s: float = 0.0
    every_s: float = 0.0

    def __post_init__(self) -> None:
        _require(
            self.mode in ("continuous", "window"),
            f"mode = {self.mode!r} is not a policy",
            "choose continuous or window",
        )
        _require_positive(self, "buffer_blocks")
        if self.mode == "window":
            _require_positive(self, "window_s", "every_s")
            _require(self.every_s >= self.window_s, "windows overlap", "give every_s at least window_s")
        else:
            times = self.window_s or self.every_s
            _require(not times, "a continuous policy has no windows", 'set mode = "window"')


@dataclass(frozen=True)
class Power:
    """What a cycle costs and what there is to spend.

    Attributes:
        active_uw_per_mhz: Power of the running core per MHz.
        battery_mwh: Energy of a full battery.
        source: Where the numbers come from.

    Raises:
        TargetError: If a value is not positive.
    """

    active_uw_per_mhz: float
    battery_mwh: float
    source: str

    def __post_init__(self) -> None:
        _require_positive(self, "active_uw_per_mhz", "battery_mwh")


@dataclass(frozen=True)
class Budget:
    """Limits that a build is held to; exceeding one is exit code 4.

    Attributes:
        total_ram_bytes: Static RAM plus the stack's high-water mark.
        flash_bytes: Code, tables and model.
        onnx_bytes: Size of the quantized ONNX file.
        core_load_percent: Cycles of the model over cycles of the core.
        average_uw: Average power of the model's work; absent where no power is known.
        source: Where the numbers come from.

    Raises:
        TargetError: If a value is not positive.
    """

    total_ram_bytes: int
    flash_bytes: int
    onnx_bytes: int
    core_load_percent: float
    average_uw: float | None = field(default=None, kw_only=True)
    source: str

    def __post_init__(self) -> None:
        _require_positive(self, "total_ram_bytes", "flash_bytes", "onnx_bytes", "core_load_percent")
        if self.average_uw is not None:
            _require_positive(self, "average_uw")


@dataclass(frozen=True)
class Update:
    """The serial line that new models come in on, and the flash that they are written to.

    Attributes:
        baud: Bits per second of the line; ten make a byte.
        fitting_bytes: Flash of the wearer's settings, which no update touches; whole sectors.
        program_us: Time to program 8 bytes.
        erase_ms: Time to erase a sector.
        endurance_cycles: Erases that a sector stands.
        source: Where the numbers come from.

    Raises:
        TargetError: If a value is out of its range.
    """

    baud: int
    fitting_bytes: int
    program_us: float
    erase_ms: float
    endurance_cycles: int
    source: str

    def __post_init__(self) -> None:
        _require_positive(self, "baud", "fitting_bytes", "program_us", "erase_ms", "endurance_cycles")
        what = f"fitting_bytes = {self.fitting_bytes} is no whole number of sectors"
        _require(self.fitting_bytes % SECTOR_BYTES == 0, what, f"give a multiple of {SECTOR_BYTES}")


@dataclass(frozen=True)
class Target:
    """A device: everything about it that a build depends on.

    Attributes:
        name: Lower-case name, also that of its file.
        description: One line for lists.
        core: Its processor.
        timing: How its cycles are estimated.
        memory: Its memories.
        audio: Its audio path.
        policy: When the model listens.
        power: Its power and battery; absent where they are not known.
        update: How it takes new models; absent where firmware has no update agent.
        budget: The limits that builds for it are held to.

    Raises:
        TargetError: If such a device cannot exist.
    """

    name: str
    description: str
    core: Core
    timing: Timing
    memory: Memory
    audio: Audio
    policy: Policy
    power: Power | None = field(default=None, kw_only=True)
    update: Update | None = field(default=None, kw_only=True)
    budget: Budget

    def __post_init__(self) -> None:
        waits = self.timing.fetch_wait_cycles or self.timing.data_wait_cycles
        what = f"waits are not counted on a {self.core.cpu}, which runs in QEMU"
        _require(not (waits and self.core.simulator == "qemu"), what, "leave the waits out")
        unknown = self.budget.average_uw is not None and self.power is None
        _require(not unknown, "budget.average_uw needs a power", "add [power], or leave average_uw out")
        self._require_own_table()
        valid = re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name) is not None
        _require(valid, f"name = {self.name!r} is not a target name", "use lower-case words joined by -")
        if self.core.simulator != "native":
            self._require_apart_from_devices()
        for budget, memory in (("total_ram_bytes", "ram_bytes"), ("flash_bytes", "flash_bytes")):
            limit, there = getattr(self.budget, budget), getattr(self.memory, memory)
            _require(limit <= there, f"budget.{budget} = {limit}, memory has {there}", "lower the budget")

    def _require_apart_from_devices(self) -> None:
        for kind in ("flash", "ram"):
            begin = getattr(self.memory, f"{kind}_origin")
            end = begin + getattr(self.memory, f"{kind}_bytes")
            inside = any(begin < device.stop and end > device.start for device in _DEVICES)
            _require(not inside, f"{kind} lies where a Cortex-M has its devices", f"move {kind}_origin")

    def _require_own_table(self) -> None:
        """Require the core's own table; that what runs on this computer is measured, and nothing else is."""
        table, clock_hz, error = self.timing.table, self.core.clock_hz, self.timing.worst_error_percent
        if self.core.simulator != "native":
            what = f"timing.table = {MEASURED!r} is measured on this computer, not for a {self.core.cpu}"
            _require(table != MEASURED, what, "give the table of the core")
            what = f"timing.table = {table!r} is not the table of a {self.core.cpu}"
            _require(
                table == self.core.cpu, what, f'give a [timing] of its own, with table = "{self.core.cpu}"'
            )
            return
        what = f"cpu = {self.core.cpu!r}: a cycle is a nanosecond, measured on this computer"
        _require(table == MEASURED, f"{what}; timing.table = {table!r}", f'set timing.table = "{MEASURED}"')
        hint = f"set core.clock_hz = {NANOSECONDS_HZ:_}"
        _require(clock_hz == NANOSECONDS_HZ, f"{what}; clock_hz = {clock_hz}", hint)
        estimated = self.timing.fetch_wait_cycles or self.timing.data_wait_cycles or error is not None
        _require(not estimated, f"{what}, without waits or errors", "leave them out of [timing]")
        _require(self.power is None, f"{what}; its power is not known", "leave [power] out")

    @property
    def takes_updates(self) -> bool:
        """Whether its firmware may have the update agent: only boards that unicorn simulates have a flash."""
        return self.update is not None and self.core.simulator == "unicorn"

    @property
    def window_blocks(self) -> int:
        """Blocks of audio that a window begins with; 0 in a continuous policy."""
        return self._blocks(self.policy.window_s)

    @property
    def every_blocks(self) -> int:
        """Blocks of audio from the beginning of one window to that of the next; 0 in a continuous policy."""
        return self._blocks(self.policy.every_s)

    @property
    def audio_buffer_bytes(self) -> int:
        """RAM of the audio that may wait, as int16 samples."""
        return 2 * self.policy.buffer_blocks * self.audio.block_samples

    def _blocks(self, seconds: float) -> int:
        return math.ceil(seconds * self.audio.sample_rate_hz / self.audio.block_samples)

    @property
    def digest(self) -> str:
        """SHA-256 of the target as canonical JSON: changes whenever a value changes."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
