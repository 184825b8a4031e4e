"""What stands beside weights must be what the model computes with: tensors alone do not tell."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import LlamaForCausalLM
from unit.wavllm_teacher.speech_llm import published
from unit.wavllm_teacher.speech_llm.llm_tiny import TINY

from edgekit.errors import ArtifactError
from wavllm_teacher.speech_llm import storage
from wavllm_teacher.speech_llm.agreement import _ENTRIES, EITHER_EPSILON
from wavllm_teacher.speech_llm.decoder import settings
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.storage import load_frozen

PARAMS = {"dim": 64, "multiple_of": 16, "n_heads": 4, "n_layers": 4, "norm_eps": 1e-6, "vocab_size": -1}


OTHERS: dict[str, dict[str, object]] = {
    "decoder": {
        "vocab_size": 500,
        "hidden_size": 32,
        "intermediate_size": 88,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "hidden_act": "gelu",
        "rms_norm_eps": 1e-4,
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
    },
    "whisper": {
        "d_model": 64,
        "encoder_layers": 3,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 32,
        "activation_function": "relu",
        "num_mel_bins": 128,
        "max_source_positions": 750,
    },
    "wavlm": {
        "hidden_size": 64,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "conv_dim": [16, 16, 16, 16, 16, 16, 32],
        "conv_kernel": [10, 3, 3, 3, 3, 2, 3],
        "conv_stride": [5, 2, 2, 2, 2, 2, 1],
        "conv_bias": True,
        "feat_extract_norm": "layer",
        "feat_extract_activation": "relu",
        "hidden_act": "relu",
        "layer_norm_eps": 1e-6,
        "do_stable_layer_norm": True,
        "num_conv_pos_embeddings": 32,
        "num_conv_pos_embedding_groups": 2,
        "num_buckets": 160,
        "max_bucket_distance": 400,
    },
}
"""Of every entry that changes what a part computes, another value than the tiny model's."""


@pytest.fixture(scope="module")
def frozen(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("frozen")
    storage.save_frozen(model, folder)
    return folder


@pytest.fixture
def load(frozen, tmp_path):
    """Loads a part whose config.json is changed; None leaves an entry out."""

    def loaded(part, **changes):
        entries = json.loads((frozen / part / "config.json").read_text()) | changes
        (tmp_path / "model.safetensors").write_bytes((frozen / part / "model.safetensors").read_bytes())
        (tmp_path / "config.json").write_text(
            json.dumps({name: value for name, value in entries.items() if value is not None})
        )
        load_frozen(SpeechLlm(TINY, 1, empty=True), {part: tmp_path})

    return loaded


@pytest.fixture
def load_own(tmp_path):
    """Loads LLaMA's own layout with a params.json beside it."""
    torch.save(published.llama(TINY), tmp_path / "consolidated.00.pth")

    def loaded(**changes):
        (tmp_path / "params.json").write_text(json.dumps(PARAMS | changes))
        load_frozen(SpeechLlm(TINY, 1, empty=True), {"decoder": tmp_path})

    return loaded


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("decoder", {"model_type": "mistral"}, "model_type is 'mistral', the model's 'llama'"),
        (
            "decoder",
            {"num_attention_heads": 8, "head_dim": None},
            "num_attention_heads is 8, the model's 4; ",
        ),
        ("decoder", {"num_key_value_heads": 2}, "num_key_value_heads is 2, the model's 4"),
        ("decoder", {"hidden_act": "gelu"}, "hidden_act is 'gelu', the model's 'silu'"),
        ("decoder", {"rms_norm_eps": 1e-4}, "rms_norm_eps is 0.0001, the model's 1e-06"),
        ("decoder", {"num_hidden_layers": 2}, "num_hidden_layers is 2, the model's 4"),
        ("decoder", {"rope_parameters": {"rope_theta": 5e5}}, "rope_theta is 500000.0, the model's 10000.0"),
        ("decoder", {"rope_parameters": None, "rope_theta": 5e5}, "rope_theta is 500000.0, the model's"),
        ("decoder", {"tie_word_embeddings": True}, "tie_word_embeddings is True, the model's False"),
        ("whisper", {"encoder_attention_heads": 4}, "encoder_attention_heads is 4, the model's 2"),
        ("whisper", {"activation_function": "relu"}, "activation_function is 'relu', the model's 'gelu'"),
        ("wavlm", {"num_attention_heads": 4}, "num_attention_heads is 4, the model's 2"),
        ("wavlm", {"hidden_act": "relu"}, "hidden_act is 'relu', the model's 'gelu'"),
        ("wavlm", {"layer_norm_eps": 1e-6}, "layer_norm_eps is 1e-06, the model's 1e-05"),
        ("wavlm", {"do_stable_layer_norm": True}, "do_stable_layer_norm is True, the model's False"),
        ("wavlm", {"conv_stride": [5, 2, 2, 2, 2, 2, 1]}, "conv_stride is .*2, 1., the model's .*2, 2."),
        ("wavlm", {"num_buckets": 160}, "num_buckets is 160, the model's 320"),
        ("wavlm", {"max_bucket_distance": 400}, "max_bucket_distance is 400, the model's 800"),
    ],
)
def test_what_tensors_do_not_tell_is_compared(load, tmp_path, part, changes, message):
    with pytest.raises(ArtifactError, match=message) as error:
        load(part, **changes)
    assert error.value.what.startswith(f"{tmp_path / 'config.json'}: ")
    assert f"name the {part} that the model was made for" in error.value.hint


@pytest.mark.parametrize(
    ("part", "name"), [(part, name) for part, entries in OTHERS.items() for name in entries]
)
def test_every_entry_is_compared(load, part, name):
    with pytest.raises(ArtifactError, match=rf"[:;] {name} is .*, the model's "):
        load(part, **{name: OTHERS[part][name]})


