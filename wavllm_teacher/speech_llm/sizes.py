"""Every size of the speech language model, and named configurations. Nothing heavy is imported."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgekit.errors import ConfigError

SUBSAMPLING = 4
"""Hidden frames of an encoder (50 a second) for each frame that the decoder reads (12.5 a second)."""


def _require_positive(shape: Any, what: str, but: str = "") -> None:
    """Require that all sizes but one are positive numbers, whole where the class says so.

    Raises:
        ConfigError: If one is not.
    """
    for entry in fields(shape):
        value = getattr(shape, entry.name)
        kinds = (int,) if entry.type is int else (int, float)
        possible = isinstance(value, kinds) and not isinstance(value, bool) and 0 < value < math.inf
        if entry.name != but and not possible:
            hint = f"give it a positive {'whole number' if entry.type is int else 'number'}"
            raise ConfigError(f"{what}: {entry.name} is {value!r}", hint)


_LEAST: dict[str, dict[str, int]] = {
    "whisper": {
        **dict.fromkeys(("encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins"), 1),
        # Positions are pairs of sines and cosines, and 30 s have 1500 of them.
        "d_model": 4,
        "max_source_positions": 1500,
    },
    "wavlm": {
        **dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"), 1),
        "num_conv_pos_embeddings": 1,
        "num_conv_pos_embedding_groups": 1,
        # Half of them for either direction, half of these for single steps.
        "num_buckets": 4,
    },
}
"""The least that sizes of an encoder can be."""
_SHARED = {
    "whisper": ("d_model", ("encoder_attention_heads",)),
    "wavlm": ("hidden_size", ("num_attention_heads", "num_conv_pos_embedding_groups")),
}
"""The width of an encoder, and what shares it evenly."""
_CONVOLUTIONS = ("conv_dim", "conv_kernel", "conv_stride")
_STRIDE = 320
"""Samples for each hidden frame of an encoder."""


def _require_encoder(part: str, entries: Any) -> None:
    """Require that entries of an encoder's configuration are possible, each and together.

    Raises:
        ConfigError: If one is not; names it.
    """
    if not isinstance(entries, Mapping):
        raise ConfigError(f"{part} is {entries!r}", "give it the entries of its transformers configuration")
    for name, least in _LEAST[part].items():
        if not _is_size(entries.get(name, least), least):
            hint = f"give it a whole number from {least}"
            raise ConfigError(f"{part}: {name} is {entries[name]!r}", hint)
    width, sharers = _SHARED[part]
    for name in sharers:
        if width in entries and entries[width] % entries.get(name, 1):
            what = f"{name} is {entries[name]}, and does not divide the {width} of {entries[width]}"
            raise ConfigError(f"{part}: {what}", "choose another")
    if entries.get("model_type", part) != part:
        raise ConfigError(f"{part}: model_type is {entries['model_type']!r}", f"give it those of a {part}")
    if part == "wavlm":
        _require_wavlm(entries)


def _is_size(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _require_wavlm(entries: Mapping[str, Any]) -> None:
    for name in _CONVOLUTIONS:
        value = entries.get(name, (1,))
        if not isinstance(value, list | tuple) or not value or not all(map(_is_size, value)):
            raise ConfigError(f"wavlm: {name} is {value!r}", "give it a list of positive whole numbers")
    strides = entries.get("conv_stride", (_STRIDE,))
    if math.prod(strides) != _STRIDE:
        hint = f"give it strides whose product is {_STRIDE}, as Whisper has"
        raise ConfigError(f"wavlm: conv_stride is {strides!r}", hint)
    epsilon = entries.get("layer_norm_eps", 1e-5)
    if not isinstance(epsilon, int | float) or not 0 < epsilon < math.inf:
        raise ConfigError(f"wavlm: layer_norm_eps is {epsilon!r}", "give it a positive number")
    distance, exact = entries.get("max_bucket_distance", 800), entries.get("num_buckets", 320) // 4
    if not _is_size(distance, exact + 1):
        hint = f"give it a whole number above a quarter of num_buckets, {exact}"
        raise ConfigError(f"wavlm: max_bucket_distance is {distance!r}", hint)


@dataclass(frozen=True)
class AdapterShape:
    """Sizes of the adapter on one encoder.

    Attributes:
        hidden: Channels of the first subsampling convolution; its gate halves them.
        channels: Channels after subsampling.
        bottleneck: Features in the bottleneck.
        projection: Features that the encoder brings to the fusion.
    """

    hidden: int
    channels: int
    bottleneck: int
    projection: int

    def __post_init__(self) -> None:
        _require_positive(self, "adapter")


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of the LLaMA-type decoder.

    Attributes:
        vocabulary: Number of tokens.
        width: Features a position.
        layers: Number of blocks.
        heads: Attention heads; keys and values have as many.
        feed_forward: Features in the hidden layer of each block.
        positions: Longest sequence, speech and answer included.
        norm_epsilon: Added to the mean square in its normalisations.
        rotary_base: Base of the rotary positions.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    feed_forward: int
    positions: int = 2048
    norm_epsilon: float = 1e-6
    rotary_base: float = 10_000.0

    def __post_init__(self) -> None:
        _require_positive(self, "decoder")
        if self.width % (2 * self.heads):
            raise ConfigError(
                f"decoder: {self.heads} heads do not share {self.width} features evenly, in pairs",
                "choose a width that is a multiple of twice the heads",
            )


@dataclass(frozen=True)
class LoraShape:
    """The low-rank corrections of q, k, v and o.

    Attributes:
        rank: Columns of A, rows of B.
        alpha: alpha / rank scales the correction, unless the prompt decides.
        dropout: Share of a correction's inputs dropped in training.
    """

    rank: int = 32
    alpha: float = 32.0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _require_positive(self, "corrections", but="dropout")
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"corrections: dropout is {self.dropout!r}", "give it a share from 0 to below 1"
            )


@dataclass(frozen=True)
class PromptShape:
    """The prompt-aware weight adapter.

    Attributes:
        bottleneck: Features between its two layers.
        limit: No channel of a correction is scaled by more.
    """

    bottleneck: int = 1024
    limit: float = 3.0

    def __post_init__(self) -> None:
        _require_positive(self, "prompt adapter")


@dataclass(frozen=True)
class SpeechLlmShape:
    """Every size of the model.

    Attributes:
        whisper: Entries of a transformers `WhisperConfig`, of the encoder.
        wavlm: Entries of a transformers `WavLMConfig`; None for the paper's variant without it.
        whisper_adapter: The adapter on the hidden state of Whisper that is read.
        wavlm_adapter: The adapter on the mix of WavLM's hidden states; None without WavLM.
        decoder: The language model.
        lora: Its corrections.
        prompt: What scales them in stage two.
        wavlm_windows: Encode long audio by WavLM in windows of 30 s too: memory that grows with the length
            instead of its square. WavLLM's own code encodes it in one piece.
        whisper_blocks: Run so many of Whisper's blocks alone, and read the state behind them. Without it, all
            are run, and the final norm, as in WavLLM: the last state tells most of the words, the middle ones
            more of how they are said.

    Raises:
        ConfigError: If WavLM has no adapter, an adapter no WavLM, or an entry is impossible.
    """

    whisper: Mapping[str, Any]
    wavlm: Mapping[str, Any] | None
    whisper_adapter: AdapterShape
    wavlm_adapter: AdapterShape | None
    decoder: DecoderShape
    lora: LoraShape = LoraShape()
    prompt: PromptShape = PromptShape()
    wavlm_windows: bool = False
    whisper_blocks: int | None = None

    def __post_init__(self) -> None:
        if (self.wavlm is None) != (self.wavlm_adapter is None):
            raise ConfigError(
                "of WavLM and its adapter, one is there alone", "give wavlm and wavlm_adapter, or neither"
            )
        _require_encoder("whisper", self.whisper)
        if self.wavlm is not None:
            _require_encoder("wavlm", self.wavlm)
        if not isinstance(self.wavlm_windows, bool):
            raise ConfigError(f"wavlm_windows is {self.wavlm_windows!r}", "give it true or false")

    def to_dict(self) -> dict[str, Any]:
        """Return the sizes, JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> "SpeechLlmShape":
        """Return the shape that `to_dict` described.

        Raises:
            ConfigError: If an entry is unknown, missing or impossible.
        """
        try:
            return cls(**{name: _part(name, value) for name, value in entries.items()})
        except TypeError as error:
            known = ", ".join(field.name for field in fields(cls))
            raise ConfigError(
                f"sizes of a speech language model: {error}", f"the entries are {known}"
            ) from error


