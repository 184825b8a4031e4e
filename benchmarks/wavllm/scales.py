"""Numbers as answers: arousal, dominance and valence of EmoDB, asked of a speech language model.

What labels is the teacher as `edgekit label` would load it: the number to expect of the chances of seven
answers. Beside it stands the regression head of `edgekit teach` on the same encoder and clips.
"""

import csv
import hashlib
import io
import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measured import Measured
from benchmarks.students.training import show
from benchmarks.tables import line
from benchmarks.wavllm import answers, reading
from benchmarks.wavllm.emodb import EMOTIONS, Clip, Samples
from edgekit import artifact
from edgekit.audio import read_audio
from edgekit.metrics import DIMENSIONS, ccc, mae
from wavllm_teacher import hub
from wavllm_teacher.dual_encoder import DualTeacher
from wavllm_teacher.registry import find_teacher
from wavllm_teacher.speech_llm import storage
from wavllm_teacher.speech_llm.curriculum import Schedule, Trainer
from wavllm_teacher.speech_llm.folder import DECODER
from wavllm_teacher.speech_llm.generation import Assistant
from wavllm_teacher.speech_llm.hearing import Ears
from wavllm_teacher.speech_llm.instructions import Instruction, Mixture
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.prompts import Request
from wavllm_teacher.speech_llm.teacher import NUMBERS, PROMPTS, SCALE, SpeechLlmTeacher, write_teacher
from wavllm_teacher.speech_llm.tokens import TOKENIZER_FILE, FileTokenizer, save_tokenizer
from wavllm_teacher.teaching.config import TeachConfig
from wavllm_teacher.teaching.folder import METRICS_FILE
from wavllm_teacher.teaching.stage import teach

CACHE = answers.CACHE
"""Clips and what Whisper heard in them are those of `answers`."""
OWN = "scales"
SEED = 0
READING_STEPS = 1000
SCHEDULE = Schedule(steps=900, batch=16, learning_rate=1e-3, weight_decay=0.05, seed=SEED)
WEIGHTS = {"arousal": 1.0, "dominance": 1.0, "valence": 1.0}
"""How often each dimension is asked for."""
EMOTION_WEIGHT = 1.0
"""How often an emotion is asked for, on the same scale."""
LINES = 20
"""Instructions for a clip and dimension, whose numbers have the label as their mean."""
HEARD_AGAIN = 3
"""Clips that the loaded teacher hears itself, to see that what is kept is what it hears."""
LEVELS = {
    "arousal": ("lifeless", "calm", "quiet", "awake", "lively", "excited", "wild"),
    "dominance": ("helpless", "weak", "timid", "even", "firm", "strong", "commanding"),
    "valence": ("awful", "bad", "poor", "plain", "nice", "good", "wonderful"),
}
"""Dimension to the words for 1 to 7 in the texts that the decoder learns to read."""
SCALE_TEXTS = 0.6
"""Share of the decoder's texts that ask for a number; the others are those about emotions."""
ROWS = {
    "expected": "number to expect, against labels",
    "said": "number in the text, against labels",
    "head": "regression head, against labels",
    "expected and head": "number to expect, against regression head",
}
_CLARITY = (0.5, 1.0)
_MOMENTS = (3, 30)

Numbers = NDArray[np.float64]


def draw(rng: np.random.Generator) -> reading.Text:
    """Return a text about how speech sounds on three scales, or one about an emotion."""
    if rng.random() >= SCALE_TEXTS:
        return reading.draw(rng)
    numbers = {name: int(rng.choice(NUMBERS)) for name in DIMENSIONS}
    asked = str(rng.choice(DIMENSIONS))
    request = Request(PROMPTS[asked], np.empty(0, np.float32))
    return reading.Text(request, _impressions(numbers, rng), str(numbers[asked]))


