"""What a training of a speech language model needs, checked before anything large is loaded."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import artifact
from edgekit.audio import SAMPLE_RATE_HZ
from edgekit.audio.reading import open_audio
from edgekit.errors import ArtifactError, AudioError, ConfigError
from edgekit.progress import Progress, silent
from wavllm_teacher import hub
from wavllm_teacher.speech_llm import storage, weights
from wavllm_teacher.speech_llm.curriculum import NO_MATTER, Schedule
from wavllm_teacher.speech_llm.evaluating import require_judgeable
from wavllm_teacher.speech_llm.folder import DECODER, require_model, tokenizer_file
from wavllm_teacher.speech_llm.hearing import Ears
from wavllm_teacher.speech_llm.instructions import Instruction, Mixture, read_manifest, told
from wavllm_teacher.speech_llm.prompts import Request, tokenise
from wavllm_teacher.speech_llm.sizes import SIZES, SpeechLlmShape
from wavllm_teacher.speech_llm.tokens import Tokenizer, load_tokenizer

DEFAULT_SIZE = "wavllm-7b"


@dataclass(frozen=True)
class TuneConfig:
    """How to train a stage, and on what.

    Attributes:
        tasks: Manifest of instructions.
        schedule: The steps.
        sources: `decoder`, `whisper` or `wavlm` to where this part lies.
        size: Name of a configuration, or a JSON file of sizes; None: `wavllm-7b`, or those of `start`.
        start: Folder whose adapters are trained on, in stage two; None: stage one, with fresh adapters.
        weights: Task to how often it is drawn; None: as often as it has instructions.
        bits: 8 or 4, to keep the decoder's linear layers as integers.
        threads: Threads inside torch's operators; their number changes the last bits.
    """

    tasks: Path
    schedule: Schedule
    sources: Mapping[str, Path]
    size: str | None = None
    start: Path | None = None
    weights: Mapping[str, float] | None = None
    bits: int | None = None
    threads: int = 1


@dataclass(frozen=True)
class Plan:
    """A training that nothing cheap speaks against.

    Attributes:
        config: The settings.
        stage: 1 or 2.
        shape: Sizes of the model.
        mixture: What batches are drawn from.
        dev: What is asked when it is trained.
        sources: Where every frozen part lies.
        tokenizer_file: Where its tokenizer lies.
        tokenizer: What that holds.
        inputs: Name to digest of all that the training is made from.
        params: The settings that change its result.
    """

    config: TuneConfig
    stage: int
    shape: SpeechLlmShape
    mixture: Mixture
    dev: Sequence[Instruction]
    sources: Mapping[str, Path]
    tokenizer_file: Path
    tokenizer: Tokenizer
    inputs: Mapping[str, str]
    params: Mapping[str, Any]


def prepare(config: TuneConfig, progress: Progress = silent) -> Plan:
    """Read the small files, and check what can be checked by them.

    Args:
        config: The settings.
        progress: Told about instructions checked, and files whose digest is computed.

    Raises:
        AudioError: If the manifest is wrong, has nothing to train on, or names audio that cannot be read.
        ConfigError: If a setting is impossible, a part is not named, or an instruction is too long.
        ArtifactError: If a file is missing or damaged.
        UnsupportedError: If weights are split across model-parallel processes.
    """
    lines = read_manifest(config.tasks)
    train = [line for line in lines if line.split == "train"]
    if not train:
        raise AudioError(f"{config.tasks}: no line is in split train", "leave split out of some lines")
    mixture = Mixture(train, config.weights)
    shape = shape_of(config)
    sources = _sources(config, shape)
    files = _files(config, sources)
    file = _tokenizer_file(config.start, sources[DECODER])
    tokenizer = load_tokenizer(file)
    _require_vocabulary(tokenizer, file, shape)
    dev = [line for line in lines if line.split == "dev"]
    require_judgeable(dev)
    drawn = [line for line in train if line.task in mixture.tasks]
    _require_room([*drawn, *dev], tokenizer, shape, progress)
    instructions = hashlib.sha256(json.dumps(told(drawn)).encode()).hexdigest()
    inputs = {"tasks": instructions, **_digests({"tokenizer": [file], **files}, progress)}
    stage = 1 if config.start is None else 2
    params = _params(config, stage, shape)
    return Plan(config, stage, shape, mixture, dev, sources, file, tokenizer, inputs, params)


def shape_of(config: TuneConfig) -> SpeechLlmShape:
    """Return the sizes of the model to train.

    Raises:
        ArtifactError: If there is no model to start from.
        ConfigError: If the sizes are unknown or impossible.
    """
    if config.start is not None:
        if config.size is not None:
            raise ConfigError("--size beside --from: the sizes are those of the folder", "leave out --size")
        require_model(config.start)
        return SpeechLlmShape.from_dict(storage.read_facts(config.start)["shape"])
    size = config.size or DEFAULT_SIZE
    return SIZES[size] if size in SIZES else _shape_in(Path(size))


def _shape_in(file: Path) -> SpeechLlmShape:
    hint = f"name {' or '.join(SIZES)}, or a JSON file with the entries of SpeechLlmShape"
    if not file.is_file():
        raise ConfigError(f"--size {file}: no such size, and no such file", hint)
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--size {file}: cannot be read as JSON ({error})", hint) from error
    if not isinstance(entries, dict):
        raise ConfigError(f"--size {file}: holds no JSON object", hint)
    return SpeechLlmShape.from_dict(entries)


def _sources(config: TuneConfig, shape: SpeechLlmShape) -> dict[str, Path]:
    parts = storage.frozen_parts(shape)
    for name in config.sources:
        if name not in parts:
            raise ConfigError(
                f"--{name}: a model of these sizes has none", f"its parts are {', '.join(parts)}"
            )
    found = {}
    for part in parts:
        inside = None if config.start is None else config.start / part
        path = config.sources.get(part, inside)
        if path is None or (path == inside and not path.is_dir()):
            where = "" if inside is None else f", and none lies in {config.start}"
            raise ConfigError(f"no {part} given{where}", f"say where it is: --{part} DIR")
        found[part] = path
    return found


def _tokenizer_file(start: Path | None, decoder: Path) -> Path:
    beside = decoder if decoder.is_dir() else decoder.parent
    return tokenizer_file(start or beside, decoder)


def _require_vocabulary(tokenizer: Tokenizer, file: Path, shape: SpeechLlmShape) -> None:
    known = shape.decoder.vocabulary
    if tokenizer.size > known:
        raise ConfigError(
            f"{file}: has {tokenizer.size} tokens, a decoder of these sizes {known}",
            "name the decoder that it belongs to, or other sizes",
        )


def _require_room(
    lines: Sequence[Instruction], tokenizer: Tokenizer, shape: SpeechLlmShape, progress: Progress
) -> None:
    """Require that every instruction fits into the decoder, as far as the headers of its audio tell."""
    ears, lengths = Ears(shape, empty=True), dict[Path, int]()
    most = shape.decoder.positions
    for done, line in enumerate(lines, 1):
        if line.audio is not None and line.audio not in lengths:
            lengths[line.audio] = ears.positions(_samples(line.audio))
        needed = _tokens(line, tokenizer) + (0 if line.audio is None else lengths[line.audio])
        if needed > most:
            raise ConfigError(
                f"{line.name}: speech, prompt and answer need {needed} positions, the decoder has {most}",
                "cut the audio, shorten the texts, or leave the line out",
            )
        progress("checking instructions", done, len(lines))


def _samples(audio: Path) -> int:
    """Return how many samples at 16 kHz a file has, as its header says."""
    with open_audio(audio) as opened:
        if not opened.frames:
            raise AudioError(f"{audio}: holds no samples", "leave it out")
        return -(-opened.frames * SAMPLE_RATE_HZ // opened.rate_hz)


def _tokens(line: Instruction, tokenizer: Tokenizer) -> int:
    samples = None if line.audio is None else np.zeros(1, np.float32)
    prompt = tokenise(Request(line.prompt, samples, line.system), tokenizer)
    # One more ends the answer.
    return len(prompt.before) + len(prompt.after) + len(tokenizer.encode(line.answer)) + 1


def _files(config: TuneConfig, sources: Mapping[str, Path]) -> dict[str, list[Path]]:
    files = {part: weights.files_of(path) for part, path in sources.items()}
    if config.start is not None:
        files["from"] = [config.start / name for name in (storage.FACTS_FILE, storage.ADAPTERS_FILE)]
    return files


def _digests(files: Mapping[str, Sequence[Path]], progress: Progress) -> dict[str, str]:
    found = {}
    everything = [(name, file) for name, group in files.items() for file in group]
    for done, (name, file) in enumerate(everything, 1):
        if not file.is_file():
            raise ArtifactError(f"{file}: no such file", hub.REPAIR)
        found[f"{name}/{file.name}"] = artifact.sha256_file(file)
        progress("computing digests", done, len(everything))
    return found


def _params(config: TuneConfig, stage: int, shape: SpeechLlmShape) -> dict[str, Any]:
    schedule = {name: value for name, value in asdict(config.schedule).items() if name not in NO_MATTER}
    chosen = None if config.weights is None else dict(config.weights)
    more = {"weights": chosen, "bits": config.bits, "threads": config.threads}
    return {"stage": stage, "shape": shape.to_dict(), **schedule, **more}
