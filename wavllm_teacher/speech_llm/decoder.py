"""The LLaMA-type decoder with corrections, and the adapter by which a prompt scales them.

Letters: B sequences, T positions, L positions of a prompt, D width, V vocabulary.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 -- the name PyTorch users know

from wavllm_teacher.speech_llm.hearing import without_memory
from wavllm_teacher.speech_llm.lora import PROJECTIONS, ROTARY, LoraGate, LoraLinear, rotary_order
from wavllm_teacher.speech_llm.sizes import DecoderShape, LoraShape, PromptShape


class PromptAdapter(nn.Module):
    """One scale for each channel of the corrections, from the states of a prompt (arXiv 2404.00656).

    S = fc_2(gelu(fc_1(H))), a = softmax over L of weight_attention(S), s = min(relu(sum of a S), limit).

    Args:
        width: Features of a state, D.
        shape: Bottleneck and limit.
        start: The scale before any training, whatever the prompt.
    """

    def __init__(self, width: int, shape: PromptShape, start: float) -> None:
        super().__init__()
        self.fc_1 = nn.Linear(width, shape.bottleneck)
        self.fc_2 = nn.Linear(shape.bottleneck, width)
        # A random scale, half of it 0, would undo what stage one learned: stage two starts where that ended.
        nn.init.zeros_(self.fc_2.weight)
        nn.init.constant_(self.fc_2.bias, start)
        self.weight_attention = nn.Linear(width, 1)
        self.limit = shape.limit

    def forward(self, states: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return (B, D) scales of (B, L, D) states, of which `valid` (B, L) belong to the prompt."""
        values = self.fc_2(F.gelu(self.fc_1(states)))
        scores = self.weight_attention(values).masked_fill(~valid[..., None], float("-inf"))
        # A padded position's value is finite, so its weight of 0 removes it.
        pooled = (torch.softmax(scores, dim=1) * values).sum(dim=1)
        return torch.relu(pooled).clamp(max=self.limit)


class AdaptedDecoder(nn.Module):
    """A frozen LLaMA whose attention projections have corrections.

    Args:
        shape: The sizes.
        lora: Those of the corrections.
        empty: Give the frozen weights no memory yet: loading does.
    """

    def __init__(self, shape: DecoderShape, lora: LoraShape, *, empty: bool = False) -> None:
        super().__init__()
        from transformers import LlamaForCausalLM
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

        self.shape = shape
        with without_memory(empty):
            # transformers is not typed.
            self.llama: Any = LlamaForCausalLM(settings(shape)).requires_grad_(False)
        if empty:
            # No checkpoint holds the rotary frequencies.
            self.llama.model.rotary_emb = LlamaRotaryEmbedding(self.llama.config)
        self.gate = LoraGate(rotary_order(shape.width, shape.heads))
        self.plain_scale = lora.alpha / lora.rank
        for layer in self.llama.model.layers:
            for name in PROJECTIONS:
                base = getattr(layer.self_attn, name)
                adapted = LoraLinear(base, self.gate, lora.rank, lora.dropout, rotary=name in ROTARY)
                setattr(layer.self_attn, name, adapted)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the (..., D) embeddings of token numbers."""
        embedded: torch.Tensor = self.llama.model.embed_tokens(tokens)
        return embedded

    @torch.no_grad()
    def prompt_states(self, tokens: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return what the last block makes of prompts, (B, L, D), without corrections and final norm.

        Nothing trained takes part, so no gradient is kept.

        Args:
            tokens: (B, L) token numbers; padding may stand on either side.
            valid: (B, L), which of them belong to the prompt.
        """
        found: list[torch.Tensor] = []
        # The final norm receives what is wanted here; a hook needs no second copy of transformers' loop.
        hook = self.llama.model.norm.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
        try:
            with self.gate.scaled(None):
                self.states(self.embed(tokens), valid)
        finally:
            hook.remove()
        return found[0]

    def forward(
        self,
        embedded: torch.Tensor,
        valid: torch.Tensor,
        scale: torch.Tensor | None,
        cache: Any = None,
        *,
        last: int | None = None,
    ) -> torch.Tensor:
        """Return (B, T, V) logits, in float32 or better.

        Args:
            embedded: (B, T, D) embeddings; with a cache, those of the positions that it does not hold.
            valid: (B, positions so far), which of them are no padding.
            scale: (B, D) scales of the corrections; without it, alpha / rank.
            cache: A transformers `DynamicCache`, which is extended.
            last: Return the logits of so many last positions alone, (B, last, V).
        """
        with self.gate.scaled(self.plain_scale if scale is None else scale):
            states = self.states(embedded, valid, cache)
        logits: torch.Tensor = self.llama.lm_head(states if last is None else states[:, -last:])
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def states(self, embedded: torch.Tensor, valid: torch.Tensor, cache: Any = None) -> torch.Tensor:
        """Return the (B, T, D) states behind the final norm, with corrections as the gate says."""
        dtype = self.llama.model.norm.weight.dtype
        queries = embedded.shape[1]
        found = self.llama.model(
            inputs_embeds=embedded.to(dtype),
            attention_mask=causal_mask(valid, queries),
            position_ids=positions(valid)[:, -queries:],
            past_key_values=cache,
            use_cache=cache is not None,
        )
        states: torch.Tensor = found.last_hidden_state
        return states

    def checkpoint_gradients(self) -> None:
        """Keep one state a block for the backward pass, and compute the rest again there."""
        self.llama.activation_checkpointing_enable(
            {"use_reentrant": False, "context_fn": self.gate.recomputation}
        )


def settings(shape: DecoderShape) -> Any:
    """Return the transformers configuration of a decoder."""
    from transformers import LlamaConfig

    entries: dict[str, Any] = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": shape.norm_epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rotary_base},
        "attn_implementation": "sdpa",
    }
    return LlamaConfig(**entries)


def positions(valid: torch.Tensor) -> torch.Tensor:
    """Return the (B, T) position of each token in its own sequence: padding before it does not count.

    Example:
        >>> positions(torch.tensor([[False, True, True]])).tolist()
        [[0, 0, 1]]
    """
    return (valid.long().cumsum(dim=1) - 1).clamp(min=0)


def causal_mask(valid: torch.Tensor, queries: int) -> torch.Tensor:
    """Return (B, 1, queries, T) truth values: which positions the last `queries` of T attend to.

    Each sees the valid positions up to itself. Padding sees itself alone: a row without any position would
    be NaN, and NaN spreads even with a weight of 0.
    """
    length = valid.shape[1]
    keys = torch.arange(length, device=valid.device)
    rows = keys[length - queries :, None]
    seen = (keys <= rows) & valid[:, None, :]
    return (seen | (keys == rows))[:, None]
