"""Whether what stands beside weights agrees with the model: tensors that fit can be computed with otherwise.

Heads, activations, epsilons and rotary positions are in no tensor's shape. A folder as transformers lays it
out states them in `config.json`, LLaMA's own in `params.json`; what is left out has the default of the code
that reads it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError
from wavllm_teacher import checkpoint, hub
from wavllm_teacher.public import ENCODER_ENTRIES
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.sizes import DecoderShape

PARAMS_FILE = "params.json"
EITHER_EPSILON = (1e-6, 1e-5)
"""LLaMA-2-7B-chat is published with both: 1e-6 in its `params.json`, either in what transformers made of it.
The model keeps its own. On random decoders with embeddings as small as LLaMA's are at first (0.02), one for
the other moves the logits by 0.7 to 1.0 %, bfloat16 by 0.6 to 1.1 %, and 1e-4 by 7 % and more."""

_EPSILONS = ("rms_norm_eps", "norm_eps")
_ENTRIES: dict[str, tuple[str, ...]] = {
    "decoder": (
        *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
        *("num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps", "attention_bias", "mlp_bias"),
        "tie_word_embeddings",
    ),
    "whisper": (
        *("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "activation_function"),
        *("num_mel_bins", "max_source_positions"),
    ),
    "wavlm": ENCODER_ENTRIES,
}
"""Entries of a `config.json` that change what a frozen part computes."""
_ROTARY = ("rope_parameters", "rope_theta", "rope_scaling")
"""Of the rotary positions: transformers 5 writes the first of them, older versions the others."""


def require_agreement(model: SpeechLlm, part: str, source: Path, *, of_transformers: bool) -> None:
    """Require that what stands beside a part's weights says what the model computes.

    Args:
        model: What the weights are for.
        part: `decoder`, `whisper` or `wavlm`.
        source: The weights, or the folder that they are in.
        of_transformers: Whether they have transformers' layout, and so a `config.json`; else LLaMA's
            `params.json` counts. Without such a file there is nothing to compare.

    Raises:
        ArtifactError: If an entry is another one, or impossible; names all, and the file.
    """
    folder = source if source.is_dir() else source.parent
    file = folder / (hub.CONFIG_FILE if of_transformers else PARAMS_FILE)
    if not file.is_file() or not (of_transformers or part == "decoder"):
        return
    entries = hub.read_json(file)
    if of_transformers:
        stated, own = _of_config(file, part, entries, _settings(model, part))
    else:
        stated, own = _of_params(entries, model.shape.decoder)
    different = [name for name in own if not _same(name, stated[name], own[name])]
    if different:
        told = "; ".join(f"{name} is {stated[name]!r}, the model's {own[name]!r}" for name in different)
        hint = f"name the {part} that the model was made for, or make a model of these sizes"
        raise ArtifactError(f"{file}: {told}", hint)


def _same(name: str, stated: Any, own: Any) -> bool:
    either = name in _EPSILONS and stated in EITHER_EPSILON and own in EITHER_EPSILON
    return bool(either or stated == own)


def _settings(model: SpeechLlm, part: str) -> Any:
    """Return the transformers configuration that a part of the model has."""
    if part == "decoder":
        return model.decoder.llama.config
    encoder = model.ears.whisper if part == "whisper" else model.ears.wavlm
    assert encoder is not None, "a part that the model has"
    return encoder.encoder.config


def _of_config(
    file: Path, part: str, entries: Mapping[str, Any], settings: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a `config.json` states, and what the model has instead."""
    found = entries.get("model_type", settings.model_type)
    if found != settings.model_type:
        return {"model_type": found}, {"model_type": settings.model_type}
    known = (*_ENTRIES[part], *_ROTARY, *settings.attribute_map)
    try:
        # Others than these can make transformers fetch code.
        stated = type(settings)(**{name: value for name, value in entries.items() if name in known})
    except hub.wrong_entries() as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"{file}: wrong entry: {reason}", checkpoint.REPAIR) from error
    return _facts(part, stated), _facts(part, settings)


def _facts(part: str, settings: Any) -> dict[str, Any]:
    facts = {name: getattr(settings, name) for name in _ENTRIES[part]}
    if part == "decoder":
        facts |= {name: settings.rope_parameters.get(name) for name in ("rope_type", "rope_theta")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}


def _of_params(entries: Mapping[str, Any], shape: DecoderShape) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a `params.json` states, and what the model has instead."""
    own = {
        "dim": shape.width,
        "n_layers": shape.layers,
        "n_heads": shape.heads,
        "n_kv_heads": shape.heads,
        "norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rotary_base,
        "use_scaled_rope": False,
        "vocab_size": shape.vocabulary,
    }
    unstated = {"dim": 4096, "n_layers": 32, "n_heads": 32, "norm_eps": 1e-5, "rope_theta": 10_000.0}
    stated = {**own, **unstated, **{name: value for name, value in entries.items() if value is not None}}
    if entries.get("n_kv_heads") is None:
        stated["n_kv_heads"] = stated["n_heads"]
    if stated["vocab_size"] == -1:
        # The tokenizer's, as LLaMA's code fills in.
        stated["vocab_size"] = shape.vocabulary
    return stated, own
