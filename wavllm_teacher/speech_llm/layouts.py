"""The published layouts: what LLaMA, Whisper, WavLM and WavLLM call their tensors, and where each belongs.

A layout maps a name in a file to a name in `SpeechLlm`. LLaMA's own code has the channels of q and k in
another order than transformers (`lora.rotary_order`); such tensors say along which axis.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from wavllm_teacher.checkpoint import RENAMED
from wavllm_teacher.speech_llm.weights import IGNORED, Layout, Place

DECODER = "decoder.llama."
WHISPER = "ears.whisper.encoder."
WAVLM = "ears.wavlm.encoder."
FROZEN = {"decoder": DECODER, "whisper": WHISPER, "wavlm": WAVLM}
"""The frozen parts, and what their tensors' names begin with."""

Rules = Sequence[tuple[str, str]]
"""Patterns of whole names and what replaces them; `IGNORED` for what is not needed."""

_NORMS = r"(weight|bias)"
_LLAMA: Rules = (
    (r"tok_embeddings\.weight", r"model.embed_tokens.weight"),
    (r"layers\.(\d+)\.attention\.w([qkvo])\.weight", r"model.layers.\1.self_attn.\2_proj.base.weight"),
    (r"layers\.(\d+)\.feed_forward\.w1\.weight", r"model.layers.\1.mlp.gate_proj.weight"),
    (r"layers\.(\d+)\.feed_forward\.w2\.weight", r"model.layers.\1.mlp.down_proj.weight"),
    (r"layers\.(\d+)\.feed_forward\.w3\.weight", r"model.layers.\1.mlp.up_proj.weight"),
    (r"layers\.(\d+)\.attention_norm\.weight", r"model.layers.\1.input_layernorm.weight"),
    (r"layers\.(\d+)\.ffn_norm\.weight", r"model.layers.\1.post_attention_layernorm.weight"),
    (r"norm\.weight", r"model.norm.weight"),
    (r"output\.weight", r"lm_head.weight"),
    (r"rope\.freqs", IGNORED),
)
_LORA: Rules = (
    (r"layers\.(\d+)\.attention\.w([qkvo])_lora_A", r"model.layers.\1.self_attn.\2_proj.lora_a"),
    (r"layers\.(\d+)\.attention\.w([qkvo])_lora_B", r"model.layers.\1.self_attn.\2_proj.lora_b"),
)
_TRANSFORMERS_LLAMA: Rules = (
    (r"(model\.layers\.\d+\.self_attn\.[qkvo]_proj)\.weight", r"\1.base.weight"),
    (r"(.*\.)?rotary_emb\.inv_freq", IGNORED),
    (r"((?:model|lm_head)\..*)", r"\1"),
)
_OPENAI_WHISPER: Rules = (
    (r"encoder\.(conv[12]\.(?:weight|bias))", r"\1"),
    (r"encoder\.positional_embedding", r"embed_positions.weight"),
    (rf"encoder\.ln_post\.{_NORMS}", r"layer_norm.\1"),
    (rf"encoder\.blocks\.(\d+)\.attn\.query\.{_NORMS}", r"layers.\1.self_attn.q_proj.\2"),
    (r"encoder\.blocks\.(\d+)\.attn\.key\.weight", r"layers.\1.self_attn.k_proj.weight"),
    (rf"encoder\.blocks\.(\d+)\.attn\.value\.{_NORMS}", r"layers.\1.self_attn.v_proj.\2"),
    (rf"encoder\.blocks\.(\d+)\.attn\.out\.{_NORMS}", r"layers.\1.self_attn.out_proj.\2"),
    (rf"encoder\.blocks\.(\d+)\.attn_ln\.{_NORMS}", r"layers.\1.self_attn_layer_norm.\2"),
    (rf"encoder\.blocks\.(\d+)\.mlp\.0\.{_NORMS}", r"layers.\1.fc1.\2"),
    (rf"encoder\.blocks\.(\d+)\.mlp\.2\.{_NORMS}", r"layers.\1.fc2.\2"),
    (rf"encoder\.blocks\.(\d+)\.mlp_ln\.{_NORMS}", r"layers.\1.final_layer_norm.\2"),
    (r"decoder\..*", IGNORED),
)
_TRANSFORMERS_WHISPER: Rules = (
    (r"(?:model\.)?decoder\..*", IGNORED),
    (r"proj_out\.weight", IGNORED),
    (r"(?:model\.)?(?:encoder\.)?(.*)", r"\1"),
)
_MICROSOFT_WAVLM: Rules = (
    (r"mask_emb", IGNORED),
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.weight", r"feature_extractor.conv_layers.\1.conv.weight"),
    (
        rf"feature_extractor\.conv_layers\.(\d+)\.2\.(?:1\.)?{_NORMS}",
        r"feature_extractor.conv_layers.\1.layer_norm.\2",
    ),
    (rf"post_extract_proj\.{_NORMS}", r"feature_projection.projection.\1"),
    (rf"layer_norm\.{_NORMS}", r"feature_projection.layer_norm.\1"),
    (r"encoder\.pos_conv\.0\.(.*)", r"encoder.pos_conv_embed.conv.\1"),
    (rf"encoder\.layer_norm\.{_NORMS}", r"encoder.layer_norm.\1"),
    (
        r"encoder\.layers\.(\d+)\.self_attn\.relative_attention_bias\.weight",
        r"encoder.layers.\1.attention.rel_attn_embed.weight",
    ),
    (
        rf"encoder\.layers\.(\d+)\.self_attn\.grep_linear\.{_NORMS}",
        r"encoder.layers.\1.attention.gru_rel_pos_linear.\2",
    ),
    (r"encoder\.layers\.(\d+)\.self_attn\.grep_a", r"encoder.layers.\1.attention.gru_rel_pos_const"),
    (
        rf"encoder\.layers\.(\d+)\.self_attn\.((?:q|k|v|out)_proj)\.{_NORMS}",
        r"encoder.layers.\1.attention.\2.\3",
    ),
    (rf"encoder\.layers\.(\d+)\.self_attn_layer_norm\.{_NORMS}", r"encoder.layers.\1.layer_norm.\2"),
    (rf"encoder\.layers\.(\d+)\.fc1\.{_NORMS}", r"encoder.layers.\1.feed_forward.intermediate_dense.\2"),
    (rf"encoder\.layers\.(\d+)\.fc2\.{_NORMS}", r"encoder.layers.\1.feed_forward.output_dense.\2"),
    (rf"encoder\.layers\.(\d+)\.final_layer_norm\.{_NORMS}", r"encoder.layers.\1.final_layer_norm.\2"),
)
_TRANSFORMERS_WAVLM: Rules = (
    (r"(?:wavlm\.)?masked_spec_embed", IGNORED),
    (r"(?:wavlm\.)?(.*)", r"\1"),
)
_ADAPTER = r"((?:subsample|adapter|projector)\..*)"
_WAVLLM_ADAPTERS: Rules = (
    (rf"audio_encoder\.{_ADAPTER}", r"fusion.whisper.\1"),
    (rf"wavlm_encoder\.{_ADAPTER}", r"fusion.wavlm.\1"),
    (r"wavlm_encoder\.output_weights", r"fusion.wavlm.output_weights"),
    (rf"gpt_model\.model_llama\.scale_(fc_[12]|weight_attention)\.{_NORMS}", r"prompt_adapter.\1.\2"),
)
_BOTH_FUSED: Rules = (
    (rf"wavlm_audio_proj\.{_NORMS}", r"fusion.projection.\1"),
    # What the variant without WavLM uses is there all the same.
    (r"audio_proj\..*", IGNORED),
)
_WHISPER_FUSED: Rules = ((rf"audio_proj\.{_NORMS}", r"fusion.projection.\1"),)
_CHECKPOINTED = "_checkpoint_wrapped_module."
"""What gradient checkpointing can leave in names."""


