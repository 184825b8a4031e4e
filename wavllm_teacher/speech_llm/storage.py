"""Checkpoints: published ones in their own layouts, and ours: what was trained lies apart from the frozen.

A folder of ours:

    speech_llm.json        sizes, stage, and what the frozen parts were
    adapters.safetensors   everything trained, in float32: a few hundred megabytes at 7B
    decoder/ whisper/ wavlm/   the frozen parts, `config.json` and `model.safetensors` each, in the layout of
                               transformers; they may as well lie elsewhere, or be the published folders
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgekit import artifact
from edgekit.errors import ArtifactError, ConfigError
from wavllm_teacher import checkpoint, hub
from wavllm_teacher.speech_llm import layouts, weights
from wavllm_teacher.speech_llm.agreement import require_agreement
from wavllm_teacher.speech_llm.decoder import settings
from wavllm_teacher.speech_llm.layouts import DECODER, FROZEN
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.quantized import is_quantized, quantize
from wavllm_teacher.speech_llm.sizes import SpeechLlmShape
from wavllm_teacher.speech_llm.weights import Fitting

FACTS_FILE = "speech_llm.json"
ADAPTERS_FILE = "adapters.safetensors"
WEIGHTS_FILE = "model.safetensors"
KIND = "speech-llm"
SAMPLED = 64
"""Numbers of each frozen tensor that its part's fingerprint is made of."""
_BASE = ".base."
_CORRECTION = ".lora_"


def load_frozen(
    model: SpeechLlm, sources: Mapping[str, Path], decoder_type: torch.dtype = torch.float32
) -> None:
    """Load frozen parts from published checkpoints.

    Args:
        model: Its frozen tensors may be empty.
        sources: `decoder`, `whisper` or `wavlm` to a weights file or a folder. LLaMA's, OpenAI's and
            Microsoft's own layouts are read, and those of transformers; a `config.json` or `params.json`
            beside the weights must agree with the model.
        decoder_type: The type that the decoder is kept in; encoders are float32.

    Raises:
        ArtifactError: If a tensor is missing, surplus or does not fit, or what stands beside the weights is
            not what the model computes; names all and the file.
        ConfigError: If there is no such part.
        UnsupportedError: If weights are split across model-parallel processes.
    """
    for part, source in sources.items():
        known = frozen_parts(model.shape)
        if part not in known:
            raise ConfigError(f"no frozen part is called {part!r}", f"the parts are {', '.join(known)}")
        tensors = weights.read(weights.files_of(source))
        layout, of_transformers = layouts.part_layout(part, tensors)
        require_agreement(model, part, source, of_transformers=of_transformers)
        fitting = Fitting(model, model.decoder.gate.order)
        fitting.place(tensors, layout)
        fitting.finish(source, _frozen_names(model, part), _types(decoder_type))


def load_published(
    model: SpeechLlm,
    file: Path,
    sources: Mapping[str, Path] | None = None,
    decoder_type: torch.dtype = torch.float32,
) -> None:
    """Load a WavLLM checkpoint, as its own code writes it.

    Args:
        model: Its frozen tensors may be empty.
        file: All of the model, or all but the parts that have a source.
        sources: Frozen parts that come from their own checkpoints, as in `load_frozen`.
        decoder_type: The type that the decoder is kept in.

    Raises:
        ArtifactError: If a tensor is missing, surplus or does not fit; names it and the file.
        ConfigError: If a source is no part.
        UnsupportedError: If weights are split across model-parallel processes.
    """
    elsewhere = sources or {}
    load_frozen(model, elsewhere, decoder_type)
    fitting = Fitting(model, model.decoder.gate.order)
    layout = layouts.wavllm_layout(wavlm=model.shape.wavlm is not None)
    fitting.place(weights.read(weights.files_of(file)), layout)
    wanted = [name for name, _ in model.trained()]
    for part in frozen_parts(model.shape):
        if part not in elsewhere:
            wanted += _frozen_names(model, part)
    fitting.finish(file, wanted, _types(decoder_type))


def save_adapters(model: SpeechLlm, folder: Path) -> None:
    """Write what was trained, and what the model is; the frozen parts stay where they are."""
    from safetensors.torch import save as to_bytes

    folder.mkdir(parents=True, exist_ok=True)
    trained = {name: value.detach().float().cpu().contiguous() for name, value in model.trained()}
    artifact.write_bytes(folder / ADAPTERS_FILE, to_bytes(trained))
    facts = {
        "kind": KIND,
        "stage": model.stage,
        "shape": model.shape.to_dict(),
        "frozen": {part: fingerprint(model, part) for part in frozen_parts(model.shape)},
    }
    artifact.write_json(folder / FACTS_FILE, facts)


def save_frozen(model: SpeechLlm, folder: Path) -> None:
    """Write the frozen parts, each as a folder that transformers reads, in the types they have.

    Raises:
        ConfigError: If the decoder is quantized: its rounded weights are no longer the published ones.
    """
    from safetensors.torch import save_file

    if is_quantized(model.decoder):
        raise ConfigError(
            f"{folder}: a decoder of rounded weights is no checkpoint", "save it before you quantize it"
        )
    decoder = settings(model.shape.decoder).to_dict()
    configs: dict[str, Any] = {"decoder": decoder, "whisper": model.shape.whisper, "wavlm": model.shape.wavlm}
    for part in frozen_parts(model.shape):
        (folder / part).mkdir(parents=True, exist_ok=True)
        artifact.write_json(folder / part / hub.CONFIG_FILE, configs[part])
        unfinished = folder / part / f".{WEIGHTS_FILE}.partial"
        save_file(_published_tensors(model, part), unfinished, metadata={"format": "pt"})
        os.replace(unfinished, folder / part / WEIGHTS_FILE)


