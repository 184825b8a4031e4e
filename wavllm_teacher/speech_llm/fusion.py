"""From what the encoders heard to embeddings that the decoder reads (Hu et al., arXiv 2404.00656).

Letters: B clips, S hidden states, T frames of an encoder, W its width, P projection, D width of the decoder.
"""

from collections.abc import Sequence

import torch
from torch import nn

from wavllm_teacher.adapters import Bottleneck, Conv1dSubsampler
from wavllm_teacher.speech_llm.hearing import Heard
from wavllm_teacher.speech_llm.sizes import AdapterShape


class SpeechAdapter(nn.Module):
    """Subsampling, bottleneck and projection of one encoder's frames; its modules are named as in WavLLM.

    Args:
        width: Features of a frame, W.
        shape: The sizes.
        states: Hidden states to mix, S; without any, the frames come as they are.
    """

    def __init__(self, width: int, shape: AdapterShape, states: int = 0) -> None:
        super().__init__()
        if states:
            self.output_weights = nn.Parameter(torch.ones(states))
        self.subsample = Conv1dSubsampler(width, shape.hidden, shape.channels)
        self.adapter = Bottleneck(shape.channels, shape.bottleneck)
        self.projector = nn.Linear(shape.channels, shape.projection)

    def mix(self, states: torch.Tensor) -> torch.Tensor:
        """Return the (T, W) mean of (S, T, W) states, weighted by a softmax."""
        weights = torch.softmax(self.output_weights, dim=0)
        return torch.einsum("s,std->td", weights, states)

    def forward(self, pieces: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the (ceil(T / 4), P) frames of each (T, W) piece; pieces do not affect each other."""
        counts = [piece.shape[0] for piece in pieces]
        lengths = torch.tensor(counts, device=pieces[0].device)
        frames, valid = self.subsample(nn.utils.rnn.pad_sequence(list(pieces), batch_first=True), lengths)
        projected = self.projector(self.adapter(frames))
        return [piece[:count] for piece, count in zip(projected, valid.tolist(), strict=True)]


class Fusion(nn.Module):
    """The encoders' adapters, and the layer that fuses them; of Whisper alone, it is a projection.

    Args:
        whisper: Width of Whisper, and its adapter's sizes.
        wavlm: Width of WavLM, its adapter's sizes, and its number of hidden states; None without WavLM.
        width: Features of the result, D.
    """

    def __init__(
        self,
        whisper: tuple[int, AdapterShape],
        wavlm: tuple[int, AdapterShape, int] | None,
        width: int,
    ) -> None:
        super().__init__()
        self.whisper = SpeechAdapter(*whisper)
        self.wavlm = None if wavlm is None else SpeechAdapter(*wavlm)
        projected = whisper[1].projection + (0 if wavlm is None else wavlm[1].projection)
        self.projection = nn.Linear(projected, width)

    def forward(self, clips: Sequence[Heard]) -> list[torch.Tensor]:
        """Return the (T / 4, D) embeddings of each clip, on the device of the weights and in their type.

        Windows of Whisper are subsampled one by one and follow each other; both encoders are cut to the
        shorter of the two.
        """
        like = self.projection.weight
        windows = iter(self.whisper([window.to(like) for clip in clips for window in clip.whisper]))
        semantic = [torch.cat([next(windows) for _ in clip.whisper]) for clip in clips]
        if self.wavlm is None:
            return [self.projection(frames) for frames in semantic]
        acoustic = self.wavlm([self.wavlm.mix(_states(clip).to(like)) for clip in clips])
        return [self._fuse(left, right) for left, right in zip(semantic, acoustic, strict=True)]

    def _fuse(self, semantic: torch.Tensor, acoustic: torch.Tensor) -> torch.Tensor:
        most = min(len(semantic), len(acoustic))
        fused: torch.Tensor = self.projection(torch.cat([semantic[:most], acoustic[:most]], dim=1))
        return fused


def _states(clip: Heard) -> torch.Tensor:
    assert clip.wavlm is not None, "a model with WavLM hears by WavLM"
    return clip.wavlm
