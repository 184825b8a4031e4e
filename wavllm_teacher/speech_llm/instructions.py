"""Instructions to train on: a manifest of one JSON object a line, and batches drawn from it by task.

    {"task": "emotion", "audio": "clips/a.wav", "prompt": "How does the speaker feel?", "answer": "sad"}

`audio` is relative to the manifest's folder, and left out for instructions about text alone. `split` is
`train` where it is left out, `system` the system's sentence where it is not the usual one.
"""

import contextlib
import functools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import AudioError, ConfigError
from wavllm_teacher.speech_llm.prompts import SYSTEM, is_text

TASKS = {
    1: ("recognition", "translation", "verification", "emotion", "questions", "text"),
    2: ("multiple", "steps"),
}
"""WavLLM's tasks by the stage that adds them: single ones, then several in one prompt, and step by step.
Other names are as good; these are the ones that the paper's curriculum has."""
SPLITS = ("train", "dev", "test")
SHOWN_LETTERS = 40
_REQUIRED = ("task", "prompt", "answer")
_KNOWN = (*_REQUIRED, "audio", "split", "system")


@dataclass(frozen=True)
class Instruction:
    """One line of a manifest.

    Attributes:
        task: What kind of instruction it is; tasks have sampling weights.
        prompt: The instruction.
        answer: What the model is to answer.
        audio: The speech that it is about; None for text alone.
        split: train, dev or test.
        system: The system's sentence.
    """

    task: str
    prompt: str
    answer: str
    audio: Path | None = None
    split: str = SPLITS[0]
    system: str = SYSTEM

    @property
    def name(self) -> str:
        """Return what an error calls it: its clip, or the beginning of its prompt."""
        return f"prompt {self.prompt[:SHOWN_LETTERS]!r}" if self.audio is None else str(self.audio)


