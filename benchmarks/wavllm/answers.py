"""Emotions as text answers: the real Whisper-base encoder and a small decoder trained here, on EmoDB.

The decoder learns to read (`reading`) and is frozen; then `Trainer` fits adapters and corrections on the
train speakers, as it would at any size. What is counted is the generated text.
"""

import hashlib
import json
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.measured import Measured
from benchmarks.students.training import show
from benchmarks.tables import line
from benchmarks.teachers.features import shared_folder
from benchmarks.wavllm import reading
from benchmarks.wavllm.emodb import EMOTIONS, Clip, KeepingEars, changed_copies, read_clips
from edgekit import __version__, artifact
from edgekit.audio import read_audio
from wavllm_teacher import hub
from wavllm_teacher.head import fit_head, mean_and_deviation, one_hot
from wavllm_teacher.speech_llm import storage
from wavllm_teacher.speech_llm.choices import option_chances
from wavllm_teacher.speech_llm.curriculum import Schedule, Trainer
from wavllm_teacher.speech_llm.folder import DECODER
from wavllm_teacher.speech_llm.generation import Assistant, Decoding
from wavllm_teacher.speech_llm.instructions import Instruction, Mixture
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.prompts import Request
from wavllm_teacher.speech_llm.sizes import AdapterShape, LoraShape, SpeechLlmShape
from wavllm_teacher.speech_llm.tokens import TOKENIZER_FILE, FileTokenizer

CACHE = Path(".benchmarks/wavllm/answers")
SEEDS = (0, 1, 2)
BLOCKS = 3
"""Of Whisper's six: the middle states tell more of emotion than the last (benchmarks/teachers.md)."""
COPIES = 1
BAR = 0.75
ADAPTER = AdapterShape(hidden=64, channels=64, bottleneck=32, projection=64)
LORA = LoraShape(rank=8, alpha=8.0, dropout=0.1)
SCHEDULE = Schedule(steps=600, batch=16, learning_rate=5e-4, weight_decay=0.05)
PROMPT = reading.NAMING[0]
BRIEF = Decoding(most_tokens=16)
"""Answers are one word; a longer one is wrong anyway."""
HEARD_SPLITS = ("dev", "test")
KINDS = {"text": "text", "chances": "likeliest of seven", "unheard": "text, new wording"}
PAGE_WIDTH = 110


def measure(cache: Path = CACHE) -> dict[str, Any]:
    """Train the decoder and three sets of adapters, and return what they answer; JSON-ready.

    What takes long is kept in the cache, so that a second call continues.

    Raises:
        ConfigError: If the shared material is missing.
    """
    clips, copies = clips_and_copies(cache)
    read = reading.pretrained(cache / DECODER, show)
    heard = hear(model(0, cache, cache / DECODER), [*clips, *copies], cache)
    kept = Measured(cache / "seeds.json")
    seeds = []
    for seed in SEEDS:
        found = kept.get(f"seed {seed}", _identity(seed))
        if found is None:
            found = _measured(seed, clips, copies, cache)
            kept.put(f"seed {seed}", _identity(seed), found)
        seeds.append(found)
    return {
        "seeds": seeds,
        "decoder": read,
        "heard": heard,
        "clips": {split: sum(clip.split == split for clip in clips) for split in ("train", "dev", "test")},
        "copies": COPIES,
        "probe": _probe(clips, copies, cache),
        "settings": _settings(),
    }


def _settings() -> dict[str, Any]:
    """Return what decides the result, JSON-ready."""
    return {
        "shape": shape_of({}).to_dict() | {"whisper": "whisper-base"},
        "schedule": asdict(SCHEDULE),
        "copies": COPIES,
        "reading": {"steps": reading.STEPS, "batch": reading.BATCH, "learning_rate": reading.LEARNING_RATE},
    }


def identity() -> str:
    """Return what decides the result, as text."""
    return json.dumps(_settings(), sort_keys=True)


def _identity(seed: int) -> str:
    return json.dumps([__version__, seed, _settings()], sort_keys=True)


