"""Figures of the field for answers in text: how far they are from those that are wanted.

Word error rate is jiwer's, BLEU sacreBLEU's (the extra `wavllm`). Letters: N answers.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from edgekit.errors import AudioError, ConfigError

SEPARATORS = (r"\n\s*", ";", r"(?<!\d),|,(?!\d)")
"""What divides the parts of an answer: the first of these that the wanted answer holds."""
_IN_NUMBERS = re.compile(r"(?<=\d),(?=\d)")
_MEANT = "#%&@‰"
"""Unicode calls these punctuation too, but 5 and 5 % are two answers."""


def plain(text: str) -> str:
    """Return an answer as it is compared: without case, outer punctuation and more than one space at a time.

    How Unicode spells a letter with an accent does not matter. Punctuation is what Unicode calls so.

    Example:
        >>> plain(' Very  "Sad". '), plain("«Très triste…»"), plain("-3.")
        ('very "sad', 'très triste', '-3')
    """
    words = " ".join(_composed(unicodedata.normalize("NFD", text).casefold()).split())
    edges = "".join(mark for mark in {*words} if mark == " " or _is_punctuation(mark))
    begun = words.rstrip(edges)
    inner = begun.lstrip(edges)
    # The sign of a number is none of its edges.
    negative = inner[:1].isdecimal() and begun.removesuffix(inner).endswith("-")
    return f"-{inner}" if negative else inner


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _is_punctuation(mark: str) -> bool:
    return unicodedata.category(mark).startswith("P") and mark not in _MEANT


def word_error_rate(answers: Sequence[str], wanted: Sequence[str]) -> float:
    """Return wrong, missing and surplus words, divided by the wanted ones; without case and punctuation.

    Raises:
        AudioError: If a wanted text has no word.
        ConfigError: If jiwer is not installed.
    """
    try:
        import jiwer
    except ImportError as error:
        raise _not_installed("word error rate", "jiwer") from error
    words = jiwer.Compose(
        [
            jiwer.ToLowerCase(),
            jiwer.RemovePunctuation(),
            jiwer.RemoveMultipleSpaces(),
            jiwer.Strip(),
            jiwer.ReduceToListOfListOfWords(),
        ]
    )
    for text in wanted:
        if not any(words(text)):
            raise AudioError(f"a wanted text has no word: {text!r}", "leave it out of the manifest")
    texts = [[_composed(text) for text in found] for found in (wanted, answers)]
    return float(jiwer.wer(*texts, words, words))


def bleu(answers: Sequence[str], wanted: Sequence[str]) -> tuple[float, str]:
    """Return BLEU of all answers together, 0 to 100, and sacreBLEU's signature of how it was computed.

    Raises:
        ConfigError: If sacreBLEU is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise _not_installed("BLEU", "sacrebleu") from error
    metric = BLEU()
    score = metric.corpus_score(list(answers), [list(wanted)]).score
    return float(score), str(metric.get_signature())


def _not_installed(figure: str, package: str) -> ConfigError:
    return ConfigError(f"{figure}: {package} is not installed", "run pip install 'edgekit[wavllm]'")


def accuracy(answers: Sequence[str], wanted: Sequence[str]) -> float:
    """Return the share of answers that are the wanted one, compared as `plain` says."""
    return float(np.mean([plain(a) == plain(w) for a, w in zip(answers, wanted, strict=True)]))


def unweighted_recall(answers: Sequence[str], wanted: Sequence[str]) -> float:
    """Return the mean over all wanted answers of the share that was answered right: each counts the same.

    Example:
        >>> unweighted_recall(["sad", "sad", "sad"], ["sad", "sad", "calm"])
        0.5
    """
    right: dict[str, list[bool]] = {}
    for answer, want in zip(answers, wanted, strict=True):
        right.setdefault(plain(want), []).append(plain(answer) == plain(want))
    return float(np.mean([np.mean(hits) for hits in right.values()]))


