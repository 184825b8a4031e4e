"""Training the full teacher's head on cached hidden states of the frozen encoder."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit import artifact
from edgekit.metrics import adv_ccc
from edgekit.progress import Progress, silent
from wavllm_teacher.assembly import assemble_full, write_head
from wavllm_teacher.encoder import WhisperStates, load_encoder
from wavllm_teacher.measure import against_labels, rounded
from wavllm_teacher.pooling import length_mask
from wavllm_teacher.training import (
    Clip,
    Samples,
    cached,
    ccc_loss,
    half,
    labelled,
    mean_ccc,
    read_all,
    varied_copy,
)
from wavllm_teacher.whisper import Head

MIX_START_LOGIT = 3.0
SMALLEST_SCALE = 1e-3


@dataclass(frozen=True)
class FullConfig:
    """Settings of the full teacher's training.

    Attributes:
        corpus: Folder of clips whose table gives split and A/D/V labels.
        encoder: Folder of the Whisper encoder.
        copies: Versions of every training clip: the clip itself and `copies - 1` augmented ones.
        epochs: Passes over all copies; the epoch with the best mean dev CCC is kept.
        mix_start: For each layer mix, the state that has most of it at the start.
        ridge: Strength of the ridge regression that the output layer starts from.
    """

    corpus: Path
    encoder: Path
    copies: int = 7
    epochs: int = 2
    batch: int = 64
    learning_rate: float = 5e-6
    mix_learning_rate: float = 3e-3
    mix_start: tuple[int, ...] = (2, 3)
    ridge: float = 1000.0
    weight_decay: float = 0.1
    dropout: float = 0.5
    noise: float = 0.3
    crop_frames: int = 400
    seed: int = 7

    def params(self) -> dict[str, object]:
        """Return the settings that are not paths, JSON-ready."""
        return {k: v for k, v in asdict(self).items() if not isinstance(v, Path)}


@dataclass(frozen=True)
class States:
    """Cached hidden states of some clips: per clip (S, T, D) float16, and (N, 3) labels."""

    arrays: list[NDArray[np.float16]]
    labels: torch.Tensor

    def batch(
        self, head: Head, indices: Sequence[int], crop: "Crop | None" = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B, T, K D) zero-padded mixed frames of some clips and their (B, T) validity."""
        chosen = [self.arrays[i] if crop is None else crop(self.arrays[i]) for i in indices]
        lengths = [array.shape[1] for array in chosen]
        # Mixed as one long clip: a mix per clip would make the backward pass ten times slower.
        mixed = head.frames(torch.from_numpy(np.concatenate(chosen, axis=1)).float())
        frames = list(torch.split(mixed, lengths))
        return torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), length_mask(torch.tensor(lengths))


Crop = Callable[[NDArray[np.float16]], NDArray[np.float16]]


def random_crop(rng: np.random.Generator, most_frames: int) -> Crop:
    """Return a function that cuts a random piece of at most `most_frames` out of (S, T, D) states."""

    def crop(states: NDArray[np.float16]) -> NDArray[np.float16]:
        start = int(rng.integers(max(1, states.shape[1] - most_frames + 1)))
        return states[:, start : start + most_frames]

    return crop


def cache_states(
    clips: Sequence[Clip], encoder: WhisperStates, copies: int, seed: int, folder: Path, progress: Progress
) -> States:
    """Encode every copy of every clip, keeping the result on disk so that a rerun goes on where it was."""
    folder.mkdir(parents=True, exist_ok=True)
    voices = read_all(clips)
    arrays, labels = [], []
    for number in range(copies):
        for index, clip in enumerate(clips):
            encode = partial(_encode_copy, encoder, voices, (seed, number, index))
            arrays.append(cached(folder / f"{clip.split}-{index:05d}-{number}.npy", encode))
            labels.append(clip.labels)
            progress(f"encoding {clip.split} speech", len(arrays), copies * len(clips))
    return States(arrays, torch.tensor(labels, dtype=torch.float32))


def _encode_copy(
    encoder: WhisperStates, voices: Sequence[Samples], seed: tuple[int, int, int]
) -> NDArray[np.float16]:
    return half(encoder(varied_copy(voices, seed)))


def set_statistics(head: Head, states: States) -> None:
    """Fit the head's standardisation to the frames of the training clips."""
    count = sum(a.shape[1] for a in states.arrays)
    mean = sum(a.sum(axis=1, dtype=np.float32) for a in states.arrays) / count
    square = sum(((a - mean[:, None]) ** 2).sum(axis=1) for a in states.arrays) / count
    head.mean.copy_(torch.from_numpy(mean))
    head.scale.copy_(torch.from_numpy(np.sqrt(square) + SMALLEST_SCALE))


