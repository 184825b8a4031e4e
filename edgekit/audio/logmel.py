"""The float definition of the front end: 16 kHz waveform to log-mel frames.

Letters: N samples, T frames, M mel bands. No padding: T = (N - n_fft) // hop + 1.
The integer graph (`edgekit.graph`) holds the same chain as integer operators.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.audio.reading import SAMPLE_RATE_HZ
from edgekit.errors import AudioError, ConfigError

PCM_STEPS = 32768
Level = Literal["causal", "utterance"]


@dataclass(frozen=True)
class FrontEnd:
    """Every setting of the front end; defaults are those of Wav2Small (arXiv 2408.13920).

    Attributes:
        level: `utterance` removes mean and level of the whole clip, as the paper does; `causal`
            removes a running mean and a running level, so that audio can stream.
        memory_frames: Causal only: the running averages are plain averages over the first
            `memory_frames` frames and forget exponentially with that time constant afterwards.
        level_epsilon: Added to the mean square level (full scale = 1) before dividing by it.
        floor_power: Mel powers below this are raised to it before the logarithm.
    """

    n_fft: int = 64
    hop: int = 32
    mel_bands: int = 26
    level: Level = "causal"
    memory_frames: int = 2048
    sample_rate_hz: int = SAMPLE_RATE_HZ
    fmin_hz: float = 0.0
    fmax_hz: float = 8000.0
    level_epsilon: float = 1e-7
    floor_power: float = 1e-10

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "FrontEnd":
        """Return the front end that `to_dict` wrote.

        Raises:
            ConfigError: If a key is unknown or the level normalisation is not one of the two.
        """
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ConfigError(f"front end: unknown setting {unknown[0]!r}", "re-run edgekit distill")
        front_end = cls(**values)
        if front_end.level not in ("causal", "utterance"):
            raise ConfigError(f"front end: unknown level {front_end.level!r}", "use causal or utterance")
        return front_end

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as JSON-ready values."""
        return asdict(self)

    def frame_count(self, sample_count: int) -> int:
        """Return how many whole frames `sample_count` samples hold.

        Example:
            >>> FrontEnd().frame_count(64), FrontEnd().frame_count(16000)
            (1, 499)
        """
        return max(0, (sample_count - self.n_fft) // self.hop + 1)


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's scale: linear below 1 kHz, logarithmic above (Auditory Toolbox, 1998)."""
    linear = hz * 3 / 200
    return np.where(hz < 1000, linear, 15 + 27 * np.log(np.maximum(hz, 1e-9) / 1000) / np.log(6.4))


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def mel_filters(front_end: FrontEnd) -> NDArray[np.float64]:
    """Return Slaney's area-normalised triangular filters, (n_fft // 2 + 1, M).

    With the defaults only 59 of 858 weights are non-zero and band 0 holds no bin at all.
    """
    bins_hz = np.linspace(0, front_end.sample_rate_hz / 2, front_end.n_fft // 2 + 1)
    ends = _hz_to_mel(np.array([front_end.fmin_hz, front_end.fmax_hz]))
    edges_hz = _mel_to_hz(np.linspace(ends[0], ends[1], front_end.mel_bands + 2))
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz[:, None] - low) / (centre - low)
    falling = (high - bins_hz[:, None]) / (high - centre)
    return np.asarray(np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low))


def window_frames(samples: NDArray[np.floating], front_end: FrontEnd) -> NDArray[np.float64]:
    """Return the (T, n_fft) frames of (N,) samples.

    Raises:
        AudioError: If the clip is shorter than one frame.
    """
    if samples.size < front_end.n_fft:
        raise AudioError(
            f"clip of {samples.size} samples is shorter than one frame of {front_end.n_fft}",
            "leave out clips shorter than 4 ms",
        )
    view = np.lib.stride_tricks.sliding_window_view(samples, front_end.n_fft)
    return np.asarray(view[:: front_end.hop], np.float64)


def running_average(values: NDArray[np.float64], memory_frames: int) -> NDArray[np.float64]:
    """Return y[t] = y[t-1] + (x[t] - y[t-1]) / min(t + 1, memory_frames), y[-1] = 0.

    Args:
        values: (T,) one value a frame.
        memory_frames: Time constant once that many frames have been seen.

    Example:
        >>> running_average(np.array([1.0, 3.0, 5.0]), 2).tolist()
        [1.0, 2.0, 3.5]
    """
    from scipy.signal import lfilter

    counts = np.arange(1, min(values.size, memory_frames) + 1)
    plain = np.cumsum(values[: counts.size]) / counts
    if values.size <= memory_frames:
        return np.asarray(plain)
    keep = 1 - 1 / memory_frames
    forgetting, _ = lfilter([1 / memory_frames], [1, -keep], values[memory_frames:], zi=[keep * plain[-1]])
    return np.concatenate([plain, forgetting])


def new_samples(frames: NDArray[np.float64], front_end: FrontEnd) -> NDArray[np.float64]:
    """Return per frame the sum over the samples that no earlier frame held, divided by their count."""
    fresh = frames[:, -front_end.hop :].mean(axis=1)
    fresh[0] = frames[0].mean()
    return np.asarray(fresh)


def normalized_frames(samples: NDArray[np.floating], front_end: FrontEnd) -> NDArray[np.float64]:
    """Return (T, n_fft) frames with mean and level removed, per clip or causally (see `FrontEnd`)."""
    if front_end.level == "utterance":
        centred = samples - np.mean(samples, dtype=np.float64)
        level = np.mean(centred**2, dtype=np.float64) + front_end.level_epsilon
        return np.asarray(window_frames(centred, front_end) / np.sqrt(level))
    frames = window_frames(samples, front_end)
    mean = running_average(new_samples(frames, front_end), front_end.memory_frames)
    # A device takes whole steps of 16-bit PCM from its samples.
    mean = np.rint(mean * PCM_STEPS) / PCM_STEPS
    centred_frames = frames - mean[:, None]
    power = running_average(new_samples(centred_frames**2, front_end), front_end.memory_frames)
    return np.asarray(centred_frames / np.sqrt(power + front_end.level_epsilon)[:, None])


def log_mel(samples: NDArray[np.floating], front_end: FrontEnd) -> NDArray[np.float32]:
    """Return the log-mel frames of a 16 kHz clip in dB.

    Args:
        samples: (N,) samples in [-1, 1].
        front_end: The settings.

    Returns:
        (T, M) float32, 10 log10(max(mel power, floor_power)).

    Raises:
        AudioError: If the clip is shorter than one frame.
    """
    frames = normalized_frames(samples, front_end)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(front_end.n_fft) / front_end.n_fft)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    mel = power @ mel_filters(front_end)
    return np.asarray(10 * np.log10(np.maximum(mel, front_end.floor_power)), np.float32)