@pytest.mark.parametrize("part", OTHERS)
def test_no_entry_is_compared_without_a_test(part):
    assert set(OTHERS[part]) == set(_ENTRIES[part])


@pytest.mark.parametrize("spelled", ["rope_scaling", "rope_parameters"])
def test_scaled_positions_are_refused(load, spelled):
    own = {"rope_parameters": None, "rope_scaling": None, "rope_theta": 10_000.0}
    with pytest.raises(ArtifactError, match="rope_type is 'linear', the model's 'default'"):
        load("decoder", **own | {spelled: {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}})
    with pytest.raises(ArtifactError, match="rope_type is 'linear', the model's 'default'"):
        load("decoder", **own | {spelled: {"type": "linear", "factor": 2.0}})


def test_all_differences_are_named_at_once(load):
    with pytest.raises(
        ArtifactError, match=r"num_key_value_heads is 2.*hidden_act is 'gelu'.*rope_theta is 5"
    ):
        load("decoder", num_key_value_heads=2, hidden_act="gelu", rope_parameters=None, rope_theta=5.0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        # As transformers wrote it before version 5, and what it leaves out.
        {"rope_parameters": None, "rope_theta": 10_000, "rope_scaling": None, "pretraining_tp": 1},
        {"rope_parameters": None, "model_type": None, "hidden_act": None, "num_key_value_heads": None},
        # LLaMA-2-7B-chat is published with either; 1e-6 is also the default.
        {"rms_norm_eps": 1e-5},
        {"rms_norm_eps": None},
        # Of the training, or of another program.
        {"attention_dropout": 0.1, "max_position_embeddings": 4096, "attn_implementation": "someone/code"},
    ],
)
def test_what_changes_no_computation_may_differ(load, changes):
    load("decoder", **changes)


def test_encoders_load_as_they_are_published(load):
    load("whisper", num_hidden_layers=2, decoder_layers=7, dropout=0.1)
    load("wavlm", conv_stride=None, num_buckets=None, layerdrop=0.5, mask_time_prob=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": 5}, "wrong entry: .*hidden_act"),
        ({"num_attention_heads": 0, "head_dim": None}, "wrong entry: "),
        ({"rope_parameters": "linear"}, "wrong entry: .*rope_parameters"),
    ],
)
def test_impossible_entries(load, changes, message):
    with pytest.raises(ArtifactError, match=rf"config\.json: {message}"):
        load("decoder", **changes)


def test_a_damaged_file(load, tmp_path):
    load("decoder")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"config\.json: damaged"):
        load_frozen(SpeechLlm(TINY, 1, empty=True), {"decoder": tmp_path / "model.safetensors"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 128}, "dim is 128, the model's 64"),
        ({"n_layers": 2}, "n_layers is 2, the model's 4"),
        ({"n_heads": 8}, "n_heads is 8, the model's 4; n_kv_heads is 8, the model's 4"),
        ({"n_kv_heads": 2}, "n_kv_heads is 2, the model's 4"),
        ({"norm_eps": 1e-4}, "norm_eps is 0.0001, the model's 1e-06"),
        ({"rope_theta": 5e5}, "rope_theta is 500000.0, the model's 10000.0"),
        ({"use_scaled_rope": True}, "use_scaled_rope is True, the model's False"),
        ({"dim": None}, "dim is 4096, the model's 64"),
        ({"n_layers": None}, "n_layers is 32, the model's 4"),
        ({"n_heads": None}, "n_heads is 32, the model's 4"),
        ({"vocab_size": 500}, "vocab_size is 500, the model's 258"),
    ],
)
def test_what_llama_itself_states_is_compared(load_own, tmp_path, changes, message):
    with pytest.raises(ArtifactError, match=message) as error:
        load_own(**changes)
    assert error.value.what.startswith(f"{tmp_path / 'params.json'}: ")


@pytest.mark.parametrize("changes", [{}, {"n_kv_heads": 4}, {"norm_eps": 1e-5}, {"vocab_size": 258}])
def test_what_llama_itself_states_may_be(load_own, tmp_path, changes):
    # A config.json is not LLaMA's own.
    (tmp_path / "config.json").write_text("{}")
    load_own(**changes)


def test_published_encoders_state_nothing_beside_them(tmp_path):
    torch.save({"model_state_dict": published.openai_whisper(TINY)}, tmp_path / "whisper.pt")
    for name in ("config.json", "params.json"):
        (tmp_path / name).write_text("{}")
    load_frozen(SpeechLlm(TINY, 1, empty=True), {"whisper": tmp_path / "whisper.pt"})


@torch.no_grad()
def test_either_epsilon_gives_the_same_but_for_what_bfloat16_rounds():
    def logits(epsilon, dtype=torch.float32):
        torch.manual_seed(0)
        # transformers draws embeddings with a spread of 0.02, as LLaMA's are before training.
        llama = LlamaForCausalLM(settings(replace(TINY.decoder, norm_epsilon=epsilon))).to(dtype)
        tokens = torch.randint(0, 256, (4, 100), generator=torch.Generator().manual_seed(1))
        return llama(tokens).logits.double()

    wanted = logits(EITHER_EPSILON[0])
    off = [
        float((found - wanted).norm() / wanted.norm())
        for found in (
            logits(EITHER_EPSILON[1]),
            logits(EITHER_EPSILON[0], torch.bfloat16),
            logits(10 * EITHER_EPSILON[1]),
        )
    ]
    assert off[0] < 2 * off[1] < 0.02
    assert off[2] > 0.07
