"""Random checkpoints in the published layouts, and what a WavLLM checkpoint computes, in float64 by itself.

Names and shapes are those that the published codes give their tensors; nothing here comes from the modules
under test.
"""

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 -- the name PyTorch users know

from wavllm_teacher.speech_llm.sizes import SpeechLlmShape

Tensors = dict[str, torch.Tensor]
EPSILON = 1e-6


class Maker:
    """Draws tensors by name."""

    def __init__(self, seed: int) -> None:
        self.source = torch.Generator().manual_seed(seed)
        self.tensors: Tensors = {}

    def draw(self, name: str, *shape: int, around: float = 0.0) -> None:
        spread = 0.3 / max(1, shape[-1]) ** 0.5 if len(shape) > 1 else 0.1
        self.tensors[name] = around + spread * torch.randn(shape, generator=self.source)

    def linear(self, name: str, outputs: int, inputs: int, *, bias: bool = True) -> None:
        self.draw(f"{name}.weight", outputs, inputs)
        if bias:
            self.draw(f"{name}.bias", outputs)

    def norm(self, name: str, width: int, *, bias: bool = True) -> None:
        self.draw(f"{name}.weight", width, around=1.0)
        if bias:
            self.draw(f"{name}.bias", width)


def llama(shape: SpeechLlmShape, seed: int = 1) -> Tensors:
    """As LLaMA's own code names them; what is in a consolidated file, but for rope.freqs."""
    make, sizes = Maker(seed), shape.decoder
    make.draw("tok_embeddings.weight", sizes.vocabulary, sizes.width)
    make.tensors["tok_embeddings.weight"] *= 20
    for layer in range(sizes.layers):
        block = f"layers.{layer}"
        for name in ("wq", "wk", "wv", "wo"):
            make.linear(f"{block}.attention.{name}", sizes.width, sizes.width, bias=False)
        make.linear(f"{block}.feed_forward.w1", sizes.feed_forward, sizes.width, bias=False)
        make.linear(f"{block}.feed_forward.w2", sizes.width, sizes.feed_forward, bias=False)
        make.linear(f"{block}.feed_forward.w3", sizes.feed_forward, sizes.width, bias=False)
        make.norm(f"{block}.attention_norm", sizes.width, bias=False)
        make.norm(f"{block}.ffn_norm", sizes.width, bias=False)
    make.norm("norm", sizes.width, bias=False)
    make.linear("output", sizes.vocabulary, sizes.width, bias=False)
    return make.tensors


def openai_whisper(shape: SpeechLlmShape, seed: int = 2) -> Tensors:
    """The encoder as OpenAI's code names it, and a tensor of the decoder."""
    make, width = Maker(seed), shape.whisper["d_model"]
    make.draw("encoder.conv1.weight", width, shape.whisper["num_mel_bins"], 3)
    make.draw("encoder.conv1.bias", width)
    make.draw("encoder.conv2.weight", width, width, 3)
    make.draw("encoder.conv2.bias", width)
    make.draw("encoder.positional_embedding", 1500, width)
    for layer in range(shape.whisper["encoder_layers"]):
        block, wide = f"encoder.blocks.{layer}", shape.whisper["encoder_ffn_dim"]
        for name in ("query", "key", "value", "out"):
            make.linear(f"{block}.attn.{name}", width, width, bias=name != "key")
        make.norm(f"{block}.attn_ln", width)
        make.linear(f"{block}.mlp.0", wide, width)
        make.linear(f"{block}.mlp.2", width, wide)
        make.norm(f"{block}.mlp_ln", width)
    make.norm("encoder.ln_post", width)
    make.draw("decoder.token_embedding.weight", 5, width)
    return make.tensors


