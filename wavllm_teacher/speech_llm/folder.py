"""A folder that can answer: what `storage` writes, and the tokenizer.

`tokenizer.json` lies beside `speech_llm.json`, or, as published, beside the decoder's weights.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from edgekit.errors import ArtifactError
from wavllm_teacher.device import best_device
from wavllm_teacher.speech_llm import storage
from wavllm_teacher.speech_llm.generation import Assistant
from wavllm_teacher.speech_llm.tokens import TOKENIZER_FILE, load_tokenizer

DECODER = "decoder"
MAKE = "docs/wavllm.md says how to make such a folder; no weights of a speech model come with edgekit"


def load_assistant(
    folder: Path, sources: Mapping[str, Path] | None = None, bits: int | None = None
) -> Assistant:
    """Load a model with its tokenizer, onto the GPU if there is one.

    Args:
        folder: Holds `speech_llm.json` and `adapters.safetensors`.
        sources: Where frozen parts are that are not in the folder: `decoder`, `whisper`, `wavlm`.
        bits: 8 or 4, to keep the decoder's linear layers as integers.

    Raises:
        ArtifactError: If a file is missing or damaged, or the parts do not belong together.
        ConfigError: If a size or the number of bits is impossible, or the tokenizer is of another decoder.
        UnsupportedError: If weights are split across model-parallel processes.
    """
    require_model(folder)
    device = best_device()
    decoder_type = torch.bfloat16 if device.precision == "bfloat16" else torch.float32
    tokenizer = load_tokenizer(tokenizer_file(folder, (sources or {}).get(DECODER)))
    model = storage.load(folder, sources, decoder_type, bits)
    model.run_on(device)
    return Assistant(model, tokenizer)


def require_model(folder: Path) -> None:
    """Require that a folder describes a speech language model.

    Raises:
        ArtifactError: If it does not.
    """
    if not (folder / storage.FACTS_FILE).is_file():
        raise ArtifactError(
            f"{folder}: no speech language model here ({storage.FACTS_FILE} is missing)", MAKE
        )


def tokenizer_file(folder: Path, decoder: Path | None = None) -> Path:
    """Return where the tokenizer of a model lies.

    Args:
        folder: The model's.
        decoder: Where the decoder's weights are; None: in the folder.

    Raises:
        ArtifactError: If it is at neither place.
    """
    beside = decoder or folder / DECODER
    places = [folder, beside if beside.is_dir() else beside.parent]
    found = [place / TOKENIZER_FILE for place in places if (place / TOKENIZER_FILE).is_file()]
    if not found:
        raise ArtifactError(
            f"{folder}: no {TOKENIZER_FILE} here or beside the decoder",
            f"copy the {TOKENIZER_FILE} of the decoder to {folder}, or write it with tokens.save_tokenizer",
        )
    return found[0]
