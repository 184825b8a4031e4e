"""A very short training on recordings and the real encoder of Whisper, without WavLM."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from unit.wavllm_teacher.speech_llm.llm_tiny import WHISPER_ALONE, tiny

from wavllm_teacher import hub
from wavllm_teacher.speech_llm.curriculum import Schedule, Trainer, answers_to, exact_share
from wavllm_teacher.speech_llm.generation import Decoding
from wavllm_teacher.speech_llm.instructions import Instruction, Mixture
from wavllm_teacher.speech_llm.storage import load_frozen
from wavllm_teacher.speech_llm.tokens import ByteTokenizer

ANSWERS = {"angry": "a", "sad": "s"}
CLIPS_OF_EACH = 4


def instructions(corpus: Path) -> list[Instruction]:
    with (corpus / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["corpus"] == "emodb"]
    return [
        Instruction("emotion", "How?", answer, corpus / row["path"])
        for emotion, answer in ANSWERS.items()
        for row in [row for row in rows if row["emotion"] == emotion][:CLIPS_OF_EACH]
    ]


@pytest.mark.shared
def test_the_real_encoder_is_heard(shared, tmp_path):
    encoder = shared / "weights/whisper-base-encoder"
    shape = replace(WHISPER_ALONE, whisper=hub.read_json(encoder / "config.json"), whisper_blocks=1)
    model, tokenizer = tiny(1, shape), ByteTokenizer()
    load_frozen(model, {"whisper": encoder})
    told = instructions(shared / "corpus")
    schedule = Schedule(steps=25, batch=8, learning_rate=3e-3)
    losses = Trainer(model, tokenizer, Mixture(told), schedule, tmp_path).run().losses
    # The frozen decoder is random: how far corrections can take it is not the question here.
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert set(exact_share(told[:1], answers_to(model, tokenizer, told[:1], Decoding(most_tokens=2)))) == {
        "emotion"
    }
