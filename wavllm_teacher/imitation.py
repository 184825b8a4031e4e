"""Training the compact teacher to imitate the full one, frame by frame and clip by clip.

The full teacher hears every augmented copy once; its states are kept on disk. Its pooling and head are
cheap, so the targets of a random crop are computed from the crop's states when it is drawn.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 -- the name PyTorch users know

from edgekit.progress import Progress, silent
from wavllm_teacher.compact import MEL_PER_FRAME, CompactShape, CompactTeacher
from wavllm_teacher.head import SMALLEST_SCALE, fit_head, mean_and_deviation
from wavllm_teacher.pooling import length_mask
from wavllm_teacher.slimming import slim
from wavllm_teacher.training import Clip, Samples, cached, ccc_loss, half, read_all, varied_copy
from wavllm_teacher.whisper import WhisperTeacher

FRAMES_PER_S = 50
CALIBRATION_CLIPS = 200
"""Clips of each kind that the factored matrices are made for."""


@dataclass(frozen=True)
class Group:
    """Clips that are drawn together.

    Attributes:
        clips: The files.
        copies: Versions of each: itself and `copies - 1` augmented ones.
        share: Part of every batch.
    """

    name: str
    clips: tuple[Clip, ...]
    copies: int
    share: float


@dataclass(frozen=True)
class ImitationConfig:
    """Settings of the compact teacher's training.

    Attributes:
        steps: Optimiser steps; the last one's weights are kept.
        crop_s: Shortest and longest crop in seconds; one length a batch.
        frame_weight: Weight of the mean square error of the full teacher's states.
        temperature: Softens the probabilities of the categories that are imitated.
        strength: Of the first fit of the head, see `head.fit_head`.
        save_every: Steps between two checkpoints.
    """

    steps: int = 1400
    warm_up: int = 50
    batch: int = 32
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    crop_s: tuple[float, float] = (1.5, 3.5)
    frame_weight: float = 3.0
    temperature: float = 2.0
    strength: float = 0.1
    save_every: int = 50
    seed: int = 11

    def params(self) -> dict[str, object]:
        """Return all settings, JSON-ready."""
        return {**asdict(self), "crop_s": list(self.crop_s)}


@dataclass(frozen=True)
class Heard:
    """What was kept of one copy of one clip: (M, 2 T) log-mel and (S, T, D) states of the full teacher."""

    mel: NDArray[np.float16]
    states: NDArray[np.float16]


@dataclass(frozen=True)
class Batch:
    """Inputs of the compact teacher and targets from the full one.

    Attributes:
        mel: (B, M, 2 T) log-mel frames, zero where not valid.
        valid: (B, T) truth values.
        states: (B, T, S D) states of the full teacher side by side.
        scores: (B, K) scores of the full teacher's head.
    """

    mel: torch.Tensor
    valid: torch.Tensor
    states: torch.Tensor
    scores: torch.Tensor


def hear(
    group: Group, full: WhisperTeacher, front: CompactTeacher, seed: int, folder: Path, progress: Progress
) -> list[Heard]:
    """Run the full teacher over every copy of a group's clips, keeping the result on disk for a rerun."""
    folder.mkdir(parents=True, exist_ok=True)
    voices = read_all(group.clips)
    heard = []
    for number in range(group.copies):
        for index in range(len(voices)):
            stem = folder / f"{group.name}-{index:05d}-{number}"
            change = partial(varied_copy, voices, (seed, number, index))
            mel = cached(stem.with_suffix(".mel.npy"), partial(_mel, front, change))
            states = cached(stem.with_suffix(".states.npy"), partial(_states, full, change))
            heard.append(Heard(mel, states))
            progress(f"full teacher hears {group.name}", len(heard), group.copies * len(voices))
    return heard


def _mel(front: CompactTeacher, change: Callable[[], Samples]) -> NDArray[np.float16]:
    return half(front.log_mel(change()))


def _states(full: WhisperTeacher, change: Callable[[], Samples]) -> NDArray[np.float16]:
    return half(full.frames(change()))


