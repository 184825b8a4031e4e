"""The folder of a dual-encoder teacher: weights, encoders, licence, held-out accuracy, model card."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import artifact
from edgekit.audio import read_audio
from edgekit.metrics import DIMENSIONS, defined_adv_ccc
from wavllm_teacher import checkpoint, hub
from wavllm_teacher.dual_encoder import ADAPTERS_FILE, KIND, SIZES, DualEncoder, Encoder, load
from wavllm_teacher.licences import NOT_STATED, is_permissive
from wavllm_teacher.registry import TEACHER_FILE
from wavllm_teacher.teaching.config import TeachConfig
from wavllm_teacher.teaching.corpus import Corpus, is_non_commercial

METRICS_FILE = "metrics.json"
CARD_FILE = "README.md"
ENCODER_LICENCES = {
    "whisper": "MIT (OpenAI Whisper encoder)",
    "wavlm": "CC-BY-SA-3.0 (Microsoft WavLM encoder)",
}
HOW = (
    "one prediction per whole clip of split test, one CCC per dimension over all clips of the corpus; "
    "weights as stored (float16) computed in float32"
)

Ccc = Mapping[str, float | None]


@dataclass(frozen=True)
class Outcome:
    """What the training came to.

    Attributes:
        network: The best weights.
        encoders: The encoders that they read.
        best_step: The step that gave them.
        dev_ccc: Corpus to their CCCs on its dev clips.
    """

    network: DualEncoder
    encoders: Mapping[str, Encoder]
    best_step: int
    dev_ccc: Mapping[str, Ccc]


def write_folder(config: TeachConfig, corpora: Sequence[Corpus], outcome: Outcome, work: Path) -> None:
    """Write what makes a folder a teacher, measure it on the test clips, and write what was measured.

    Args:
        config: The settings.
        corpora: What it learned from.
        outcome: What it learned.
        work: The folder.
    """
    checkpoint.save(outcome.network, work / ADAPTERS_FILE, half=True)
    for name, source in config.encoders.items():
        _copy_encoder(outcome.encoders[name], source, work / name)
    facts = {
        "kind": KIND,
        "name": KIND,
        "licence": licence(list(config.encoders), corpora),
        "encoders": list(config.encoders),
        "shape": SIZES[config.size].to_dict(),
    }
    artifact.write_json(work / TEACHER_FILE, facts)
    training = {
        **config.params(),
        "best_step": outcome.best_step,
        "dev_ccc": {name: _rounded(ccc) for name, ccc in outcome.dev_ccc.items()},
        "parameters": sum(p.numel() for p in outcome.network.parameters()),
    }
    metrics = {"training": training, **measure(work, facts, corpora)}
    artifact.write_json(work / METRICS_FILE, metrics)
    artifact.write_text(work / CARD_FILE, model_card(facts, corpora, metrics))


def _copy_encoder(encoder: Encoder, source: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    shutil.copyfile(source / hub.CONFIG_FILE, folder / hub.CONFIG_FILE)
    weights = hub.SAFETENSORS[0]
    if hub.weight_files(source) == [weights]:
        shutil.copyfile(source / weights, folder / weights)
    else:
        checkpoint.save(encoder.encoder, folder / weights, half=False)


def licence(encoders: Sequence[str], corpora: Sequence[Corpus]) -> str:
    """Return the licence of a teacher, in words: that of what was trained, then that of each encoder.

    What was trained takes its licence from the audio of the train and dev clips, as the table's column
    `license` (or `licence`) states it; test clips only measure. If one of them is for non-commercial use or
    for research, so is the teacher ("research only"), and with it what is distilled from its labels. If one
    states none, or one that is not known to allow everything, the teacher's is "not stated": whoever trained
    it has to know. Otherwise it is Apache-2.0. An encoder counts as the public checkpoint of its kind.
    """
    limited = [c for c in corpora if is_non_commercial(c)]
    unknown = [c for c in corpora if not all(map(is_permissive, c.licences))]
    if limited:
        trained = f"research only (adapters and head): trained on non-commercial audio, {_audio(limited)}"
    elif unknown:
        trained = f"{NOT_STATED} (adapters and head): depends on the audio, {_audio(unknown)}"
    else:
        trained = "Apache-2.0 (adapters and head)"
    return "; ".join([trained, *(ENCODER_LICENCES[name] for name in encoders)])


def _audio(corpora: Sequence[Corpus]) -> str:
    return ", ".join(f"{c.name}: {' and '.join(c.licences)}" for c in corpora)


def measure(folder: Path, facts: dict[str, Any], corpora: Sequence[Corpus]) -> dict[str, Any]:
    """Return the CCCs of a teacher's folder against the labels of the test clips."""
    teacher = load(folder, facts)
    pairs: dict[str, NDArray[np.float32]] = {}
    for corpus in corpora:
        rows = [[teacher.predict([read_audio(c.file)])[0], c.labels] for c in corpus.clips["test"]]
        pairs[corpus.name] = np.array(rows, np.float32).reshape(-1, 2, len(DIMENSIONS))
    return {
        "how": HOW,
        "held_out": {name: _agreement(found) for name, found in pairs.items()},
        "held_out_speakers": {"dual_vs_labels": _agreement(np.concatenate(list(pairs.values())))},
    }


