"""The tiny model through everything: foundations, single tasks, then combined ones by two kinds of adapters.

Declared before any test item was looked at: arms of a seed have the same stage one, steps, batches and
learning rate; what is compared is the mean over the four combined forms of the share of held-out items
answered exactly, after the last step; beside it, the same of pairings that were never trained.
"""

import hashlib
import io
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.wavllm import tasks
from benchmarks.wavllm.foundations import train_decoder, train_encoders
from benchmarks.wavllm.sounds import Samples, write_sounds
from edgekit import artifact
from edgekit.audio import read_audio
from wavllm_teacher.speech_llm import storage
from wavllm_teacher.speech_llm.curriculum import Schedule, Trainer, answers_to, exact_share
from wavllm_teacher.speech_llm.evaluating import JUDGED
from wavllm_teacher.speech_llm.generation import Decoding
from wavllm_teacher.speech_llm.hearing import Ears, Heard
from wavllm_teacher.speech_llm.instructions import SPLITS, Instruction, Mixture, read_manifest
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.sizes import SIZES, AdapterShape, LoraShape
from wavllm_teacher.speech_llm.tokens import ByteTokenizer

WIDER = AdapterShape(hidden=64, channels=64, bottleneck=32, projection=64)
SHAPE = replace(
    SIZES["tiny"], whisper_adapter=WIDER, wavlm_adapter=WIDER, lora=LoraShape(rank=4, alpha=4.0, dropout=0.0)
)
TOKENIZER = ByteTokenizer()
BRIEF = Decoding(most_tokens=64)
ARMS = {"plain": 1, "prompt-aware": 2}
"""The stage of the model that learns combined tasks: with corrections of constant strength, or not."""
SEEDS = (0, 1, 2)
MANIFEST, EARS, HEARD, DECODER, FIRST = "tasks.jsonl", "ears.pt", "heard.pt", "decoder.pt", "stage-1"


@dataclass(frozen=True)
class Recipe:
    """How much of everything.

    Attributes:
        clips: Split to number of clips.
        encoder_steps: Of the encoders' training.
        decoder_steps: Of the decoder's.
        decoder_batch: Texts in each step of it.
        single: Stage one.
        combined: Stage two; its seed is that of an arm.
        single_weights: Task to how often stage one draws it.
        combined_weights: Task to how often stage two draws it.
        items: Most held-out items of each task.
        seed: Of all but stage two.
    """

    clips: Mapping[str, int]
    encoder_steps: int
    decoder_steps: int
    decoder_batch: int
    single: Schedule
    combined: Schedule
    single_weights: Mapping[str, float]
    combined_weights: Mapping[str, float]
    items: int
    seed: int = 0


SINGLE_WEIGHTS = {"kind": 3.0, "count": 2.0, "pitch": 1.0, "length": 1.5, "text": 1.0}
COMBINED_WEIGHTS = {"pairs": 6.0, "reversed": 3.0, "steps": 3.0, "triples": 3.0} | dict.fromkeys(
    tasks.SINGLE, 2.0
)
FULL = Recipe(
    clips={"train": 1000, "dev": 160, "test": 720},
    encoder_steps=260,
    decoder_steps=600,
    decoder_batch=32,
    single=Schedule(steps=1000, batch=24, learning_rate=6e-3, checkpoint_every=1000),
    combined=Schedule(steps=600, batch=24, learning_rate=8e-3, checkpoint_every=1000),
    single_weights=SINGLE_WEIGHTS,
    combined_weights=COMBINED_WEIGHTS,
    items=400,
)


FEWER = replace(FULL, clips={**FULL.clips, "test": 240}, items=150)
"""The same trainings, asked less: what was measured first."""


def identity(recipe: Recipe = FULL) -> str:
    """Return all that decides the result, but for the code, as text."""
    return repr((recipe, SHAPE))


class Remembering(Ears):
    """Frozen ears that hear every clip once: all trainings and all questions share what was heard.

    Args:
        ears: What to hear with.
        heard: What was heard, by the digest of the samples; grows.
    """

    def __init__(self, ears: Ears, heard: dict[str, Heard]) -> None:
        nn.Module.__init__(self)
        self.whisper, self.wavlm = ears.whisper, ears.wavlm
        self.wavlm_windows, self.whisper_blocks = ears.wavlm_windows, ears.whisper_blocks
        self.heard = heard

    def forward(self, samples: Samples) -> Heard:
        """Return what is heard in one clip, as `Ears.forward` does."""
        key = hashlib.sha256(samples.tobytes()).hexdigest()
        if key not in self.heard:
            self.heard[key] = super().forward(samples)
        return self.heard[key]


def write_tasks(folder: Path, recipe: Recipe) -> None:
    """Write the clips of all splits, and the manifest of all that is asked about them."""
    lines = []
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng([recipe.seed, number])
        sounds = write_sounds(folder / "sounds", split, recipe.clips[split], rng)
        for found in tasks.instructions(sounds, split, rng):
            where = {} if found.audio is None else {"audio": str(found.audio.relative_to(folder))}
            entries = {"task": found.task, "prompt": found.prompt, "answer": found.answer} | where
            lines.append(json.dumps(entries | {"split": split, "system": found.system}))
    artifact.write_text(folder / MANIFEST, "\n".join(lines) + "\n")


def chosen(lines: Sequence[Instruction], split: str, task: str, most: int) -> list[Instruction]:
    """Return instructions of a split and a task, at most so many, taken at random."""
    pool = [line for line in lines if line.split == split and line.task == task]
    order = np.random.default_rng(0).permutation(len(pool))
    return [pool[index] for index in order[:most]]