def _impressions(numbers: Mapping[str, int], rng: np.random.Generator) -> str:
    """Return the word for each number, then one for each of some moments, of which some mislead."""
    clarity = rng.uniform(*_CLARITY)
    words = [LEVELS[name][number - NUMBERS[0]] for name, number in numbers.items()]
    for _ in range(int(rng.integers(*_MOMENTS))):
        name = str(rng.choice(DIMENSIONS))
        number = numbers[name] if rng.random() < clarity else int(rng.choice(NUMBERS))
        words.append(LEVELS[name][number - NUMBERS[0]])
    return " ".join(words)


def numbers_for(label: float) -> list[str]:
    """Return `LINES` answers, of the two numbers around a label from 0 to 1, whose mean is the label.

    A model that learns how often each is the answer has the label as the number to expect.

    Example:
        >>> sorted(set(numbers_for(0.75))), numbers_for(0.75).count("6"), numbers_for(0.75).count("5")
        (['5', '6'], 10, 10)
    """
    exact = NUMBERS[0] + label * (NUMBERS[-1] - NUMBERS[0])
    below = min(math.floor(exact), NUMBERS[-1] - 1)
    above = round((exact - below) * LINES)
    return [str(below + 1)] * above + [str(below)] * (LINES - above)


def measure(cache: Path = CACHE) -> dict[str, Any]:
    """Train decoder, adapters and the regression head, label the held-out speakers; JSON-ready.

    What takes long is kept in the cache, so that a second call continues.

    Raises:
        ConfigError: If the shared material is missing.
    """
    own = cache / OWN
    clips, copies = answers.clips_and_copies(cache)
    read = reading.pretrained(own / DECODER, show, draw, READING_STEPS)
    listener = answers.model(SEED, cache, own / DECODER)
    answers.hear(listener, [*clips, *copies], cache)
    learned = [clip for clip in clips if clip.split == "train"]
    asked, trained = _asked_teacher(listener, [*learned, *copies], own)
    head, taught = _head(clips, own)
    splits = {split: [clip for clip in clips if clip.split == split] for split in answers.HEARD_SPLITS}
    heard_again = _remembering(asked, listener.ears, splits["dev"][:HEARD_AGAIN])
    return {
        "decoder": read,
        "trained": trained,
        "head": taught,
        "heard_again": heard_again,
        "clips": {"train": len(learned), **{split: len(found) for split, found in splits.items()}},
        "splits": {split: _labelled(asked, head, found) for split, found in splits.items()},
        "settings": settings(),
    }


def settings() -> dict[str, Any]:
    """Return what decides the result, JSON-ready."""
    return {
        "shape": answers.shape_of({}).to_dict() | {"whisper": "whisper-base"},
        "schedule": asdict(SCHEDULE),
        "weights": {**WEIGHTS, "emotion": EMOTION_WEIGHT},
        "lines": LINES,
        "scale_texts": SCALE_TEXTS,
        "copies": answers.COPIES,
        "reading": {"steps": READING_STEPS, "batch": reading.BATCH, "learning_rate": reading.LEARNING_RATE},
    }


def _asked_teacher(
    found: SpeechLlm, clips: Sequence[Clip], own: Path
) -> tuple[SpeechLlmTeacher, dict[str, float]]:
    """Train a model's adapters, write it as a teacher, and return the teacher that is loaded from there."""
    kept, of = Measured(own / "trained.json"), json.dumps(settings(), sort_keys=True)
    facts = kept.get("adapters", of)
    folder = own / "teacher"
    if facts is None:
        tokenizer = FileTokenizer(own / DECODER / TOKENIZER_FILE)
        started = time.process_time()
        # A checkpoint of other settings lies in another folder.
        adapters = own / f"adapters-{hashlib.sha256(of.encode()).hexdigest()[:8]}"
        Trainer(found, tokenizer, mixture(clips), SCHEDULE, adapters).run(show)
        seconds = time.process_time() - started
        _write(found, tokenizer, folder)
        facts = {"parameters": sum(value.numel() for _, value in found.trained()), "seconds": seconds}
        kept.put("adapters", of, facts)
    teacher = find_teacher(str(folder)).load()
    assert isinstance(teacher, SpeechLlmTeacher)
    return teacher, facts


