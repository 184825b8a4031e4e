"""The files by which a firmware without registers of ours talks: in QEMU, and on this computer itself.

codegen/board/board_semihosting.c describes them.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from firmware_sim.device import Adv


def write_audio(path: Path, pcm: npt.NDArray[np.int16], block_samples: int) -> None:
    """Write the audio that a firmware hears, and how many samples arrive at once."""
    path.write_bytes(struct.pack("<I", block_samples) + pcm.astype("<i2").tobytes())


def read_results(path: Path) -> Iterator[tuple[int, Adv]]:
    """Yield (samples heard, A/D/V in Q14) of each result; nothing if there is no such file."""
    for heard, arousal, dominance, valence in struct.iter_unpack("<4i", _content(path)):
        yield heard, (arousal, dominance, valence)


def read_traces(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (layer, bytes) of each traced output; nothing if there is no such file."""
    content, place = _content(path), 0
    while place < len(content):
        layer, size = struct.unpack_from("<2I", content, place)
        place += 8
        yield layer, content[place : place + size]
        place += size


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
