"""Answers: what must not change them, how they are sampled, when they end, and how they stream."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from unit.wavllm_teacher.speech_llm.llm_tiny import TINY, tiny
from unit.wavllm_teacher.tiny import voice

from edgekit.errors import ConfigError
from wavllm_teacher.speech_llm.generation import PAPER, Assistant, Chooser, Decoding, generate
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.prompts import Request, tokenise
from wavllm_teacher.speech_llm.tokens import ByteTokenizer

TOKENIZER = ByteTokenizer()
REQUESTS = (
    Request("hi", voice(1.0, 1)),
    Request("which words does the speaker stress?", voice(2.4, 2)),
    Request("text alone"),
    Request("who?", voice(0.2, 3), system="x"),
)
WAYS = [Decoding(most_tokens=20), Decoding(most_tokens=20, temperature=0.8, top_p=0.9, seed=3)]
ways = pytest.mark.parametrize("decoding", WAYS, ids=["greedy", "sampled"])


def answers(model, requests, decoding, end: int = -1) -> list[list[int | None]]:
    assistant = Assistant(model, TOKENIZER)
    prompts = [tokenise(request, TOKENIZER) for request in requests]
    steps = list(generate(model, prompts, assistant.hear(requests), end, decoding))
    return [list(row) for row in zip(*steps, strict=True)]


@pytest.fixture(scope="module")
def exact():
    """A model in float64: equal answers must not depend on how close two tokens were."""
    model = tiny(seed=3)
    for part in (model.fusion, model.decoder, model.prompt_adapter):
        part.double()
    return model


@ways
@pytest.mark.parametrize("stage", [1, 2])
def test_a_cache_changes_no_token(decoding, stage):
    model = tiny(stage, seed=3)
    cached = answers(model, REQUESTS, decoding)
    assert cached == answers(model, REQUESTS, replace(decoding, cached=False))
    assert len({tuple(row) for row in cached}) > 1


@ways
def test_neither_does_the_batch(exact, decoding):
    together = answers(exact, REQUESTS, decoding)
    assert together == [answers(exact, [request], decoding)[0] for request in REQUESTS]
    assert together == answers(exact, REQUESTS[::-1], decoding)[::-1]


@torch.no_grad()
def test_padding_changes_no_logit(exact):
    prompts = [tokenise(request, TOKENIZER) for request in REQUESTS]
    heard = Assistant(exact, TOKENIZER).hear(REQUESTS)
    together = exact(exact.sequences(prompts, heard), last=1)
    for row, (prompt, clip) in enumerate(zip(prompts, heard, strict=True)):
        alone = exact(exact.sequences([prompt], [clip]), last=1)
        torch.testing.assert_close(together[row], alone[0], atol=1e-9, rtol=0)


def test_windows_change_no_answer(model):
    # 30 s exactly are one window; the silence behind shorter audio is not heard as speech.
    decoding = Decoding(most_tokens=4)
    clip = voice(31.0, 5)
    long, short = (Request("hi", samples) for samples in (clip, clip[:480_000]))
    assert len(model.ears(short.samples).whisper) == 1
    batched = answers(model, [long, short], decoding)
    assert batched == [answers(model, [request], decoding)[0] for request in (long, short)]


def test_answers_end(model):
    free = answers(model, REQUESTS[:2], Decoding(most_tokens=20))
    end = free[0][5]
    first = free[0].index(end)
    ended = answers(model, REQUESTS[:2], Decoding(most_tokens=20), end)
    kept = free[1].index(end) if end in free[1] else 20
    assert [token for token in ended[0] if token is not None] == free[0][:first]
    assert [token for token in ended[1] if token is not None] == free[1][:kept]
    assert len(ended[0]) <= max(first, kept) + 1


def test_the_decoder_has_an_end():
    shape = replace(TINY, decoder=replace(TINY.decoder, positions=150))
    model = tiny(1, shape, seed=3)
    requests = [Request("hi"), Request("a longer prompt")]
    found = answers(model, requests, Decoding(most_tokens=60))
    lengths = [sum(token is not None for token in row) for row in found]
    sizes = [len(p.before) + len(p.after) for p in (tokenise(r, TOKENIZER) for r in requests)]
    # A row's room is its own: the longer one ends first. The last token needs no position of its own.
    assert lengths == [min(60, 150 - size + 1) for size in sizes]
    assert found[1][: lengths[1]] == answers(model, requests[1:], Decoding(most_tokens=60))[0]


def test_sampling_follows_the_chances():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    choose = Chooser(Decoding(temperature=1.0, seed=1), 1)
    counts = np.bincount([choose(logits)[0] for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(counts, [0.5, 0.3, 0.15, 0.05], atol=0.03)
    choose = Chooser(Decoding(temperature=1.0, top_p=0.7, seed=1), 1)
    counts = np.bincount([choose(logits)[0] for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(counts, [0.625, 0.375, 0, 0], atol=0.03)
    cold = Chooser(Decoding(temperature=0.01), 1)
    assert {cold(logits)[0] for _ in range(50)} == {0}


def test_seeds_differ_and_repeat(model):
    one, again, other = (
        answers(model, REQUESTS[:1], replace(PAPER, most_tokens=12, temperature=1.0, seed=seed))
        for seed in (1, 1, 2)
    )
    assert one == again != other


@ways
def test_what_streams_is_the_answer(model, decoding):
    assistant = Assistant(model, TOKENIZER, together=2)
    whole = assistant.answer(REQUESTS, decoding)
    assert whole == ["".join(assistant.stream(request, decoding)) for request in REQUESTS]
    pieces = assistant.stream(REQUESTS[0], Decoding(most_tokens=10**6))
    assert next(pieces)


def test_generating_keeps_no_gradients(model):
    answers(model, REQUESTS[:1], Decoding(most_tokens=2))
    assert torch.is_grad_enabled()
    steps = generate(model, [tokenise(REQUESTS[2], TOKENIZER)], [None], -1, Decoding(most_tokens=3))
    next(steps)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    "wrong",
    [
        {"most_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": 1e-320},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"seed": 2**63},
        {"seed": -1},
    ],
)
def test_impossible_decodings(wrong):
    with pytest.raises(ConfigError, match="impossible decoding"):
        Decoding(**wrong)


def test_a_tokenizer_of_another_decoder(model):
    larger = ByteTokenizer()
    larger.size = 32_000
    with pytest.raises(ConfigError, match="32000 tokens, the decoder 258"):
        Assistant(model, larger)


def test_an_empty_prompt():
    with pytest.raises(ConfigError, match="empty"):
        Request("  ")


@pytest.mark.parametrize("samples", [None, voice(1.0, 1)])
@pytest.mark.parametrize(("answers", "most"), [((), 0), (("yes",), 4), (("no", "never", ""), 6)])
def test_room_is_that_of_prompt_speech_longest_answer_and_its_end(samples, answers, most):
    request = Request("hi", samples)
    prompt = tokenise(request, TOKENIZER)
    # A byte is a token, and an answer's end is one; speech has 12.5 positions a second.
    needed = len(prompt.before) + len(prompt.after) + (0 if samples is None else 13) + most

    def assistant(positions: int) -> Assistant:
        shape = replace(TINY, decoder=replace(TINY.decoder, positions=positions))
        return Assistant(SpeechLlm(shape, 1, empty=True), TOKENIZER)

    assistant(needed).require_room(request, answers)
    with pytest.raises(ConfigError, match=f"need {needed} positions, the decoder has {needed - 1}"):
        assistant(needed - 1).require_room(request, answers)
