"""Finding and reading audio files as 16 kHz mono."""

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import AudioError

SAMPLE_RATE_HZ = 16_000
DEFAULT_AUDIO = Path(__file__).parents[1] / "data" / "speech"
"""Synthetic speech clips that ship with edgekit, free to use."""
SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc"),
    *(".au", ".snd", ".w64", ".rf64", ".caf"),
)
CONVERT = "convert it to WAV or FLAC, or leave it out"
LEAST_RATE_HZ = 1000
"""Below it a header is damaged, or holds no sound."""


def find_audio(paths: Iterable[Path]) -> list[Path]:
    """Return the audio files that the paths name, folders searched recursively, in sorted order.

    Args:
        paths: Files (taken whatever their suffix) and folders (searched for `SUFFIXES`, links followed).

    Returns:
        Distinct files, sorted; a file that has several names counts once for each.

    Raises:
        AudioError: If a path does not exist, a folder cannot be listed, or no audio file is found at all.
    """
    given = list(paths)
    found: set[Path] = set()
    for path in given:
        if path.is_dir():
            found.update(_walk(path, frozenset()))
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


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Yield the audio files in a folder; a link back to a folder that it lies in is not followed."""
    real = folder.resolve()
    if real in above:
        return
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise AudioError(
            f"{folder}: cannot be listed ({error.strerror})", "change its permissions, or leave it out"
        ) from error
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry, above | {real})
        elif entry.suffix.lower() in SUFFIXES and entry.is_file():
            yield entry


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
    with open_audio(path) as audio:
        samples = audio.read(0, audio.frames)
        if samples.size == 0:
            raise AudioError(f"{path}: holds no samples", "leave it out")
        return samples if audio.rate_hz == SAMPLE_RATE_HZ else _resample(samples, audio.rate_hz)


MARGIN_S = 0.1
"""Audio on either side of a piece that decides its resampled samples; soxr's filters are shorter."""


def read_piece(path: Path, start_s: float, end_s: float) -> NDArray[np.float32]:
    """Read a part of a file as 16 kHz mono, without reading the rest.

    A file at another rate is resampled from whole seconds around the piece, `MARGIN_S` or more on either
    side: whole seconds are whole samples at every rate, so that pieces meet. A piece that is the whole of a
    file equals `read_audio`.

    Args:
        path: A file that libsndfile reads.
        start_s: The first second of the piece, 0 or more.
        end_s: Its end; both are rounded to the nearest sample at 16 kHz.

    Returns:
        (N,) float32 samples; fewer than asked for where the file ends before.

    Raises:
        AudioError: As `read_audio` does, of the part that is read.
    """
    first, last = round(start_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ)
    with open_audio(path) as audio:
        if audio.rate_hz == SAMPLE_RATE_HZ:
            return audio.read(first, last - first)
        from_s, to_s = max(0, math.floor(start_s - MARGIN_S)), math.ceil(end_s + MARGIN_S)
        samples = audio.read(from_s * audio.rate_hz, (to_s - from_s) * audio.rate_hz)
        origin = from_s * SAMPLE_RATE_HZ
        return _resample(samples, audio.rate_hz)[first - origin : last - origin]


@dataclass(frozen=True)
class OpenAudio:
    """A file that is being read.

    Attributes:
        path: Where it is.
        rate_hz: Its own sample rate.
        frames: Its length in samples of that rate, as its header says.
    """

    path: Path
    rate_hz: int
    frames: int
    _file: Any

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """Return (N,) float32 samples at the file's own rate, channels averaged; N <= count at its end.

        Raises:
            AudioError: If the part cannot be decoded, or holds NaN or infinite samples.
        """
        with _audio_errors(self.path):
            if self._file.tell() != first:
                self._file.seek(min(first, self.frames))
            samples = self._file.read(count, dtype="float32", always_2d=True)
        if not np.isfinite(samples).all():
            raise AudioError(f"{self.path}: holds NaN or infinite samples", "re-export it, or leave it out")
        mono: NDArray[np.float32] = samples.mean(axis=1, dtype=np.float32)
        return mono


@contextlib.contextmanager
def open_audio(path: Path) -> Iterator[OpenAudio]:
    """Open a file to read parts of it.

    Raises:
        AudioError: If the file is missing, or not audio.
    """
    import soundfile

    if not path.is_file():
        raise AudioError(f"{path}: no such file", "check the path")
    with _audio_errors(path):
        file = soundfile.SoundFile(path)
    with file:
        if file.samplerate < LEAST_RATE_HZ:
            raise AudioError(f"{path}: sampled at {file.samplerate} Hz, which holds no speech", CONVERT)
        yield OpenAudio(path, file.samplerate, file.frames, file)


@contextlib.contextmanager
def _audio_errors(path: Path) -> Iterator[None]:
    import soundfile

    try:
        yield
    except soundfile.LibsndfileError as error:
        # Of a stream that breaks off in its middle, libsndfile says nothing.
        reason = error.error_string.removeprefix("Error : ").rstrip(".") or "it breaks off"
        raise AudioError(f"{path}: not readable as audio ({reason})", CONVERT) from error


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