def make_ears(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Train the encoders on the clips of training, and keep what they hear in every clip."""
    lines = read_manifest(folder / MANIFEST)
    clips = {line.audio: line.split for line in lines if line.audio is not None}
    torch.manual_seed(recipe.seed)
    ears = Remembering(Ears(SHAPE), {})
    trained = [read_audio(clip) for clip, split in clips.items() if split == "train"]
    losses = train_encoders(ears, trained, recipe.encoder_steps, recipe.seed)
    for clip in clips:
        ears(read_audio(clip))
    _save(folder / EARS, ears.state_dict())
    _save(folder / HEARD, {key: (heard.whisper, heard.wavlm) for key, heard in ears.heard.items()})
    return {"losses": losses}


def make_decoder(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Train the decoder on texts."""
    torch.manual_seed(recipe.seed)
    decoder = SpeechLlm(SHAPE, 1).decoder
    losses = train_decoder(decoder, recipe.decoder_steps, recipe.decoder_batch, recipe.seed)
    _save(folder / DECODER, decoder.llama.state_dict())
    return {"losses": losses}


def learn_single(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Stage one: single tasks. Its adapters lie in the folder then."""
    lines, model = read_manifest(folder / MANIFEST), _model(folder, 1, recipe.seed)
    mixture = Mixture(_trained(lines), recipe.single_weights)
    losses = _train(model, mixture, recipe.single, folder / FIRST)
    storage.save_adapters(model, folder / FIRST)
    return {"losses": losses} | _answered(model, lines, recipe.items)


def learn_combined(folder: Path, recipe: Recipe, arm: str, seed: int) -> dict[str, Any]:
    """Stage two from the adapters of stage one, by one kind of adapters."""
    lines, model = read_manifest(folder / MANIFEST), _model(folder, ARMS[arm], seed)
    storage.load_adapters(model, folder / FIRST)
    schedule = replace(recipe.combined, seed=seed)
    losses = _train(
        model, Mixture(_trained(lines), recipe.combined_weights), schedule, folder / f"{arm}-{seed}"
    )
    return {"losses": losses} | _answered(model, lines, recipe.items)


def _trained(lines: Sequence[Instruction]) -> list[Instruction]:
    return [line for line in lines if line.split == "train"]


def _model(folder: Path, stage: int, seed: int) -> SpeechLlm:
    torch.manual_seed(seed)
    model = SpeechLlm(SHAPE, stage)
    model.ears.load_state_dict(_load(folder / EARS))
    heard = {key: Heard(whisper, wavlm) for key, (whisper, wavlm) in _load(folder / HEARD).items()}
    model.ears = Remembering(model.ears, heard)
    frozen = {name: value for name, value in _load(folder / DECODER).items() if "lora_" not in name}
    model.decoder.llama.load_state_dict(frozen, strict=False)
    return model


def _train(model: SpeechLlm, mixture: Mixture, schedule: Schedule, folder: Path) -> list[float]:
    return Trainer(model, TOKENIZER, mixture, schedule, folder).run().losses


def _answered(model: SpeechLlm, lines: Sequence[Instruction], most: int) -> dict[str, Mapping[str, float]]:
    """Return how held-out items are answered.

    Returns:
        `shares`: of each task, answered exactly; `items`: of each; `combined`: metric to figure of all
        combined forms together, as `edgekit evaluate` judges them.
    """
    names = (*tasks.SINGLE, *tasks.COMBINED, *tasks.UNSEEN)
    found = [line for task in names for line in chosen(lines, "test", task, most)]
    answers = answers_to(model, TOKENIZER, found, BRIEF)
    combined = [pair for pair in zip(found, answers, strict=True) if pair[0].task in tasks.COMBINED]
    figures = JUDGED["multiple"](*map(list, zip(*combined, strict=True)))
    judged = {figure.metric: figure.value for figure in figures if figure.value is not None}
    items = Counter(line.task for line in found)
    return {"shares": exact_share(found, answers), "items": items, "combined": judged}


def _save(file: Path, values: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(dict(values), buffer)
    artifact.write_bytes(file, buffer.getvalue())


def _load(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(file, weights_only=True)
    return found


def measure(recipe: Recipe = FULL, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Return what every training gave, JSON-ready, and how long all of it took on two processors."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name, _two_processes() as pool:
        folder = Path(name)
        write_tasks(folder, recipe)
        made = [pool.submit(timed, job, folder, recipe) for job in (make_ears, make_decoder)]
        found = {"encoders": made[0].result(), "decoder": made[1].result()}
        found["single"] = pool.submit(timed, learn_single, folder, recipe).result()
        runs = [(arm, seed) for seed in seeds for arm in ARMS]
        arms = [pool.submit(timed, learn_combined, folder, recipe, *run) for run in runs]
        found["combined"] = {arm: {} for arm in ARMS}
        for (arm, seed), job in zip(runs, arms, strict=True):
            found["combined"][arm][str(seed)] = job.result()
    return found | {"minutes": (time.monotonic() - start) / 60}


def _two_processes() -> ProcessPoolExecutor:
    # Spawned: a fork would inherit torch's threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(2, mp_context=context, initializer=torch.set_num_threads, initargs=(1,))


def timed(job: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """Return what a job gave, its losses as means of ten parts, and its seconds of processor time."""
    start = time.process_time()
    found = job(*given)
    losses = [float(np.mean(part)) for part in np.array_split(found.pop("losses"), 10)]
    made = found | {"losses": losses, "cpu_s": time.process_time() - start}
    print(job.__name__, *given[2:], made, file=sys.stderr, flush=True)
    return made
