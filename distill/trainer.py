"""The training loop: resumable after any step, to the bit the same as uninterrupted training.

The batch of a step depends on the seed and the step's number alone, so a checkpoint needs no generator state.

Under torchrun, each process computes its part of a batch; losses, statistics and weights are those of one
process but for rounding. With AdamW, losses agree to 1e-5 over the first steps. Muon computes in bfloat16,
and makes more of rounding: losses of about 1 differ by .01 after eight steps.
"""

import copy
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.agreement import Agreement, measure
from distill.clips import Clips
from distill.config import DistillConfig
from distill.loss import LOSSES
from distill.optimizers import Optimizer
from distill.pool import Pool, rows_of_step
from distill.registry import create_student
from distill.statistics import RunningStatistics
from distill.student import Student
from edgekit import artifact
from edgekit.audio import FrontEnd, log_mel
from edgekit.errors import ArtifactError, ConfigError
from edgekit.parallel import ALONE, Team
from edgekit.progress import Progress

CHECKPOINT = ".checkpoint.pt"
CHECKPOINT_EVERY = 25
MICRO_BATCH = 4
"""Clips per pass through the network: small enough for the processor's caches, which doubles the speed."""
WARM_UP_SHARE = 0.05
LONGEST_MEMORY = 0.99
"""Share of itself that the average of the weights keeps at every step, once it has seen many."""
LARGEST_GRADIENT = 1.0
CLEARLY_BETTER = 0.01
"""How much a student that ships has to gain on the development clips to be replaced: on a few dozen of them,
less is chance, and costs as much on other clips."""

HISTORY_HEADER = "step,learning_rate,train_loss,dev_arousal,dev_dominance,dev_valence"


@dataclass(frozen=True)
class Best:
    """The weights that agree best with the teacher on the development clips."""

    step: int
    score: float
    weights: dict[str, Tensor]


