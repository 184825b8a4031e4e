"""Emotions as text answers: how answers are counted, what the decoder reads, what ears keep."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from unit.wavllm_teacher.speech_llm.llm_tiny import WHISPER_ALONE
from unit.wavllm_teacher.tiny import voice

from benchmarks.wavllm import answers, reading
from benchmarks.wavllm.emodb import EMOTIONS, Clip, KeepingEars, changed_copies
from edgekit.audio import read_audio
from wavllm_teacher.speech_llm.hearing import Ears
from wavllm_teacher.speech_llm.tokens import TOKENIZER_FILE


def test_recall_is_the_mean_over_emotions():
    wanted = ["sad"] * 4 + ["angry"]
    assert answers.recall(wanted, ["sad", "sad", "sad", "angry", "angry"]) == pytest.approx((0.75 + 1) / 2)
    # Read exactly: no case is changed, nothing is stripped.
    assert answers.recall(wanted, ["Sad", "sad ", "sad.", "", "angry"]) == pytest.approx(0.5)


def test_confusion_counts_every_clip():
    table = answers.confusion(["sad", "sad", "angry"], ["sad", "blue", "sad"])
    sad, angry = (EMOTIONS.index(name) for name in ("sad", "angry"))
    assert table[sad][sad] == table[angry][sad] == table[sad][-1] == 1
    assert sum(map(sum, table)) == 3


def results(*recalls: float) -> dict:
    figures = {"unheard": 0.5, "chances": 0.6, "no_emotion": 2, "confusion": [[3] * 8] * 7}
    seeds = [
        {"seed": seed, "trained": 1234, "seconds": 90.0}
        | {split: {"text": recall, **figures} for split in ("dev", "test")}
        for seed, recall in enumerate(recalls)
    ]
    shape = {"whisper_blocks": 3, "lora": {"rank": 8}}
    return {
        "seeds": seeds,
        "decoder": {"parameters": 999, "exact": 0.875, "seconds": 60.0},
        "heard": {"clips": 10, "seconds_each": 0.5},
        "clips": {"train": 304, "dev": 106, "test": 125},
        "probe": {"dev": 0.9, "test": 0.8},
        "settings": {"shape": shape, "schedule": {"steps": 5, "batch": 2}, "copies": 1},
    }


def test_every_seed_has_to_reach_the_bar():
    assert "every seed: reached." in " ".join(answers.section(results(0.75, 0.9)).split())
    assert "every seed: not reached." in " ".join(answers.section(results(0.74, 0.99)).split())


def test_the_section_shows_what_was_measured():
    page = answers.section(results(0.75, 0.85))
    assert "| seed 1 | 0.850 | 0.600 | 0.500 | 0.850 | 0.600 | 0.500 | 4 |" in page
    assert "| mean | 0.800 | 0.600 | 0.500 | 0.800 | 0.600 | 0.500 |  |" in page
    assert "| linear probe |  | 0.900 |  |  | 0.800 |  |  |" in page
    assert "| sad | 3 | 3 | 3 | 3 | 3 | 3 | 3 | 3 |" in page


def test_texts_can_be_answered_from_what_they_say():
    rng = np.random.default_rng(0)
    for text in (reading.draw(rng) for _ in range(300)):
        said = f"{text.spoken} {text.request.prompt}"
        if text.answer in ("yes", "no") and "Say the word" not in said:
            (asked,) = (name for name in EMOTIONS if f"Is the speaker {name}?" in said)
            assert (asked in said.replace(f"Is the speaker {asked}?", "")) >= (text.answer == "yes")
        else:
            assert text.answer in said
        # Speech and its description stand at the same place.
        assert (text.request.samples is None) is (text.spoken == "")


def test_the_decoder_predicts_what_follows_a_description(tmp_path):
    tokenizer = reading._learned_tokens(tmp_path / TOKENIZER_FILE)
    rng = np.random.default_rng(1)
    texts = [reading.draw(rng) for _ in range(8)]
    tokens, targets = reading._batch(texts, tokenizer)
    for text, row, wanted in zip(texts, tokens, targets, strict=True):
        before, spoken, after, answer = reading._written(text)
        predicted = wanted != reading.IGNORED
        assert tokenizer.decode(row[predicted].tolist()) == after + answer
        assert tokenizer.decode(row.tolist()).startswith(before + spoken + after + answer)
        assert torch.equal(row[predicted], wanted[predicted])
        assert wanted[predicted][-1] == tokenizer.end


def test_copies_are_changed_once(tmp_path):
    soundfile.write(tmp_path / "a.wav", voice(0.5, 1), 16000)
    clip = Clip(tmp_path / "a.wav", "sad", "train", (0.1, 0.2, 0.3))
    (first,), (second,) = (changed_copies([clip], number, tmp_path / "copies") for number in (0, 1))
    heard = read_audio(first.file)
    assert (first.emotion, first.split, first.labels) == ("sad", "train", (0.1, 0.2, 0.3))
    assert not np.array_equal(heard, read_audio(clip.file))
    assert not np.array_equal(heard, read_audio(second.file))
    (again,) = changed_copies([clip], 0, tmp_path / "elsewhere")
    np.testing.assert_array_equal(read_audio(again.file), heard)


def test_ears_hear_a_clip_once(tmp_path, monkeypatch):
    torch.manual_seed(0)
    ears = KeepingEars(replace(WHISPER_ALONE, whisper_blocks=1), tmp_path)
    samples = voice(0.4, 1)
    wanted = Ears.forward(ears, samples)
    assert not ears.keeps(samples)
    assert torch.equal(ears(samples).whisper[0], wanted.whisper[0])
    assert ears.keeps(samples)
    monkeypatch.setattr(Ears, "_window", None)
    assert torch.equal(ears(samples).whisper[0], wanted.whisper[0])
    with pytest.raises(TypeError):
        ears(voice(0.4, 2))
