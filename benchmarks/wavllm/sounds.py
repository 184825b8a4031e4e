"""Short clips of tones, of edgekit's own speech and of noise, with what is true of them.

Frequencies, durations and pauses come from a grid whose cells belong to one split each, speech from voices
that belong to one split each: nothing that a test clip is made of was heard in training.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from edgekit.audio import DEFAULT_AUDIO, SAMPLE_RATE_HZ, read_audio
from edgekit.audio.augment import coloured_noise

Samples = NDArray[np.float32]

KINDS = ("tone", "speech", "noise")
COUNTS = ("one", "two", "three")
PITCHES_HZ = {"low": (140.0, 230.0), "middle": (420.0, 640.0), "high": (1100.0, 1700.0)}
LENGTHS_S = {"short": (0.10, 0.15), "long": (0.30, 0.42)}
"""Of one burst."""
PAUSE_S = (0.14, 0.22)
PARTIALS = 3
DRIFT = (0.92, 1.09)
"""How much higher a tone ends than it begins."""
EDGE_S = 0.015
PEAK_DB, SNR_DB = (-20.0, -4.0), (22.0, 40.0)
CELLS = 16
OWNERS = ("train", "dev", "train", "test")
"""Whose the cells of a grid are, over and over."""
DEV_VOICES = ("af_sarah", "am_echo", "bf_emma", "bm_lewis")


@dataclass(frozen=True)
class Sound:
    """What is true of a clip: one to three bursts of the same kind.

    Attributes:
        kind: One of `KINDS`.
        count: One of `COUNTS`.
        length: A key of `LENGTHS_S`.
        pitch: Of a tone, a key of `PITCHES_HZ`.
    """

    kind: str
    count: str
    length: str
    pitch: str | None = None


def draw(low: float, high: float, split: str, rng: np.random.Generator) -> float:
    """Return a value between two others, even on a logarithmic scale, from the cells of one split."""
    cells = [cell for cell in range(CELLS) if OWNERS[cell % len(OWNERS)] == split]
    position = (rng.choice(cells) + rng.uniform(0.05, 0.95)) / CELLS
    return float(low * (high / low) ** position)


def random_sound(rng: np.random.Generator) -> Sound:
    """Return a sound; half of them are tones, of which there is most to say."""
    kind = str(rng.choice(KINDS, p=(0.5, 0.25, 0.25)))
    pitch = str(rng.choice(list(PITCHES_HZ))) if kind == "tone" else None
    return Sound(kind, str(rng.choice(COUNTS)), str(rng.choice(list(LENGTHS_S))), pitch)


def voices(split: str) -> list[Samples]:
    """Return edgekit's own speech by the voices of a split."""
    with (DEFAULT_AUDIO / "clips.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [read_audio(DEFAULT_AUDIO / row["file"]) for row in rows if _owner(row) == split]


def _owner(row: Mapping[str, str]) -> str:
    return "dev" if row["voice"] in DEV_VOICES else row["split"]


def synthesise(sound: Sound, split: str, rng: np.random.Generator, speech: list[Samples]) -> Samples:
    """Return the (N,) samples of a sound, at some level in some noise.

    Args:
        sound: What is to be heard.
        split: Whose frequencies, durations and pauses it has.
        rng: Decides everything else.
        speech: Clips of the split's voices.
    """
    around = draw(*PITCHES_HZ[sound.pitch], split, rng) if sound.pitch else 0.0
    pieces = [_pause(split, rng)]
    for _ in range(1 + COUNTS.index(sound.count)):
        samples = round(draw(*LENGTHS_S[sound.length], split, rng) * SAMPLE_RATE_HZ)
        burst = _burst(sound.kind, samples, around, split, rng, speech)
        pieces += [_faded(burst), _pause(split, rng)]
    whole = np.concatenate(pieces)
    level = 10 ** (rng.uniform(*PEAK_DB) / 20)
    return coloured_noise(np.float32(level) * whole, rng, rng.uniform(*SNR_DB), rng.uniform(0, 1.5))


def _burst(
    kind: str, samples: int, around_hz: float, split: str, rng: np.random.Generator, speech: list[Samples]
) -> NDArray[np.floating]:
    if kind == "tone":
        return _tone(samples, around_hz, rng)
    return _snippet(samples, rng, speech) if kind == "speech" else _noise(samples, split, rng)


def _pause(split: str, rng: np.random.Generator) -> Samples:
    return np.zeros(round(draw(*PAUSE_S, split, rng) * SAMPLE_RATE_HZ), np.float32)


def _tone(samples: int, around_hz: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a tone that passes `around_hz` in its middle, of a few partials of random strength."""
    frequency_hz = around_hz * rng.uniform(*DRIFT) ** (np.arange(samples) / samples - 0.5)
    phase = 2 * np.pi * np.cumsum(frequency_hz) / SAMPLE_RATE_HZ
    strengths = rng.uniform(0, 1, PARTIALS) / np.arange(1, PARTIALS + 1) ** 2
    # The lowest partial is always there: without it, who can say how high a tone is?
    strengths[0] = 1
    partials = [
        strength * np.sin(number * phase + rng.uniform(0, 2 * np.pi))
        for number, strength in enumerate(strengths, 1)
    ]
    tone: NDArray[np.float64] = np.sum(partials, axis=0)
    return tone


def _snippet(samples: int, rng: np.random.Generator, speech: list[Samples]) -> Samples:
    """Return the piece of speech, of some taken at random, whose quietest part is loudest: no pause in it."""
    clip = speech[int(rng.integers(len(speech)))]
    starts = rng.integers(0, clip.size - samples, 12)
    pieces = [clip[start : start + samples] for start in starts]
    return max(pieces, key=lambda piece: min(np.abs(part).max() for part in np.array_split(piece, 6)))


def _noise(samples: int, split: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return noise in a band of two octaves."""
    middle_hz = draw(400.0, 3000.0, split, rng)
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency_hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    spectrum[(frequency_hz < middle_hz / 2) | (frequency_hz > middle_hz * 2)] *= 0.05
    noise: NDArray[np.float64] = np.fft.irfft(spectrum, samples)
    return noise


def _faded(burst: NDArray[np.floating]) -> Samples:
    """Return a burst of peak 1 with soft edges."""
    edge = round(EDGE_S * SAMPLE_RATE_HZ)
    window = np.ones(burst.size)
    window[:edge] = np.linspace(0, 1, edge)
    window[-edge:] = window[:edge][::-1]
    return np.asarray(window * burst / np.abs(burst).max(), np.float32)


def write_sounds(folder: Path, split: str, count: int, rng: np.random.Generator) -> list[tuple[Path, Sound]]:
    """Write clips of a split as 16-bit files, and return them with what is true of them."""
    folder.mkdir(parents=True, exist_ok=True)
    speech, made = voices(split), []
    for number in range(count):
        sound = random_sound(rng)
        file = folder / f"{split}-{number:04d}.wav"
        soundfile.write(file, synthesise(sound, split, rng, speech), SAMPLE_RATE_HZ)
        made.append((file, sound))
    return made
