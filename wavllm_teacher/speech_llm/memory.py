"""How much memory a configuration needs on each of some GPUs, computed from tensors that have shapes alone.

The decoder's blocks are dealt out in order; encoders, adapters and embeddings stand before the first block,
the last norm and the output behind the last. Weights, gradients, optimizer and cache are exact; what the
forward pass keeps for the backward pass is counted on the meta device, where attention keeps its weights: an
upper bound, since the kernels of a GPU do not. Memory of CUDA itself comes on top.

Letters: B sequences, T positions, D width, V vocabulary.
"""

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from edgekit.errors import ConfigError
from wavllm_teacher.speech_llm import quantized
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.sizes import SpeechLlmShape

FORMATS: Mapping[str, int | None] = {"float32": None, "bf16": None, "int8": 8, "int4": 4}
"""How a decoder is kept, to the bits of its blocks' linear layers where those are integers."""
FIRST, LAST = "before the blocks", "behind the blocks"
_MOMENTS = 2
"""AdamW's running means, of each gradient and of its square."""


@dataclass(frozen=True)
class Use:
    """What the memory is for.

    Attributes:
        decoder: How the decoder is kept: `float32`, `bf16`, `int8` or `int4`.
        training: Gradients, optimizer and what the backward pass needs; else a cache of keys and values.
        sequences: Computed together, B.
        positions: Of each, speech and answer included, T.
    """

    decoder: str = "bf16"
    training: bool = False
    sequences: int = 1
    positions: int = 1024

    def __post_init__(self) -> None:
        if self.decoder not in FORMATS:
            raise ConfigError(
                f"no decoder is kept in {self.decoder!r}", f"choose one of {', '.join(FORMATS)}"
            )
        if self.sequences < 1 or self.positions < 1:
            raise ConfigError("no sequence, or one without positions", "both are at least 1")

    @property
    def type(self) -> torch.dtype:
        """The type in which the decoder computes."""
        return torch.float32 if self.decoder == "float32" else torch.bfloat16


@dataclass(frozen=True)
class Share:
    """What one GPU, or one part of the model, holds; all in bytes.

    Attributes:
        parts: Its parts of the model, in order.
        frozen: Weights that do not change.
        trained: Adapters, in float32.
        training: Their gradients and AdamW's means.
        cache: Keys and values.
        kept: What the forward pass keeps for the backward pass.
    """

    parts: tuple[str, ...]
    frozen: int = 0
    trained: int = 0
    training: int = 0
    cache: int = 0
    kept: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.frozen + self.trained + self.training + self.cache + self.kept

    def __add__(self, other: "Share") -> "Share":
        names = ("frozen", "trained", "training", "cache", "kept")
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return Share(self.parts + other.parts, **sums)


def plan(shape: SpeechLlmShape, stage: int, use: Use, gpus: int = 1) -> tuple[Share, ...]:
    """Return what each GPU holds, the fullest one as empty as can be.

    Args:
        shape: The configuration.
        stage: 1 or 2.
        use: What the memory is for.
        gpus: Their number.

    Raises:
        ConfigError: If there are no GPUs, more of them than parts, or no such stage or format.
    """
    units = units_of(shape, stage, use)
    if not 1 <= gpus <= len(units):
        raise ConfigError(f"{gpus} GPUs for {len(units)} parts", f"choose 1 to {len(units)}")
    working = block_working_bytes(shape, use) if use.training else 0
    return tuple(_together(group, working) for group in _dealt(units, gpus))


def units_of(shape: SpeechLlmShape, stage: int, use: Use) -> list[Share]:
    """Return the parts of a model that stay together: before the blocks, each block, behind them."""
    model = meta_model(shape, stage, use)
    llama = model.decoder.llama.model
    front = [model.ears, model.fusion, llama.embed_tokens, llama.rotary_emb]
    front += [model.prompt_adapter] if model.prompt_adapter else []
    modules = {FIRST: front} | {f"block {i}": [block] for i, block in enumerate(llama.layers)}
    modules[LAST] = [llama.norm, model.decoder.llama.lm_head]
    units = [_weights(name, found, training=use.training) for name, found in modules.items()]
    return [_with_activations(unit, model, use) for unit in units]


