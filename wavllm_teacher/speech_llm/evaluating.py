"""How good a speech language model is at each task of a manifest, by the figures that fit the task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekit.audio import read_audio
from edgekit.errors import AudioError
from edgekit.progress import Progress, silent
from wavllm_teacher.speech_llm import scoring
from wavllm_teacher.speech_llm.choices import option_chances
from wavllm_teacher.speech_llm.generation import GREEDY, Assistant, Decoding
from wavllm_teacher.speech_llm.instructions import Instruction, naming_longest
from wavllm_teacher.speech_llm.prompts import Request

VERIFICATION = "verification"
"""The task that is answered by chances: the others are answered in text."""


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        metric: Its name, a key of `figures.TITLES`.
        value: 0 to 1, of BLEU 0 to 100; None where it is undefined.
        how: By what it was measured, or why it is undefined.
    """

    metric: str
    value: float | None
    how: str


@dataclass(frozen=True)
class TaskResult:
    """What was measured of one task.

    Attributes:
        task: Its name in the manifest.
        items: Instructions of it.
        figures: What it is judged by.
    """

    task: str
    items: int
    figures: tuple[Figure, ...]


def evaluate_tasks(
    assistant: Assistant,
    instructions: Sequence[Instruction],
    decoding: Decoding = GREEDY,
    progress: Progress = silent,
) -> list[TaskResult]:
    """Ask a model everything, and compare its answers with those that are wanted.

    Args:
        assistant: The model.
        instructions: Of any tasks; those of one task are judged together.
        decoding: How answers in text are chosen.
        progress: Told how many of each task are answered.

    Returns:
        One result a task, sorted by name.

    Raises:
        AudioError: If a clip cannot be read, or a task's wanted answers do not fit it.
        ConfigError: If speech and prompt are too long, or a library that a figure needs is not installed.
    """
    tasks: dict[str, list[Instruction]] = {}
    for instruction in instructions:
        tasks.setdefault(instruction.task, []).append(instruction)
    results = []
    for task, found in sorted(tasks.items()):
        if task == VERIFICATION:
            figures = _verified(assistant, found, progress)
        else:
            figures = JUDGED.get(task, _classified)(found, answer(assistant, found, decoding, progress))
        results.append(TaskResult(task, len(found), figures))
    return results


def _request(instruction: Instruction) -> Request:
    samples = None if instruction.audio is None else read_audio(instruction.audio)
    return Request(instruction.prompt, samples, instruction.system)


def _lengths(requests: Sequence[Request]) -> list[int]:
    return [0 if request.samples is None else request.samples.size for request in requests]


def answer(
    assistant: Assistant,
    found: Sequence[Instruction],
    decoding: Decoding = GREEDY,
    progress: Progress = silent,
) -> list[str]:
    """Return the answers to instructions of one task, asked as many together as the model takes.

    Raises:
        AudioError: If a clip cannot be read.
        ConfigError: If speech and prompt are too long.
    """
    answers: list[str] = []
    for start in range(0, len(found), assistant.together):
        batch = found[start : start + assistant.together]
        requests = [_request(instruction) for instruction in batch]
        with naming_longest(batch, _lengths(requests)):
            answers += assistant.answer(requests, decoding)
        progress(found[0].task, len(answers), len(found))
    return answers


def _verified(assistant: Assistant, found: Sequence[Instruction], progress: Progress) -> tuple[Figure, ...]:
    """Return accuracy and equal error rate, from the chance of either answer."""
    options = sorted({instruction.answer for instruction in found})
    if len(options) != 2:
        raise AudioError(
            f"task {VERIFICATION}: wanted answers are {', '.join(options)}", "two are needed, as yes and no"
        )
    scores = []
    for instruction in found:
        request = _request(instruction)
        with naming_longest([instruction], _lengths([request])):
            scores.append(option_chances(assistant, request, options)[1])
        progress(VERIFICATION, len(scores), len(found))
    positive = [instruction.answer == options[1] for instruction in found]
    right = sum((score > 0.5) is wanted for score, wanted in zip(scores, positive, strict=True))
    how = f"chances of {options[1]!r} against {options[0]!r}"
    return (
        Figure("accuracy", right / len(found), f"{how}, threshold 0.5"),
        Figure("equal_error_rate", scoring.equal_error_rate(scores, positive), how),
    )


def _wanted(found: Sequence[Instruction]) -> list[str]:
    return [instruction.answer for instruction in found]


def _recognised(found: Sequence[Instruction], answers: Sequence[str]) -> tuple[Figure, ...]:
    rate = scoring.word_error_rate(answers, _wanted(found))
    return (Figure("word_error_rate", rate, "jiwer, without case and punctuation"),)


def _translated(found: Sequence[Instruction], answers: Sequence[str]) -> tuple[Figure, ...]:
    score, signature = scoring.bleu(answers, _wanted(found))
    return (Figure("bleu", score, f"sacreBLEU, {signature}"),)


def _classified(found: Sequence[Instruction], answers: Sequence[str]) -> tuple[Figure, ...]:
    wanted, how = _wanted(found), "same text, without case and outer punctuation"
    recall = scoring.unweighted_recall(answers, wanted)
    classes = len(set(map(scoring.plain, wanted)))
    return (
        Figure("accuracy", scoring.accuracy(answers, wanted), how),
        Figure("unweighted_recall", recall, f"mean over {classes} wanted answers; {how}"),
    )


def _combined(found: Sequence[Instruction], answers: Sequence[str]) -> tuple[Figure, ...]:
    by_prompt: dict[str, list[str]] = {}
    for instruction in found:
        by_prompt.setdefault(instruction.prompt, []).append(instruction.answer)
    followed = [
        scoring.follows(answer, instruction.answer, by_prompt[instruction.prompt])
        for instruction, answer in zip(found, answers, strict=True)
    ]
    wanted = _wanted(found)
    how = "all parts, in the order and form asked, right or wrong"
    return (
        Figure("instruction_following", sum(followed) / len(followed), how),
        Figure("part_accuracy", scoring.right_parts(answers, wanted), "of all parts, each at its place"),
        Figure("accuracy", scoring.accuracy(answers, wanted), "whole answers"),
    )


JUDGED: dict[str, Callable[[Sequence[Instruction], Sequence[str]], tuple[Figure, ...]]] = {
    "recognition": _recognised,
    "translation": _translated,
    "multiple": _combined,
    "steps": _combined,
}
"""By what answers in text are judged; those of all other tasks are classes."""
