"""What a file holds: which pieces get a label, or why none does. Every file is decoded once or twice."""

import math
from dataclasses import dataclass
from pathlib import Path

from edgekit import labels
from edgekit.audio import SAMPLE_RATE_HZ, FrontEnd, open_audio, read_piece
from edgekit.errors import AudioError
from wavllm_teacher.labelling import segments
from wavllm_teacher.labelling.segments import FRAMES_PER_S, Levels

LONGEST_S = segments.LONGEST / FRAMES_PER_S
ENDLESS = 1 << 62
"""More frames than a file can hold: what libsndfile says where a header states none."""
SLACK_S = 0.1
"""A header, or a manifest, may be off by this much."""


@dataclass(frozen=True)
class ScanJob:
    """A file to look into.

    Attributes:
        name: Its name in the label table.
        path: Where it is.
        parts: First second and end of the parts to label; empty: all of it.
    """

    name: str
    path: str
    parts: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Found:
    """A piece in a file: first second, end, `labels.audio_sha256`, and which part of its job it lies in."""

    start_s: float
    end_s: float
    audio_sha256: str
    part: int


@dataclass(frozen=True)
class Scanned:
    """What was found in a file.

    Attributes:
        name: As in the job.
        duration_s: Its length; 0 if it cannot be read.
        pieces: Its pieces in order; none if it cannot be used.
        reason: Why not, or why some of its parts cannot; empty if all of it can.
    """

    name: str
    duration_s: float
    pieces: tuple[Found, ...]
    reason: str = ""


def scan_file(job: ScanJob) -> Scanned:
    """Decode a file block by block and cut it into pieces.

    What makes the file unusable is in the result, not raised: other files go on.
    """
    path = Path(job.path)
    try:
        _require_file(path)
        levels, duration_s = _read_levels(path)
    except AudioError as error:
        return Scanned(job.name, 0.0, (), _reason(error, path))
    except (OSError, ValueError) as error:
        return Scanned(job.name, 0.0, (), f"cannot be read ({getattr(error, 'strerror', error)})")
    pieces, reasons = [], []
    for number, (start_s, end_s) in enumerate(job.parts or ((0.0, duration_s),)):
        try:
            pieces += _pieces(path, number, (start_s, end_s), levels, duration_s)
        except AudioError as error:
            reasons.append(_reason(error, path))
    return Scanned(job.name, duration_s if pieces else 0.0, tuple(pieces), "; ".join(reasons))


def _require_file(path: Path) -> None:
    """Require what can be opened: it says why not where libsndfile says "System error"."""
    if path.exists() and not path.is_file():
        raise AudioError(f"{path}: is no file")
    if "\\x" in path.name and not path.exists():
        raise AudioError(f"{path}: its name is not UTF-8")
    with path.open("rb"):
        pass


def _reason(error: AudioError, path: Path) -> str:
    return error.what.removeprefix(f"{path}: ")


def _read_levels(path: Path) -> tuple[Levels, float]:
    with open_audio(path) as audio:
        if audio.frames > ENDLESS:
            # Its writer could not go back to the header: a pipe.
            raise AudioError(f"{path}: its header states no length")
        levels, duration_s = segments.read_levels(audio)
        expected_s = audio.frames / audio.rate_hz
    if duration_s == 0:
        raise AudioError(f"{path}: holds no samples")
    if duration_s < expected_s - SLACK_S:
        raise AudioError(f"{path}: breaks off after {duration_s:.1f} of {expected_s:.1f} s")
    return levels, duration_s


def _pieces(
    path: Path, number: int, part: tuple[float, float], levels: Levels, duration_s: float
) -> list[Found]:
    """Return the pieces of part `number` of a file."""
    start_s, end_s = part
    if end_s > duration_s + SLACK_S:
        raise AudioError(f"{path}: {start_s:g} to {end_s:g} s were asked for, it has {duration_s:.2f} s")
    found = []
    for piece_start_s, piece_end_s in _bounds(path, levels, start_s, min(end_s, duration_s)):
        samples = read_piece(path, piece_start_s, piece_end_s)
        if samples.size < FrontEnd().n_fft:
            raise AudioError(
                f"{path}: {samples.size} samples at 16 kHz, shorter than one frame of {FrontEnd().n_fft}"
            )
        if piece_end_s == duration_s:
            # Resampled, a file can be a sample shorter or longer.
            piece_end_s = (round(piece_start_s * SAMPLE_RATE_HZ) + samples.size) / SAMPLE_RATE_HZ
        found.append(Found(piece_start_s, piece_end_s, labels.audio_sha256(samples), number))
    return found


def _bounds(path: Path, levels: Levels, start_s: float, end_s: float) -> list[tuple[float, float]]:
    """Return first second and end of the pieces of a part: itself, or segments on the grid of 10 ms."""
    if end_s - start_s <= LONGEST_S:
        return [(start_s, end_s)]
    first, last = math.ceil(start_s * FRAMES_PER_S), math.floor(end_s * FRAMES_PER_S)
    found = segments.cut_at_pauses(levels[first:last])
    if not found:
        raise AudioError(f"{path}: nothing in it is louder than {segments.SILENCE_DB} dB of full scale")
    return [((first + start) / FRAMES_PER_S, (first + end) / FRAMES_PER_S) for start, end in found]
