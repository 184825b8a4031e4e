"""Chain of thought: a complex task is taken apart into simpler ones, asked in turn (arXiv 2404.00656).

Every step is a prompt of its own about the same speech. The answers before it can stand in it: {1} is that of
the first step, {previous} that of the step before. The named decompositions are ours, in the paper's manner.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgekit.errors import ConfigError
from wavllm_teacher.speech_llm.generation import GREEDY, Assistant, Decoding
from wavllm_teacher.speech_llm.hearing import Samples
from wavllm_teacher.speech_llm.prompts import SYSTEM, Request, require_text

PREVIOUS = "previous"
_PLACE = re.compile(rf"\{{({PREVIOUS}|\d+)\}}")

STEPS: dict[str, tuple[str, ...]] = {
    "translation": (
        "Transcribe the speech.",
        'Translate the following text into German: "{previous}"',
    ),
    "gist": (
        "Transcribe the speech.",
        'Summarise the following text: "{previous}"',
        'Say in one sentence what matters most: "{previous}"',
    ),
    "emotion": (
        "Transcribe the speech.",
        'The speaker says "{1}". Describe the tone of the voice.',
        'The speaker says "{1}", in this tone: {2} Name the emotion of the speaker in one word.',
    ),
}
"""Decompositions that have a name."""


@dataclass(frozen=True)
class Turn:
    """A step that was asked.

    Attributes:
        prompt: What was asked, former answers in place.
        answer: What was answered; empty where it could not be asked.
        problem: Why it could not be asked; empty where it was.
    """

    prompt: str
    answer: str
    problem: str = ""


def require_possible(steps: Sequence[str]) -> None:
    """Require that every step refers to steps before it alone.

    Raises:
        ConfigError: If there is no step, one is empty or not valid UTF-8, or it refers to an answer that is
            not there yet.
    """
    if not steps or not all(step.strip() for step in steps):
        raise ConfigError("a step without a prompt", "say what to do in every step")
    for number, step in enumerate(steps, 1):
        require_text(step, "the prompt" if len(steps) == 1 else f"the prompt of step {number}")
        for place in _PLACE.findall(step):
            wanted = number - 1 if place == PREVIOUS else int(place)
            if not 1 <= wanted < number:
                raise ConfigError(
                    f"step {number} refers to {{{place}}}: there is no such answer before it",
                    f"refer to steps before it: {{1}}, {{2}} ..., or {{{PREVIOUS}}}",
                )


def filled(step: str, answers: Sequence[str]) -> str:
    """Return a step's prompt with the answers before it in place; what is in braces in an answer stays.

    Example:
        >>> filled("Of {1}, then {previous}: {x}", ["one {2}", "two"])
        'Of one {2}, then two: {x}'
    """
    return _PLACE.sub(lambda found: answers[-1 if found[1] == PREVIOUS else int(found[1]) - 1], step)


def answer_steps(
    assistant: Assistant,
    steps: Sequence[str],
    clips: Sequence[Samples | None],
    decoding: Decoding = GREEDY,
) -> list[list[Turn]]:
    """Return the turns of each clip; clips are answered together, and do not affect each other.

    Where a prompt cannot be asked, because it is too long with its speech, or empty after an empty answer,
    its turn says so and is the last of its clip. The other clips go on.

    Args:
        assistant: Answers.
        steps: Prompts with places for the answers before them.
        clips: (N,) speech at 16 kHz of each; None for a task about text alone.
        decoding: How tokens are chosen.

    Raises:
        ConfigError: If the steps are impossible.
    """
    require_possible(steps)
    turns: list[list[Turn]] = [[] for _ in clips]
    for step in steps:
        found = [_next(assistant, step, *clip) for clip in zip(turns, clips, strict=True)]
        asked = [(before, request) for before, request in zip(turns, found, strict=True) if request]
        answers = assistant.answer([request for _, request in asked], decoding)
        for (before, request), answer in zip(asked, answers, strict=True):
            before.append(Turn(request.prompt, answer))
    return turns


def _next(assistant: Assistant, step: str, before: list[Turn], samples: Samples | None) -> Request | None:
    """Return what to ask a clip next; None where its turns have ended, or end with one that says why."""
    if before and before[-1].problem:
        return None
    prompt = filled(step, [turn.answer for turn in before])
    try:
        request = Request(prompt, samples)
        assistant.require_room(request)
    except ConfigError as error:
        before.append(Turn(prompt, "", error.what))
        return None
    return request


def stream_steps(
    assistant: Assistant,
    steps: Sequence[str],
    samples: Samples | None,
    decoding: Decoding = GREEDY,
    system: str = SYSTEM,
) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield each step's prompt and its answer, which comes piece by piece.

    An answer that was not read to its end is read before the next step.

    Args:
        assistant: Answers.
        steps: Prompts with places for the answers before them.
        samples: (N,) speech at 16 kHz; None for a task about text alone.
        decoding: How tokens are chosen.
        system: The system's sentence in all prompts.

    Raises:
        ConfigError: As `answer_steps` does.
    """
    require_possible(steps)
    answers: list[str] = []
    for step in steps:
        prompt, said = filled(step, answers), list[str]()
        pieces = _noted(assistant.stream(Request(prompt, samples, system), decoding), said)
        yield prompt, pieces
        deque(pieces, maxlen=0)
        answers.append("".join(said))


def _noted(pieces: Iterator[str], said: list[str]) -> Iterator[str]:
    for piece in pieces:
        said.append(piece)
        yield piece
