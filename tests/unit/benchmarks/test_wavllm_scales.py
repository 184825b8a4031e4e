"""Numbers as answers: what a label becomes, what the decoder reads, how labels are compared and shown."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.wavllm import scales
from benchmarks.wavllm.emodb import EMOTIONS, Clip
from edgekit.metrics import DIMENSIONS
from wavllm_teacher.speech_llm.teacher import PROMPTS, SCALE


@pytest.mark.parametrize("label", [0.0, 0.18, 0.5, 0.7295, 0.99, 1.0])
def test_the_mean_of_the_numbers_is_the_label(label):
    numbers = scales.numbers_for(label)
    values = [SCALE[number] for number in numbers]
    assert len(numbers) == scales.LINES
    assert np.mean(values) == pytest.approx(label, abs=1 / 6 / scales.LINES / 2 + 1e-9)
    assert max(values) - min(values) <= 1 / 6 + 1e-9


def test_every_dimension_is_asked_for_by_its_weight():
    clips = [Clip(Path("a.wav"), emotion, "train", (0.0, 0.5, 1.0)) for emotion in EMOTIONS]
    found = scales.mixture(clips)
    shares = dict(zip(found.tasks, found.shares, strict=True))
    assert shares["dominance"] == shares["arousal"] > 0
    assert shares["valence"] == shares["arousal"]
    assert sum(shares[emotion] for emotion in EMOTIONS) == pytest.approx(shares["arousal"])
    for name, answer in zip(DIMENSIONS, "147", strict=True):
        assert {(line.prompt, line.answer) for line in found.by_task[name]} == {(PROMPTS[name], answer)}


def test_texts_say_the_number_that_they_ask_for():
    rng = np.random.default_rng(0)
    asked = {prompt: name for name, prompt in PROMPTS.items()}
    texts = [text for text in (scales.draw(rng) for _ in range(200)) if text.request.prompt in asked]
    assert len(texts) > 60
    for text in texts:
        words = scales.LEVELS[asked[text.request.prompt]]
        assert words[int(text.answer) - 1] in text.spoken.split()


def test_words_are_of_one_level_alone():
    words = [word for levels in scales.LEVELS.values() for word in levels]
    assert len(set(words)) == len(words) == 7 * len(DIMENSIONS)


def test_what_is_no_number_does_not_count():
    reference = np.array([[0.0, 0.5, 0.1], [0.5, 0.6, 0.4], [1.0, 0.7, 0.9]])
    found = reference + np.array([0.0, 0.1, 0.0])
    found[0, 2] = np.nan
    figures = scales.compared(found, reference)
    assert figures["arousal"] == {"ccc": pytest.approx(1), "mae": 0}
    assert figures["dominance"]["mae"] == pytest.approx(0.1)
    assert figures["dominance"]["ccc"] < 0.6
    assert figures["valence"]["ccc"] == pytest.approx(1)


def results() -> dict:
    def figures(value: float) -> dict:
        return {name: {"ccc": value + i / 100, "mae": value / 10} for i, name in enumerate(DIMENSIONS)}

    split: dict = {key: figures((i + 1) / 10) for i, key in enumerate(scales.ROWS)} | {"no_number": 2}
    split["expected"]["dominance"]["ccc"] = 0.05
    return {
        "decoder": {"exact": 0.875, "seconds": 120.0},
        "trained": {"parameters": 160352, "seconds": 180.0},
        "heard_again": {"clips": 3, "difference": 1e-7},
        "clips": {"train": 304, "dev": 106, "test": 125},
        "splits": {"dev": split, "test": split},
        "settings": {
            "schedule": {"steps": 5, "batch": 2},
            "scale_texts": 0.6,
            "weights": {"valence": 2.0, "emotion": 1.0},
        },
    }


def test_the_section_shows_what_was_measured():
    page = scales.section(results())
    row = "0.100 (0.010) | 0.050 (0.010) | 0.120 (0.010)"
    assert f"| number to expect, against labels | {row} | {row} |" in page
    assert "| number to expect, against regression head | 0.400 (0.040) |" in page
    assert "Of the instructions, 67% ask for valence, 33% ask for emotion." in " ".join(page.split())
    assert "behind the regression head in dominance, by 0.260." in " ".join(page.split())
    assert "As text, 4 answers were no number and do not count." in page