def meta_model(shape: SpeechLlmShape, stage: int, use: Use) -> SpeechLlm:
    """Return the model with shapes and types alone: all in float32, but the decoder as it is kept."""
    with torch.device("meta"):
        model = SpeechLlm(shape, stage)
    for value in model.decoder.parameters():
        if not value.requires_grad:
            value.data = value.to(use.type)
    bits = FORMATS[use.decoder]
    if bits is not None:
        quantized.quantize(model.decoder, bits)
    return model


def _weights(name: str, modules: Iterable[nn.Module], *, training: bool) -> Share:
    frozen = trained = 0
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            trained += tensor.nbytes * tensor.requires_grad
            frozen += tensor.nbytes * (not tensor.requires_grad)
    return Share((name,), frozen, trained, (1 + _MOMENTS) * trained if training else 0)


def _with_activations(unit: Share, model: SpeechLlm, use: Use) -> Share:
    """Return a unit with its cache, or with what it keeps under gradient checkpointing: a block its input."""
    decoder, cells = model.shape.decoder, use.sequences * use.positions
    state = cells * decoder.width * use.type.itemsize
    if unit.parts[0] in (FIRST, LAST):
        # Logits in the decoder's type, and float32 copies of them in the loss and its gradient.
        logits = cells * decoder.vocabulary * (use.type.itemsize + 2 * torch.float32.itemsize)
        return replace(unit, kept=logits if use.training and unit.parts[0] == LAST else 0)
    return replace(unit, kept=state) if use.training else replace(unit, cache=2 * state)


def block_working_bytes(shape: SpeechLlmShape, use: Use) -> int:
    """Return what one block keeps for its backward pass while it is computed again.

    Counted by running one block on the meta device: nothing is computed and no memory is needed.
    """
    one = replace(shape, decoder=replace(shape.decoder, layers=1))
    decoder = meta_model(one, 1, use).decoder.train()
    weights = {_storage(tensor) for tensor in (*decoder.parameters(), *decoder.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if _storage(tensor) not in weights:
            kept[_storage(tensor)] = tensor
        return tensor

    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        embedded = torch.zeros(use.sequences, use.positions, shape.decoder.width, dtype=use.type)
        valid = torch.ones(use.sequences, use.positions, dtype=torch.bool)
        with decoder.gate.scaled(torch.ones(use.sequences, shape.decoder.width)):
            decoder.states(embedded.requires_grad_(), valid)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _storage(tensor: torch.Tensor) -> int:
    # A tensor that is kept alive keeps its storage: no two of them share an address.
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 -- meta tensors have no data_ptr


def _together(units: Sequence[Share], working: int) -> Share:
    """Return what a GPU holds: its units, and room for the one block that is computed again."""
    total = functools.reduce(operator.add, units)
    has_blocks = set(total.parts) - {FIRST, LAST}
    return replace(total, kept=total.kept + (working if has_blocks else 0))


def _dealt(units: Sequence[Share], gpus: int) -> list[list[Share]]:
    """Return units in order in `gpus` groups whose largest total is the smallest possible."""
    totals = [unit.total for unit in units]
    low, high = max(totals), sum(totals)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_filled(totals, middle)) <= gpus else (middle + 1, high)
    counts = _filled(totals, low)
    while len(counts) < gpus:
        # The limit needs fewer groups: the longest is halved.
        index = counts.index(max(counts))
        counts[index : index + 1] = [counts[index] - counts[index] // 2, counts[index] // 2]
    groups, start = [], 0
    for count in counts:
        groups.append(list(units[start : start + count]))
        start += count
    return groups


def _filled(totals: Sequence[int], limit: int) -> list[int]:
    """Return how many units in order go into each group of at most `limit`."""
    counts, room = [0], limit
    for total in totals:
        if total > room:
            counts.append(0)
            room = limit
        counts[-1] += 1
        room -= total
    return counts