def clips_and_copies(cache: Path) -> tuple[list[Clip], list[Clip]]:
    """Return EmoDB's clips, and the changed copies of those that are learned from."""
    clips = read_clips(shared_folder())
    learned = [clip for clip in clips if clip.split == "train"]
    copies = [changed_copies(learned, number, cache / "clips") for number in range(COPIES)]
    return clips, [clip for group in copies for clip in group]


def encoder() -> Path:
    """Return the folder of the Whisper-base encoder."""
    return shared_folder() / "weights/whisper-base-encoder"


def shape() -> SpeechLlmShape:
    """Return the sizes of the model: Whisper-base, the decoder trained here, small adapters."""
    return shape_of(hub.read_json(encoder() / hub.CONFIG_FILE))


def shape_of(whisper: Mapping[str, Any]) -> SpeechLlmShape:
    """Return the sizes of the model with some encoder."""
    return SpeechLlmShape(whisper, None, ADAPTER, None, reading.SHAPE, LORA, whisper_blocks=BLOCKS)


def _ears(cache: Path) -> KeepingEars:
    return KeepingEars(shape(), cache / f"heard-{BLOCKS}")


def model(seed: int, cache: Path, decoder: Path) -> SpeechLlm:
    """Return the model with its frozen parts loaded, its adapters as a seed draws them.

    Args:
        seed: Of the adapters.
        cache: Where what it hears is kept.
        decoder: Folder of the decoder.
    """
    torch.manual_seed(seed)
    found = SpeechLlm(shape(), 1)
    found.ears = _ears(cache)
    storage.load_frozen(found, {"whisper": encoder(), "decoder": decoder})
    # The bottleneck starts closed: beside its normalised output, what untrained convolutions make of speech
    # is so small that all clips look the same to the decoder, and learning starts slowly.
    nn.init.zeros_(found.fusion.whisper.adapter.layer_norm.weight)
    return found


def hear(listener: SpeechLlm, clips: Sequence[Clip], cache: Path) -> dict[str, float]:
    """Let the encoder hear all clips, and return their number and the seconds of processor time for one."""
    ears, note = listener.ears, cache / "hearing.json"
    assert isinstance(ears, KeepingEars)
    timed = hub.read_json(note) if note.is_file() else {"clips": 0, "seconds": 0.0}
    for done, clip in enumerate(clips):
        samples = read_audio(clip.file)
        if not ears.keeps(samples):
            started = time.process_time()
            ears(samples)
            timed["seconds"] += time.process_time() - started
            timed["clips"] += 1
            artifact.write_json(note, timed)
        show("hearing", done + 1, len(clips))
    return {"clips": len(clips), "seconds_each": timed["seconds"] / timed["clips"]}


def _measured(seed: int, clips: Sequence[Clip], copies: Sequence[Clip], cache: Path) -> dict[str, Any]:
    """Train the adapters of a seed, and return what they answer on speakers that they never heard."""
    found, started = model(seed, cache, cache / DECODER), time.process_time()
    learned = [clip for clip in clips if clip.split == "train"]
    schedule = replace(SCHEDULE, seed=seed)
    tokenizer = FileTokenizer(cache / DECODER / TOKENIZER_FILE)
    # A checkpoint of other settings lies in another folder.
    folder = cache / f"seed-{seed}-{hashlib.sha256(_identity(seed).encode()).hexdigest()[:8]}"
    Trainer(found, tokenizer, _mixture([*learned, *copies]), schedule, folder).run(show)
    seconds = time.process_time() - started
    assistant = Assistant(found, tokenizer)
    splits = {split: [clip for clip in clips if clip.split == split] for split in HEARD_SPLITS}
    trained = sum(value.numel() for _, value in found.trained())
    return {
        "seed": seed,
        "trained": trained,
        "seconds": seconds,
        **{split: _answered(assistant, of_split) for split, of_split in splits.items()},
    }


def _mixture(clips: Sequence[Clip]) -> Mixture:
    """Return every clip with every instruction; emotions are drawn as often as each other."""
    lines = [
        Instruction(clip.emotion, prompt, clip.emotion, clip.file)
        for clip in clips
        for prompt in reading.NAMING
    ]
    return Mixture(lines, dict.fromkeys(EMOTIONS, 1.0))