def microsoft_wavlm(shape: SpeechLlmShape, seed: int = 3) -> Tensors:
    """As the original WavLM-Base.pt names them."""
    make, sizes = Maker(seed), shape.wavlm
    width, channels, heads = sizes["hidden_size"], sizes["conv_dim"], sizes["num_attention_heads"]
    make.draw("mask_emb", width)
    for layer, (outputs, kernel) in enumerate(zip(channels, (10, 3, 3, 3, 3, 2, 2), strict=True)):
        inputs = channels[layer - 1] if layer else 1
        make.draw(f"feature_extractor.conv_layers.{layer}.0.weight", outputs, inputs, kernel)
    make.norm("feature_extractor.conv_layers.0.2", channels[0])
    make.norm("layer_norm", channels[-1])
    make.linear("post_extract_proj", width, channels[-1])
    positions, groups = sizes["num_conv_pos_embeddings"], sizes["num_conv_pos_embedding_groups"]
    make.draw("encoder.pos_conv.0.bias", width)
    make.draw("encoder.pos_conv.0.weight_g", 1, 1, positions, around=1.0)
    make.draw("encoder.pos_conv.0.weight_v", width, width // groups, positions)
    make.norm("encoder.layer_norm", width)
    make.draw("encoder.layers.0.self_attn.relative_attention_bias.weight", 320, heads)
    for layer in range(sizes["num_hidden_layers"]):
        block = f"encoder.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            make.linear(f"{block}.self_attn.{name}", width, width)
        make.linear(f"{block}.self_attn.grep_linear", 8, width // heads)
        make.draw(f"{block}.self_attn.grep_a", 1, heads, 1, 1, around=1.0)
        make.norm(f"{block}.self_attn_layer_norm", width)
        make.linear(f"{block}.fc1", sizes["intermediate_size"], width)
        make.linear(f"{block}.fc2", width, sizes["intermediate_size"])
        make.norm(f"{block}.final_layer_norm", width)
    return make.tensors


def adapters(shape: SpeechLlmShape, seed: int = 4) -> Tensors:
    """What WavLLM's code trains in stage two; with WavLM, also the projection that it keeps unused."""
    make, width = Maker(seed), shape.decoder.width
    sides = [("audio_encoder", shape.whisper_adapter, shape.whisper["d_model"])]
    if shape.wavlm is not None:
        sides.append(("wavlm_encoder", shape.wavlm_adapter, shape.wavlm["hidden_size"]))
    for name, sizes, inputs in sides:
        make.draw(f"{name}.subsample.conv_layers.0.weight", sizes.hidden, inputs, 3)
        make.draw(f"{name}.subsample.conv_layers.0.bias", sizes.hidden)
        make.draw(f"{name}.subsample.conv_layers.1.weight", 2 * sizes.channels, sizes.hidden // 2, 3)
        make.draw(f"{name}.subsample.conv_layers.1.bias", 2 * sizes.channels)
        make.linear(f"{name}.adapter.down_layer", sizes.bottleneck, sizes.channels)
        make.linear(f"{name}.adapter.up_layer", sizes.channels, sizes.bottleneck)
        make.norm(f"{name}.adapter.layer_norm", sizes.channels)
        make.linear(f"{name}.projector", sizes.projection, sizes.channels)
    if shape.wavlm is not None:
        make.draw("wavlm_encoder.output_weights", shape.wavlm["num_hidden_layers"] + 1, around=1.0)
        both = shape.whisper_adapter.projection + shape.wavlm_adapter.projection
        make.linear("wavlm_audio_proj", width, both)
    make.linear("audio_proj", width, shape.whisper_adapter.projection)
    for layer in range(shape.decoder.layers):
        for name in ("wq", "wk", "wv", "wo"):
            block = f"gpt_model.model_llama.layers.{layer}.attention.{name}"
            make.draw(f"{block}_lora_A", width, shape.lora.rank)
            make.draw(f"{block}_lora_B", shape.lora.rank, width)
    head = "gpt_model.model_llama.scale"
    make.linear(f"{head}_fc_1", shape.prompt.bottleneck, width)
    make.linear(f"{head}_fc_2", width, shape.prompt.bottleneck)
    # The scales are to lie on both sides of 0 and of the limit.
    make.tensors[f"{head}_fc_2.bias"] = 3 * torch.randn(width, generator=make.source)
    make.linear(f"{head}_weight_attention", 1, width)
    return make.tensors


class Reference:
    """A WavLLM checkpoint at work, one sequence at a time, in float64 and in LLaMA's own channel order."""

    def __init__(self, shape: SpeechLlmShape, tensors: Tensors) -> None:
        self.shape = shape
        self.tensors = {name: tensor.double() for name, tensor in tensors.items()}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def llama(self, name: str) -> torch.Tensor:
        return self[f"gpt_model.model_llama.{name}"]

    def embed(self, tokens) -> torch.Tensor:
        return self.llama("tok_embeddings.weight")[torch.tensor(tokens)]

    def adapter(self, side: str, frames: torch.Tensor) -> torch.Tensor:
        x = frames.double().T[None]
        for layer in range(2):
            name = f"{side}.subsample.conv_layers.{layer}"
            x = F.conv1d(x, self[f"{name}.weight"], self[f"{name}.bias"], stride=2, padding=1)
            x = x[:, : x.shape[1] // 2] * torch.sigmoid(x[:, x.shape[1] // 2 :])
        x = x[0].T
        down = x @ self[f"{side}.adapter.down_layer.weight"].T + self[f"{side}.adapter.down_layer.bias"]
        gelu = 0.5 * down * (1 + torch.erf(down / 2**0.5))
        up = gelu @ self[f"{side}.adapter.up_layer.weight"].T + self[f"{side}.adapter.up_layer.bias"]
        spread = ((up - up.mean(1, True)) ** 2).mean(1, True)
        normed = (up - up.mean(1, True)) / torch.sqrt(spread + 1e-5)
        x = x + normed * self[f"{side}.adapter.layer_norm.weight"] + self[f"{side}.adapter.layer_norm.bias"]
        return x @ self[f"{side}.projector.weight"].T + self[f"{side}.projector.bias"]

    def speech(self, windows, states) -> torch.Tensor:
        semantic = torch.cat([self.adapter("audio_encoder", window) for window in windows])
        if states is None:
            return semantic @ self["audio_proj.weight"].T + self["audio_proj.bias"]
        share = torch.exp(self["wavlm_encoder.output_weights"])
        mixed = sum(w * state.double() for w, state in zip(share / share.sum(), states, strict=True))
        acoustic = self.adapter("wavlm_encoder", mixed)
        most = min(len(semantic), len(acoustic))
        both = torch.cat([semantic[:most], acoustic[:most]], dim=1)
        return both @ self["wavlm_audio_proj.weight"].T + self["wavlm_audio_proj.bias"]

    def rms(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return x / torch.sqrt((x**2).mean(1, True) + EPSILON) * self.llama(f"{name}.weight")

    def project(self, x, layer: int, name: str, scale) -> torch.Tensor:
        block = f"layers.{layer}.attention.{name}"
        y = x @ self.llama(f"{block}.weight").T
        if scale is None:
            return y
        return y + x @ self.llama(f"{block}_lora_A") @ self.llama(f"{block}_lora_B") * scale

    def turn(self, x: torch.Tensor) -> torch.Tensor:
        """Rotate neighbouring channels of (T, heads, d) as complex numbers."""
        half = x.shape[2] // 2
        speed = 10_000.0 ** -(np.arange(half) / half)
        angle = torch.from_numpy(np.arange(len(x))[:, None] * speed)
        pairs = torch.complex(x[..., 0::2], x[..., 1::2])
        turned = pairs * torch.complex(torch.cos(angle), torch.sin(angle))[:, None]
        return torch.stack([turned.real, turned.imag], dim=3).flatten(2)

    def block(self, x: torch.Tensor, layer: int, scale) -> torch.Tensor:
        heads, length = self.shape.decoder.heads, len(x)
        h = self.rms(x, f"layers.{layer}.attention_norm")
        q, k, v = (self.project(h, layer, n, scale).view(length, heads, -1) for n in ("wq", "wk", "wv"))
        scores = torch.einsum("qhd,khd->hqk", self.turn(q), self.turn(k)) / q.shape[2] ** 0.5
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = torch.softmax(scores.masked_fill(later, float("-inf")), dim=2)
        mixed = torch.einsum("hqk,khd->qhd", weights, v).reshape(length, -1)
        x = x + self.project(mixed, layer, "wo", scale)
        h = self.rms(x, f"layers.{layer}.ffn_norm")
        w1, w2, w3 = (self.llama(f"layers.{layer}.feed_forward.w{i}.weight") for i in (1, 2, 3))
        gate = h @ w1.T
        return x + (gate * torch.sigmoid(gate) * (h @ w3.T)) @ w2.T

    def blocks(self, x: torch.Tensor, scale) -> torch.Tensor:
        for layer in range(self.shape.decoder.layers):
            x = self.block(x, layer, scale)
        return x

    def scale(self, question) -> torch.Tensor:
        h = self.blocks(self.embed(question), None)
        down = h @ self.llama("scale_fc_1.weight").T + self.llama("scale_fc_1.bias")
        gelu = 0.5 * down * (1 + torch.erf(down / 2**0.5))
        s = gelu @ self.llama("scale_fc_2.weight").T + self.llama("scale_fc_2.bias")
        score = s @ self.llama("scale_weight_attention.weight").T
        share = torch.exp(score - score.max())
        return torch.clamp((share / share.sum() * s).sum(0), 0, self.shape.prompt.limit)

    def logits(self, embedded: torch.Tensor, scale) -> torch.Tensor:
        return self.rms(self.blocks(embedded, scale), "norm") @ self.llama("output.weight").T
