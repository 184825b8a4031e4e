"""What is asked about sounds, alone and combined, and about notes in text.

Wordings and pairings marked as unseen are never trained, in no stage.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.wavllm.sounds import COUNTS, LENGTHS_S, PITCHES_HZ, Sound, random_sound
from wavllm_teacher.speech_llm.instructions import Instruction

SYSTEM = "Listen."
QUESTIONS = {
    "kind": ("What is it?", "Name the kind.", "Which kind is heard?"),
    "count": ("How many?", "Name the count.", "Which count is heard?"),
    "pitch": ("How high is it?", "Name the pitch.", "Which pitch is heard?"),
    "length": ("How long?", "Name the length.", "Which length is heard?"),
}
TEXT = "text"
SINGLE = (*QUESTIONS, TEXT)

PAIRED = ("Name the {} and the {}.", "The {}, then the {}.", "Which {} and which {} are heard?")
REVERSED = ("Name the {} after the {}.",)
"""The one that is named last is to be answered first."""
STEPS = ("First the {}, then the {}, step by step.",)
TRIPLE = ("Name the {}, the {} and the {}.",)
UNSEEN_PAIRED = ("Say the {} together with the {}.",)
UNSEEN_PAIR = frozenset(("count", "length"))
COMBINED = ("pairs", "reversed", "steps", "triples")
UNSEEN = ("unseen pairings", "unseen wording")


def truth(sound: Sound, task: str) -> str | None:
    """Return the answer to a single task; None where there is none."""
    answer: str | None = getattr(sound, task)
    return answer


def asked(sound: Sound) -> tuple[str, ...]:
    """Return the single tasks that have an answer for a sound."""
    return tuple(task for task in QUESTIONS if truth(sound, task))


def single(file: Path, sound: Sound, rng: np.random.Generator) -> list[Instruction]:
    """Return one instruction for each single task of a sound."""
    return [question(task, sound, rng, file) for task in asked(sound)]


def question(task: str, sound: Sound, rng: np.random.Generator, file: Path | None = None) -> Instruction:
    """Return a single task in some wording."""
    prompt = str(rng.choice(QUESTIONS[task]))
    return Instruction(task, prompt, str(truth(sound, task)), file, system=SYSTEM)


def combined(file: Path, sound: Sound, rng: np.random.Generator) -> list[Instruction]:
    """Return instructions about several things at once: each pairing once, and a triple of a tone."""
    made = []
    for pair in itertools.permutations(asked(sound), 2):
        unseen = frozenset(pair) == UNSEEN_PAIR
        form = str(rng.choice(COMBINED[:3], p=(0.5, 0.25, 0.25)))
        made.append(_combination(UNSEEN[0] if unseen else form, form, file, sound, pair, rng))
    triples = [t for t in itertools.permutations(asked(sound), 3) if not set(t) >= UNSEEN_PAIR]
    if triples:
        chosen = triples[int(rng.integers(len(triples)))]
        made.append(_combination("triples", "triples", file, sound, chosen, rng))
    return made


def reworded(file: Path, sound: Sound, rng: np.random.Generator) -> Instruction:
    """Return a pair that training has, in words that it has not."""
    pairs = [p for p in itertools.permutations(asked(sound), 2) if frozenset(p) != UNSEEN_PAIR]
    pair = pairs[int(rng.integers(len(pairs)))]
    return _combination(UNSEEN[1], UNSEEN[1], file, sound, pair, rng)


def instructions(
    sounds: Sequence[tuple[Path, Sound]], split: str, rng: np.random.Generator
) -> list[Instruction]:
    """Return all that is asked about the sounds of a split, and as many texts; in training nothing unseen."""
    found: list[Instruction] = []
    for file, sound in sounds:
        found += [*single(file, sound, rng), *combined(file, sound, rng), reworded(file, sound, rng)]
        found.append(text(rng, held_out=split != "train"))
    return [one for one in found if split != "train" or one.task not in UNSEEN]


_FORMS = {
    "pairs": PAIRED,
    "reversed": REVERSED,
    "steps": STEPS,
    "triples": TRIPLE,
    UNSEEN[1]: UNSEEN_PAIRED,
}


def _combination(
    task: str, form: str, file: Path, sound: Sound, about: Sequence[str], rng: np.random.Generator
) -> Instruction:
    answers = [str(truth(sound, part)) for part in about]
    names = about[::-1] if form == "reversed" else about
    prompt = str(rng.choice(_FORMS[form])).format(*names)
    answer = "; ".join(answers)
    if form == "steps":
        answer = "; ".join(f"{part}: {found}" for part, found in zip(about, answers, strict=True))
    return Instruction(task, prompt, answer, file, system=SYSTEM)


def note(sound: Sound, rng: np.random.Generator) -> str:
    """Return what is true of a sound as words in any order."""
    return " ".join(rng.permutation([str(truth(sound, task)) for task in asked(sound)]))


def listed(sound: Sound, rng: np.random.Generator) -> Instruction:
    """Return a terse list of two things to name: the one form of several answers that the decoder knows."""
    pairs = [pair for pair in itertools.permutations(asked(sound), 2) if frozenset(pair) != UNSEEN_PAIR]
    pair = pairs[int(rng.integers(len(pairs)))]
    answer = "; ".join(str(truth(sound, part)) for part in pair)
    return Instruction("list", f"{'; '.join(pair)}?", answer, system=SYSTEM)


def sound_for_texts(rng: np.random.Generator, *, held_out: bool = False) -> Sound:
    """Return a sound of which texts of training tell, or none does."""
    while True:
        sound = random_sound(rng)
        if is_held_out(sound) is held_out:
            return sound


def text(rng: np.random.Generator, *, held_out: bool) -> Instruction:
    """Return a question on a note in text alone."""
    sound = sound_for_texts(rng, held_out=held_out)
    asked_for = question(str(rng.choice(asked(sound))), sound, rng)
    return replace(asked_for, task=TEXT, prompt=f"{note(sound, rng)}: {asked_for.prompt}")


def is_held_out(sound: Sound) -> bool:
    """Return whether no text of training tells of such a sound: every third of the 18 different tones."""
    if sound.pitch is None:
        return False
    places = COUNTS.index(sound.count) + list(LENGTHS_S).index(sound.length)
    return (places + list(PITCHES_HZ).index(sound.pitch)) % 3 == 0