def _agreement(pairs: NDArray[np.float32]) -> dict[str, Any]:
    """Return count and CCCs of (N, 2, 3) predictions and labels."""
    return {"clips": len(pairs), "ccc": _rounded(defined_adv_ccc(pairs[:, 0], pairs[:, 1]))}


def _rounded(ccc: Ccc) -> dict[str, float | None]:
    # To four decimals: the fifth changes with the processor.
    return {name: None if value is None else round(value, 4) for name, value in ccc.items()}


def model_card(facts: Mapping[str, Any], corpora: Sequence[Corpus], metrics: Mapping[str, Any]) -> str:
    """Return the text of the model card, in Markdown."""
    training = metrics["training"]
    counts = "\n".join(
        f"- {c.name}: {len(c.clips['train'])} train, {len(c.clips['dev'])} dev, {len(c.clips['test'])} test "
        f"clips; licence of the audio: {' and '.join(c.licences)}"
        for c in corpora
    )
    rows = "\n".join(
        f"| {name} | {found['clips']} | {' | '.join(_shown(found['ccc'][d]) for d in DIMENSIONS)} |"
        for name, found in metrics["held_out"].items()
    )
    return f"""# {facts["name"]}: a dual-encoder teacher

Arousal, dominance and valence (about 0..1) from 16 kHz speech. Written by `edgekit teach`.

## Network

Frozen encoders: {" and ".join(facts["encoders"])}; their copies lie in this folder. Trained on top, as in
WavLLM (arXiv 2404.00656): adapters, fusion, attentive statistics pooling and head, together
{training["parameters"]:,} parameters.

## Training

{counts}

- {training["copies"]} versions of every training clip: the clip itself, the others augmented.
- {training["single_steps"]} steps of single tasks (one corpus, one dimension), then
  {training["joint_steps"]} steps of the joint task; loss 1 - CCC over {training["batch"]} clips.
- The weights are those of step {training["best_step"]}, which agreed best with the dev clips.

All settings are in `metrics.json`, the learning curve in `history.csv`.

## Measured

One prediction per whole test clip, one CCC per dimension over all clips of a corpus, against its labels:

| corpus | clips | arousal | dominance | valence |
| --- | --- | --- | --- | --- |
{rows}

## Limits

- It knows what its labels know. Where they come from emotion categories, no human rated arousal, dominance
  or valence, and these CCCs are not comparable with published ones on human ratings.
- Acted speech, few speakers or few sentences do not predict natural speech of other people.
- Whether test speakers are new is up to the split in the corpus's table.
- Made to teach small networks. **Not for judging people**: not for hiring, health, education, policing, or
  any decision about a person.

## Licence

{facts["licence"]}. The encoders' licences are those of the public checkpoints; an encoder from elsewhere has
its own.
"""


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
