"""Training the full teacher's head on cached hidden states of the frozen encoder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.metrics import adv_ccc
from edgekit.progress import Progress, silent
from wavllm_teacher.encoder import WhisperStates, load_encoder
from wavllm_teacher.pooling import length_mask
from wavllm_teacher.training import Clip, ccc_loss, cached, mean_ccc, read_all, read_clips, varied_copy
from wavllm_teacher.whisper import Head


@dataclass(frozen=True)
class FullConfig:
    """Settings of the full teacher's training.

    Attributes:
        corpus: Folder of clips whose table gives split and A/D/V labels.
        encoder: Folder of the Whisper encoder.
        copies: Versions of every training clip: the clip itself and `copies - 1` augmented ones.
        epochs: Passes over all copies; the epoch with the best mean dev CCC is kept.
    """

    corpus: Path
    encoder: Path
    copies: int = 7
    epochs: int = 25
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    dropout: float = 0.5
    noise: float = 0.3
    seed: int = 7

    def params(self) -> dict[str, object]:
        """Return the settings that are not paths, JSON-ready."""
        return {k: v for k, v in asdict(self).items() if not isinstance(v, Path)}


@dataclass(frozen=True)
class States:
    """Cached hidden states of some clips: per clip (S, T, D) float16, and (N, 3) labels."""

    arrays: list[NDArray[np.float16]]
    labels: torch.Tensor

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (B, S, T, D) zero-padded states, (B, T) validity and (B, 3) labels."""
        chosen = [self.arrays[i] for i in indices]
        lengths = torch.tensor([a.shape[1] for a in chosen])
        states = torch.zeros(len(chosen), chosen[0].shape[0], int(lengths.max()), chosen[0].shape[2])
        for row, array in zip(states, chosen, strict=True):
            row[:, : array.shape[1]] = torch.from_numpy(np.array(array))
        return states, length_mask(lengths), self.labels[list(indices)]


def cache_states(
    clips: Sequence[Clip], encoder: WhisperStates, copies: int, seed: int, folder: Path, progress: Progress
) -> States:
    """Encode every copy of every clip, keeping the result on disk so that a rerun goes on where it was."""
    folder.mkdir(parents=True, exist_ok=True)
    voices = read_all(clips)
    arrays, labels = [], []
    for copy in range(copies):
        for index, (clip, samples) in enumerate(zip(clips, voices, strict=True)):

            def encode(samples: NDArray[np.float32] = samples, copy: int = copy, index: int = index) -> NDArray[np.float16]:
                return encoder(varied_copy(samples, (seed, copy, index), voices)).numpy().astype(np.float16)

            arrays.append(cached(folder / f"{clip.split}-{index:05d}-{copy}.npy", encode))
            labels.append(clip.labels)
            progress(f"encoding {clip.split} speech", len(arrays), copies * len(clips))
    return States(arrays, torch.tensor(labels, dtype=torch.float32))


def set_statistics(head: Head, states: States) -> None:
    """Fit the head's standardisation to the frames of the training clips."""
    count = sum(a.shape[1] for a in states.arrays)
    total = sum(a.astype(np.float64).sum(axis=1) for a in states.arrays)
    mean = total / count
    square = sum(((a.astype(np.float64) - mean[:, None]) ** 2).sum(axis=1) for a in states.arrays)
    head.mean.copy_(torch.from_numpy(mean))
    head.scale.copy_(torch.from_numpy(np.sqrt(square / count) + 1e-3))


@torch.no_grad()
def predict_states(head: Head, states: States, batch: int = 64) -> NDArray[np.float32]:
    """Return (N, 3) predictions of cached clips."""
    head.eval()
    rows = []
    for start in range(0, len(states.arrays), batch):
        x, valid, _ = states.batch(range(start, min(start + batch, len(states.arrays))))
        rows.append(head(head.frames(x), valid).numpy())
    return np.concatenate(rows)


def train_head(train: States, dev: States, config: FullConfig, progress: Progress = silent) -> tuple[Head, list[dict[str, float]]]:
    """Train the head; return that of the best dev epoch, and the dev CCCs of every epoch."""
    torch.manual_seed(config.seed)
    first = train.arrays[0]
    head = Head(first.shape[0], first.shape[2], config.dropout, config.noise)
    set_statistics(head, train)
    optimizer = torch.optim.AdamW(head.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    steps = config.epochs * (len(train.arrays) // config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng(config.seed)
    history: list[dict[str, float]] = []
    best, best_state = -np.inf, head.state_dict()
    for epoch in range(config.epochs):
        head.train()
        order = rng.permutation(len(train.arrays))
        for start in range(0, len(order) - config.batch + 1, config.batch):
            states, valid, labels = train.batch(order[start : start + config.batch].tolist())
            loss = ccc_loss(head(head.frames(states), valid), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        history.append(adv_ccc(predict_states(head, dev), dev.labels.numpy()))
        if mean_ccc(history[-1]) > best:
            best = mean_ccc(history[-1])
            best_state = {k: v.clone() for k, v in head.state_dict().items()}
        progress(f"dev CCC {mean_ccc(history[-1]):.3f} (best {best:.3f}), epoch", epoch + 1, config.epochs)
    head.load_state_dict(best_state)
    return head.eval(), history


def labelled(folder: Path, split: str) -> list[Clip]:
    """Return the clips of a split that carry labels."""
    return [clip for clip in read_clips(folder) if clip.split == split and clip.labels is not None]


def load_states(config: FullConfig, cache: Path, progress: Progress) -> dict[str, States]:
    """Return cached states of the train (all copies), dev and test clips."""
    encoder = load_encoder(config.encoder)
    return {
        split: cache_states(
            labelled(config.corpus, split), encoder, config.copies if split == "train" else 1, config.seed, cache, progress
        )
        for split in ("train", "dev", "test")
    }
