"""The two-stage training of a dual encoder: resumable, to the bit the same as uninterrupted training.

The batch and the dropout of a step depend on the seed and the step's number alone, so a checkpoint needs no
generator state.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit import artifact
from edgekit.errors import ArtifactError
from edgekit.interrupts import interrupts_after
from edgekit.metrics import DIMENSIONS, defined_adv_ccc
from edgekit.progress import Progress
from wavllm_teacher.dual_encoder import DualEncoder
from wavllm_teacher.teaching.config import TeachConfig
from wavllm_teacher.teaching.states import Heard
from wavllm_teacher.training import ccc_loss

CHECKPOINT = ".checkpoint.pt"
CHECKPOINT_EVERY = 25
EVALUATION_BATCH = 16
WARM_UP_SHARE = 0.05
LARGEST_GRADIENT = 1.0
STAGES = ("single", "joint")
HISTORY_HEADER = ("step", "stage", "learning_rate", "train_loss", *(f"dev_{name}" for name in DIMENSIONS))

Ccc = dict[str, float | None]


@dataclass(frozen=True)
class Best:
    """The weights that agree best with the labels of the dev clips, and how well, by corpus."""

    step: int
    score: float
    dev_ccc: dict[str, Ccc]
    weights: dict[str, torch.Tensor]


@dataclass
class State:
    """Everything that resuming needs besides network and optimiser."""

    step: int = 0
    history: list[list[Any]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best: Best | None = None


@dataclass(frozen=True)
class Task:
    """What one step learns: a batch over these corpora, and the sum of 1 - CCC over these dimensions."""

    stage: str
    corpora: tuple[str, ...]
    dimensions: tuple[str, ...]


def task_of(step: int, corpora: Sequence[str], config: TeachConfig) -> Task:
    """Return the task of a step: every corpus and dimension in turn, then all together.

    Example:
        >>> config = TeachConfig((Path("a"), Path("b")), whisper=Path("w"), single_steps=6)
        >>> [(t.corpora, t.dimensions) for t in (task_of(step, "ab", config) for step in (0, 1, 5))]
        [(('a',), ('arousal',)), (('b',), ('arousal',)), (('b',), ('valence',))]
        >>> task_of(6, "ab", config).corpora
        ('a', 'b')
    """
    if step >= config.single_steps:
        return Task("joint", tuple(corpora), DIMENSIONS)
    corpus = corpora[step % len(corpora)]
    return Task("single", (corpus,), (DIMENSIONS[step // len(corpora) % len(DIMENSIONS)],))


def learning_rate(step: int, config: TeachConfig) -> float:
    """Return the rate of a step: in each stage a linear rise over its first twentieth, then half a cosine.

    Example:
        >>> config = TeachConfig((Path("a"),), whisper=Path("w"), single_steps=40, joint_steps=100)
        >>> [round(learning_rate(step, config) * 1e3, 2) for step in (0, 2, 39, 40, 45, 139)]
        [0.5, 1.0, 0.0, 0.2, 1.0, 0.0]
    """
    first = 0 if step < config.single_steps else config.single_steps
    steps = config.single_steps if step < config.single_steps else config.joint_steps
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    done = step - first
    if done < warm_up:
        return config.learning_rate * (done + 1) / warm_up
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - warm_up) / max(1, steps - warm_up)))


class Trainer:
    """Trains a dual encoder in place and keeps the best weights seen.

    Args:
        network: What is trained.
        train: Corpus to its training clips; all corpora weigh the same in the joint task.
        dev: Corpus to its dev clips.
        config: The settings.
        folder: Where the checkpoint lies; one that is there is continued.
    """

    def __init__(
        self,
        network: DualEncoder,
        train: Mapping[str, Heard],
        dev: Mapping[str, Heard],
        config: TeachConfig,
        folder: Path,
    ) -> None:
        self.network = network
        self.train = train
        self.dev = dev
        self.config = config
        self.checkpoint = folder / CHECKPOINT
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.state = State()

    def run(self, progress: Progress) -> State:
        """Train to the last step and leave the best weights in the network.

        Ctrl-C takes effect between two steps, and leaves a checkpoint there.
        """
        if self.checkpoint.exists():
            self._restore()
        else:
            self._evaluate()
        try:
            self._show(progress)
            while self.state.step < self.config.steps:
                with interrupts_after():
                    self._advance()
                if self.state.step % CHECKPOINT_EVERY == 0 or self.state.step == self.config.steps:
                    self._save()
                self._show(progress)
        except KeyboardInterrupt:
            self._save()
            raise
        assert self.state.best is not None
        self.network.load_state_dict(self.state.best.weights)
        return self.state

    def _show(self, progress: Progress) -> None:
        what = "training single tasks" if self.state.step < self.config.single_steps else "training"
        progress(what, self.state.step, self.config.steps)

    def _advance(self) -> None:
        step, config = self.state.step, self.config
        task = task_of(step, list(self.train), config)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        self.optimizer.zero_grad()
        loss = self._loss(task, np.random.default_rng([config.seed, step]))
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        self.state.step += 1
        self.state.losses.append(loss.item())
        if self.state.step % config.evaluate_every == 0 or self.state.step == config.steps:
            self._evaluate()

    def _loss(self, task: Task, rng: np.random.Generator) -> torch.Tensor:
        clips, labels = self._draw(task, rng)
        self.network.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            prediction = self.network(clips, task.dimensions)
        columns = [DIMENSIONS.index(name) for name in task.dimensions]
        return ccc_loss(prediction, labels[:, columns])

    def _draw(
        self, task: Task, rng: np.random.Generator
    ) -> tuple[dict[str, list[torch.Tensor]], torch.Tensor]:
        """Return crops of a batch, by encoder, and their (B, 3) labels."""
        clips: dict[str, list[torch.Tensor]] = {name: [] for name in self.network.branches}
        labels = []
        for number, corpus in enumerate(task.corpora):
            heard, frames = self.train[corpus], self.config.crop_frames
            # Where the batch does not divide evenly, the corpora take turns at the clip that is left over.
            size = (self.config.batch + (self.state.step + number) % len(task.corpora)) // len(task.corpora)
            picked = rng.choice(len(heard.labels), size, replace=len(heard.labels) < size).tolist()
            crops = heard.batch(picked, heard.random_starts(picked, frames, rng), frames)
            for name, states in crops.items():
                clips[name] += states
            labels.append(heard.labels[picked])
        return clips, torch.cat(labels)

    def _evaluate(self) -> None:
        found = {
            corpus: defined_adv_ccc(predict(self.network, heard), heard.labels.numpy())
            for corpus, heard in self.dev.items()
        }
        # What is undefined, because two series are the same constant, counts as no agreement.
        means = [float(np.mean([ccc[name] or 0.0 for ccc in found.values()])) for name in DIMENSIONS]
        score = sum(means) / len(means)
        self._record(means)
        best = self.state.best
        if best is None or score > best.score:
            weights = {name: value.clone() for name, value in self.network.state_dict().items()}
            self.state.best = Best(self.state.step, score, found, weights)

    def _record(self, dev_ccc: list[float]) -> None:
        losses, self.state.losses = self.state.losses, []
        rate = self.optimizer.param_groups[0]["lr"]
        loss = float(np.mean(losses)) if losses else None
        stage = STAGES[self.state.step > self.config.single_steps]
        self.state.history.append([self.state.step, stage, rate, loss, *dev_ccc])

    def _save(self) -> None:
        best = self.state.best
        assert best is not None
        values = {
            "step": self.state.step,
            "history": self.state.history,
            "losses": self.state.losses,
            "best": [best.step, best.score, best.dev_ccc, best.weights],
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(values, buffer)
        artifact.write_bytes(self.checkpoint, buffer.getvalue())

    def _restore(self) -> None:
        try:
            values = torch.load(self.checkpoint, weights_only=True)
            self.network.load_state_dict(values["network"])
            self.optimizer.load_state_dict(values["optimizer"])
            self.state = State(values["step"], values["history"], values["losses"], Best(*values["best"]))
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, UnpicklingError) as error:
            raise ArtifactError(
                f"{self.checkpoint}: damaged checkpoint", f"remove {self.checkpoint.parent}, then run again"
            ) from error


@torch.no_grad()
def predict(network: DualEncoder, heard: Heard) -> NDArray[np.float32]:
    """Return (N, 3) predictions of whole clips."""
    network.train(mode=False)
    count = len(heard.labels)
    starts = range(0, count, EVALUATION_BATCH)
    rows = [network(heard.batch(range(i, min(i + EVALUATION_BATCH, count)))).numpy() for i in starts]
    return np.concatenate(rows)


def history_csv(history: Sequence[Sequence[Any]]) -> str:
    """Return the learning curve as CSV; an empty field is a value that does not exist."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HISTORY_HEADER)
    for row in history:
        table.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])
    return text.getvalue()
