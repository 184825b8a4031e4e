"""Training the compact teacher to imitate the full one, frame by frame and clip by clip.

The full teacher hears every augmented copy once; its mixed frames are kept on disk. Its pooling and head
are cheap, so the targets of a random crop are computed from the crop's frames when it is drawn.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.metrics import adv_ccc
from edgekit.progress import Progress, silent
from wavllm_teacher.compact import STRIDE, CompactShape, CompactTeacher, frame_count
from wavllm_teacher.pooling import length_mask
from wavllm_teacher.training import Clip, Samples, cached, ccc_loss, half, mean_ccc, read_all, varied_copy
from wavllm_teacher.whisper import Head, WhisperTeacher

FRAMES_PER_S = 25
TEACHER_PER_FRAME = 2
"""Frames of the full teacher per frame of the compact one."""


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
        steps: Optimiser steps; the checkpoint with the best mean dev CCC against the full teacher is kept.
        crop_s: Shortest and longest crop in seconds; one length a batch.
        frame_weight: Weight of the mean square error of the frames.
        embedding_weight: Weight of the mean square error of the pooled embedding.
        dev_every: Steps between two looks at the dev clips.
    """

    steps: int = 1000
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.1
    crop_s: tuple[float, float] = (1.5, 3.5)
    frame_weight: float = 1.0
    embedding_weight: float = 0.5
    dev_every: int = 50
    seed: int = 11

    def params(self) -> dict[str, object]:
        """Return all settings, JSON-ready."""
        return {**asdict(self), "crop_s": list(self.crop_s)}


@dataclass(frozen=True)
class Heard:
    """What was kept of one copy of one clip: (F, M) log-mel and (T, D) frames of the full teacher."""

    mel: NDArray[np.float16]
    frames: NDArray[np.float16]


@dataclass(frozen=True)
class Batch:
    """Inputs of the compact teacher and targets from the full one."""

    mel: torch.Tensor
    valid: torch.Tensor
    frames: torch.Tensor
    embedding: torch.Tensor
    adv: torch.Tensor


def hear(
    group: Group,
    full: WhisperTeacher,
    front: CompactTeacher,
    seed: int,
    folder: Path,
    progress: Progress = silent,
) -> list[Heard]:
    """Run the full teacher over every copy of a group's clips, keeping the result on disk for a rerun."""
    folder.mkdir(parents=True, exist_ok=True)
    voices = read_all(group.clips)
    heard = []
    for number in range(group.copies):
        for index in range(len(voices)):
            stem, change = (
                f"{group.name}-{index:05d}-{number}",
                partial(varied_copy, voices, (seed, number, index)),
            )
            mel = cached(folder / f"{stem}.mel.npy", partial(_mel, front, change))
            frames = cached(folder / f"{stem}.frames.npy", partial(_frames, full, change))
            heard.append(Heard(mel, frames))
            progress(f"full teacher hears {group.name}", len(heard), group.copies * len(voices))
    return heard


def _mel(front: CompactTeacher, change: Callable[[], Samples]) -> NDArray[np.float16]:
    return half(front.log_mel(torch.from_numpy(change())))


def _frames(full: WhisperTeacher, change: Callable[[], Samples]) -> NDArray[np.float16]:
    return half(full.frames(change()))


