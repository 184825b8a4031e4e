"""Bit flips: bits of the weights in flash, or of the engine's state in RAM, that are inverted."""

import functools
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgekit.errors import ConfigError
from edgekit.target import Target
from firmware_sim.program import Program, Symbol

PLACES = {"weights": "edgekit_model_data", "state": "state"}
"""Where bits can be flipped, and the symbol that lies there."""
SYNTAX = "weights:BYTE.BIT, state:BYTE.BIT@SAMPLE, or random*COUNT for BYTE.BIT"
_FLIP = re.compile(r"(\w+):(?:([0-9]{1,12})\.([0-9]{1,12})|random\*([0-9]{1,12}))(?:@([0-9]{1,12}))?")
_BITS = 8


@dataclass(frozen=True)
class Flip:
    """A bit that is inverted.

    Attributes:
        place: `weights` or `state`.
        byte: Its byte, from the start of the place.
        bit: Its bit, 0 the least.
        address: The byte's address.
        sample: The sample before which it is inverted; None: in the image that is loaded.
    """

    place: str
    byte: int
    bit: int
    address: int
    sample: int | None

    def __str__(self) -> str:
        when = "" if self.sample is None else f"@{self.sample}"
        return f"{self.place}:{self.byte}.{self.bit}{when}"


def read_flips(
    texts: Sequence[str], program: Program, target: Target, samples: int, seed: int
) -> tuple[Flip, ...]:
    """Return the flips that a user has asked for.

    Args:
        texts: Each a `SYNTAX`.
        program: The firmware.
        target: The device: what simulates it decides what can be flipped.
        samples: Samples of the audio.
        seed: Decides what is random.

    Raises:
        ConfigError: If one cannot be read, is outside its place or the audio, cannot be done there, or is
            given twice, which would undo it.
    """
    chosen = random.Random(seed)  # noqa: S311 - no secret
    found: dict[Flip, str] = {}
    for text in texts:
        for flip in _read(text, program, target, samples, chosen):
            if flip in found:
                what = f"--flip {text}: {flip} is given twice, also by {found[flip]}"
                raise ConfigError(what, "leave one out, or choose random bits by another --seed")
            found[flip] = text
    return tuple(found)


def _read(text: str, program: Program, target: Target, samples: int, chosen: random.Random) -> list[Flip]:
    match = _FLIP.fullmatch(text)
    if match is None:
        raise ConfigError(f"--flip {text}: cannot be read", f"write {SYNTAX}")
    name, byte, bit, count, sample = match.groups()
    place = _place(text, name, program)
    before = _sample(text, name, sample, target, samples)
    if count is not None:
        bits = _random_bits(text, place, int(count), chosen)
    elif int(byte) < place.size_bytes and int(bit) < _BITS:
        bits = [_BITS * int(byte) + int(bit)]
    else:
        where = f"bytes 0 to {place.size_bytes - 1} and bits 0 to 7"
        raise ConfigError(f"--flip {text}: outside of the {name}", f"the {name} have {where}")
    return [Flip(name, b // _BITS, b % _BITS, place.address + b // _BITS, before) for b in bits]


def _place(text: str, name: str, program: Program) -> Symbol:
    symbol = next((found for found in program.objects if found.name == PLACES.get(name)), None)
    if name not in PLACES:
        raise ConfigError(f"--flip {text}: there is no {name}", f"flip one of {', '.join(PLACES)}")
    if symbol is None:
        what = f"--flip {text}: the firmware has no {PLACES[name]}"
        raise ConfigError(what, "run edgekit build again; the firmware must keep its symbol table")
    return symbol


def _sample(text: str, name: str, sample: str | None, target: Target, samples: int) -> int | None:
    if name == "weights":
        if sample is not None:
            raise ConfigError(f"--flip {text}: weights are flipped before the start", "leave out @SAMPLE")
        return None
    if target.core.simulator == "qemu":
        what = f"--flip {text}: a {target.core.cpu} runs in QEMU, where the state cannot be flipped"
        raise ConfigError(what, "flip weights, or simulate a target with another core")
    if int(sample or 0) >= samples:
        raise ConfigError(f"--flip {text}: outside of the audio", f"samples are 0 to {samples - 1}")
    return int(sample or 0)


def _random_bits(text: str, place: Symbol, count: int, chosen: random.Random) -> list[int]:
    bits = _BITS * place.size_bytes
    if not 1 <= count <= bits:
        raise ConfigError(f"--flip {text}: {count} bits", f"flip 1 to {bits}")
    return sorted(chosen.sample(range(bits), count))


def flip_loaded(program: Program, flips: Sequence[Flip]) -> Program:
    """Return a firmware with the bits inverted that are inverted before the start."""
    loaded = [flip for flip in flips if flip.sample is None]
    segments = []
    for origin, data in program.segments:
        changed = bytearray(data)
        for flip in loaded:
            if 0 <= flip.address - origin < len(data):
                changed[flip.address - origin] ^= 1 << flip.bit
        segments.append((origin, bytes(changed)))
    return replace(program, segments=tuple(segments))


def flips_by_sample(
    flips: Sequence[Flip], invert: Callable[[Flip], None]
) -> Mapping[int, Callable[[], None]]:
    """Return what to do before which sample.

    Args:
        flips: All flips; those before the start are left out.
        invert: Inverts one bit of the core's memory.
    """

    def invert_all_of(sample: int) -> None:
        for flip in flips:
            if flip.sample == sample:
                invert(flip)

    samples = {flip.sample for flip in flips if flip.sample is not None}
    return {sample: functools.partial(invert_all_of, sample) for sample in samples}
