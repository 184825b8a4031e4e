"""The prompt around the speech: LLaMA-2's chat form with WavLLM's speech tokens (arXiv 2404.00656)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ConfigError
from wavllm_teacher.speech_llm.tokens import Tokenizer

SYSTEM = "You hear what the user says and how it is said. Do what the user asks for, in plain language."
"""The system's sentence; published weights answer best with the sentence that they were trained with."""
SENTENCE = "the system's sentence"


def is_text(found: str) -> bool:
    r"""Return whether UTF-8 can hold a text: arguments and JSON can have halves of characters in them.

    Example:
        >>> is_text("é"), is_text("\udce9")
        (True, False)
    """
    try:
        found.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_text(found: str, what: str) -> None:
    """Require that UTF-8 can hold a text.

    Raises:
        ConfigError: If it cannot; calls it `what`.
    """
    if not is_text(found):
        raise ConfigError(
            f"{what} is not valid UTF-8: {found!a}", "write it in UTF-8, under a locale of UTF-8"
        )


@dataclass(frozen=True)
class Request:
    """What is asked.

    Attributes:
        prompt: The instruction.
        samples: (N,) speech at 16 kHz that it is about; None for an instruction about text alone.
        system: The system's sentence.

    Raises:
        ConfigError: If the prompt is empty, or a text is not valid UTF-8.
    """

    prompt: str
    samples: NDArray[np.float32] | None = None
    system: str = SYSTEM

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise ConfigError("the prompt is empty", "say what to do with the speech")
        require_text(self.prompt, "the prompt")
        require_text(self.system, SENTENCE)


@dataclass(frozen=True)
class Prompt:
    """Token numbers of a request.

    Attributes:
        before: What stands before the speech; begins the sequence.
        after: What stands behind the speech, up to the answer.
        question: The instruction in quotation marks: what the prompt adapter reads, as in WavLLM's code.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    question: tuple[int, ...]


def render(request: Request) -> tuple[str, str]:
    r"""Return the text before and behind the speech.

    Example:
        >>> render(Request("Who speaks?", np.zeros(1, np.float32), system="Listen."))
        ('[INST]<<SYS>>\nListen.\n<</SYS>>\n\n<SPEECH>', ' </SPEECH> Who speaks? [/INST]')
    """
    opening = f"[INST]<<SYS>>\n{request.system}\n<</SYS>>\n\n"
    if request.samples is None:
        return opening, f"{request.prompt} [/INST]"
    return f"{opening}<SPEECH>", f" </SPEECH> {request.prompt} [/INST]"


def tokenise(request: Request, tokenizer: Tokenizer) -> Prompt:
    """Return the tokens of a request."""
    before, after = render(request)
    return Prompt(
        (tokenizer.begin, *tokenizer.encode(before)),
        tuple(tokenizer.encode(after)),
        tuple(tokenizer.encode(f'"{request.prompt}"')),
    )
