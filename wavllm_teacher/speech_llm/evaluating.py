"""How good a speech language model is at each task of a manifest, by the figures that fit the task."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekit.audio import read_audio
from edgekit.errors import AudioError, ConfigError
from edgekit.progress import Progress, silent
from wavllm_teacher.speech_llm import scoring
from wavllm_teacher.speech_llm.choices import option_chances
from wavllm_teacher.speech_llm.generation import GREEDY, Assistant, Decoding
from wavllm_teacher.speech_llm.instructions import Instruction
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
class LeftOut:
    """An instruction that could not be asked, and is in no figure.

    Attributes:
        item: Its clip, or the beginning of its prompt.
        reason: Why it could not.
    """

    item: str
    reason: str


@dataclass(frozen=True)
class TaskResult:
    """What was measured of one task.

    Attributes:
        task: Its name in the manifest.
        items: Instructions of it that were asked.
        figures: What it is judged by; none without items.
        left_out: The other instructions of it.
    """

    task: str
    items: int
    figures: tuple[Figure, ...]
    left_out: tuple[LeftOut, ...] = ()


def evaluate_tasks(
    assistant: Assistant,
    instructions: Sequence[Instruction],
    decoding: Decoding = GREEDY,
    progress: Progress = silent,
) -> list[TaskResult]:
    """Ask a model everything, and compare its answers with those that are wanted.

    What cannot be read, or is too long for the model, is left out and named; all else is asked.

    Args:
        assistant: The model.
        instructions: Of any tasks; those of one task are judged together.
        decoding: How answers in text are chosen.
        progress: Told how many of each task are answered.

    Returns:
        One result a task, sorted by name.

    Raises:
        AudioError: If nothing can be asked, or a task's wanted answers do not fit it.
        ConfigError: If a library that a figure needs is not installed.
    """
    require_judgeable(instructions)
    results = [_result(assistant, found, decoding, progress) for found in _by_task(instructions)]
    left_out = [left for result in results for left in result.left_out]
    if left_out and not any(result.items for result in results):
        first = f"{left_out[0].item}: {left_out[0].reason}"
        raise AudioError(f"none of {len(left_out)} instructions can be asked; {first}", "name other tasks")
    return results


def require_judgeable(instructions: Sequence[Instruction]) -> None:
    """Require that answers to all of these could be judged: that they cannot must not be found after hours.

    Raises:
        AudioError: If a task's wanted answers do not fit it.
        ConfigError: If a library that a figure needs is not installed.
    """
    for found in _by_task(instructions):
        if found[0].task == VERIFICATION:
            answers_of_verification(found)
        else:
            JUDGED.get(found[0].task, _classified)(found, _wanted(found))


def _by_task(instructions: Sequence[Instruction]) -> list[list[Instruction]]:
    tasks: dict[str, list[Instruction]] = {}
    for instruction in instructions:
        tasks.setdefault(instruction.task, []).append(instruction)
    return [found for _, found in sorted(tasks.items())]


def _result(
    assistant: Assistant, found: Sequence[Instruction], decoding: Decoding, progress: Progress
) -> TaskResult:
    task = found[0].task
    options = answers_of_verification(found) if task == VERIFICATION else ()
    left_out: list[LeftOut] = []
    asked: list[Instruction] = []
    answers: list[str] = []
    scores: list[float] = []
    for start in range(0, len(found), assistant.together):
        batch = _possible(assistant, found[start : start + assistant.together], options, left_out)
        asked += [instruction for instruction, _ in batch]
        if options:
            scores += [option_chances(assistant, request, options)[1] for _, request in batch]
        else:
            answers += assistant.answer([request for _, request in batch], decoding)
        progress(task, len(asked) + len(left_out), len(found))
    if not asked:
        return TaskResult(task, 0, (), tuple(left_out))
    figures = _verified(asked, options, scores) if options else JUDGED.get(task, _classified)(asked, answers)
    return TaskResult(task, len(asked), figures, tuple(left_out))


def _possible(
    assistant: Assistant, batch: Sequence[Instruction], options: Sequence[str], left_out: list[LeftOut]
) -> list[tuple[Instruction, Request]]:
    """Return what can be asked with its request; the others join those that are left out."""
    possible = []
    for instruction in batch:
        try:
            samples = None if instruction.audio is None else read_audio(instruction.audio)
            request = Request(instruction.prompt, samples, instruction.system)
            assistant.require_room(request, options)
        except (AudioError, ConfigError) as error:
            reason = error.what.removeprefix(f"{instruction.audio}: ")
            left_out.append(LeftOut(instruction.name, reason))
        else:
            possible.append((instruction, request))
    return possible


def answers_of_verification(found: Sequence[Instruction]) -> Sequence[str]:
    """Return the two answers of a verification, each in its most frequent spelling.

    Raises:
        AudioError: If there are not two.
    """
    spellings: dict[str, Counter[str]] = {}
    for instruction in found:
        spellings.setdefault(scoring.plain(instruction.answer), Counter())[instruction.answer.strip()] += 1
    options = [max(sorted(counts), key=counts.__getitem__) for _, counts in sorted(spellings.items())]
    if len(options) != 2:
        raise AudioError(
            f"task {VERIFICATION}: wanted answers are {', '.join(options)}", "two are needed, as yes and no"
        )
    return options


def _verified(
    asked: Sequence[Instruction], options: Sequence[str], scores: Sequence[float]
) -> tuple[Figure, ...]:
    """Return accuracy and equal error rate, from the chances of the second answer."""
    accepted = scoring.plain(options[1])
    positive = [scoring.plain(instruction.answer) == accepted for instruction in asked]
    right = sum((score > 0.5) is wanted for score, wanted in zip(scores, positive, strict=True))
    how = f"chances of {options[1]!r} against {options[0]!r}"
    return (
        Figure("accuracy", right / len(asked), f"{how}, threshold 0.5"),
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
