"""The two stages of training (arXiv 2404.00656): adapters only, resumable to the bit.

Stage one learns single tasks with corrections of constant strength. Stage two starts from it, adds the prompt
adapter, and learns prompts that combine tasks. Both minimise the cross entropy of the answer's tokens, each
one predicted from the true ones before it.

Batch and dropout of a step depend on the seed and the step's number alone: a checkpoint needs no generator.
Under torchrun, each process computes its part of every batch. Without dropout, losses and weights are those
of one process but for rounding; dropout differs from process to process.
"""

import functools
import hashlib
import io
import json
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 -- the name PyTorch users know

from edgekit import artifact
from edgekit.audio import read_audio
from edgekit.errors import ArtifactError, ConfigError
from edgekit.interrupts import interrupts_after
from edgekit.parallel import ALONE, Team
from edgekit.progress import Progress, silent
from wavllm_teacher import checkpoint
from wavllm_teacher.device import CPU, Device
from wavllm_teacher.speech_llm.generation import GREEDY, Assistant, Decoding
from wavllm_teacher.speech_llm.hearing import Heard
from wavllm_teacher.speech_llm.instructions import Instruction, Mixture, naming, naming_longest, told
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.prompts import Prompt, Request, tokenise
from wavllm_teacher.speech_llm.storage import fingerprint, frozen_parts
from wavllm_teacher.speech_llm.tokens import Tokenizer

CHECKPOINT = ".speech-llm.pt"
NO_MATTER: dict[str, Any] = {"checkpoint_every": 1, "recompute": False, "heard_bytes": 0}
"""What a schedule may have otherwise when a training is resumed: it changes no result."""
IGNORED = -100
"""Marks positions whose token nobody predicts."""


@dataclass(frozen=True)
class Schedule:
    """How a stage is trained.

    Attributes:
        steps: Optimizer steps.
        batch: Instructions in each.
        learning_rate: The largest; it rises over the first twentieth, then falls as half a cosine.
        weight_decay: AdamW's.
        largest_gradient: Longer gradients are shortened to this.
        seed: Of batches and dropout.
        checkpoint_every: Steps between checkpoints.
        recompute: Compute blocks again in the backward pass, to save memory.
        heard_bytes: Memory for what encoders heard in clips that come again.

    Raises:
        ConfigError: If a number is impossible.
    """

    steps: int
    batch: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    largest_gradient: float = 1.0
    seed: int = 0
    checkpoint_every: int = 100
    recompute: bool = False
    heard_bytes: int = 2**30

    def __post_init__(self) -> None:
        counts = self.steps, self.batch, self.checkpoint_every
        if min(counts) < 1 or not 0 < self.learning_rate < math.inf:
            raise ConfigError(
                f"impossible schedule: {self.steps} steps of {self.batch}, a checkpoint every "
                f"{self.checkpoint_every}, learning rate {self.learning_rate}",
                "steps, batch and checkpoint_every are at least 1, the learning rate is above 0",
            )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step.

        Example:
            >>> [round(Schedule(100, learning_rate=1.0).rate(step), 2) for step in (0, 4, 52, 99)]
            [0.2, 1.0, 0.51, 0.0]
        """
        rising = max(1, round(0.05 * self.steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        return (
            self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, self.steps - rising)))
        )


class Hearing:
    """What the encoders hear in files, kept in memory while there is room; the longest unused goes first.

    Args:
        model: Its encoders.
        most_bytes: Room.
    """

    def __init__(self, model: SpeechLlm, most_bytes: int) -> None:
        self.model = model
        self.most_bytes = most_bytes
        self._kept: OrderedDict[Path, Heard] = OrderedDict()
        self._bytes = 0

    def __call__(self, audio: Path | None) -> Heard | None:
        """Return what is heard in a file; None for None.

        Raises:
            AudioError: If it cannot be read.
            ConfigError: If its speech alone is longer than the decoder's positions; names it.
        """
        if audio is None:
            return None
        if audio not in self._kept:
            with naming(audio):
                self._kept[audio] = self.model.hear(read_audio(audio))
            self._bytes += _size(self._kept[audio])
        self._kept.move_to_end(audio)
        heard = self._kept[audio]
        while self._bytes > self.most_bytes and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return heard


def _size(heard: Heard) -> int:
    states = heard.whisper if heard.wavlm is None else (*heard.whisper, heard.wavlm)
    return sum(state.nbytes for state in states)


def answer_loss(
    model: SpeechLlm,
    prompts: Sequence[Prompt],
    heard: Sequence[Heard | None],
    answers: Sequence[Sequence[int]],
) -> torch.Tensor:
    """Return the cross entropy of all tokens of answers, summed.

    Args:
        model: What is trained.
        prompts: Tokens of instructions, at least one.
        heard: The speech of each; None where there is none.
        answers: Tokens of each one's answer, its end included.

    Raises:
        ConfigError: If speech, prompt and answer are longer than the decoder's positions.
    """
    longest = max(map(len, answers))
    # All answers end where the sequence ends, so the last positions alone need logits; the very last predicts
    # what would follow the end.
    logits = model(model.sequences(prompts, heard, answers), last=longest + 1)[:, :-1]
    targets = torch.full((len(answers), longest), IGNORED)
    for row, answer in enumerate(answers):
        targets[row, longest - len(answer) :] = torch.tensor(answer)
    return F.cross_entropy(
        logits.flatten(0, 1), targets.flatten().to(logits.device), ignore_index=IGNORED, reduction="sum"
    )


def _speech(heard: Heard | None) -> Any:
    # The template asks only whether there is speech; the encoders have heard it already.
    return None if heard is None else np.empty(0, np.float32)


@dataclass
class Progressed:
    """How far training is.

    Attributes:
        step: Steps that are done.
        losses: The loss of each.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)