@dataclass
class State:
    """Everything that resuming needs."""

    step: int = 0
    history: list[list[float | None]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best: Best | None = None


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the rate of a step: a linear rise over the first twentieth, then half a cosine down to zero.

    Example:
        >>> [round(learning_rate(step, 100, 1.0), 2) for step in (0, 4, 5, 52, 99)]
        [0.2, 1.0, 1.0, 0.51, 0.0]
    """
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def initial_student(config: DistillConfig) -> Student:
    """Return a student with random weights from the seed."""
    torch.manual_seed(config.seed)
    return create_student(config.student, config.front_end)


def require_precision(student: Student, config: DistillConfig) -> None:
    """Require that a student can be trained in the precision of the settings.

    Raises:
        ConfigError: If it cannot.
    """
    # oneDNN's bfloat16 grouped convolutions are wrong on processors with AMX: seen with torch 2.13.
    grouped = any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in student.modules())
    if config.precision == "bfloat16" and grouped:
        what = f"precision bfloat16: some processors get the grouped convolutions of {config.student} wrong"
        raise ConfigError(what, "use --set precision=float32")


def require_clips_for_all(team: Team, config: DistillConfig) -> None:
    """Require that every process computes a part of each batch.

    Raises:
        ConfigError: If there are more processes than parts.
    """
    batch = min(config.batch, config.pool)
    if 0 in team.units(batch, MICRO_BATCH):
        least = (team.size - 1) * MICRO_BATCH + 1
        what = (
            f"{team.size} processes for batches of {batch}: each computes at least one of {MICRO_BATCH} clips"
        )
        raise ConfigError(what, f"use fewer processes, or at least {least} for --set batch and --set pool")


@torch.no_grad()
def centre_outputs(student: Student, targets: NDArray[np.float32]) -> None:
    """Let a new student begin near the mean of (N, 3) labels, so that the first steps stay small."""
    student.adv.weight.normal_(std=0.02)
    student.adv.bias.copy_(torch.from_numpy(targets.mean(axis=0)))


def predict(student: Student, features: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return (N, 3) predictions of whole clips, one (T, M) array of log-mel frames each."""
    training = student.training
    student.eval()
    with torch.no_grad():
        rows = [student.forward_logmel(torch.from_numpy(clip)[None])[0].numpy() for clip in features]
    student.train(training)
    return np.stack(rows)


def clip_features(clips: Clips, front_end: FrontEnd) -> list[NDArray[np.float32]]:
    """Return the (T, M) log-mel frames of each whole clip."""
    return [log_mel(samples, front_end) for samples in clips.audio]


class Trainer:
    """Trains a student in place and keeps the best weights seen, or the last.

    What is measured and kept is a moving average of the weights (Polyak and Juditsky 1992): single steps at a
    high rate, over batches of correlations, swing a lot.

    Args:
        student: The network; its batch normalisation learns only when it starts from random weights.
        pool: The crops to learn from.
        dev: The clips that choose the weights, unless the last ones are kept.
        config: The settings.
        folder: Where the checkpoint lies; one that is there is continued.
        team: The processes that train together.
    """

    def __init__(
        self,
        student: Student,
        pool: Pool,
        dev: Clips,
        config: DistillConfig,
        folder: Path,
        team: Team = ALONE,
    ) -> None:
        self.student = student.train(not config.warm_start)
        self.pool = pool
        self.dev = dev
        self.config = config
        self.checkpoint = folder / CHECKPOINT
        self.team = team
        self.trainable = [p for p in student.parameters() if p.requires_grad]
        self.optimizer = Optimizer(student, config)
        self.dev_features = clip_features(dev, student.front_end)
        self.average = copy.deepcopy(student).requires_grad_(False)
        self.statistics = RunningStatistics(student)
        self.state = State()

    def run(self, progress: Progress) -> State:
        """Train to the last step and leave the weights to keep in the student.

        Ctrl-C leaves a checkpoint of the last whole step.

        Raises:
            ArtifactError: If the checkpoint is damaged.
            ConfigError: If loss, gradient or outputs are no finite numbers: the last checkpoint stays.
        """
        if self.checkpoint.exists():
            self._restore()
        else:
            self._evaluate()
        progress("training", self.state.step, self.config.steps)
        saved = self._snapshot()
        try:
            while self.state.step < self.config.steps:
                self._advance()
                # A copy of each whole step: an interrupt may come in the middle of the next one.
                saved = self._snapshot()
                if self.state.step % CHECKPOINT_EVERY == 0:
                    self._save(saved)
                progress("training", self.state.step, self.config.steps)
        except KeyboardInterrupt:
            self._save(saved)
            raise
        best = self.state.best
        if self.config.final or best is None:
            self.student.load_state_dict(self.average.state_dict())
        else:
            self.student.load_state_dict(best.weights)
        return self.state

    def _advance(self) -> None:
        step, config = self.state.step, self.config
        loss = self._learn(rows_of_step(len(self.pool), config.batch, config.seed, step))
        self.optimizer.step(learning_rate(step, config.steps, config.learning_rate))
        self._follow()
        self.state.step += 1
        self.state.losses.append(loss)
        if self.state.step % config.evaluate_every == 0 or self.state.step == config.steps:
            self._evaluate()

    def _learn(self, rows: NDArray[np.int64]) -> float:
        """Leave the gradient of the loss over some crops, and return the loss."""
        statistics = self.statistics.read()
        self.optimizer.zero_grad()
        prediction = self._predict(rows)
        loss = LOSSES[self.config.loss](prediction, torch.from_numpy(self.pool.targets[rows]))
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        self.team.add_gradients(self.trainable)
        # Behind the backward pass, which needs what frozen statistics were.
        self.statistics.join(statistics, self.team.units(len(rows), MICRO_BATCH), self.team)
        length = nn.utils.clip_grad_norm_(self.trainable, LARGEST_GRADIENT).item()
        if not math.isfinite(loss.item() + length):
            raise self._diverged(self.state.step + 1, f"the loss is {loss.item()}, its gradient {length}")
        return loss.item()

    def _predict(self, rows: NDArray[np.int64]) -> Tensor:
        """Return (B, 3) predictions of crops, computed by all processes."""
        features, _ = self.pool.batch(rows[self.team.part(len(rows), MICRO_BATCH)])
        parts = (features[i : i + MICRO_BATCH] for i in range(0, len(features), MICRO_BATCH))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            own = torch.cat([self.student.forward_logmel(torch.from_numpy(part)) for part in parts]).float()
        return self.team.gather(own, len(rows), MICRO_BATCH)

    def _diverged(self, step: int, what: str) -> ConfigError:
        hint = f"remove {self.checkpoint.parent}, then train with a lower --set learning_rate"
        return ConfigError(f"step {step}: {what}", f"{hint} than {self.config.learning_rate:g}")

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average of the weights, batch statistics included, towards the student."""
        keep = min(LONGEST_MEMORY, (1 + self.state.step) / (10 + self.state.step))
        learned = self.student.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(learned[name], 1 - keep)
            else:
                value.copy_(learned[name])

    def _evaluate(self) -> None:
        if not self.team.leads:
            return
        said = predict(self.average, self.dev_features)
        if not np.isfinite(said).all():
            raise self._diverged(self.state.step, "the student's outputs are no finite numbers")
        found = measure(said, self.dev.targets)
        self._record(found)
        best = self.state.best
        start = best is not None and best.step == 0 and self.config.warm_start
        if best is None or found.score > best.score + (CLEARLY_BETTER if start else 0):
            weights = {name: value.clone() for name, value in self.average.state_dict().items()}
            self.state.best = Best(self.state.step, found.score, weights)

    def _record(self, found: Agreement) -> None:
        losses, self.state.losses = self.state.losses, []
        rate = learning_rate(max(0, self.state.step - 1), self.config.steps, self.config.learning_rate)
        loss = float(np.mean(losses)) if losses else None
        self.state.history.append([self.state.step, rate, loss, *found.ccc.values()])

    def _snapshot(self) -> dict[str, Any]:
        best = self.state.best
        values = {
            "step": self.state.step,
            "history": self.state.history,
            "losses": self.state.losses,
            "best": best and [best.step, best.score, best.weights],
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        return copy.deepcopy(values)

    def _save(self, values: dict[str, Any]) -> None:
        if not self.team.leads:
            return
        buffer = io.BytesIO()
        torch.save(values, buffer)
        artifact.write_bytes(self.checkpoint, buffer.getvalue())

    def _restore(self) -> None:
        try:
            values = torch.load(self.checkpoint, weights_only=True)
            self.student.load_state_dict(values["student"])
            self.average.load_state_dict(values["average"])
            self.optimizer.load_state_dict(values["optimizer"])
            self.state = State(values["step"], values["history"], values["losses"], Best(*values["best"]))
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, UnpicklingError) as error:
            raise ArtifactError(
                f"{self.checkpoint}: damaged checkpoint", f"remove {self.checkpoint.parent}, then run again"
            ) from error


def history_csv(history: list[list[float | None]]) -> str:
    """Return the learning curve as CSV; an empty field is a value that does not exist."""
    lines = [HISTORY_HEADER]
    for step, *values in history:
        lines.append(",".join([str(step), *("" if value is None else f"{value:.6g}" for value in values)]))
    return "\n".join(lines) + "\n"
