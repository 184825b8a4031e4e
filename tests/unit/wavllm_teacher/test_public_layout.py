"""Names and shapes of the public checkpoints, written out from their configs, against our networks."""

import math

import pytest
import torch

from wavllm_teacher.catalogue import TEACHERS
from wavllm_teacher.dawn import Dawn
from wavllm_teacher.msp_wavlm import MspWavLM

LABELS = {"0": "arousal", "1": "dominance", "2": "valence"}
DAWN_CONFIG = {
    "architectures": ["Wav2Vec2ForSpeechClassification"],
    "model_type": "wav2vec2",
    "hidden_size": 1024,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "feat_extract_activation": "gelu",
    "hidden_act": "gelu",
    "do_stable_layer_norm": True,
    "layer_norm_eps": 1e-05,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "mask_time_prob": 0.05,
    "final_dropout": 0.1,
    "id2label": LABELS,
}
MSP_WAVLM_CONFIG = {
    "architectures": ["SERModel"],
    "model_type": "ser",
    "ssl_type": "microsoft/wavlm-large",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_classes": 3,
    "classifier_hidden_layers": 1,
    "classifier_dropout_prob": 0.5,
    "maxlen": 192000,
    "sampling_rate": 16000,
    "mean": -8.278621631819787e-05,
    "std": 0.08485510250851999,
    "id2label": LABELS,
}


def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def convolutions(bias: bool) -> dict[str, tuple[int, ...]]:
    names: dict[str, tuple[int, ...]] = {}
    for i, kernel in enumerate((10, 3, 3, 3, 3, 2, 2)):
        layer = f"feature_extractor.conv_layers.{i}"
        names[f"{layer}.conv.weight"] = (512, 512 if i else 1, kernel)
        if bias:
            names[f"{layer}.conv.bias"] = (512,)
        names |= norm(f"{layer}.layer_norm", 512)
    return names


def block(layer: str) -> dict[str, tuple[int, ...]]:
    names: dict[str, tuple[int, ...]] = {}
    for which in ("q_proj", "k_proj", "v_proj", "out_proj"):
        names |= linear(f"{layer}.attention.{which}", 1024, 1024)
    names |= norm(f"{layer}.layer_norm", 1024)
    names |= linear(f"{layer}.feed_forward.intermediate_dense", 4096, 1024)
    names |= linear(f"{layer}.feed_forward.output_dense", 1024, 4096)
    return names | norm(f"{layer}.final_layer_norm", 1024)


def gated_position(layer: str) -> dict[str, tuple[int, ...]]:
    gate = linear(f"{layer}.attention.gru_rel_pos_linear", 8, 64)
    return {f"{layer}.attention.gru_rel_pos_const": (1, 16, 1, 1)} | gate


def backbone(prefix: str, layers: int, wavlm: bool) -> dict[str, tuple[int, ...]]:
    names = {"masked_spec_embed": (1024,)} | convolutions(bias=not wavlm)
    names |= norm("feature_projection.layer_norm", 512)
    names |= linear("feature_projection.projection", 1024, 512)
    positions = "encoder.pos_conv_embed.conv"
    names |= {
        f"{positions}.bias": (1024,),
        f"{positions}.parametrizations.weight.original0": (1, 1, 128),
        f"{positions}.parametrizations.weight.original1": (1024, 1024 // 16, 128),
    }
    names |= norm("encoder.layer_norm", 1024)
    for i in range(layers):
        layer = f"encoder.layers.{i}"
        names |= block(layer) | (gated_position(layer) if wavlm else {})
    if wavlm:
        names["encoder.layers.0.attention.rel_attn_embed.weight"] = (320, 16)
    return {f"{prefix}.{name}": shape for name, shape in names.items()}


DAWN_HEAD = linear("classifier.dense", 1024, 1024) | linear("classifier.out_proj", 3, 1024)
POOL = linear("pool_model.sap_linear", 1024, 1024) | {"pool_model.attention": (1024, 1)}
SER_HEAD = (
    linear("ser_model.fc.0.0", 1024, 2048)
    | norm("ser_model.fc.0.1", 1024)
    | linear("ser_model.out.0", 3, 1024)
)
DAWN = backbone("wav2vec2", 12, wavlm=False) | DAWN_HEAD
MSP_WAVLM = backbone("ssl_model", 24, wavlm=True) | POOL | SER_HEAD


def count(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(map(math.prod, shapes.values()))


def test_the_listing_has_the_published_sizes():
    assert (count(DAWN_HEAD), count(POOL), count(SER_HEAD)) == (1_052_675, 1_050_624, 2_103_299)
    # The public files have 661 MB and 1.27 GB: four bytes for each number.
    assert (round(4 * count(DAWN) / 1e6), round(4 * count(MSP_WAVLM) / 1e7)) == (661, 127)
    assert count(DAWN) == TEACHERS["dawn"].parameters
    assert count(MSP_WAVLM) == TEACHERS["msp-wavlm"].parameters
    assert count(DAWN) + count(MSP_WAVLM) == TEACHERS["msp-fused"].parameters


@pytest.mark.parametrize(
    ("build", "config", "listing"),
    [(Dawn, DAWN_CONFIG, DAWN), (MspWavLM, MSP_WAVLM_CONFIG, MSP_WAVLM)],
    ids=["dawn", "msp-wavlm"],
)
def test_every_name_and_shape_is_the_public_one(build, config, listing):
    with torch.device("meta"):
        network = build(config)
    assert {t.device.type for t in network.state_dict().values()} == {"meta"}
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    assert shapes | network.unused == listing
    assert not set(shapes) & set(network.unused)


def test_the_input_of_msp_wavlm_is_scaled_by_the_numbers_of_its_config():
    with torch.device("meta"):
        network = MspWavLM(MSP_WAVLM_CONFIG)
    expected = (torch.ones(1) + 8.278621631819787e-05) / (0.08485510250851999 + 1e-6)
    torch.testing.assert_close(network.normalise(torch.ones(1)), expected)