class Trainer:
    """Trains what a model trains, in place.

    Args:
        model: On its device already; in stage two, with the adapters of stage one loaded.
        tokenizer: The decoder's.
        mixture: What to draw batches from.
        schedule: How.
        folder: Where the checkpoint lies; one that is there is continued.
        device: Its precision is that of the matrix products.
        team: The processes that train together; all see the same `folder`.
    """

    def __init__(
        self,
        model: SpeechLlm,
        tokenizer: Tokenizer,
        mixture: Mixture,
        schedule: Schedule,
        folder: Path,
        device: Device = CPU,
        team: Team = ALONE,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.team = team
        self.mixture, self.schedule = mixture, schedule
        self.device = device
        self.checkpoint = folder / CHECKPOINT
        self.trained = dict(model.trained())
        self.optimizer = torch.optim.AdamW(
            self.trained.values(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self.hearing = Hearing(model, schedule.heard_bytes)
        self.state = Progressed()
        if schedule.recompute:
            model.decoder.checkpoint_gradients()

    def run(self, progress: Progress = silent) -> Progressed:
        """Train to the last step. Ctrl-C takes effect between two steps, and leaves a checkpoint there.

        Of several processes, all stop behind the same step, whichever was interrupted.

        Raises:
            ArtifactError: If the checkpoint is damaged or of another training.
            AudioError: If a clip cannot be read.
            ConfigError: If speech, prompt and answer are longer than the decoder's positions, or the loss is
                no finite number any more: the last checkpoint stays.
        """
        if self.checkpoint.exists():
            self._restore()
        # Adapters may have been drawn at random in each process.
        self.team.share(value.data for value in self.trained.values())
        show = progress if self.team.leads else silent
        asked: list[bool] = []
        # Around all steps: a second signal must not break off what is saved after the first.
        with interrupts_after(lambda: asked.append(True)):
            try:
                while self.state.step < self.schedule.steps:
                    self._advance()
                    if self.state.step % self.schedule.checkpoint_every == 0:
                        self._save()
                    show(f"training stage {self.model.stage}", self.state.step, self.schedule.steps)
                    if self.team.add(len(asked)):
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                self._save()
                self.team.wait()
                raise
            self._save()
            self.team.wait()
        self.model.train(mode=False)
        return self.state

    def _advance(self) -> None:
        rng = np.random.default_rng([self.schedule.seed, self.state.step])
        batch = self.mixture.draw(self.schedule.batch, rng)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.state.step)
        self.optimizer.zero_grad()
        self.state.losses.append(self._learn(batch, int(rng.integers(2**63)) + self.team.rank))
        self.team.add_gradients(self.trained.values())
        length = nn.utils.clip_grad_norm_(self.trained.values(), self.schedule.largest_gradient)
        if not math.isfinite(self.state.losses[-1] + length.item()):
            found = f"the loss is {self.state.losses[-1]:g}, the length of its gradient {length:g}"
            hint = f"lower the learning rate; steps that were saved are in {self.checkpoint}"
            raise ConfigError(f"step {self.state.step + 1}: {found}", hint)
        self.optimizer.step()
        self.state.step += 1

    def _learn(self, batch: Sequence[Instruction], seed: int) -> float:
        """Leave the gradients of this process's part, and return the loss of the whole batch."""
        answers = [[*self.tokenizer.encode(found.answer), self.tokenizer.end] for found in batch]
        own = self.team.part(len(batch), 1)
        return self.team.add(self._learn_part(batch[own], answers[own], sum(map(len, answers)), seed))

    def _learn_part(
        self, own: Sequence[Instruction], answers: Sequence[Sequence[int]], count: int, seed: int
    ) -> float:
        if not own:
            return 0.0
        heard = [self.hearing(found.audio) for found in own]
        prompts = [
            tokenise(Request(found.prompt, _speech(clip), found.system), self.tokenizer)
            for found, clip in zip(own, heard, strict=True)
        ]
        self.model.train()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            lengths = [0 if clip is None else _size(clip) for clip in heard]
            with self.device.autocast(), naming_longest(own, lengths):
                loss = answer_loss(self.model, prompts, heard, answers) / count
            torch.autograd.backward(loss)
        return loss.item()

    @functools.cached_property
    def _identity(self) -> str:
        """Return a digest of all that decides the result, but for the adapters that training starts from."""
        learned = [found for task in self.mixture.tasks for found in self.mixture.by_task[task]]
        decides = {
            "stage": self.model.stage,
            "shape": self.model.shape.to_dict(),
            "frozen": [fingerprint(self.model, part) for part in frozen_parts(self.model.shape)],
            "schedule": repr(replace(self.schedule, **NO_MATTER)),
            "tasks": [self.mixture.tasks, self.mixture.shares.tolist()],
            "instructions": told(learned),
            "tokens": self.tokenizer.size,
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def _save(self) -> None:
        if not self.team.leads:
            return
        values = {
            "identity": self._identity,
            "step": self.state.step,
            "losses": self.state.losses,
            "trained": {name: value.detach() for name, value in self.trained.items()},
            "optimizer": self.optimizer.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(values, buffer)
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        artifact.write_bytes(self.checkpoint, buffer.getvalue())

    def _restore(self) -> None:
        try:
            values = torch.load(self.checkpoint, weights_only=True, map_location=self.model.place)
            if values["identity"] != self._identity:
                raise ArtifactError(
                    f"{self.checkpoint}: of another training",
                    f"remove {self.checkpoint}, or use its settings, instructions and frozen parts",
                )
            if set(values["trained"]) != set(self.trained):
                raise KeyError("trained")
            self.model.load_state_dict(values["trained"], strict=False)
            self.optimizer.load_state_dict(values["optimizer"])
            self.state = Progressed(values["step"], values["losses"])
        except checkpoint.UNPICKLING as error:
            raise ArtifactError(
                f"{self.checkpoint}: damaged checkpoint", f"remove {self.checkpoint}, then run again"
            ) from error


def answers_to(
    model: SpeechLlm, tokenizer: Tokenizer, instructions: Sequence[Instruction], decoding: Decoding = GREEDY
) -> list[str]:
    """Return what a model answers to each instruction.

    Raises:
        AudioError: If a clip cannot be read.
        ConfigError: If speech and prompt are longer than the decoder's positions.
    """
    requests = [
        Request(i.prompt, None if i.audio is None else read_audio(i.audio), i.system) for i in instructions
    ]
    return Assistant(model, tokenizer).answer(requests, decoding)


def exact_share(instructions: Sequence[Instruction], answers: Sequence[str]) -> dict[str, float]:
    """Return, for each task, the share of instructions whose answer is exactly the wanted one."""
    right: dict[str, list[bool]] = {}
    for instruction, answer in zip(instructions, answers, strict=True):
        right.setdefault(instruction.task, []).append(answer == instruction.answer)
    return {task: sum(hits) / len(hits) for task, hits in sorted(right.items())}