_PARTS: dict[str, type[Any]] = {
    "whisper_adapter": AdapterShape,
    "wavlm_adapter": AdapterShape,
    "decoder": DecoderShape,
    "lora": LoraShape,
    "prompt": PromptShape,
}
_OPTIONAL = ("wavlm_adapter",)


def _part(name: str, value: Any) -> Any:
    left_out = name in _OPTIONAL and value is None
    return _PARTS[name](**value) if name in _PARTS and not left_out else value


WHISPER_LARGE = {
    "model_type": "whisper",
    "d_model": 1280,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
}
"""The encoder of whisper-large-v2."""
WAVLM_BASE = {
    "model_type": "wavlm",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "feat_extract_norm": "group",
    "do_stable_layer_norm": False,
}

SIZES = {
    "wavllm-7b": SpeechLlmShape(
        whisper=WHISPER_LARGE,
        wavlm=WAVLM_BASE,
        whisper_adapter=AdapterShape(hidden=1280, channels=1024, bottleneck=512, projection=2048),
        wavlm_adapter=AdapterShape(hidden=512, channels=1024, bottleneck=512, projection=2048),
        decoder=DecoderShape(vocabulary=32_000, width=4096, layers=32, heads=32, feed_forward=11_008),
    ),
    "tiny": SpeechLlmShape(
        whisper={**WHISPER_LARGE, "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2}
        | {"encoder_ffn_dim": 64},
        wavlm={**WAVLM_BASE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        | {"intermediate_size": 64, "conv_dim": [16] * 7}
        | {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4},
        whisper_adapter=AdapterShape(hidden=32, channels=32, bottleneck=16, projection=32),
        wavlm_adapter=AdapterShape(hidden=32, channels=32, bottleneck=16, projection=32),
        decoder=DecoderShape(vocabulary=258, width=64, layers=4, heads=4, feed_forward=176),
        lora=LoraShape(rank=8, alpha=8.0, dropout=0.0),
        prompt=PromptShape(bottleneck=32),
    ),
}
"""`wavllm-7b` has the sizes of the paper; `tiny`, with byte tokens, is for tests and synthetic tasks."""


def named(name: str) -> SpeechLlmShape:
    """Return the sizes of a configuration that has a name.

    Raises:
        ConfigError: If there is none of this name.

    Example:
        >>> named("wavllm-7b").decoder.width
        4096
    """
    if name not in SIZES:
        raise ConfigError(
            f"unknown speech language model {name!r}", f"the configurations are {', '.join(SIZES)}"
        )
    return SIZES[name]
