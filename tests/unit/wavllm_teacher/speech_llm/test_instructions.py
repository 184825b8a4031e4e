"""Manifests, and how tasks are drawn."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import AudioError, ConfigError
from wavllm_teacher.speech_llm.instructions import Instruction, Mixture, read_manifest


def write(folder, *lines):
    file = folder / "manifest.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return file


LINE = {"task": "emotion", "prompt": "How?", "answer": "sad"}


def test_a_manifest(tmp_path):
    (tmp_path / "a.wav").touch()
    file = write(
        tmp_path,
        {**LINE, "audio": "a.wav", "split": "test"},
        "",
        {**LINE, "answer": "tränenreich", "system": "Listen."},
    )
    assert read_manifest(file) == [
        Instruction("emotion", "How?", "sad", tmp_path / "a.wav", "test"),
        Instruction("emotion", "How?", "tränenreich", system="Listen."),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: no JSON"),
        ("[1]", "no JSON object of texts"),
        ({**LINE, "answer": 3}, "no JSON object of texts"),
        (f'{json.dumps(LINE)[:-1]}, "answer": "calm"}}', "line 2: answer occurs more than once"),
        (f'{json.dumps(LINE)[:-1]}, "answer": "sad"}}', "line 2: answer occurs more than once"),
        ({"task": "a", "prompt": "b"}, "answer is missing"),
        ({**LINE, "prompt": " "}, "prompt is missing"),
        ({**LINE, "speaker": "x"}, "unknown entry speaker"),
        ({**LINE, "answer": "s\ud800d"}, r"answer is not valid UTF-8: 's\\ud800d'"),
        ({**LINE, "task": "\udce9"}, "task is not valid UTF-8"),
        ({**LINE, "split": "all"}, "split is 'all'"),
        ({**LINE, "audio": "no.wav"}, "no audio file no.wav"),
    ],
)
def test_wrong_lines_are_named(tmp_path, line, message):
    with pytest.raises(AudioError, match=message) as error:
        read_manifest(write(tmp_path, LINE, line))
    assert "manifest.jsonl, line 2" in error.value.what
    assert "task, prompt, answer, audio, split" in error.value.hint


def test_no_manifest(tmp_path):
    with pytest.raises(AudioError, match="cannot be read"):
        read_manifest(tmp_path / "none.jsonl")
    with pytest.raises(AudioError, match="no instruction"):
        read_manifest(write(tmp_path, " "))


def instructions(**counts: int) -> list[Instruction]:
    return [Instruction(task, "?", str(i)) for task, count in counts.items() for i in range(count)]


@given(st.integers(0, 50))
def test_tasks_are_drawn_by_weight(seed):
    mixture = Mixture(instructions(a=1, b=30, c=5), {"b": 1, "a": 3})
    drawn = mixture.draw(2000, np.random.default_rng(seed))
    counts = Counter(found.task for found in drawn)
    assert abs(counts["a"] / 2000 - 0.75) < 0.06
    assert counts["c"] == 0
    assert {found.answer for found in drawn if found.task == "b"} == {str(i) for i in range(30)}


def test_without_weights_instructions_are_as_likely():
    drawn = Mixture(instructions(a=1, b=3)).draw(4000, np.random.default_rng(0))
    assert abs(Counter(found.task for found in drawn)["a"] / 4000 - 0.25) < 0.04


def test_the_order_of_weights_does_not_matter():
    found = [
        Mixture(instructions(a=4, b=4), weights).draw(50, np.random.default_rng(1))
        for weights in ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"z": 1}, "task 'z'"),
        ({"b": 2, "a": -1}, "weight of task 'a' is -1"),
        ({"a": 2, "b": float("nan")}, "weight of task 'b' is nan"),
        ({"a": float("inf"), "b": 1}, "weight of task 'a' is inf"),
        ({"a": "1"}, "weight of task 'a' is '1'"),
        ({"a": 0}, "impossible weights"),
        ({"a": 1e308, "b": 1e308}, "impossible weights"),
    ],
)
def test_impossible_weights(weights, message):
    with pytest.raises(ConfigError, match=message):
        Mixture(instructions(a=1, b=1), weights)


def test_separators_of_unicode_and_a_byte_order_mark(tmp_path):
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"task": "text", "prompt": "a\u2028b", "answer": "c"}\r\n', encoding="utf-8-sig")
    assert [found.prompt for found in read_manifest(file)] == ["a\u2028b"]
