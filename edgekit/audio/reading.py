"""Finding and reading audio files as 16 kHz mono."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import AudioError

SAMPLE_RATE_HZ = 16_000
DEFAULT_AUDIO = Path(__file__).parents[1] / "data" / "speech"
"""Synthetic speech clips that ship with edgekit, free to use."""
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64")


def find_audio(paths: Iterable[Path]) -> list[Path]:
    """Return the audio files that the paths name, folders searched recursively, in sorted order.

    Args:
        paths: Files (taken whatever their suffix) and folders (searched for `SUFFIXES`).

    Returns:
        Distinct files, sorted.

    Raises:
        AudioError: If a path does not exist, or if no audio file is found at all.
    """
    given = list(paths)
    found: set[Path] = set()
    for path in given:
        if path.is_dir():
            found.update(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        elif path.is_file():
            found.add(path)
        else:
            raise AudioError(f"{path}: no such file or folder", "check the path given with --audio")
    if not found:
        raise AudioError(
            f"no audio found in {', '.join(map(str, given)) or 'nothing'}",
            f"give files, or folders that hold {' '.join(SUFFIXES)}",
        )
    return sorted(found)


def read_audio(path: Path) -> NDArray[np.float32]:
    """Read a file as 16 kHz mono.

    Channels are averaged; other rates are resampled with soxr (very high quality).

    Args:
        path: A file that libsndfile reads.

    Returns:
        (N,) float32 samples, nominally in [-1, 1].

    Raises:
        AudioError: If the file is missing, not audio, empty, or holds NaN or infinite samples.
    """
    import soundfile

    if not path.is_file():
        raise AudioError(f"{path}: no such file", "check the path")
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{path}: not readable as audio ({error.error_string.rstrip('.')})",
            "convert it to WAV or FLAC, or leave it out",
        ) from error
    if samples.shape[0] == 0:
        raise AudioError(f"{path}: holds no samples", "leave it out")
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: holds NaN or infinite samples", "re-export it, or leave it out")
    mono = samples.mean(axis=1, dtype=np.float32)
    return mono if rate_hz == SAMPLE_RATE_HZ else _resample(mono, rate_hz)


def _resample(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    import soxr

    return np.asarray(soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ, quality="VHQ"), np.float32)


def to_pcm16(samples: NDArray[np.floating]) -> NDArray[np.int16]:
    """Return float samples in [-1, 1] as 16-bit PCM, rounded to nearest and saturated.

    Example:
        >>> to_pcm16(np.array([0.0, 1.0, -1.0, 2.0], np.float32)).tolist()
        [0, 32767, -32768, 32767]
    """
    return np.asarray(np.clip(np.rint(samples * 32768.0), -32768, 32767), np.int16)