def _crop(heard: Heard, length: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return at most `length` network frames of a clip: (F, M) log-mel and (T, D) teacher frames."""
    whole = heard.frames.shape[0] // TEACHER_PER_FRAME
    start = int(rng.integers(max(1, whole - length + 1)))
    count = max(1, min(length, whole))
    mel = heard.mel[start * STRIDE : (start + count) * STRIDE].astype(np.float32)
    frames = heard.frames[start * TEACHER_PER_FRAME : (start + count) * TEACHER_PER_FRAME]
    return torch.from_numpy(mel - mel.mean()), torch.from_numpy(frames.astype(np.float32))


@torch.no_grad()
def draw(heard: Sequence[Heard], length: int, head: Head, rng: np.random.Generator) -> Batch:
    """Cut every clip to at most `length` network frames and compute the full teacher's targets."""
    crops = [_crop(h, length, rng) for h in heard]
    mel = nn.utils.rnn.pad_sequence([m for m, _ in crops], batch_first=True)
    frames = nn.utils.rnn.pad_sequence([f for _, f in crops], batch_first=True)
    lengths = torch.tensor([len(f) for _, f in crops])
    embedding = head.embed(frames, length_mask(lengths))
    valid = length_mask(torch.tensor([frame_count(len(m)) for m, _ in crops]))
    pairs = nn.functional.pad(frames, (0, 0, 0, -frames.shape[1] % TEACHER_PER_FRAME))
    coarse = pairs.view(len(pairs), -1, TEACHER_PER_FRAME, pairs.shape[2]).mean(dim=2)
    return Batch(mel, valid, coarse, embedding, head.out(embedding))


class Imitator(nn.Module):
    """The compact teacher and two training-only projections onto what the full teacher computes inside."""

    def __init__(self, shape: CompactShape, head: Head, dropout: float) -> None:
        super().__init__()
        self.teacher = CompactTeacher(shape, dropout)
        self.to_frames = nn.Linear(shape.width, head.pool.hidden.in_features)
        self.to_embedding = nn.Linear(2 * shape.width, head.out.in_features)

    def losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the CCC loss and the mean square errors of frames and embedding."""
        frames = self.teacher.frames(batch.mel, batch.valid)
        pooled = self.teacher.embed(frames, batch.valid)
        count = min(frames.shape[1], batch.frames.shape[1])
        error = (self.to_frames(frames)[:, :count] - batch.frames[:, :count]) ** 2
        frame_error = error[batch.valid[:, :count]].mean()
        embedding_error = ((self.to_embedding(pooled) - batch.embedding) ** 2).mean()
        return ccc_loss(self.teacher.out(self.teacher.drop(pooled)), batch.adv), frame_error, embedding_error


@torch.no_grad()
def agreement(teacher: CompactTeacher, heard: Sequence[Heard], head: Head) -> dict[str, float]:
    """Return the CCC of the compact against the full teacher on whole clips."""
    teacher.eval()
    rng = np.random.default_rng(0)
    wholes = [draw([h], len(h.mel), head, rng) for h in heard]
    own = torch.cat([teacher(batch.mel, batch.valid) for batch in wholes])
    return adv_ccc(own.numpy(), torch.cat([batch.adv for batch in wholes]).numpy())


Material = Sequence[tuple[Group, Sequence[Heard]]]


def _draw_training(
    material: Material, config: ImitationConfig, head: Head, rng: np.random.Generator
) -> Batch:
    chosen: list[Heard] = []
    for group, heard in material:
        chosen += [heard[i] for i in rng.integers(len(heard), size=round(group.share * config.batch))]
    return draw(chosen, round(rng.uniform(*config.crop_s) * FRAMES_PER_S), head, rng)


def imitate(
    material: Material,
    dev: Sequence[Heard],
    head: Head,
    shape: CompactShape,
    config: ImitationConfig,
    progress: Progress = silent,
) -> tuple[CompactTeacher, list[dict[str, float]]]:
    """Train a compact teacher; return that of the best dev look, and the dev CCCs of every look."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    model = Imitator(shape, head, config.dropout)
    rate = config.learning_rate
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=config.steps, pct_start=0.1)
    history: list[dict[str, float]] = []
    best, best_state = -np.inf, copy.deepcopy(model.teacher.state_dict())
    for step in range(1, config.steps + 1):
        model.train()
        losses = model.losses(_draw_training(material, config, head, rng))
        _descend(model, losses, optimizer, config)
        schedule.step()
        if step % config.dev_every == 0 or step == config.steps:
            history.append(agreement(model.teacher, dev, head))
            if mean_ccc(history[-1]) > best:
                best, best_state = mean_ccc(history[-1]), copy.deepcopy(model.teacher.state_dict())
        shown = " + ".join(f"{loss.item():.2f}" for loss in losses)
        progress(f"imitation loss {shown}, best dev CCC {best:.3f}, step", step, config.steps)
    model.teacher.load_state_dict(best_state)
    return model.teacher.eval(), history


def _descend(
    model: Imitator,
    losses: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    config: ImitationConfig,
) -> None:
    ccc, frame, embedding = losses
    optimizer.zero_grad()
    torch.autograd.backward(ccc + config.frame_weight * frame + config.embedding_weight * embedding)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
