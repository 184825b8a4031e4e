"""Pooled hidden states of the two acted corpora, computed once and kept on disk."""

import csv
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.audio import SAMPLE_RATE_HZ, read_audio
from edgekit.audio.augment import augment
from edgekit.errors import ConfigError
from wavllm_teacher.encoder import WhisperStates, load_encoder
from wavllm_teacher.training import cached, half
from wavllm_teacher.whisper import pool_states

SEED = 0
COPIES = 4
WIDTH = 512
STATES = 7
HOP_SAMPLES = SAMPLE_RATE_HZ // 50
SPEECH_DEPTH_DB = 35.0
LEVEL_DB = -26.0

Samples = NDArray[np.float32]


def shared_folder() -> Path:
    """Return the folder of shared material.

    Raises:
        ConfigError: If it holds no corpus or no encoder.
    """
    folder = Path(os.environ.get("EDGEKIT_SHARED", Path(__file__).parents[3] / "shared"))
    for part in ("corpus/labels.csv", "corpus/nc/ravdess", "weights/whisper-base-encoder/config.json"):
        if not (folder / part).exists():
            raise ConfigError(
                f"{folder / part} is missing", "name the shared material: EDGEKIT_SHARED=FOLDER"
            )
    return folder


@dataclass(frozen=True)
class Corpus:
    """One acted corpus.

    Attributes:
        name: As in the table's column `corpus`.
        rows: Its rows of the table.
        cache: Folder of its pooled states.
    """

    name: str
    rows: tuple[dict[str, str], ...]
    cache: Path

    def column(self, name: str) -> NDArray[np.str_]:
        """Return a column of the table."""
        return np.array([row[name] for row in self.rows])

    @cached_property
    def adv(self) -> NDArray[np.float32]:
        """Return the (N, 3) pseudo-labels."""
        return np.array(
            [[row[d] for d in ("arousal", "dominance", "valence")] for row in self.rows], np.float32
        )

    def pooled(self, copies: int, states: tuple[int, ...], *, deviation: bool, trimmed: bool) -> Samples:
        """Return (copies, N, P) features: means over time of the states, and deviations if wanted."""
        files = [self.cache / file_name(self.name, number, trimmed=trimmed) for number in range(copies)]
        kept = np.stack([np.load(file)[:, list(states)] for file in files])
        wanted = kept if deviation else kept[..., :WIDTH]
        return wanted.reshape(*kept.shape[:2], -1).astype(np.float32)


def file_name(corpus: str, number: int, *, trimmed: bool) -> str:
    """Return the name of the array of one copy of a corpus."""
    return f"{corpus}-{'trimmed' if trimmed else 'whole'}-{number}.npy"


def read_corpora(folder: Path, cache: Path) -> tuple[Corpus, Corpus]:
    """Return EmoDB and RAVDESS, their pooled states computed and kept in `cache` where they are missing."""
    with (folder / "corpus/labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cache.mkdir(parents=True, exist_ok=True)
    emodb, ravdess = (
        Corpus(name, tuple(row for row in rows if row["corpus"] == name), cache)
        for name in ("emodb", "ravdess")
    )
    talkers = [folder / "corpus" / row["path"] for row in rows if row["corpus"].startswith("librispeech")]
    _encode(folder, (emodb, ravdess), talkers)
    return emodb, ravdess


def _encode(folder: Path, corpora: tuple[Corpus, ...], talkers: list[Path]) -> None:
    encoder = load_encoder(folder / "weights/whisper-base-encoder")
    babble = [read_audio(path) for path in talkers]
    for number in range(COPIES):
        for trimmed in (False, True):
            for corpus in corpora:
                path = corpus.cache / file_name(corpus.name, number, trimmed=trimmed)
                clips = [folder / "corpus" / row["path"] for row in corpus.rows]
                make = partial(_pool_clips, encoder, clips, babble, number, trim if trimmed else None)
                cached(path, partial(_timed, make, path.with_suffix(".seconds")))


def _timed(make: Callable[[], NDArray[np.float16]], note: Path) -> NDArray[np.float16]:
    started = time.perf_counter()
    made = make()
    note.write_text(f"{time.perf_counter() - started:.0f}\n")
    return made


def encoding_s(cache: Path) -> int:
    """Return the seconds that all arrays of a cache took."""
    return sum(int(note.read_text()) for note in cache.glob("*.seconds"))


def _pool_clips(
    encoder: WhisperStates,
    clips: list[Path],
    babble: list[Samples],
    number: int,
    change: Callable[[Samples], Samples] | None,
) -> NDArray[np.float16]:
    """Return (N, states, 2 * WIDTH) of one copy of every clip."""
    rows = []
    for index, path in enumerate(clips):
        # The babble is LibriSpeech's: other clips of the corpus would bring test speakers into training.
        samples = read_audio(path)
        if number:
            samples = augment(samples, np.random.default_rng((SEED, number, index)), babble)
        rows.append(pool_each(encoder(change(samples) if change else samples)))
    return np.stack(rows)


def pool_each(states: torch.Tensor) -> NDArray[np.float16]:
    """Return (S, 2 D): mean and deviation over time of each of (S, T, D) states."""
    return half(torch.cat([pool_states(state[None]) for state in states]))


def trim(samples: Samples) -> Samples:
    """Return the clip from its first to its last loud 20 ms, at one RMS level."""
    frames = np.pad(samples.astype(np.float64), (0, -samples.size % HOP_SAMPLES)).reshape(-1, HOP_SAMPLES)
    level_db = 10 * np.log10((frames**2).mean(1) + 1e-12)
    loud = np.flatnonzero(level_db > level_db.max() - SPEECH_DEPTH_DB)
    start, end = max(0, loud[0] - 2), loud[-1] + 3
    speech = samples[start * HOP_SAMPLES : end * HOP_SAMPLES]
    rms = np.sqrt(np.mean(speech.astype(np.float64) ** 2) + 1e-12)
    return np.asarray(speech * (10 ** (LEVEL_DB / 20) / rms), np.float32)