def _published_tensors(model: SpeechLlm, part: str) -> dict[str, torch.Tensor]:
    own = model.state_dict()
    return {
        name.removeprefix(FROZEN[part]).replace(_BASE, "."): own[name].contiguous().cpu()
        for name in _frozen_names(model, part)
    }


def load(
    folder: Path,
    sources: Mapping[str, Path] | None = None,
    decoder_type: torch.dtype = torch.float32,
    bits: int | None = None,
) -> SpeechLlm:
    """Load a folder of ours, ready to answer.

    Args:
        folder: Holds `speech_llm.json` and `adapters.safetensors`.
        sources: Where frozen parts are that are not in the folder, as in `load_frozen`.
        decoder_type: The type that the decoder is kept in.
        bits: 8 or 4, to keep the linear layers of its blocks as integers.

    Raises:
        ArtifactError: If a file is missing or damaged, a tensor does not fit, or the frozen parts are not
            those that the adapters were trained on.
        ConfigError: If a size or the number of bits is impossible.
        UnsupportedError: If weights are split across model-parallel processes.
    """
    facts = read_facts(folder)
    model = SpeechLlm(SpeechLlmShape.from_dict(facts["shape"]), facts["stage"], empty=True)
    own = {part: folder / part for part in frozen_parts(model.shape)}
    load_frozen(model, own | dict(sources or {}), decoder_type)
    load_adapters(model, folder)
    if bits is not None:
        keep_as_integers(model, bits)
    return model.train(mode=False)


def load_adapters(model: SpeechLlm, folder: Path) -> None:
    """Load what was trained into a model whose frozen parts are there.

    Into a model of stage two, adapters of stage one load too: its prompt adapter stays as it is.

    Raises:
        ArtifactError: If a file is missing or damaged, a tensor does not fit, or the frozen parts are not
            those that the adapters were trained on.
    """
    facts = read_facts(folder)
    if set(facts["frozen"]) != set(frozen_parts(model.shape)):
        named = ", ".join(facts["frozen"]) or "none"
        raise ArtifactError(
            f"{folder / FACTS_FILE}: its frozen parts are {named}, the model's "
            f"{', '.join(frozen_parts(model.shape))}",
            checkpoint.REPAIR,
        )
    for part, known in facts["frozen"].items():
        if fingerprint(model, part) != known:
            raise ArtifactError(
                f"{folder}: its adapters were trained on another {part}", f"name the {part} it was trained on"
            )
    fitting = Fitting(model, model.decoder.gate.order)
    file = folder / ADAPTERS_FILE
    fitting.place(checkpoint.read_tensors(file), weights.Place)
    fresh = "prompt_adapter." if facts["stage"] < model.stage else "\0"
    wanted = [name for name, _ in model.trained() if not name.startswith(fresh)]
    fitting.finish(file, wanted, _types(torch.float32))


def frozen_parts(shape: SpeechLlmShape) -> tuple[str, ...]:
    """Return the names of the frozen parts that a model has."""
    return tuple(part for part in FROZEN if part != "wavlm" or shape.wavlm is not None)


def read_facts(folder: Path) -> dict[str, Any]:
    """Return the content of `speech_llm.json`.

    Raises:
        ArtifactError: If it is missing or damaged, or of another kind.
    """
    file = folder / FACTS_FILE
    facts = hub.read_json(file)
    missing = [name for name in ("stage", "shape", "frozen") if name not in facts]
    if facts.get("kind") != KIND or missing:
        raise ArtifactError(
            f"{file}: {f'{missing[0]} is missing' if missing else 'no speech language model'}",
            checkpoint.REPAIR,
        )
    if not isinstance(facts["shape"], dict) or not isinstance(facts["frozen"], dict):
        raise ArtifactError(f"{file}: shape and frozen are no objects", checkpoint.REPAIR)
    return facts


def fingerprint(model: SpeechLlm, part: str) -> str:
    """Return a digest by which a frozen part is known again, whatever type it is kept in.

    It is made of the names, the shapes and some numbers of every tensor, rounded to bfloat16: reading all of
    15 GB would take longer than loading.
    """
    if part in model.known_as:
        return model.known_as[part]
    digest, own = hashlib.sha256(), model.state_dict()
    for name in sorted(_frozen_names(model, part)):
        tensor = own[name]
        step = max(1, tensor.numel() // SAMPLED)
        numbers = tensor.flatten()[::step].to(torch.bfloat16).float().cpu()
        digest.update(json.dumps([name, list(tensor.shape)]).encode())
        digest.update(numbers.numpy().tobytes())
    return digest.hexdigest()


def keep_as_integers(model: SpeechLlm, bits: int) -> None:
    """Quantize a model's decoder; adapters trained on it from now on know the decoder that it was.

    Raises:
        ConfigError: If it is quantized already, or cannot be kept in so many bits.
    """
    known = fingerprint(model, "decoder")
    quantize(model.decoder, bits)
    model.known_as["decoder"] = known


def _frozen_names(model: SpeechLlm, part: str) -> list[str]:
    return [name for name in model.state_dict() if name.startswith(FROZEN[part]) and _CORRECTION not in name]


def _types(decoder_type: torch.dtype) -> Any:
    def type_of(name: str) -> torch.dtype:
        frozen_decoder = name.startswith(DECODER) and _CORRECTION not in name
        return decoder_type if frozen_decoder else torch.float32

    return type_of
