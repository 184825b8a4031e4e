"""The start of the compact teacher: a Whisper encoder's first blocks, every matrix in low rank.

A matrix W is replaced by the product of two thin ones that changes its outputs least on real speech: with C
the covariance of its inputs, the best rank-r approximation of W C^(1/2) is its truncated singular value
decomposition (Eckart and Young 1936), times C^(-1/2). The bias takes up what that changes in the mean.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 -- the name PyTorch users know

from wavllm_teacher.compact import KERNEL, CompactShape, CompactTeacher
from wavllm_teacher.encoder import WhisperStates

DAMPING = 1e-6
"""Share of the mean variance added to every direction: speech does not fill all of them."""


class _Inputs:
    """Mean and covariance of what goes into a layer, gathered while the encoder hears speech."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: torch.Tensor | float = 0.0
        self.products: torch.Tensor | float = 0.0

    def add(self, rows: torch.Tensor) -> None:
        x = rows.double()
        self.count += len(x)
        self.sum = self.sum + x.sum(0)
        self.products = self.products + x.T @ x

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean = torch.as_tensor(self.sum) / self.count
        return mean, torch.as_tensor(self.products) / self.count - torch.outer(mean, mean)


def _listen(encoder: WhisperStates, clips: Sequence[NDArray[np.float32]], blocks: int) -> dict[str, _Inputs]:
    """Run the encoder on clips and return the inputs of every layer that is to be factored."""
    found: dict[str, _Inputs] = {}
    hooks = []
    for name, layer in encoder.encoder.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv1d):
            found[name] = _Inputs()

            def hook(layer: Any, inputs: Any, name: str = name) -> None:
                found[name].add(_rows(layer, inputs[0]))

            hooks.append(layer.register_forward_pre_hook(hook))
    for samples in clips:
        encoder(samples, blocks)
    for handle in hooks:
        handle.remove()
    return found


def _rows(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return (rows, inputs): what a linear layer sees, or the windows of a convolution, tap by tap."""
    if not isinstance(layer, nn.Conv1d):
        return x.reshape(-1, x.shape[-1])
    windows = F.pad(x, (1, 1)).unfold(2, KERNEL, int(layer.stride[0]))
    return windows.permute(0, 2, 1, 3).reshape(-1, x.shape[1] * KERNEL)


def factors(
    weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, covariance: torch.Tensor, rank: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (rank, inputs) and (outputs, rank) factors of a matrix, and the bias that goes with them.

    Args:
        weight: (outputs, inputs).
        bias: (outputs,).
        mean: (inputs,) mean of the inputs.
        covariance: (inputs, inputs) of the inputs.
        rank: At most the smaller side of the matrix.
    """
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp(min=0) + DAMPING * values.clamp(min=0).mean()
    root = vectors * values.sqrt()
    left, gains, right = torch.linalg.svd(weight.double() @ root, full_matrices=False)
    half = gains[:rank].sqrt()
    up = left[:, :rank] * half
    down = half[:, None] * right[:rank] @ (vectors / values.sqrt()).T
    return down, up, bias.double() + (weight.double() - up @ down) @ mean


def slim(encoder: WhisperStates, clips: Sequence[NDArray[np.float32]], shape: CompactShape) -> CompactTeacher:
    """Return a compact teacher that computes about what the encoder's first blocks do; its head is empty.

    Args:
        encoder: A Whisper encoder of the same width, heads and expansion.
        clips: (N,) 16 kHz speech that the approximation is made for.
        shape: Sizes of the result.
    """
    heard = _listen(encoder, clips, shape.blocks)
    whisper, teacher = encoder.encoder, CompactTeacher(shape).requires_grad_(False)
    _factor(teacher.first, [whisper.conv1], heard["conv1"])
    _factor(teacher.second, [whisper.conv2], heard["conv2"])
    for index in range(shape.blocks):
        block: Any = teacher.blocks[index]
        source, prefix = whisper.layers[index], f"layers.{index}."
        attention = source.self_attn
        block.attention_norm.load_state_dict(source.self_attn_layer_norm.state_dict())
        block.norm.load_state_dict(source.final_layer_norm.state_dict())
        queries = [attention.q_proj, attention.k_proj, attention.v_proj]
        _factor(block.qkv, queries, heard[prefix + "self_attn.q_proj"])
        _factor(block.out, [attention.out_proj], heard[prefix + "self_attn.out_proj"])
        _factor(block.expand, [source.fc1], heard[prefix + "fc1"])
        _factor(block.reduce, [source.fc2], heard[prefix + "fc2"])
    return teacher.requires_grad_(True)


def _factor(target: Any, layers: Sequence[Any], inputs: _Inputs) -> None:
    """Fill a low-rank layer with the factors of one layer, or of several that read the same inputs."""
    weight = torch.cat([layer.weight.flatten(1) for layer in layers])
    # Whisper's keys have no bias.
    biases = [torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in layers]
    rank = target.up.weight.shape[1]
    down, up, shift = factors(weight, torch.cat(biases), *inputs.moments(), rank)
    target.down.weight.copy_(down.reshape(target.down.weight.shape))
    target.up.weight.copy_(up.reshape(target.up.weight.shape))
    target.up.bias.copy_(shift)
