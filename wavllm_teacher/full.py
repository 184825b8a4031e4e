"""Fitting the full teacher's head on pooled hidden states of the frozen encoder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import artifact
from edgekit.errors import AudioError
from edgekit.progress import Progress, silent
from wavllm_teacher.assembly import METRICS_FILE, assemble_full, write_head
from wavllm_teacher.encoder import WhisperStates, load_encoder
from wavllm_teacher.head import category_means, fit_head, one_hot
from wavllm_teacher.measure import against_labels, pseudo_labels
from wavllm_teacher.training import Clip, cached, labelled, read_all, require_permissive, varied_copy
from wavllm_teacher.whisper import LAYERS, pool_states


@dataclass(frozen=True)
class FullConfig:
    """Settings of the full teacher's training.

    Attributes:
        corpus: Folder of clips whose table gives split, emotion and A/D/V labels.
        encoder: Folder of the Whisper encoder.
        layers: The hidden states that the head reads.
        splits: The splits that are learned from; the test split never is.
        copies: Versions of every training clip: the clip itself and `copies - 1` augmented ones.
        strength: Inverse of the penalty on the head's weights.
        seed: Of the augmentation.
    """

    corpus: Path
    encoder: Path
    layers: tuple[int, ...] = LAYERS
    splits: tuple[str, ...] = ("train", "dev")
    copies: int = 4
    strength: float = 0.1
    seed: int = 7

    def params(self) -> dict[str, object]:
        """Return the settings that are not paths, JSON-ready."""
        return {k: v for k, v in asdict(self).items() if not isinstance(v, Path)}


def pooled_copies(
    clips: Sequence[Clip], encoder: WhisperStates, config: FullConfig, cache: Path, progress: Progress
) -> NDArray[np.float32]:
    """Return (copies * len(clips), P) pooled states of every copy, copy 0 of all clips first.

    What is computed is kept on disk, so that a rerun goes on where it was.
    """
    cache.mkdir(parents=True, exist_ok=True)
    voices = read_all(clips)
    rows = []
    for number in range(config.copies):
        for index in range(len(clips)):
            pool = partial(_pool_copy, encoder, voices, (config.seed, number, index), config.layers)
            rows.append(cached(cache / f"{index:05d}-{number}.npy", pool))
            progress("encoding speech", len(rows), config.copies * len(clips))
    return np.concatenate(rows)


def _pool_copy(
    encoder: WhisperStates,
    voices: Sequence[NDArray[np.float32]],
    seed: tuple[int, int, int],
    layers: tuple[int, ...],
) -> NDArray[np.float32]:
    pooled: NDArray[np.float32] = pool_states(
        encoder(varied_copy(voices, seed), max(layers))[list(layers)]
    ).numpy()
    return pooled


def train_full(config: FullConfig, out: Path, progress: Progress = silent) -> dict[str, Any]:
    """Fit the head, write the full teacher's folder, and return its metrics.

    Pooled states are kept in `out/.cache`, so that a rerun goes on where it was.

    Raises:
        AudioError: If audio, its table, or an emotion in the table is missing.
        ConfigError: If the licence of a clip does not allow that of the teacher.
        ArtifactError: If the encoder is damaged.
    """
    encoder = load_encoder(config.encoder)
    clips = [clip for split in config.splits for clip in labelled(config.corpus, split)]
    require_permissive(clips)
    categories = _categories(config.corpus, clips)
    pooled = pooled_copies(clips, encoder, config, out / ".cache", progress)
    wanted = one_hot(categories)
    head = fit_head(
        pooled,
        np.tile(wanted, (config.copies, 1)),
        category_means(wanted, pseudo_labels(clips)),
        copies=config.copies,
        strength=config.strength,
    )
    write_head(head, config.layers, encoder.width, sorted(set(categories)), out)
    teacher = assemble_full(out, config.encoder, out)
    test = labelled(config.corpus, "test")
    metrics = {
        "training": {**config.params(), "clips": len(clips)},
        "held_out_speakers": {"full_vs_pseudo_labels": against_labels(teacher, test)},
    }
    artifact.write_json(out / METRICS_FILE, metrics)
    return metrics


def _categories(corpus: Path, clips: Sequence[Clip]) -> list[str]:
    without = [clip for clip in clips if not clip.emotion]
    if without or not clips:
        what = f"{without[0].file}: no emotion in its table" if without else f"{corpus}: no labelled clips"
        raise AudioError(what, "give the table the columns emotion, arousal, dominance, valence and split")
    return [clip.emotion for clip in clips]
