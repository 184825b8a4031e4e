"""Cutting long recordings at pauses, from the level of every hundredth of a second.

Frames of 10 ms are the grid. Whoever talks louder than the threshold talks: it lies 6 dB above the quietest
parts of the recording, but at least 20 dB below its loudest, so that steady noise counts as sound. Where in
doubt a frame counts as speech: labelling silence costs a little time, dropping speech costs material.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgekit.audio import OpenAudio

FRAMES_PER_S = 100
SHORTEST = 2 * FRAMES_PER_S
LONGEST = 12 * FRAMES_PER_S
EDGE = 20
"""Frames that are kept before the first and after the last speech of a segment."""
PAUSE = 20
"""Fewer frames without speech are no pause, but a plosive or a breath."""
LONG_PAUSE = 100
"""What follows a pause this long is a segment of its own."""
BLOCK_S = 10
FLOOR_DB, CEILING_DB = -100, 27
SILENCE_DB = -70
ABOVE_QUIETEST_DB = 6
BELOW_LOUDEST_DB = 20
SMOOTH = 11

Levels = NDArray[np.int8]


def read_levels(audio: OpenAudio) -> tuple[Levels, float]:
    """Return the levels of a file and its length, reading ten seconds at a time.

    Returns:
        (frames,) int8 root mean square of every whole 10 ms in dB of full scale, -100 or more; and the length
        in seconds of what could be read.

    Raises:
        AudioError: If the file cannot be decoded, or holds NaN or infinite samples.
    """
    blocks: list[Levels] = []
    frames, size = 0, BLOCK_S * audio.rate_hz
    while True:
        samples = audio.read(frames, size)
        frames += samples.size
        blocks.append(_levels(samples, audio.rate_hz))
        if samples.size < size:
            return np.concatenate(blocks), frames / audio.rate_hz


def _levels(samples: NDArray[np.float32], rate_hz: int) -> Levels:
    # A hundredth of a second need not be a whole number of samples: 110.25 at 11,025 Hz.
    count = samples.size * FRAMES_PER_S // rate_hz
    edges = np.arange(count + 1) * rate_hz // FRAMES_PER_S
    power = np.square(samples[: edges[-1]], dtype=np.float64)
    if count == 0:
        return np.zeros(0, np.int8)
    mean = np.add.reduceat(power, edges[:-1]) / np.diff(edges)
    level_db = np.rint(10 * np.log10(np.maximum(mean, 1e-12)))
    return np.asarray(np.clip(level_db, FLOOR_DB, CEILING_DB), np.int8)


def find_speech(levels: Levels) -> NDArray[np.bool_]:
    """Return which frames hold speech, or whatever is not silence."""
    if levels.size == 0:
        return np.zeros(0, np.bool_)
    quietest, loudest = np.percentile(levels, [5, 99.5])
    threshold = min(max(quietest + ABOVE_QUIETEST_DB, SILENCE_DB), loudest - BELOW_LOUDEST_DB)
    return np.asarray(levels > max(threshold, SILENCE_DB), np.bool_)


def cut_at_pauses(levels: Levels) -> list[tuple[int, int]]:
    """Cut a recording into segments of 2 to 12 s that hold all of its speech and do not overlap.

    A segment ends in the first pause of a second or more, else in the longest pause (the later one of
    equals), else where it is quietest; in no case before 2 s or after 12 s.

    Args:
        levels: (frames,) levels of at least 2 s.

    Returns:
        First frame and end of every segment.

    Example:
        >>> levels = np.full(2000, -80, np.int8)
        >>> levels[300:700] = levels[900:1400] = -20
        >>> cut_at_pauses(levels)
        [(280, 720), (880, 1420)]
    """
    speech = find_speech(levels)
    pauses = _pauses(speech)
    spoken = np.flatnonzero(speech)
    return list(_cut(levels, spoken, pauses))


def _cut(levels: Levels, spoken: NDArray[np.intp], pauses: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    total, place = levels.size, 0
    while (following := int(np.searchsorted(spoken, place))) < spoken.size:
        # Every cut leaves 2 s: neither bound moves the place before the last cut.
        start = min(max(place, int(spoken[following]) - EDGE), total - SHORTEST)
        place = _next_cut(levels, pauses, start)
        last = int(spoken[np.searchsorted(spoken, place) - 1])
        yield start, min(place, max(start + SHORTEST, last + 1 + EDGE))


def _pauses(speech: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the (P, 2) first frame and end of every pause."""
    edges = np.flatnonzero(np.diff(np.pad(speech, 1, constant_values=True)))
    runs = edges.reshape(-1, 2)
    return runs[runs[:, 1] - runs[:, 0] >= PAUSE]


def _next_cut(levels: Levels, pauses: NDArray[np.intp], start: int) -> int:
    """Return where the segment that starts there is cut from the next, at most 12 s later."""
    earliest, latest = start + SHORTEST, min(start + LONGEST, levels.size - SHORTEST)
    from_, to = np.searchsorted(pauses[:, 1], earliest, "right"), np.searchsorted(pauses[:, 0], latest)
    near = np.clip(pauses[from_:to], earliest, max(earliest, latest))
    near = near[near[:, 1] - near[:, 0] >= PAUSE]
    lengths = near[:, 1] - near[:, 0]
    if (lengths >= LONG_PAUSE).any():
        return int(near[lengths >= LONG_PAUSE][0].mean())
    if levels.size - start <= LONGEST:
        return levels.size
    if near.size == 0:
        # Nobody pauses: the quietest place, and rather a late one.
        middle = (earliest + latest) // 2
        smooth = np.convolve(levels[middle:latest].astype(np.int32), np.ones(SMOOTH, np.int32), "same")
        return middle + int(smooth.argmin())
    return int(near[lengths == lengths.max()][-1].mean())