def read_manifest(file: Path) -> list[Instruction]:
    """Return the instructions of a manifest; empty lines are skipped.

    Raises:
        AudioError: If it is missing, empty, or a line is wrong; names the line.
    """
    try:
        # Not splitlines: a text may hold other line separators of Unicode.
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise AudioError(f"{file}: cannot be read ({error})", "name a manifest in JSON lines") from error
    found = [_instruction(file, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise AudioError(f"{file}: holds no instruction", "name a manifest in JSON lines")
    return found


def _instruction(file: Path, number: int, line: str) -> Instruction:
    try:
        entries = json.loads(line, object_pairs_hook=functools.partial(_each_once, file, number))
    except ValueError as error:
        raise _wrong(file, number, f"no JSON ({error})") from error
    if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
        raise _wrong(file, number, "no JSON object of texts")
    problem = _problem(entries)
    if problem:
        raise _wrong(file, number, problem)
    audio = entries.pop("audio", None)
    where = None if audio is None else file.parent / audio
    if where is not None and not where.is_file():
        raise _wrong(file, number, f"no audio file {audio}")
    return Instruction(**entries, audio=where)


def _each_once(file: Path, number: int, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the entries of an object, of which JSON would keep the last of each name.

    Raises:
        AudioError: If a name occurs more than once.
    """
    entries: dict[str, Any] = {}
    for name, value in pairs:
        if name in entries:
            raise _wrong(file, number, f"{name} occurs more than once")
        entries[name] = value
    return entries


def _problem(entries: Mapping[str, Any]) -> str:
    missing = [name for name in _REQUIRED if not entries.get(name, "").strip()]
    unknown = sorted(set(entries) - set(_KNOWN))
    if missing:
        return f"{missing[0]} is missing"
    if unknown:
        return f"unknown entry {unknown[0]}"
    broken = [name for name, text in entries.items() if name != "audio" and not is_text(text)]
    if broken:
        return f"{broken[0]} is not valid UTF-8: {entries[broken[0]]!a}"
    split = entries.get("split", SPLITS[0])
    return "" if split in SPLITS else f"split is {split!r}, not one of {', '.join(SPLITS)}"


def _wrong(file: Path, number: int, what: str) -> AudioError:
    return AudioError(f"{file}, line {number}: {what}", f"entries of a line are {', '.join(_KNOWN)}")


def told(instructions: Sequence[Instruction]) -> list[list[str | None]]:
    """Return all that instructions say, JSON-ready: what stands for them where trainings are compared.

    Audio counts by its place in the folder that holds all of it, so that a corpus can be moved, and a clip
    be repaired.

    Example:
        >>> lines = [Instruction("t", "p", "a", Path("x", name, "1.wav"), system="s") for name in ("b", "c")]
        >>> [told(found) for found in (lines, lines[:1])]
        [[['t', 'p', 'a', 's', 'b/1.wav'], ['t', 'p', 'a', 's', 'c/1.wav']], [['t', 'p', 'a', 's', '1.wav']]]
    """
    places = [None if found.audio is None else found.audio.absolute() for found in instructions]
    folders = [place.parent for place in places if place is not None]
    top = os.path.commonpath(folders) if folders else ""
    return [
        [
            *(found.task, found.prompt, found.answer, found.system),
            None if place is None else place.relative_to(top).as_posix(),
        ]
        for found, place in zip(instructions, places, strict=True)
    ]


@contextlib.contextmanager
def naming(name: object) -> Iterator[None]:
    """Put a name in front of what is said of something that is too long.

    Raises:
        ConfigError: That of the block, with the name in front.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{name}: {error.what}", error.hint) from error


@contextlib.contextmanager
def naming_longest(batch: Sequence[Instruction], speech: Sequence[int]) -> Iterator[None]:
    """Say of what is too long for a model which clip of a batch is the longest, or else which prompt.

    Args:
        batch: At least one instruction.
        speech: How long the speech of each is, in any unit; 0 where there is none.

    Raises:
        ConfigError: That of the block, with the name in front.
    """
    try:
        yield
    except ConfigError as error:
        sizes = [(length, len(found.prompt)) for length, found in zip(speech, batch, strict=True)]
        longest = batch[sizes.index(max(sizes))]
        raise ConfigError(f"{longest.name}: {error.what}", error.hint) from error


class Mixture:
    """Draws instructions: first a task by its weight, then one of its instructions, all as likely.

    Args:
        instructions: To draw from.
        weights: Task to how often it is drawn, relative to the others; a task without one is never drawn.
            Without any weights, tasks are drawn as often as they have instructions.

    Raises:
        ConfigError: If a weighted task has no instructions, a weight is negative or no number, or all are 0.
    """

    def __init__(
        self, instructions: Sequence[Instruction], weights: Mapping[str, float] | None = None
    ) -> None:
        self.by_task: dict[str, list[Instruction]] = {}
        for instruction in instructions:
            self.by_task.setdefault(instruction.task, []).append(instruction)
        chosen = weights or {task: float(len(found)) for task, found in self.by_task.items()}
        unknown = [task for task in chosen if task not in self.by_task]
        if unknown:
            raise ConfigError(
                f"no instructions of task {unknown[0]!r}",
                f"the manifest has {', '.join(sorted(self.by_task))}",
            )
        for task, weight in chosen.items():
            if not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise ConfigError(f"weight of task {task!r} is {weight!r}", "give it a number from 0")
        if not 0 < sum(chosen.values()) < math.inf:
            raise ConfigError(
                f"impossible weights of tasks: {dict(chosen)}", "weights are 0 or more, one is more"
            )
        # Sorted: what is drawn must not depend on the order of the options.
        self.tasks = sorted(chosen)
        self.shares = np.array([chosen[task] for task in self.tasks]) / sum(chosen.values())

    def draw(self, count: int, rng: np.random.Generator) -> list[Instruction]:
        """Return `count` instructions; what is drawn depends on the generator alone."""
        tasks = rng.choice(len(self.tasks), count, p=self.shares)
        pools = [self.by_task[self.tasks[task]] for task in tasks]
        return [pool[int(rng.integers(len(pool)))] for pool in pools]
