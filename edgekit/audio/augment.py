"""Changes that everyday life makes to a clip: level, noise, other talkers, rooms, bandwidth, speed.

Every function takes (N,) float32 samples at 16 kHz and a generator, and returns new float32 samples of
the same length (`speed` excepted). Nothing is read from a file: noise and rooms are generated.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.audio.reading import SAMPLE_RATE_HZ

Samples = NDArray[np.float32]

SPEED_RANGE = (0.85, 1.18)
GAIN_RANGE_DB = (-20.0, 6.0)
SNR_RANGE_DB = (5.0, 30.0)
RT60_RANGE_S = (0.15, 0.7)


def gain_db(
    samples: Samples, rng: np.random.Generator, range_db: tuple[float, float] = GAIN_RANGE_DB
) -> Samples:
    """Return the clip at a level changed by a random number of dB, clipped to [-1, 1] as a converter does."""
    gain = 10 ** (rng.uniform(*range_db) / 20)
    return np.asarray(np.clip(samples * gain, -1, 1), np.float32)


def _mix(samples: Samples, noise: NDArray[np.floating], snr_db: float) -> Samples:
    """Add noise at the given ratio of mean powers; silence stays silence."""
    signal_power = float(np.mean(samples.astype(np.float64) ** 2))
    noise_power = float(np.mean(noise.astype(np.float64) ** 2))
    if noise_power == 0:
        return samples.copy()
    scale = np.sqrt(signal_power / noise_power / 10 ** (snr_db / 10))
    return np.asarray(samples + scale * noise, np.float32)


def coloured_noise(samples: Samples, rng: np.random.Generator, snr_db: float, slope: float = 1.0) -> Samples:
    """Return the clip with added noise whose power falls as 1 / f^slope.

    Args:
        samples: (N,) samples.
        rng: The generator.
        snr_db: Ratio of the mean powers of clip and noise.
        slope: 0 is white, 1 pink, 2 brown.
    """
    spectrum = np.fft.rfft(rng.standard_normal(samples.size))
    frequency = np.maximum(np.arange(spectrum.size), 1)
    return _mix(samples, np.fft.irfft(spectrum * frequency ** (-slope / 2), samples.size), snr_db)


def babble(
    samples: Samples, rng: np.random.Generator, snr_db: float, voices: Sequence[Samples], talkers: int = 4
) -> Samples:
    """Return the clip with `talkers` other clips behind it, each started at random and looped.

    Args:
        samples: (N,) samples.
        rng: The generator.
        snr_db: Ratio of the mean powers of clip and babble.
        voices: Clips to draw from; at least one.
        talkers: How many are drawn, each brought to the same level.
    """
    crowd = np.zeros(samples.size)
    for index in rng.integers(len(voices), size=talkers):
        voice = voices[index].astype(np.float64)
        start = int(rng.integers(voice.size))
        piece = np.resize(np.roll(voice, -start), samples.size)
        crowd += piece / np.sqrt(np.mean(piece**2) + 1e-12)
    return _mix(samples, crowd, snr_db)


def room(samples: Samples, rng: np.random.Generator, rt60_s: float) -> Samples:
    """Return the clip as heard in a room: direct sound and an exponentially decaying noise tail.

    The tail is Polack's statistical model; `rt60_s` is the time in which it falls by 60 dB.
    """
    from scipy.signal import fftconvolve

    time_s = np.arange(int(rt60_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    response = rng.standard_normal(time_s.size) * 10 ** (-3 * time_s / rt60_s)
    response *= 10 ** (rng.uniform(-9, 0) / 20) / np.sqrt(np.sum(response**2) + 1e-12)
    response[0] = 1
    wet = fftconvolve(samples.astype(np.float64), response)[: samples.size]
    level = np.sqrt((np.mean(samples.astype(np.float64) ** 2) + 1e-12) / (np.mean(wet**2) + 1e-12))
    return np.asarray(wet * level, np.float32)


def band_limit(
    samples: Samples, rng: np.random.Generator, low_hz: float | None = None, high_hz: float | None = None
) -> Samples:
    """Return the clip through a second-order band-pass; edges not given are drawn at random.

    Args:
        samples: (N,) samples.
        rng: The generator.
        low_hz: Lower edge; drawn from 50..300 Hz, a small loudspeaker or a telephone.
        high_hz: Upper edge below 8000 Hz; drawn from 3000..7500 Hz.
    """
    from scipy.signal import butter, sosfilt

    low = rng.uniform(50, 300) if low_hz is None else low_hz
    high = rng.uniform(3000, 7500) if high_hz is None else high_hz
    sections = butter(2, (low, high), btype="bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return np.asarray(sosfilt(sections, samples), np.float32)


def equalize(samples: Samples, rng: np.random.Generator, range_db: float = 8.0, bands: int = 8) -> Samples:
    """Return the clip through a random smooth filter: other microphones, mouths and distances.

    Args:
        samples: (N,) samples.
        rng: The generator.
        range_db: Largest gain and loss in a band.
        bands: Frequencies, spaced evenly in octaves from 60 Hz to 8 kHz, whose gains are drawn; between them
            the gain in dB is linear in octaves.
    """
    centres = np.geomspace(60, SAMPLE_RATE_HZ / 2, bands)
    gains_db = rng.uniform(-range_db, range_db, bands)
    hz = np.fft.rfftfreq(samples.size, 1 / SAMPLE_RATE_HZ)
    response_db = np.interp(np.log(np.maximum(hz, centres[0])), np.log(centres), gains_db)
    return np.asarray(np.fft.irfft(np.fft.rfft(samples) * 10 ** (response_db / 20), samples.size), np.float32)


def time_shift(samples: Samples, rng: np.random.Generator, most_s: float = 0.1) -> Samples:
    """Return the clip moved by up to `most_s` either way, silence filling the gap."""
    most = min(int(most_s * SAMPLE_RATE_HZ), samples.size - 1)
    shift = int(rng.integers(-most, most + 1))
    moved = np.zeros_like(samples)
    if shift >= 0:
        moved[shift:] = samples[: samples.size - shift]
    else:
        moved[:shift] = samples[-shift:]
    return moved


def speed(samples: Samples, rng: np.random.Generator, range_: tuple[float, float] = SPEED_RANGE) -> Samples:
    """Return the clip played faster or slower by a random factor: pitch, formants and length change."""
    import soxr

    factor = rng.uniform(*range_)
    played = soxr.resample(samples, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ / factor, quality="HQ")
    return np.asarray(played, np.float32)


def augment(samples: Samples, rng: np.random.Generator, voices: Sequence[Samples] = ()) -> Samples:
    """Return the clip with a random selection of all changes, in the order of the acoustic path.

    Talker (speed, start), room, noise or babble, microphone (bandwidth, gain). About one clip in fifteen
    passes with only its level changed.

    Args:
        samples: (N,) samples.
        rng: The generator; the same state gives the same clip.
        voices: Clips for babble; without any, noise takes its place.
    """
    if rng.random() < 0.6:
        samples = speed(samples, rng)
    if rng.random() < 0.3:
        samples = time_shift(samples, rng)
    if rng.random() < 0.35:
        samples = room(samples, rng, rng.uniform(*RT60_RANGE_S))
    if rng.random() < 0.5:
        snr_db = rng.uniform(*SNR_RANGE_DB)
        if voices and rng.random() < 0.4:
            samples = babble(samples, rng, snr_db, voices)
        else:
            samples = coloured_noise(samples, rng, snr_db, rng.uniform(0, 2))
    if rng.random() < 0.25:
        samples = band_limit(samples, rng)
    return gain_db(samples, rng)
