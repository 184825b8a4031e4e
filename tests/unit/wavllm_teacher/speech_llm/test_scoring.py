"""Figures of answers, against counts by hand."""

import sys

import numpy as np
import pytest

from edgekit.errors import AudioError, ConfigError
from wavllm_teacher.speech_llm import scoring


def test_word_error_rate():
    pytest.importorskip("jiwer", reason="the extra wavllm is not installed")
    wanted = ["The cat sat on the mat.", "Yes!"]
    # One word wrong, one missing, one too many, of seven.
    assert scoring.word_error_rate(["the hat sat on mat", "well, yes"], wanted) == pytest.approx(3 / 7)
    assert scoring.word_error_rate(["THE CAT, SAT ON THE  MAT", "yes"], wanted) == 0
    assert scoring.word_error_rate(["", ""], wanted) == 1
    assert scoring.word_error_rate(["tre\u0300s"], ["tr\u00e8s"]) == 0
    with pytest.raises(AudioError, match=r"has no word: '\.\.\.'"):
        scoring.word_error_rate(["a", "b"], ["a", "..."])


def test_bleu():
    pytest.importorskip("sacrebleu", reason="the extra wavllm is not installed")
    wanted = ["the cat sat on the mat", "it is raining again today"]
    assert scoring.bleu(wanted, wanted)[0] == pytest.approx(100)
    score, signature = scoring.bleu(["the cat sat on the rug", "it is raining again today"], wanted)
    # n-gram precisions 10/11, 8/9, 6/7 and 4/5, and no penalty, as lengths are the same.
    assert score == pytest.approx(100 * (10 / 11 * 8 / 9 * 6 / 7 * 4 / 5) ** 0.25)
    assert "tok:13a" in signature


@pytest.mark.parametrize(
    ("package", "figure"), [("jiwer", scoring.word_error_rate), ("sacrebleu.metrics", scoring.bleu)]
)
def test_what_is_not_installed_is_named(monkeypatch, package, figure):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f"{package.split('.')[0]} is not installed") as error:
        figure(["a"], ["a"])
    assert error.value.hint == "run pip install 'edgekit[wavllm]'"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("“Sad”", "sad"),
        ("« sad »", "sad"),
        ("sad…", "sad"),
        ("悲しい。", "悲しい"),
        ("- **sad**", "sad"),
        ("E\u0301mu", "\u00e9mu"),
        ("\u00c9mu", "\u00e9mu"),
        ("l\u2019an (3)", "l\u2019an (3"),
        ("-3", "-3"),
        ("(-3).", "-3"),
        ("- 3", "3"),
        ("-sad", "sad"),
        ("5 %.", "5 %"),
        ("“…”", ""),
        ("", ""),
    ],
)
def test_what_is_outer_punctuation(text, expected):
    assert scoring.plain(text) == expected
    assert scoring.plain(expected) == scoring.plain(text)


def test_classes():
    wanted = ["sad", "sad", "sad", "calm"]
    assert scoring.accuracy([" Sad.", "sad", "angry", "angry"], wanted) == 0.5
    assert scoring.unweighted_recall(["Sad", "sad", "angry", "calm"], wanted) == pytest.approx(
        (2 / 3 + 1) / 2
    )


@pytest.mark.parametrize(
    ("scores", "positive", "rate"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 0.0),
        ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0], 1.0),
        # One of three refused and one of three accepted at the same threshold.
        ([0.9, 0.8, 0.4, 0.6, 0.3, 0.2], [1, 1, 1, 0, 0, 0], 1 / 3),
        # All the same: the threshold says nothing, and the chord of the curve is met in its middle.
        ([0.5] * 4, [1, 0, 1, 0], 0.5),
        # From (0, 1/2) to (1/3, 0), both errors are the same at 1/5.
        ([0.9, 0.6, 0.6, 0.3, 0.2], [1, 1, 0, 0, 0], 1 / 5),
    ],
)
def test_equal_error_rate(scores, positive, rate):
    assert scoring.equal_error_rate(scores, [bool(p) for p in positive]) == pytest.approx(rate)
    # It does not matter which of the two is called positive.
    turned = scoring.equal_error_rate(1 - np.array(scores), [not p for p in positive])
    assert turned == pytest.approx(rate)


def test_no_equal_error_rate():
    assert scoring.equal_error_rate([0.1, 0.2], [True, True]) is None


MOODS = ["sad; 3; f", "calm; 2; m", "angry; 1; f"]


@pytest.mark.parametrize(
    ("answer", "wanted", "others", "followed"),
    [
        ("calm; 1; m", "sad; 3; f", MOODS, True),
        ("Happy; 7; x.", "sad; 3; f", MOODS, True),  # wrong, but what was asked for
        ("calm; 1", "sad; 3; f", MOODS, False),
        ("calm; 1; m; and more", "sad; 3; f", MOODS, False),
        ("calm; ; m", "sad; 3; f", MOODS, False),
        ("1; calm; m", "sad; 3; f", MOODS, False),
        ("f; 3; sad", "sad; 3; f", MOODS, False),  # only the other answers tell that these changed places
        ("calm, 1, m", "sad; 3; f", MOODS, False),
        ("mood: calm\ncount: 2", "mood: sad\ncount: 3", [], True),
        ("count: 2\nmood: calm", "mood: sad\ncount: 3", [], False),
        ("calm\n2", "mood: sad\ncount: 3", [], False),
        ("a; b, c\nd", "first, thing\nsecond; thing", [], True),
        ("whatever", "one part", [], True),
        ("  ", "one part", [], False),
    ],
)
def test_following_instructions(answer, wanted, others, followed):
    assert scoring.follows(answer, wanted, others) is followed


def test_right_parts():
    answers = ["calm; 3; f", "calm", "angry; 1; f; more"]
    assert scoring.right_parts(answers, MOODS) == pytest.approx((2 + 1 + 3) / 9)


@pytest.mark.parametrize(
    ("answer", "wanted", "expected"),
    [
        ("calm\n\n3", "calm\n\n3", True),
        ("calm; 3;", "calm; 3", True),
        ("text: come at 6:45; emotion: sad", "text: come at 5:30; emotion: sad", True),
        ("come at 6:45; sad", "come at 5:30; calm", True),
        ("5; sad", "-3; sad", True),
        ("calm;", "calm; 3", False),
        ("calm;; 3", "calm; 3", False),
        ("; calm; 3", "calm; 3", False),
        ("calm; 3;;", "calm; 3", False),
        ("calm, , 3", "calm, 3", False),
        ("calm; “…”", "calm; sad", False),
        ("calm\n \n3\n", "calm\n3", True),
        ("\ncalm\n3", "calm\n3", True),
        ("1,234", "56", True),
        ("1,234", "2, 3", False),
        ("1,234, sad", "56, calm", True),
        ("12", "1,234", True),
        ("many", "1,234", False),
        ("mood: sad; 3", "text: sad; 3", False),
    ],
)
def test_what_is_right_in_form_follows(answer, wanted, expected):
    assert scoring.follows(answer, wanted) is expected
    assert scoring.follows(wanted, wanted)
