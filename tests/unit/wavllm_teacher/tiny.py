"""A tiny Whisper encoder and compact teacher, and small corpora of tones."""

import csv
from pathlib import Path

import numpy as np
import soundfile

from wavllm_teacher.compact import CompactShape

TINY_WHISPER = {
    "model_type": "whisper",
    "d_model": 16,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
}
TINY_SHAPE = CompactShape(
    width=16,
    heads=2,
    expansion=32,
    stem_ranks=(4, 5),
    attention_ranks=(6, 7),
    expansion_ranks=(8, 9),
    categories=3,
)
TINY_LAYERS = (1, 2)
EMOTIONS = ("angry", "bored", "calm")


def voice(seconds: float, seed: int) -> np.ndarray:
    """A buzzing tone whose pitch, loudness and noise depend on the seed."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * 16000)) / 16000
    tone = np.sign(np.sin(2 * np.pi * rng.uniform(90, 300) * time_s)) * rng.uniform(0.05, 0.3)
    return (tone + rng.uniform(0, 0.05) * rng.standard_normal(time_s.size)).astype(np.float32)


def write_corpus(
    folder: Path,
    rows: list[tuple[str, str]],
    seconds: float = 0.4,
    labelled: bool = True,
    licence: str | None = None,
) -> Path:
    """Write one file per (name, split) and a labels.csv beside the folder; emotions take turns."""
    folder.mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        stated = {} if licence is None else {"license": licence}
        table.writerow(["path", "emotion", "arousal", "dominance", "valence", "split", *stated])
        for seed, (name, split) in enumerate(rows):
            soundfile.write(folder / name, voice(seconds, seed), 16000)
            adv = np.random.default_rng(seed).uniform(0, 1, 3).round(3) if labelled else ["", "", ""]
            table.writerow([name, EMOTIONS[seed % 3] if labelled else "", *adv, split, *stated.values()])
    return folder