def _write(found: SpeechLlm, tokenizer: FileTokenizer, folder: Path) -> None:
    storage.save_adapters(found, folder)
    storage.save_frozen(found, folder)
    save_tokenizer(tokenizer, folder)
    write_teacher(folder, "scales", "Apache-2.0; MIT (OpenAI Whisper encoder)")


def mixture(clips: Sequence[Clip]) -> Mixture:
    """Return every clip with the prompt of each dimension, its numbers, and with that for emotions."""
    lines = [
        Instruction(name, PROMPTS[name], number, clip.file)
        for clip in clips
        for name, label in zip(DIMENSIONS, clip.labels, strict=True)
        for number in numbers_for(label)
    ]
    emotions = [Instruction(clip.emotion, answers.PROMPT, clip.emotion, clip.file) for clip in clips]
    weights = WEIGHTS | dict.fromkeys(EMOTIONS, EMOTION_WEIGHT / len(EMOTIONS))
    return Mixture([*lines, *emotions], weights)


def _remembering(teacher: SpeechLlmTeacher, ears: Ears, clips: Sequence[Clip]) -> dict[str, float]:
    """Let a teacher remember what was heard, and return how far that changes the labels of some clips."""
    samples = [read_audio(clip.file) for clip in clips]
    fresh = teacher.predict(samples)
    teacher.assistant.model.ears = ears
    return {"clips": len(clips), "difference": float(np.abs(teacher.predict(samples) - fresh).max())}


def _head(clips: Sequence[Clip], own: Path) -> tuple[DualTeacher, dict[str, Any]]:
    """Return the dual-encoder teacher that `edgekit teach` makes of Whisper alone, and how it was made."""
    config = TeachConfig((_corpus(clips, own / "emodb"),), whisper=answers.encoder())
    made = teach(config, own / "head", show)
    teacher = find_teacher(str(made.path)).load()
    assert isinstance(teacher, DualTeacher)
    return teacher, hub.read_json(made.path / METRICS_FILE)["training"]