def _crop(heard: Heard, length: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return at most `length` frames of a clip: (2 T, M) log-mel and (T, S D) states."""
    whole = heard.states.shape[1]
    start = int(rng.integers(max(1, whole - length + 1)))
    stop = min(start + length, whole)
    mel = heard.mel[:, start * MEL_PER_FRAME : stop * MEL_PER_FRAME].T
    states = heard.states[:, start:stop].transpose(1, 0, 2).reshape(stop - start, -1)
    return torch.from_numpy(mel.astype(np.float32)), torch.from_numpy(states.astype(np.float32))


@torch.no_grad()
def draw(heard: Sequence[Heard], length: int, full: WhisperTeacher, rng: np.random.Generator) -> Batch:
    """Cut every clip to at most `length` frames and compute the full teacher's targets."""
    crops = [_crop(h, length, rng) for h in heard]
    mel = nn.utils.rnn.pad_sequence([m for m, _ in crops], batch_first=True)
    states = nn.utils.rnn.pad_sequence([s for _, s in crops], batch_first=True)
    valid = length_mask(torch.tensor([len(s) for _, s in crops]))
    return Batch(mel.transpose(1, 2), valid, states, full.head.scores(mean_and_deviation(states, valid)))


class Imitator(nn.Module):
    """The compact teacher, and a training-only projection of its last frames onto the full one's states."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, teacher: CompactTeacher, full: WhisperTeacher, config: ImitationConfig) -> None:
        super().__init__()
        self.teacher = teacher
        self.config = config
        width = full.head.mean.numel() // 2
        self.project = nn.Linear(teacher.width, width)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("adv", full.head.adv.clone())

    @torch.no_grad()
    def start_from(self, wholes: Sequence[Batch]) -> None:
        """Fit projection and head to whole clips, so that training begins near the full teacher."""
        own, wanted, pooled = [], [], []
        for batch in wholes:
            states = self.teacher.states(batch.mel, batch.valid)
            own.append(states[-1][batch.valid])
            wanted.append(batch.states[batch.valid])
            pooled.append(self.teacher.pool(states, batch.valid))
        x, y = torch.cat(own), torch.cat(wanted)
        self.mean.copy_(y.mean(0))
        self.scale.copy_(y.std(0) + SMALLEST_SCALE)
        # Normal equations: exact enough for a start, and a hundred times faster than a factorisation.
        with_one = torch.cat([x, torch.ones(len(x), 1)], dim=1).double()
        gram = with_one.T @ with_one + torch.eye(with_one.shape[1], dtype=torch.float64)
        found = torch.linalg.solve(gram, with_one.T @ ((y - self.mean) / self.scale).double())
        self.project.weight.copy_(found[:-1].T)
        self.project.bias.copy_(found[-1])
        probabilities = torch.softmax(torch.cat([batch.scores for batch in wholes]), dim=1)
        head = fit_head(
            torch.cat(pooled).numpy(),
            probabilities.double().numpy(),
            self.teacher.head.adv.numpy(),
            strength=self.config.strength,
        )
        self.teacher.head.load_state_dict({**head.state_dict(), "adv": self.teacher.head.adv})

    def losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the mean square error of the states, and divergence and CCC loss of the head."""
        states = self.teacher.states(batch.mel, batch.valid)
        error = self.project(states[-1]) - (batch.states - self.mean) / self.scale
        scores = self.teacher.head.scores(self.teacher.pool(states, batch.valid))
        soft = self.config.temperature
        divergence = F.kl_div(
            F.log_softmax(scores / soft, dim=1),
            F.log_softmax(batch.scores / soft, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        expected = self.teacher.head.expected
        return (
            (error[batch.valid] ** 2).mean(),
            soft**2 * divergence,
            ccc_loss(expected(scores), expected(batch.scores)),
        )


T = TypeVar("T")
Material = Sequence[tuple[Group, Sequence[Heard]]]


def _draw_training(material: Material, config: ImitationConfig, full: WhisperTeacher, step: int) -> Batch:
    # One generator a step: a resumed training draws what the uninterrupted one does.
    rng = np.random.default_rng((config.seed, step))
    chosen: list[Heard] = []
    for group, heard in material:
        chosen += [heard[i] for i in rng.integers(len(heard), size=round(group.share * config.batch))]
    return draw(chosen, round(rng.uniform(*config.crop_s) * FRAMES_PER_S), full, rng)


def imitate(
    material: Material,
    full: WhisperTeacher,
    shape: CompactShape,
    config: ImitationConfig,
    checkpoint: Path,
    progress: Progress = silent,
) -> tuple[CompactTeacher, list[dict[str, float]]]:
    """Train the compact teacher; a rerun with the same checkpoint file goes on where it was.

    Returns:
        The network and, for every `save_every` steps, the mean losses over them.
    """
    imitator = _start(material, full, shape, config)
    optimizer = torch.optim.AdamW(
        imitator.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    history: list[dict[str, float]] = []
    if checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=True)
        imitator.load_state_dict(saved["imitator"])
        optimizer.load_state_dict(saved["optimizer"])
        history = saved["history"]
    sums = np.zeros(3)
    for step in range(len(history) * config.save_every, config.steps):
        losses = imitator.losses(_draw_training(material, config, full, step))
        _learn(optimizer, config.frame_weight * losses[0] + losses[1] + losses[2], _rate(step, config))
        sums += [loss.item() for loss in losses]
        progress("training", step + 1, config.steps)
        if (step + 1) % config.save_every == 0:
            means = (sums / config.save_every).tolist()
            history.append(dict(zip(("states", "divergence", "ccc"), means, strict=True)))
            sums[:] = 0
            _save(checkpoint, imitator, optimizer, history)
    return imitator.teacher.eval(), history


def _start(
    material: Material, full: WhisperTeacher, shape: CompactShape, config: ImitationConfig
) -> Imitator:
    torch.manual_seed(config.seed)
    some = [_spread(group.clips) for group, _ in material]
    # Copies 0 and 1: speech as it is, and as it is heard in everyday life.
    clips: list[Samples] = []
    for voices in map(read_all, some):
        clips += [varied_copy(voices, (config.seed, i % 2, i)) for i in range(len(voices))]
    imitator = Imitator(slim(full.states, clips, shape), full, config)
    imitator.teacher.head.adv.copy_(full.head.adv)
    rng = np.random.default_rng(config.seed)
    wholes = [draw([h], h.states.shape[1], full, rng) for _, heard in material for h in _spread(heard)]
    imitator.start_from(wholes)
    return imitator.train()


def _spread(items: Sequence[T]) -> Sequence[T]:
    return items[:: max(1, len(items) // CALIBRATION_CLIPS)]


def _rate(step: int, config: ImitationConfig) -> float:
    """Return the learning rate of a step: a linear rise, then half a cosine down to zero."""
    rise = min(1.0, (step + 1) / config.warm_up)
    return config.learning_rate * rise * 0.5 * (1 + float(np.cos(np.pi * step / config.steps)))


def _learn(optimizer: torch.optim.Optimizer, loss: torch.Tensor, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()


def _save(
    checkpoint: Path, imitator: Imitator, optimizer: torch.optim.Optimizer, history: list[dict[str, float]]
) -> None:
    partial_file = checkpoint.with_suffix(".partial")
    state = {"imitator": imitator.state_dict(), "optimizer": optimizer.state_dict(), "history": history}
    torch.save(state, partial_file)
    partial_file.replace(checkpoint)
