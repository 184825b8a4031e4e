"""Low-rank corrections of frozen linear layers (Hu et al., arXiv 2106.09685), scaled channel by channel.

WavLLM's form: y = W x + (x A B) * s, where s is alpha / rank, or a vector that a prompt decides.
Letters: B sequences, T positions, I inputs, O outputs, R rank.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
ROTARY = ("q_proj", "k_proj")
"""Their outputs are turned by rotary positions, so their channels lie in pairs that a layout defines."""


def rotary_order(width: int, heads: int) -> torch.Tensor:
    """Return, for each output channel of q and k in transformers' layout, its index in LLaMA's own layout.

    LLaMA's own code turns neighbours (0, 1), (2, 3), ... of each head together; transformers turns channel i
    and i + half. The same weights therefore have their rows in another order, and so has a scale vector.

    Args:
        width: Channels of all heads.
        heads: Number of heads.

    Example:
        >>> rotary_order(8, 2).tolist()
        [0, 2, 1, 3, 4, 6, 5, 7]
    """
    channels = torch.arange(width, device="cpu").view(heads, width // heads // 2, 2)
    return channels.transpose(1, 2).flatten()


_State = tuple[torch.Tensor | float | None, torch.Tensor | float | None]
"""The scale of v and o, and that of q and k."""


class LoraGate:
    """What all corrections of a decoder share: whether they act, and how strongly.

    Args:
        order: (width,) channel order of q and k, as `rotary_order` returns it.
    """

    def __init__(self, order: torch.Tensor) -> None:
        self.order = order
        self._state: _State = (None, None)

    @contextlib.contextmanager
    def scaled(self, scale: torch.Tensor | float | None) -> Iterator[None]:
        """Let corrections act inside a block.

        Args:
            scale: One number, or (B, width) in LLaMA's own channel order; None turns them off.
        """
        if isinstance(scale, torch.Tensor):
            turned = scale[:, self.order.to(scale.device)]
            state: _State = (scale[:, None], turned[:, None])
        else:
            state = (scale, scale)
        with self._restored(state):
            yield

    @contextlib.contextmanager
    def _restored(self, state: _State) -> Iterator[None]:
        before, self._state = self._state, state
        try:
            yield
        finally:
            self._state = before

    def recomputation(
        self,
    ) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        """Return the contexts of a block under gradient checkpointing: when it runs, and when it runs again.

        The backward pass comes when `scaled` has ended; without this, it would see no corrections.
        """
        return contextlib.nullcontext(), self._restored(self._state)

    def scale_of(self, *, rotary: bool) -> torch.Tensor | float | None:
        """Return what to multiply a correction with, broadcastable to (B, T, width)."""
        return self._state[rotary]


class LoraLinear(nn.Module):
    """A frozen linear layer and its correction.

    Args:
        base: The layer; it is not trained.
        gate: Shared by all layers of a decoder.
        rank: R.
        dropout: Share of the correction's inputs dropped in training.
        rotary: Whether rotary positions turn the outputs.
    """

    def __init__(self, base: nn.Module, gate: LoraGate, rank: int, dropout: float, *, rotary: bool) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        inputs, outputs = _sizes(base)
        self.lora_a = nn.Parameter(torch.empty(inputs, rank))
        self.lora_b = nn.Parameter(torch.zeros(rank, outputs))
        # B is 0: training starts from the frozen model. A is drawn as torch draws a linear layer's weights.
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))
        self.drop = nn.Dropout(dropout)
        self.gate = gate
        self.rotary = rotary

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, T, O) of (B, T, I)."""
        y: torch.Tensor = self.base(x)
        scale = self.gate.scale_of(rotary=self.rotary)
        if scale is None:
            return y
        # Trained weights are float32 even where the frozen ones are not.
        change = self.drop(x).to(self.lora_a.dtype) @ self.lora_a @ self.lora_b
        corrected: torch.Tensor = y + (change * scale).to(y.dtype)
        return corrected


def _sizes(base: Any) -> tuple[int, int]:
    return base.in_features, base.out_features
