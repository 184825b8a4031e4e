"""How likely each of some answers is, and the value to expect of them: labels without reading text back.

A greedy answer hides how sure the model was. Here every option is put behind the prompt and the chances
of its tokens are multiplied, its end included, so that "1" and "10" compete fairly; all options together
are certain.
"""

from collections.abc import Mapping, Sequence

import torch

from edgekit.errors import ConfigError
from wavllm_teacher.speech_llm.generation import Assistant
from wavllm_teacher.speech_llm.prompts import Request, tokenise


@torch.no_grad()
def option_chances(assistant: Assistant, request: Request, options: Sequence[str]) -> list[float]:
    """Return the probability of each option as the whole answer, given that it is one of them.

    Args:
        assistant: Answers; options are computed as many at once as it answers requests.
        request: What is asked.
        options: Different answers.

    Raises:
        ConfigError: If there are no options, two are the same, or the audio is too long.
    """
    if not options or len(set(options)) < len(options):
        raise ConfigError(f"impossible options: {', '.join(options) or 'none'}", "name different answers")
    assistant.require_room(request, options)
    tokenizer, size = assistant.tokenizer, assistant.together
    answers = [[*tokenizer.encode(option), tokenizer.end] for option in options]
    batches = [answers[start : start + size] for start in range(0, len(answers), size)]
    scores = torch.cat([_log_chances(assistant, request, batch) for batch in batches])
    chances: list[float] = torch.softmax(scores, dim=0).tolist()
    return chances


def _log_chances(assistant: Assistant, request: Request, answers: list[list[int]]) -> torch.Tensor:
    """Return the (B,) float64 logarithms of answers' chances."""
    model, prompt = assistant.model, tokenise(request, assistant.tokenizer)
    heard = assistant.hear([request]) * len(answers)
    longest = max(map(len, answers))
    sequences = model.sequences([prompt] * len(answers), heard, answers)
    # Answers end where sequences end; the very last logits would predict what follows the end.
    chances = torch.log_softmax(model(sequences, last=longest + 1)[:, :-1].double().cpu(), dim=2)
    return torch.stack(
        [
            row[longest - len(answer) :].gather(1, torch.tensor(answer)[:, None]).sum()
            for row, answer in zip(chances, answers, strict=True)
        ]
    )


def expected_value(assistant: Assistant, request: Request, values: Mapping[str, float]) -> float:
    """Return the mean of what answers stand for, each weighted by its probability.

    Args:
        assistant: Answers.
        request: What is asked, on a scale for example.
        values: Answer to the number that it stands for.

    Raises:
        ConfigError: If there are no answers, or the audio is too long.
    """
    chances = option_chances(assistant, request, list(values))
    return sum(chance * value for chance, value in zip(chances, values.values(), strict=True))
