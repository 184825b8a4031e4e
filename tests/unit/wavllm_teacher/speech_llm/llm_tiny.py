"""A tiny speech language model whose every weight is random, norms and corrections included."""

from dataclasses import replace

import torch
from torch import nn

from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.sizes import SIZES, SpeechLlmShape

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