def equal_error_rate(scores: ArrayLike, positive: Sequence[bool]) -> float | None:
    """Return the error rate at the threshold where both kinds of errors are as frequent.

    False acceptance and false refusal are known at every score that occurs; between two of them, both are
    interpolated linearly.

    Args:
        scores: (N,), higher for what is to be accepted.
        positive: (N,), what is to be accepted.

    Returns:
        0 to 1; None without items of both kinds.

    Example:
        >>> equal_error_rate([0.9, 0.4, 0.6, 0.1], [True, True, False, False])
        0.5
    """
    values, accept = np.asarray(scores, np.float64), np.asarray(positive, bool)
    if accept.all() or not accept.any():
        return None
    order = np.argsort(-values, kind="stable")
    last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    accepted = np.append(0, np.cumsum(accept[order])[last])
    fooled = np.append(0, np.cumsum(~accept[order])[last]) / np.sum(~accept)
    refused = 1 - accepted / np.sum(accept)
    return float(np.interp(0, fooled - refused, fooled))


def parts(answer: str, wanted: str) -> list[str]:
    """Return the parts of an answer, divided as the wanted one is.

    A comma between digits divides nothing, and lines that are empty are none. One separator may follow the
    last part; any other part can be empty.

    Example:
        >>> parts("sad; 3", "calm; 2"), parts("one, two", "all in one part"), parts("1,234, sad", "2, calm")
        (['sad', '3'], ['one, two'], ['1,234', 'sad'])
    """
    separator = next((mark for mark in SEPARATORS if re.search(mark, wanted.strip())), None)
    if separator is None:
        return [answer.strip()]
    found = [part.strip() for part in re.split(separator, answer.strip())]
    return found if found[-1] else found[:-1]


def follows(answer: str, wanted: str, others: Sequence[str] = ()) -> bool:
    """Return whether an answer does all that is asked for, in the order and form asked, right or wrong.

    It does if it has as many parts as the wanted answer, none of them empty, and for each part: the label
    before a colon is the same, or there is none in both; both are numbers, or neither is; and it is not what
    only another part can be, as told by the wanted answers to the same prompt.

    Args:
        answer: What was answered.
        wanted: What is right.
        others: All wanted answers to this prompt: they show what may stand in which part.

    Example:
        >>> answers = "mood: calm; 3", "calm; 3", "3; mood: calm", "mood: calm"
        >>> [follows(answer, "mood: sad; 2") for answer in answers]
        [True, False, False, False]
    """
    found, right = parts(answer, wanted), parts(wanted, wanted)
    if len(found) != len(right) or not all(map(plain, found)):
        return False
    if any(_form(part) != _form(want) for part, want in zip(found, right, strict=True)):
        return False
    places = list(zip(*([plain(p) for p in parts(w, w)] for w in others if _like(w, wanted)), strict=True))
    return not any(
        plain(part) not in place and any(plain(part) in other for other in places)
        for part, place in zip(found, places, strict=False)
    )


def _like(other: str, wanted: str) -> bool:
    return len(parts(other, other)) == len(parts(wanted, wanted))


def _form(part: str) -> tuple[str, bool]:
    """Return the label of a part, and whether what it labels is a number."""
    label, colon, rest = part.partition(":")
    # The colon of a time, as in 6:45, divides nothing.
    labelled = colon and not label[-1:].isdecimal()
    value = plain(rest if labelled else part).removeprefix("-")
    return plain(label) if labelled else "", _IN_NUMBERS.sub("", value).replace(".", "", 1).isdecimal()


def right_parts(answers: Sequence[str], wanted: Sequence[str]) -> float:
    """Return the share of all wanted parts that stand where they should."""
    hits = []
    for answer, want in zip(answers, wanted, strict=True):
        found = parts(answer, want)
        right = parts(want, want)
        hits += [i < len(found) and plain(found[i]) == plain(part) for i, part in enumerate(right)]
    return float(np.mean(hits))