@torch.no_grad()
def predict_states(head: Head, states: States, batch: int = 64) -> NDArray[np.float32]:
    """Return (N, 3) predictions of cached clips."""
    head.eval()
    rows = []
    for start in range(0, len(states.arrays), batch):
        frames, valid = states.batch(head, range(start, min(start + batch, len(states.arrays))))
        rows.append(head(frames, valid).numpy())
    return np.concatenate(rows)


@torch.no_grad()
def warm_start(head: Head, train: States, config: FullConfig) -> None:
    """Start the head from mean and deviation pooling of a few states and a ridge regression on them."""
    for mix, state in enumerate(config.mix_start):
        head.mix[mix, state] = MIX_START_LOGIT
    torch.nn.init.zeros_(head.pool.score.weight)
    pooled = []
    for start in range(0, len(train.arrays), config.batch):
        frames, valid = train.batch(head, range(start, min(start + config.batch, len(train.arrays))))
        pooled.append(head.pool(frames, valid))
    x = torch.cat(pooled).double()
    mean, scale = x.mean(0), x.std(0) + SMALLEST_SCALE
    head.pooled_mean.copy_(mean)
    head.pooled_scale.copy_(scale)
    z = (x - mean) / scale
    target = train.labels.double()
    gram = z.T @ z + config.ridge * torch.eye(z.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, z.T @ (target - target.mean(0)))
    head.out.weight.copy_(weight.T)
    head.out.bias.copy_(target.mean(0))


def train_head(
    train: States, dev: States, config: FullConfig, progress: Progress = silent
) -> tuple[Head, list[dict[str, float]]]:
    """Train the head with 1 - CCC from its warm start.

    Returns:
        The head at its best dev epoch (0 is the warm start), and the dev CCCs of every epoch from 0 on.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    first = train.arrays[0]
    head = Head(first.shape[0], first.shape[2], config.dropout, config.noise)
    # The first arrays are copy 0 of every clip: clean speech sets the scale.
    set_statistics(head, States(train.arrays[: len(train.arrays) // config.copies], train.labels))
    warm_start(head, train, config)
    optimizer, schedule = _optimizer(head, len(train.arrays), config)
    history = [adv_ccc(predict_states(head, dev), dev.labels.numpy())]
    best, best_state = mean_ccc(history[0]), copy.deepcopy(head.state_dict())
    for epoch in range(1, config.epochs + 1):
        _train_epoch(head, train, optimizer, schedule, config, rng)
        history.append(adv_ccc(predict_states(head, dev), dev.labels.numpy()))
        if mean_ccc(history[-1]) > best:
            best, best_state = mean_ccc(history[-1]), copy.deepcopy(head.state_dict())
        progress(f"dev CCC {mean_ccc(history[-1]):.3f} (best {best:.3f}), epoch", epoch, config.epochs)
    head.load_state_dict(best_state)
    return head.eval(), history


def _optimizer(
    head: Head, clips: int, config: FullConfig
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    others = [p for name, p in head.named_parameters() if name != "mix"]
    groups = [
        {"params": others, "lr": config.learning_rate, "weight_decay": config.weight_decay},
        {"params": [head.mix], "lr": config.mix_learning_rate, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    steps = max(1, config.epochs * (clips // config.batch))
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _train_epoch(
    head: Head,
    train: States,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    config: FullConfig,
    rng: np.random.Generator,
) -> None:
    head.train()
    crop = random_crop(rng, config.crop_frames)
    order = rng.permutation(len(train.arrays))
    # A last, smaller batch would give poor CCC statistics: it is left out.
    for start in range(0, len(order) - config.batch + 1, config.batch):
        chosen = order[start : start + config.batch].tolist()
        frames, valid = train.batch(head, chosen, crop)
        loss = ccc_loss(head(frames, valid), train.labels[chosen])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()


def load_states(config: FullConfig, cache: Path, progress: Progress) -> dict[str, States]:
    """Return cached states of the train (all copies) and dev clips."""
    encoder = load_encoder(config.encoder)
    return {
        split: cache_states(labelled(config.corpus, split), encoder, copies, config.seed, cache, progress)
        for split, copies in (("train", config.copies), ("dev", 1))
    }


def train_full(config: FullConfig, out: Path, progress: Progress = silent) -> dict[str, Any]:
    """Train the head, write the full teacher's folder, and return its metrics.

    Hidden states are kept in `out/.cache`, so that a rerun goes on where it was.

    Raises:
        AudioError: If audio or its table is missing.
        ArtifactError: If the encoder is damaged.
    """
    states = load_states(config, out / ".cache", progress)
    head, history = train_head(states["train"], states["dev"], config, progress)
    write_head(head, out)
    teacher = assemble_full(out, config.encoder, out)
    held_out = against_labels(teacher, labelled(config.corpus, "test"))
    metrics = {
        "training": {**config.params(), "dev_ccc_vs_pseudo_labels": [rounded(ccc) for ccc in history]},
        "held_out_speakers": {"full_vs_pseudo_labels": held_out},
    }
    artifact.write_json(out / "metrics.json", metrics)
    return metrics
