"""The speech language model: ears, fusion, decoder with corrections, prompt adapter (arXiv 2404.00656).

Letters: B requests, T positions, D width of the decoder, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgekit.audio import SAMPLE_RATE_HZ
from edgekit.errors import ConfigError
from wavllm_teacher.device import Device
from wavllm_teacher.speech_llm.decoder import AdaptedDecoder, PromptAdapter
from wavllm_teacher.speech_llm.fusion import Fusion
from wavllm_teacher.speech_llm.hearing import Ears, Heard, Samples
from wavllm_teacher.speech_llm.prompts import Prompt
from wavllm_teacher.speech_llm.sizes import AdapterShape, SpeechLlmShape

STAGES = (1, 2)
"""Stage one has corrections of constant strength; in stage two, the prompt decides."""


@dataclass(frozen=True)
class Sequences:
    """Requests side by side, padded in front, so that all answers begin at the same place.

    Attributes:
        embedded: (B, T, D).
        valid: (B, T), which positions are no padding.
        scale: (B, D) scales of the corrections; None in stage one.
    """

    embedded: torch.Tensor
    valid: torch.Tensor
    scale: torch.Tensor | None


class SpeechLlm(nn.Module):
    """All parts of the model. Encoders and decoder are frozen, everything else is trained.

    Args:
        shape: Every size.
        stage: 1 or 2.
        empty: Give frozen weights no memory yet: loading does (`storage`).

    Attributes:
        known_as: Fingerprints of frozen parts from before they were quantized.

    Raises:
        ConfigError: If there is no such stage.
    """

    def __init__(self, shape: SpeechLlmShape, stage: int, *, empty: bool = False) -> None:
        super().__init__()
        if stage not in STAGES:
            raise ConfigError(f"there is no stage {stage}", "stages are 1 and 2")
        self.shape = shape
        self.stage = stage
        self.known_as: dict[str, str] = {}
        self.ears = Ears(shape, empty=empty)
        self.fusion = Fusion(
            (self.ears.whisper.width, shape.whisper_adapter),
            _wavlm_side(self.ears, shape),
            shape.decoder.width,
        )
        self.decoder = AdaptedDecoder(shape.decoder, shape.lora, empty=empty)
        self.prompt_adapter: PromptAdapter | None = None
        if stage == STAGES[1]:
            width, start = shape.decoder.width, self.decoder.plain_scale
            self.prompt_adapter = PromptAdapter(width, shape.prompt, start)

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and value of everything that is trained."""
        return ((name, value) for name, value in self.named_parameters() if value.requires_grad)

    def run_on(self, device: Device) -> None:
        """Compute there from now on."""
        self.ears.run_on(device)
        for part in (self.fusion, self.decoder, self.prompt_adapter):
            if part is not None:
                part.to(device.name)

    @property
    def place(self) -> torch.device:
        """Where the decoder computes."""
        place: torch.device = self.fusion.projection.weight.device
        return place

    def hear(self, samples: Samples) -> Heard:
        """Return what is heard in one clip of (N,) samples at 16 kHz.

        Raises:
            ConfigError: If its speech alone is longer than the decoder's positions.
        """
        # Before it is heard: of an hour, the encoders would take all memory, for nothing.
        self.speech_positions(samples.size)
        heard: Heard = self.ears(samples)
        return heard

    def speech_positions(self, samples: int) -> int:
        """Return how many of the decoder's positions a clip of so many samples takes.

        Raises:
            ConfigError: If the decoder has fewer.
        """
        needed, most = self.ears.positions(samples), self.shape.decoder.positions
        if needed > most:
            speech = f"{samples / SAMPLE_RATE_HZ:.0f} s of speech"
            raise ConfigError(f"{speech} need {needed} positions, the decoder has {most}", "cut the audio")
        return needed

    def scale(self, prompts: Sequence[Prompt]) -> torch.Tensor | None:
        """Return the (B, D) scales that prompts ask for; None in stage one."""
        if self.prompt_adapter is None:
            return None
        rows = [torch.tensor(prompt.question, device=self.place) for prompt in prompts]
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        valid = _row_mask([len(row) for row in rows], self.place, in_front=False)
        states = self.decoder.prompt_states(tokens, valid).to(self.prompt_adapter.fc_1.weight.dtype)
        scale: torch.Tensor = self.prompt_adapter(states, valid)
        return scale

    def sequences(
        self,
        prompts: Sequence[Prompt],
        heard: Sequence[Heard | None],
        answers: Sequence[Sequence[int]] | None = None,
    ) -> Sequences:
        """Return prompts with their speech in place, ready for the decoder.

        Args:
            prompts: Tokens of B requests.
            heard: What the encoders made of each one's speech; None where there is none.
            answers: Tokens to follow each prompt, for training.

        Raises:
            ConfigError: If a sequence is longer than the decoder's positions.
        """
        spoken = iter(self.fusion([clip for clip in heard if clip is not None]) if any(heard) else [])
        follow = answers or [()] * len(prompts)
        rows = [
            self._row(prompt, None if clip is None else next(spoken), answer)
            for prompt, clip, answer in zip(prompts, heard, follow, strict=True)
        ]
        self.require_room(max(len(row) for row in rows))
        embedded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_side="left")
        valid = _row_mask([len(row) for row in rows], self.place, in_front=True)
        return Sequences(embedded, valid, self.scale(prompts))

    def _row(self, prompt: Prompt, speech: torch.Tensor | None, answer: Sequence[int]) -> torch.Tensor:
        before = self._embed(prompt.before)
        behind = self._embed((*prompt.after, *answer))
        parts = (before, behind) if speech is None else (before, speech.to(before.dtype), behind)
        return torch.cat(parts)

    def _embed(self, tokens: Sequence[int]) -> torch.Tensor:
        return self.decoder.embed(torch.tensor(tokens, device=self.place))

    def require_room(self, length: int) -> None:
        """Require that the decoder has so many positions.

        Raises:
            ConfigError: If it has fewer.
        """
        most = self.shape.decoder.positions
        if length > most:
            raise ConfigError(
                f"speech and prompt need {length} positions, the decoder has {most}",
                "cut the audio, or shorten the prompt",
            )

    def forward(self, sequences: Sequences, cache: Any = None, *, last: int | None = None) -> torch.Tensor:
        """Return (B, T, V) logits, as `AdaptedDecoder.forward` does."""
        logits: torch.Tensor = self.decoder(
            sequences.embedded, sequences.valid, sequences.scale, cache, last=last
        )
        return logits


def _wavlm_side(ears: Ears, shape: SpeechLlmShape) -> tuple[int, AdapterShape, int] | None:
    if ears.wavlm is None or shape.wavlm_adapter is None:
        return None
    return ears.wavlm.width, shape.wavlm_adapter, ears.wavlm.state_count


def _row_mask(lengths: Sequence[int], place: torch.device, *, in_front: bool) -> torch.Tensor:
    """Return (B, T) truth values: `lengths[b]` of row b, the padding in front of them or behind."""
    most = max(lengths)
    index = torch.arange(most, device=place)[None]
    counts = torch.tensor(lengths, device=place)[:, None]
    return index >= most - counts if in_front else index < counts