def _answered(assistant: Assistant, clips: Sequence[Clip]) -> dict[str, Any]:
    """Return how good answers are: as text, in words never used with speech, and as probabilities."""
    wanted = [clip.emotion for clip in clips]
    samples = [read_audio(clip.file) for clip in clips]
    said, unheard = (
        assistant.answer([Request(prompt, speech) for speech in samples], BRIEF)
        for prompt in (PROMPT, reading.UNHEARD)
    )
    likeliest = []
    for speech in samples:
        chances = option_chances(assistant, Request(PROMPT, speech), EMOTIONS)
        likeliest.append(EMOTIONS[int(np.argmax(chances))])
    return {
        "text": recall(wanted, said),
        "unheard": recall(wanted, unheard),
        "chances": recall(wanted, likeliest),
        "no_emotion": sum(answer not in EMOTIONS for answer in said),
        "confusion": confusion(wanted, said),
    }


def recall(wanted: Sequence[str], found: Sequence[str]) -> float:
    """Return the mean over emotions of the share of its clips that are answered by exactly its word.

    Example:
        >>> recall(["sad", "sad", "angry"], ["sad", "Sad.", "angry"])
        0.75
    """
    pairs = list(zip(wanted, found, strict=True))
    shares = [
        np.mean([answer == said for said, answer in pairs if said == emotion])
        for emotion in sorted(set(wanted))
    ]
    return float(np.mean(shares))


def confusion(wanted: Sequence[str], found: Sequence[str]) -> list[list[int]]:
    """Return how often each emotion, a row, was answered by each word, a column; the last is any other text.

    Example:
        >>> confusion(["sad", "sad"], ["sad", "blue"])[EMOTIONS.index("sad")]
        [0, 0, 0, 0, 0, 0, 1, 1]
    """
    pairs = list(zip(wanted, found, strict=True))
    counts = [[pairs.count((emotion, answer)) for answer in EMOTIONS] for emotion in EMOTIONS]
    return [
        [*row, list(wanted).count(emotion) - sum(row)] for emotion, row in zip(EMOTIONS, counts, strict=True)
    ]


def _probe(clips: Sequence[Clip], copies: Sequence[Clip], cache: Path) -> dict[str, float]:
    """Return the recall of a logistic regression on mean and deviation of what the adapters read."""
    ears = model(0, cache, cache / DECODER).ears

    def pooled(some: Sequence[Clip]) -> NDArray[np.float32]:
        states = [ears(read_audio(clip.file)).whisper[0][None] for clip in some]
        rows = [mean_and_deviation(s, torch.ones(s.shape[:2], dtype=torch.bool)) for s in states]
        return torch.cat(rows).numpy()

    learned = [*(clip for clip in clips if clip.split == "train"), *copies]
    wanted = one_hot([clip.emotion for clip in learned])
    head = fit_head(pooled(learned), wanted, np.zeros((len(EMOTIONS), 3), np.float32), copies=1 + COPIES)
    found = {}
    for split in HEARD_SPLITS:
        of_split = [clip for clip in clips if clip.split == split]
        likeliest = head.scores(torch.from_numpy(pooled(of_split))).argmax(dim=1).tolist()
        found[split] = recall([clip.emotion for clip in of_split], [EMOTIONS[index] for index in likeliest])
    return found


def section(results: Mapping[str, Any]) -> str:
    """Return the part of the page about what `measure` returned, as Markdown."""
    parts = [*_told(results), "", *_table(results), "", *_confused(results["seeds"][0]), "", *_cost(results)]
    return "\n".join(parts)


