"""Chances of answers: against one token at a time, whatever stands beside them."""

import pytest
import torch
from unit.wavllm_teacher.tiny import voice

from edgekit.errors import ConfigError
from wavllm_teacher.speech_llm.choices import expected_value, option_chances
from wavllm_teacher.speech_llm.generation import Assistant
from wavllm_teacher.speech_llm.prompts import Request, tokenise
from wavllm_teacher.speech_llm.tokens import ByteTokenizer

REQUEST = Request("How aroused, from 1 to 10?", voice(0.5, 1))
OPTIONS = ["1", "5", "10", "calm"]


@torch.no_grad()
def test_chances_are_products_over_tokens(model):
    tokenizer = ByteTokenizer()
    prompt, heard = tokenise(REQUEST, tokenizer), model.ears(REQUEST.samples)
    products = []
    for option in OPTIONS:
        chance = torch.tensor(1.0, dtype=torch.float64)
        answer = [*tokenizer.encode(option), tokenizer.end]
        for position, token in enumerate(answer):
            logits = model(model.sequences([prompt], [heard], [answer[:position]]), last=1)[0, -1]
            chance = chance * torch.softmax(logits.double(), 0)[token]
        products.append(chance)
    wanted = torch.stack(products) / torch.stack(products).sum()
    for together in (1, 3, 8):
        found = option_chances(Assistant(model, tokenizer, together), REQUEST, OPTIONS)
        torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), wanted, atol=1e-6, rtol=0)


def test_the_value_to_expect(model):
    assistant = Assistant(model, ByteTokenizer())
    low, high = option_chances(assistant, REQUEST, ["1", "5"])
    assert low + high == pytest.approx(1)
    assert expected_value(assistant, REQUEST, {"1": 0.0, "5": 1.0}) == pytest.approx(high)
    assert expected_value(assistant, REQUEST, {"5": 0.25}) == pytest.approx(0.25)


@pytest.mark.parametrize("options", [[], ["a", "a"]])
def test_impossible_options(model, options):
    with pytest.raises(ConfigError, match="impossible options"):
        option_chances(Assistant(model, ByteTokenizer()), REQUEST, options)
