"""Step by step: what each step is asked, and that neither the batch nor streaming changes it."""

import numpy as np
import pytest
from unit.wavllm_teacher.speech_llm.llm_tiny import talkative
from unit.wavllm_teacher.tiny import voice

from edgekit.errors import ConfigError
from wavllm_teacher.speech_llm.generation import Assistant, Decoding
from wavllm_teacher.speech_llm.prompts import Request
from wavllm_teacher.speech_llm.steps import STEPS, Turn, answer_steps, require_possible, stream_steps
from wavllm_teacher.speech_llm.tokens import ByteTokenizer

SHORT = Decoding(most_tokens=6)
CHAIN = ("What is said?", 'In other words: "{previous}"', "Not {2} but {1}, {colour}?")
CLIPS = [voice(0.7, 1), None, voice(0.3, 2)]


@pytest.fixture(scope="module")
def assistant() -> Assistant:
    """In float64: equal answers must not depend on how close two tokens were."""
    model = talkative()
    for part in (model.fusion, model.decoder, model.prompt_adapter):
        part.double()
    return Assistant(model, ByteTokenizer())


@pytest.fixture
def requests(assistant, monkeypatch) -> list[Request]:
    """What the model is asked, in order."""
    seen: list[Request] = []
    steps = Assistant._steps

    def note(self, asked, decoding):
        seen.extend(asked)
        return steps(self, asked, decoding)

    monkeypatch.setattr(Assistant, "_steps", note)
    return seen


def test_every_prompt_holds_the_answers_before_it(assistant, requests):
    first, second, third = answer_steps(assistant, CHAIN, CLIPS[:1], SHORT)[0]
    assert first.prompt == "What is said?"
    assert second.prompt == f'In other words: "{first.answer}"'
    assert third.prompt == f"Not {second.answer} but {first.answer}, {{colour}}?"
    assert [request.prompt for request in requests] == [first.prompt, second.prompt, third.prompt]
    assert all(request.samples is CLIPS[0] for request in requests)
    # The answers are the model's own, and not the same ones.
    assert first.answer == assistant.answer([Request("What is said?", CLIPS[0])], SHORT)[0]
    assert len({first.answer, second.answer, third.answer}) == 3


@pytest.mark.parametrize("decoding", [SHORT, Decoding(6, temperature=0.8, seed=5)])
def test_the_batch_changes_nothing(assistant, decoding):
    together = answer_steps(assistant, CHAIN, CLIPS, decoding)
    assert together == [answer_steps(assistant, CHAIN, [clip], decoding)[0] for clip in CLIPS]
    assert len({turns[0].answer for turns in together}) == 3


def test_a_clip_that_is_too_long_stops_alone(assistant, monkeypatch):
    long = np.zeros(170 * 16_000, np.float32)
    monkeypatch.setattr(assistant.model.ears, "forward", refusing(assistant.model.ears.forward, long.size))
    found = answer_steps(assistant, CHAIN, [CLIPS[0], long, CLIPS[1]], SHORT)
    assert found[1] == [
        Turn("What is said?", "", "170 s of speech need 2125 positions, the decoder has 2048")
    ]
    assert [found[0], found[2]] == answer_steps(assistant, CHAIN, [CLIPS[0], CLIPS[1]], SHORT)


def refusing(hear, size):
    """Encoders that must not hear so many samples."""

    def heard(samples):
        assert samples.size != size
        return hear(samples)

    return heard


def test_so_does_one_whose_prompt_becomes_impossible(assistant, monkeypatch):
    """An answer goes into the next prompt: an empty one leaves nothing, a long one leaves no room."""
    answers = {"What is said?": "", "What else?": 1500 * "?"}
    real = Assistant.answer

    def answer(self, requests, decoding):
        return [
            answers.get(r.prompt, said)
            for r, said in zip(requests, real(self, requests, decoding), strict=True)
        ]

    monkeypatch.setattr(Assistant, "answer", answer)
    (empty,) = answer_steps(assistant, ("What is said?", "{previous}", "So?"), CLIPS[:1], SHORT)
    assert [turn.problem for turn in empty] == ["", "the prompt is empty"]
    (long,) = answer_steps(assistant, ("What else?", "{1}{1}", "So?"), CLIPS[:1], SHORT)
    assert len(long) == 2
    assert long[1].prompt == 3000 * "?"
    assert long[1].problem.startswith("speech and prompt need 3")


def test_neither_does_streaming(assistant):
    whole = answer_steps(assistant, CHAIN, CLIPS[:1], SHORT)[0]
    found = [(prompt, "".join(pieces)) for prompt, pieces in stream_steps(assistant, CHAIN, CLIPS[0], SHORT)]
    assert found == [(turn.prompt, turn.answer) for turn in whole]
    # Also where nobody reads an answer, or half of it.
    unread = [prompt for prompt, pieces in stream_steps(assistant, CHAIN, CLIPS[0], SHORT) if next(pieces)]
    assert unread == [turn.prompt for turn in whole]


def test_a_clip_is_heard_once(assistant, monkeypatch):
    heard = []
    hear = assistant.model.hear

    def note(samples):
        heard.append(samples)
        return hear(samples)

    monkeypatch.setattr(assistant.model, "hear", note)
    clip = voice(0.4, 7)
    answer_steps(assistant, CHAIN, [clip, None, clip.copy()], SHORT)
    assert len(heard) == 1
    # The same memory with other speech in it is another clip.
    clip[:] = voice(0.4, 8)
    answer_steps(assistant, CHAIN, [clip], SHORT)
    assert len(heard) == 2


@pytest.mark.parametrize("name", STEPS)
def test_named_steps_build_on_each_other(name):
    require_possible(STEPS[name])
    assert all("{" in step for step in STEPS[name][1:])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "a step without a prompt"),
        (["a", " "], "a step without a prompt"),
        (["{previous}"], "step 1 refers to {previous}"),
        (["a", "{2}"], "step 2 refers to {2}"),
        (["a", "{0}"], "step 2 refers to {0}"),
    ],
)
def test_impossible_steps(assistant, steps, message):
    with pytest.raises(ConfigError, match=message.replace("{", r"\{")):
        answer_steps(assistant, steps, CLIPS, SHORT)
    with pytest.raises(ConfigError, match=message.replace("{", r"\{")):
        next(stream_steps(assistant, steps, None, SHORT))
