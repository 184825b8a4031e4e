"""What the frozen encoders make of audio, as in WavLLM (Hu et al., arXiv 2404.00656).

Letters: N samples, S hidden states, T frames (50 a second), D width of an encoder.

Whisper hears windows of 30 s, the last one followed by silence, as it was trained; frames of that silence are
dropped. (`WhisperStates` alone encodes clips unpadded: the heads of the other teachers were fitted on that.)
Clips are encoded one at a time, so that a batch cannot change what is heard.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.errors import ConfigError
from wavllm_teacher import hub
from wavllm_teacher.device import Device
from wavllm_teacher.encoder import (
    LEAST_SAMPLES,
    SAMPLES_PER_FRAME,
    WINDOW_SAMPLES,
    WhisperStates,
    pad_to_least,
)
from wavllm_teacher.speech_llm.sizes import SUBSAMPLING, SpeechLlmShape
from wavllm_teacher.wavlm_states import WavLMStates

Samples = NDArray[np.float32]
Encoder = TypeVar("Encoder", WhisperStates, WavLMStates)
ACTIVATIONS = ("activation_function", "hidden_act", "feat_extract_activation")
"""Entries of an encoder that are the name of a function."""


@dataclass(frozen=True)
class Heard:
    """What the encoders made of one clip, in float32 on the processor.

    Attributes:
        whisper: (T, D) hidden state of each window of 30 s: the last, or that behind `whisper_blocks`.
        wavlm: (S, T, D) hidden states of the clip; None without WavLM.
    """

    whisper: tuple[torch.Tensor, ...]
    wavlm: torch.Tensor | None


def without_memory(empty: bool) -> contextlib.AbstractContextManager[object]:
    """Return a context in which tensors have shapes alone, or one that changes nothing."""
    return torch.device("meta") if empty else contextlib.nullcontext()


class Ears(nn.Module):
    """The encoders, frozen: Whisper, and WavLM where the shape has it.

    Args:
        shape: Their sizes.
        empty: Give their weights no memory yet: loading does.

    Raises:
        ConfigError: If an entry of an encoder is impossible, or Whisper has fewer blocks than are to be run.
    """

    def __init__(self, shape: SpeechLlmShape, *, empty: bool = False) -> None:
        super().__init__()
        with without_memory(empty):
            self.whisper = _made("whisper", WhisperStates, shape.whisper)
            self.wavlm = None if shape.wavlm is None else _made("wavlm", WavLMStates, shape.wavlm)
        if self.wavlm is not None and self.wavlm.frame_count(LEAST_SAMPLES) < 1:
            kernels = self.wavlm.encoder.config.conv_kernel
            raise ConfigError(
                f"wavlm: conv_kernel is {kernels!r}, longer than a tenth of a second", "choose shorter ones"
            )
        self.wavlm_windows = shape.wavlm_windows
        self.whisper_blocks = _existing(shape.whisper_blocks, self.whisper.state_count - 1)
        self.requires_grad_(False).train(mode=False)

    def train(self, mode: bool = True) -> "Ears":
        """Leave the encoders as they are: frozen ones drop nothing, whatever the rest of a model does."""
        del mode
        super().train(mode=False)
        return self

    def run_on(self, device: Device) -> None:
        """Compute there from now on; what is heard comes back to the processor."""
        self.whisper.run_on(device)
        if self.wavlm is not None:
            self.wavlm.run_on(device)

    @torch.no_grad()
    def forward(self, samples: Samples) -> Heard:
        """Return what is heard in one clip.

        Args:
            samples: (N,) at 16 kHz; shorter than a tenth of a second, silence follows.
        """
        clip = pad_to_least(samples)
        starts = range(0, clip.size, WINDOW_SAMPLES)
        windows = tuple(self._window(clip[start : start + WINDOW_SAMPLES]) for start in starts)
        if self.wavlm is None:
            return Heard(windows, None)
        return Heard(windows, self.wavlm(clip, self._wavlm_window(clip.size)))

    def positions(self, samples: int) -> int:
        """Return how many positions of the decoder a clip of so many samples takes, without hearing it."""
        samples = max(samples, LEAST_SAMPLES)
        starts = range(0, samples, WINDOW_SAMPLES)
        windows = [min(WINDOW_SAMPLES, samples - start) for start in starts]
        semantic = sum(-(-window // (SUBSAMPLING * SAMPLES_PER_FRAME)) for window in windows)
        if self.wavlm is None:
            return semantic
        return min(semantic, -(-self.wavlm.frame_count(samples, self._wavlm_window(samples)) // SUBSAMPLING))

    def _wavlm_window(self, samples: int) -> int:
        return WINDOW_SAMPLES if self.wavlm_windows else samples

    def _window(self, samples: Samples) -> torch.Tensor:
        states = self.whisper(np.pad(samples, (0, WINDOW_SAMPLES - samples.size)), self.whisper_blocks)
        frames = -(-samples.size // SAMPLES_PER_FRAME)
        last: torch.Tensor = states[-1, :frames].clone()
        return last


def _made(part: str, build: Callable[[dict[str, Any]], Encoder], entries: Mapping[str, Any]) -> Encoder:
    from transformers.activations import ACT2FN

    for name in ACTIVATIONS:
        if name in entries and entries[name] not in list(ACT2FN):
            raise ConfigError(f"{part}: {name} is {entries[name]!r}", f"choose one of {', '.join(ACT2FN)}")
    try:
        return build(dict(entries))
    except hub.wrong_entries() as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{part}: impossible entries: {reason}", "give it those of a published one"
        ) from error


def _existing(blocks: int | None, most: int) -> int | None:
    if blocks is not None and not (isinstance(blocks, int) and 1 <= blocks <= most):
        raise ConfigError(
            f"{blocks!r} of Whisper's {most} blocks", f"whisper_blocks is 1 to {most}, or left out"
        )
    return blocks