def _told(results: Mapping[str, Any]) -> list[str]:
    clips, decoder, used = results["clips"], results["decoder"], results["settings"]
    steps, batch = used["schedule"]["steps"], used["schedule"]["batch"]
    met = min(seed["test"]["text"] for seed in results["seeds"]) >= BAR
    told = f"""Asked "{PROMPT}" about EmoDB's test speakers, the model answers in text. An answer counts if it
        is exactly the word of the right one of seven emotions. The bar is an unweighted recall of {BAR:.2f}
        in every seed: {"reached" if met else "not reached"}."""
    parts = (
        f"""- **Ears**: {_heard_blocks(used["shape"]["whisper_blocks"])}; no WavLM.""",
        f"""- **Decoder**: LLaMA's form, {decoder["parameters"]:,} parameters, its tokens learned from its
        texts. It was trained here on {reading.STEPS * reading.BATCH:,} made texts in the template, with a
        description where speech will stand; it answers {decoder["exact"]:.1%} of {reading.CHECKED} others
        exactly. Then it is frozen.""",
        f"""- **Trained on speech**: {results["seeds"][0]["trained"]:,} parameters: adapter, projection, and
        corrections of rank {used["shape"]["lora"]["rank"]}, by `Trainer` in stage one: {steps} steps of
        {batch}, emotions drawn equally often, the instruction in {len(reading.NAMING)} wordings. The
        adapter's bottleneck starts closed, the weight of its norm at 0: learning starts sooner.""",
        f"""- **Speech**: {clips["train"]} clips of six speakers to learn from, and copies of each as another
        voice, room or microphone would have it ({used["copies"]}); {clips["dev"]} clips of two others, by
        which settings were chosen; {clips["test"]} clips of two more, which chose nothing. All say the same
        ten sentences: words tell no emotion.""",
    )
    return ["## Emotions as answers", "", filled(told), "", *map(filled, parts)]


def filled(text: str) -> str:
    """Return a paragraph in lines of the page's width; those of an item are indented."""
    return textwrap.fill(
        " ".join(text.split()),
        PAGE_WIDTH,
        subsequent_indent="  " * text.startswith("- "),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _heard_blocks(blocks: int | None) -> str:
    if blocks is None:
        return "the encoder of Whisper-base, its last state"
    return f"""the encoder of Whisper-base, the state behind block {blocks} of 6 (`whisper_blocks={blocks}`):
        the middle states tell more of emotion than the last, which WavLLM reads ([teachers](teachers.md))"""


def _table(results: Mapping[str, Any]) -> list[str]:
    columns = [(split, name) for split in HEARD_SPLITS for name in KINDS]
    head = ["unweighted recall", *(f"{split}: {KINDS[name]}" for split, name in columns), "no emotion's word"]
    lines = [line(head), line(["---"] + ["---:"] * (len(head) - 1))]
    for seed in results["seeds"]:
        others = sum(seed[split]["no_emotion"] for split in HEARD_SPLITS)
        figures = [f"{seed[split][kind]:.3f}" for split, kind in columns]
        lines.append(line([f"seed {seed['seed']}", *figures, str(others)]))
    means = [np.mean([seed[split][kind] for seed in results["seeds"]]) for split, kind in columns]
    lines.append(line(["mean", *(f"{mean:.3f}" for mean in means), ""]))
    probe = [f"{results['probe'][split]:.3f}" if kind == "chances" else "" for split, kind in columns]
    lines.append(line(["linear probe", *probe, ""]))
    told = f""""Likeliest of seven" is by `choices.option_chances`. The new wording is "{reading.UNHEARD}",
        which the decoder has read, but never together with speech. The probe is a logistic regression on mean
        and deviation over time of the same states of the same clips and copies."""
    return [*lines, "", filled(told)]


def _confused(seed: Mapping[str, Any]) -> list[str]:
    head = [f"seed {seed['seed']}, test", *EMOTIONS, "other"]
    rows = zip(EMOTIONS, seed["test"]["confusion"], strict=True)
    return [
        line(head),
        line(["---"] + ["---:"] * (len(head) - 1)),
        *(line([emotion, *map(str, row)]) for emotion, row in rows),
    ]


def _cost(results: Mapping[str, Any]) -> list[str]:
    heard = results["heard"]
    decoder = results["decoder"]["seconds"] / 60
    trained = np.mean([seed["seconds"] for seed in results["seeds"]]) / 60
    each = heard["seconds_each"]
    told = f"""On one core, {each:.2f} s to hear a clip, which Whisper pads to 30 s, and
        {each * heard["clips"] / 60:.0f} minutes for all {heard["clips"]}; {decoder:.1f} minutes to train
        the decoder, and {trained:.1f} for the adapters of each seed."""
    return [filled(told), "", "    python -m benchmarks.wavllm --only answers"]
