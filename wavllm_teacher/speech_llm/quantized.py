"""Frozen linear layers in 8 or 4 bits, so that 7 billion weights fit a smaller GPU.

Weights alone are rounded, to the nearest and symmetrically around 0: by output row in 8 bits, by groups of 64
inputs in 4 bits. They are widened where they are used; corrections stay in float32. Letters: O outputs,
I inputs, G groups.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 -- the name PyTorch users know

from edgekit.errors import ConfigError
from wavllm_teacher.speech_llm.decoder import AdaptedDecoder
from wavllm_teacher.speech_llm.lora import LoraLinear

BITS = (8, 4)
GROUP = 64
"""Inputs that share a scale in 4 bits."""
_SMALLEST = 2.0**-14
"""The smallest normal float16: scales below it would lose digits."""


class QuantizedLinear(nn.Module):
    """A linear layer without bias whose weights are integers.

    Args:
        linear: The layer; on the meta device, shapes alone are computed.
        bits: 8 or 4.

    Raises:
        ConfigError: If there is no such number of bits, or in 4 bits the inputs are no whole groups.
    """

    values: torch.Tensor
    scales: torch.Tensor

    def __init__(self, linear: nn.Linear, bits: int) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bits = bits
        self.group = self.in_features if bits == BITS[0] else GROUP
        _require_supported(linear, bits, self.group)
        grouped = linear.weight.detach().float().view(self.out_features, -1, self.group)
        most = 2 ** (bits - 1) - 1
        scales = (grouped.abs().amax(dim=2) / most).clamp(min=_SMALLEST).half()
        values = (grouped / scales.float()[..., None]).round().clamp(-most, most).to(torch.int8).flatten(1)
        self.register_buffer("values", values if bits == BITS[0] else _packed(values))
        self.register_buffer("scales", scales)

    def weight(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the (O, I) weights that the integers stand for."""
        values = self.values if self.bits == BITS[0] else _unpacked(self.values)
        grouped = values.view(self.out_features, -1, self.group).to(dtype)
        return (grouped * self.scales.to(dtype)[..., None]).flatten(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., O) of (..., I)."""
        y: torch.Tensor = _Widened.apply(x, self)  # type: ignore[no-untyped-call] # torch has no types for it
        return y


class _Widened(torch.autograd.Function):
    """A product with widened weights that keeps the integers alone for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: QuantizedLinear) -> torch.Tensor:
        ctx.layer = layer
        return F.linear(x, layer.weight(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient @ ctx.layer.weight(gradient.dtype), None


def _require_supported(linear: nn.Linear, bits: int, group: int) -> None:
    if bits not in BITS:
        raise ConfigError(f"frozen weights of {bits} bits", f"choose one of {', '.join(map(str, BITS))}")
    if linear.in_features % group:
        raise ConfigError(
            f"{linear.in_features} inputs are no whole groups of {group}",
            "use 8 bits for a decoder of this width",
        )
    if linear.bias is not None:
        raise ConfigError("a linear layer with a bias cannot be kept in integers", "LLaMA has none")


def _packed(values: torch.Tensor) -> torch.Tensor:
    """Return (O, I / 2) bytes of (O, I) values from -7 to 7: the even inputs in the lower halves."""
    shifted = (values + 8).to(torch.uint8)
    return shifted[:, 0::2] | (shifted[:, 1::2] << 4)


def _unpacked(packed: torch.Tensor) -> torch.Tensor:
    halves = torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)
    return halves.to(torch.int8) - 8


def quantize(decoder: AdaptedDecoder, bits: int) -> None:
    """Keep the linear layers of a decoder's blocks as integers; embeddings, norms and output stay.

    Layer by layer, so that the memory of both is needed for one layer alone.

    Raises:
        ConfigError: If they are integers already, or cannot be kept in so many bits.
    """
    layers = list(linear_layers(decoder))
    if not layers:
        raise ConfigError("the decoder's weights are integers already", "load it again to change their bits")
    for owner, name, linear in layers:
        setattr(owner, name, QuantizedLinear(linear, bits))


def linear_layers(decoder: AdaptedDecoder) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Yield the linear layers of a decoder's blocks: what holds each, its name there, and the layer."""
    for block in decoder.llama.model.layers:
        for owner in list(block.modules()):
            for name, child in list(owner.named_children()):
                if isinstance(child, nn.Linear):
                    yield owner, name, child


def is_quantized(decoder: AdaptedDecoder) -> bool:
    """Return whether a decoder's linear layers are integers."""
    first: LoraLinear = decoder.llama.model.layers[0].self_attn.q_proj
    return isinstance(first.base, QuantizedLinear)
