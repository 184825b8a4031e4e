"""WavLM's hidden states: those of transformers, for checkpoints of every layout."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WavLMConfig, WavLMModel
from unit.wavllm_teacher.tiny import voice
from unit.wavllm_teacher.tiny_wavlm import TINY_WAVLM, TINY_WAVLM_LARGE, write_wavlm

from edgekit.errors import ArtifactError
from wavllm_teacher.encoder import WINDOW_SAMPLES
from wavllm_teacher.wavlm_states import load_wavlm

OLD_NAMES = {
    "encoder.pos_conv_embed.conv.parametrizations.weight.original0": "encoder.pos_conv_embed.conv.weight_g",
    "encoder.pos_conv_embed.conv.parametrizations.weight.original1": "encoder.pos_conv_embed.conv.weight_v",
}


@pytest.fixture(params=[TINY_WAVLM, TINY_WAVLM_LARGE], ids=["base", "large"])
def folder(request, tmp_path) -> Path:
    return write_wavlm(tmp_path / "wavlm", request.param)


def prepared(samples: np.ndarray, config: dict) -> torch.Tensor:
    """What the public models' feature extractors make of audio."""
    if config["feat_extract_norm"] == "layer":
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    return torch.from_numpy(samples)[None]


@torch.no_grad()
def by_hand(model: WavLMModel, audio: torch.Tensor, *, stable: bool) -> list[torch.Tensor]:
    """The hidden states, module by module."""
    x = model.feature_projection(model.feature_extractor(audio).transpose(1, 2))[0]
    x = x + model.encoder.pos_conv_embed(x)
    if not stable:
        x = model.encoder.layer_norm(x)
    states, bias = [x], None
    for index, layer in enumerate(model.encoder.layers):
        x, bias = layer(x, position_bias=bias, **({} if stable else {"index": index}))
        states.append(x)
    return states


def test_states_are_those_of_transformers(folder):
    config = json.loads((folder / "config.json").read_text())
    samples = voice(0.8, 3)
    model = WavLMModel.from_pretrained(folder).eval()
    audio = prepared(samples, config)
    with torch.no_grad():
        wanted = torch.cat(model(audio, output_hidden_states=True).hidden_states)
    states = load_wavlm(folder)
    found = states(samples)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    alone = by_hand(model, audio, stable=config["do_stable_layer_norm"])
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-6, rtol=0)
    assert found.shape == (4, (samples.size - 400) // 320 + 1, 16)
    assert (states.state_count, states.width) == (4, 16)


def test_nothing_is_trained(folder):
    states = load_wavlm(folder)
    assert not any(p.requires_grad for p in states.parameters())
    assert not states.encoder.training


def test_public_names_and_formats(folder, tmp_path):
    tensors = load_file(folder / "model.safetensors")
    wanted = load_wavlm(folder)(voice(0.3, 1))
    older = {OLD_NAMES.get(name, name): tensor for name, tensor in tensors.items()}
    assert set(OLD_NAMES.values()) < set(older)
    save_file(older, folder / "model.safetensors")
    torch.testing.assert_close(load_wavlm(folder)(voice(0.3, 1)), wanted, atol=0, rtol=0)
    (folder / "model.safetensors").unlink()
    torch.save(older, folder / "pytorch_model.bin")
    torch.testing.assert_close(load_wavlm(folder)(voice(0.3, 1)), wanted, atol=0, rtol=0)


def test_the_mask_of_pretraining_may_be_missing(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["masked_spec_embed"]
    save_file(tensors, folder / "model.safetensors")
    load_wavlm(folder)


def test_long_clips_go_in_windows(tmp_path):
    states = load_wavlm(write_wavlm(tmp_path / "wavlm", TINY_WAVLM))
    samples = voice(30.01, 2)
    found = states(samples)
    first = states(samples[:WINDOW_SAMPLES])
    assert found.shape[1] == first.shape[1] + (1600 - 400) // 320 + 1
    torch.testing.assert_close(found[:, : first.shape[1]], first)


def test_very_short_clips(folder):
    assert load_wavlm(folder)(np.full(10, 0.1, np.float32)).shape == (4, 4, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no WavLM encoder here"),
        (lambda f: (f / "config.json").write_text("{"), "damaged"),
        (lambda f: (f / "config.json").write_text('{"model_type": "hubert"}'), "'hubert', not 'wavlm'"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights here"),
        (
            lambda f: _drop(f, "encoder.layers.1.feed_forward.output_dense.bias"),
            "output_dense.bias is missing",
        ),
        (lambda f: _drop(f, "masked_spec_embed", extra="surplus"), "surplus is unknown"),
    ],
)
def test_wrong_folders(tmp_path, change, message):
    folder = write_wavlm(tmp_path / "wavlm", TINY_WAVLM)
    change(folder)
    with pytest.raises(ArtifactError, match=message) as error:
        load_wavlm(folder)
    assert error.value.hint


def _drop(folder: Path, name: str, extra: str = "") -> None:
    tensors = load_file(folder / "model.safetensors")
    dropped = tensors.pop(name)
    save_file({**tensors, **({extra: dropped} if extra else {})}, folder / "model.safetensors")


def test_the_config_is_one_of_transformers():
    # A size that transformers does not know would be ignored without a word.
    for config in (TINY_WAVLM, TINY_WAVLM_LARGE):
        assert set(config) <= set(WavLMConfig().to_dict())