def _corpus(clips: Sequence[Clip], folder: Path) -> Path:
    """Return a folder of the clips with their table, as `edgekit teach` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        shutil.copyfile(clip.file, folder / clip.file.name)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "split", *DIMENSIONS, "license"])
    table.writerows([clip.file.name, clip.split, *clip.labels, "CC0-1.0"] for clip in clips)
    artifact.write_text(folder / "clips.csv", text.getvalue())
    return folder


def _labelled(asked: SpeechLlmTeacher, head: DualTeacher, clips: Sequence[Clip]) -> dict[str, Any]:
    """Return how far labels agree: of both teachers, and of the numbers that are answered as text."""
    samples = [read_audio(clip.file) for clip in clips]
    wanted = np.array([clip.labels for clip in clips])
    expected, regressed = asked.predict(samples), head.predict(samples)
    said = _said(asked.assistant, samples)
    return {
        "expected": compared(expected, wanted),
        "said": compared(said, wanted),
        "head": compared(regressed, wanted),
        "expected and head": compared(expected, regressed),
        "no_number": int(np.isnan(said).sum()),
    }


def _said(assistant: Assistant, samples: Sequence[Samples]) -> Numbers:
    """Return (N, 3) what answers as text stand for; NaN where they are no number of the scale."""
    columns = [
        assistant.answer([Request(PROMPTS[name], clip) for clip in samples], answers.BRIEF)
        for name in DIMENSIONS
    ]
    return np.array([[SCALE.get(text, math.nan) for text in column] for column in columns]).T


def compared(found: NDArray[Any], reference: NDArray[Any]) -> dict[str, dict[str, float]]:
    """Return CCC and mean absolute difference in each dimension of two (N, 3) sets of labels.

    Where a label is NaN, the clip does not count in that dimension.
    """
    figures = {}
    for column, name in enumerate(DIMENSIONS):
        there = ~np.isnan(found[:, column])
        pair = found[there, column], reference[there, column]
        figures[name] = {"ccc": ccc(*pair), "mae": mae(*pair)}
    return figures


def section(results: Mapping[str, Any]) -> str:
    """Return the part of the page about what `measure` returned, as Markdown."""
    parts = [*_told(results), "", *_table(results["splits"]), "", *_cost(results)]
    return "\n".join(parts)


def _told(results: Mapping[str, Any]) -> list[str]:
    decoder, used, clips = results["decoder"], results["settings"], results["clips"]
    schedule, shares = used["schedule"], _shares(used["weights"])
    told = """The same ears, adapters and form of decoder as above, asked for a number from 1 to 7 in each
        dimension, with the prompts of the teacher kind `speech-llm`. The label is the number to expect. The
        folder is written and loaded as a teacher. Beside it stands the regression head of `edgekit teach`.
        What they learn, and what they are judged by, are pseudo-labels made of the acted emotion, not
        ratings: both could know it from the emotion alone."""
    parts = (
        f"""- **Decoder**: of its texts, {used["scale_texts"]:.0%} describe speech on three scales in words
        and ask for a number; it answers {decoder["exact"]:.1%} of {reading.CHECKED} others exactly, of which
        some are meant to mislead.""",
        f"""- **Trained on speech**: {results["trained"]["parameters"]:,} parameters, by `Trainer` in stage
        one: {schedule["steps"]} steps of {schedule["batch"]}, one seed. A label between two numbers is
        answered now by one, now by the other, so often that their mean is the label.
        Of the instructions, {shares}.""",
        """- **Regression head**: the dual-encoder teacher on Whisper-base alone, by `edgekit teach` with its
        default settings: adapter, pooling and a linear head. It has more to learn from: a mix of all hidden
        states, of clips that are not padded to 30 s, in four versions where the adapters have two.""",
        f"""- **Speech**: {clips["train"]} clips to learn from; {clips["dev"]} of two other speakers, by which
        settings, and of the head the best step, were chosen; {clips["test"]} of two more, which chose
        nothing.""",
    )
    return ["## Numbers as answers", "", answers.filled(told), "", *map(answers.filled, parts)]


def _shares(weights: Mapping[str, float]) -> str:
    """Return how often each thing is asked for, in words."""
    whole = sum(weights.values())
    return ", ".join(f"{weight / whole:.0%} ask for {name}" for name, weight in weights.items())


def _table(splits: Mapping[str, Any]) -> list[str]:
    columns = [(split, name) for split in splits for name in DIMENSIONS]
    head = ["CCC (mean absolute difference)", *(f"{split}: {name}" for split, name in columns)]
    lines = [line(head), line(["---"] + ["---:"] * len(columns))]
    for key, shown in ROWS.items():
        figures = [splits[split][key][name] for split, name in columns]
        lines.append(line([shown, *(f"{found['ccc']:.3f} ({found['mae']:.3f})" for found in figures)]))
    return [*lines, "", answers.filled(f"As text, {_numberless(splits)}. {_weakest(splits['test'])}")]


def _numberless(splits: Mapping[str, Any]) -> str:
    others = sum(found["no_number"] for found in splits.values())
    return "every answer was a number" if others == 0 else f"{others} answers were no number and do not count"


def _weakest(found: Mapping[str, Any]) -> str:
    """Return in which dimension asking falls furthest behind the regression head, in words."""
    gaps = {name: found["head"][name]["ccc"] - found["expected"][name]["ccc"] for name in DIMENSIONS}
    name = max(gaps, key=lambda name: gaps[name])
    return f"""On the test speakers, the number to expect falls furthest behind the regression head in {name},
        by {gaps[name]:.3f}."""


def _cost(results: Mapping[str, Any]) -> list[str]:
    again = results["heard_again"]
    told = f"""On one core, {results["decoder"]["seconds"] / 60:.1f} minutes for the decoder and
        {results["trained"]["seconds"] / 60:.1f} for the adapters; what Whisper heard is kept. Hearing it
        again in the loaded teacher changes no label by more than {again["difference"]:.1g}
        ({again["clips"]} clips)."""
    return [answers.filled(told), "", "    python -m benchmarks.wavllm --only scales"]
