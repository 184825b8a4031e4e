"""A tiny speech language model whose every weight is random, norms and corrections included."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from wavllm_teacher.speech_llm import storage
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.sizes import SIZES, SpeechLlmShape
from wavllm_teacher.speech_llm.tokens import ByteTokenizer, save_tokenizer

TINY = SIZES["tiny"]
WHISPER_ALONE = replace(TINY, wavlm=None, wavlm_adapter=None)
"""The paper's variant without WavLM."""


def randomise(module: nn.Module, seed: int) -> None:
    """Weights as libraries draw them leave biases 0 and norms 1: a mix-up would not show."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=source)


def tiny(stage: int = 2, shape: SpeechLlmShape = TINY, seed: int = 0) -> SpeechLlm:
    torch.manual_seed(seed)
    model = SpeechLlm(shape, stage)
    randomise(model, seed + 1)
    return model.train(mode=False)


def talkative(seed: int = 3) -> SpeechLlm:
    """A tiny model whose greedy answers differ from prompt to prompt: its weights are large."""
    model = tiny(seed=seed)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            if parameter.dim() > 1:
                parameter *= 3
    return model


def write_tiny(folder: Path, model: SpeechLlm) -> Path:
    """A folder that can answer, with byte tokens."""
    storage.save_adapters(model, folder)
    storage.save_frozen(model, folder)
    save_tokenizer(ByteTokenizer(), folder)
    return folder