def _layout(rules: Rules, prefix: str = "", turned: Callable[[str], int | None] = lambda _: None) -> Layout:
    compiled = [(re.compile(pattern), target) for pattern, target in rules]

    def place(name: str) -> Place | None:
        for pattern, target in compiled:
            match = pattern.fullmatch(name)
            if match:
                own = _current(match.expand(target))
                return Place(prefix + own if target != IGNORED else IGNORED, turned(name))
        return None

    return place


def _current(name: str) -> str:
    for old, new in RENAMED.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _turned(name: str) -> int | None:
    """Return the axis of a LLaMA tensor's rotary channels: rows of W, columns of B."""
    if re.fullmatch(r".*\.attention\.w[qk]\.weight", name):
        return 0
    return 1 if re.fullmatch(r".*\.attention\.w[qk]_lora_B", name) else None


LLAMA = _layout(_LLAMA, DECODER, _turned)
_PARTS: dict[str, tuple[tuple[str, Layout], ...]] = {
    "decoder": (("tok_embeddings.weight", LLAMA), ("", _layout(_TRANSFORMERS_LLAMA, DECODER))),
    "whisper": (
        ("encoder.positional_embedding", _layout(_OPENAI_WHISPER, WHISPER)),
        ("", _layout(_TRANSFORMERS_WHISPER, WHISPER)),
    ),
    "wavlm": (
        ("post_extract_proj.weight", _layout(_MICROSOFT_WAVLM, WAVLM)),
        ("", _layout(_TRANSFORMERS_WAVLM, WAVLM)),
    ),
}
"""For each frozen part, the tensor by which a layout is known, and the layout; the last is transformers'."""


def part_layout(part: str, names: Iterable[str]) -> tuple[Layout, bool]:
    """Return the layout of a frozen part's file, and whether it is that of transformers.

    Args:
        part: `decoder`, `whisper` or `wavlm`.
        names: The tensors in the file.
    """
    known = set(names)
    return next((layout, not marker) for marker, layout in _PARTS[part] if not marker or marker in known)


def wavllm_layout(*, wavlm: bool) -> Layout:
    """Return the layout of a whole WavLLM checkpoint, of the variant with WavLM or of that without."""
    routes = (
        ("audio_encoder.model.", _PARTS["whisper"][-1][1]),
        ("wavlm_encoder.model.", _PARTS["wavlm"][-1][1]),
        ("gpt_model.model_llama.", _layout((*_LORA, *_LLAMA), DECODER, _turned)),
    )
    adapters = _layout((*_WAVLLM_ADAPTERS, *(_BOTH_FUSED if wavlm else _WHISPER_FUSED)))

    def place(spelled: str) -> Place | None:
        name = spelled.replace(_CHECKPOINTED, "")
        found = adapters(name)
        for prefix, layout in routes:
            if found is None and name.startswith(prefix):
                found = layout(name.removeprefix(prefix))
        return found

    return place
