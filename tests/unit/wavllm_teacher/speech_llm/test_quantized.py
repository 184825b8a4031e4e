"""Frozen weights as integers: how far off they are, what they cost, and what does not change."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from unit.wavllm_teacher.speech_llm.llm_tiny import TINY, tiny

from edgekit.errors import ArtifactError, ConfigError
from wavllm_teacher.speech_llm import storage
from wavllm_teacher.speech_llm.generation import Assistant, Decoding
from wavllm_teacher.speech_llm.prompts import Request
from wavllm_teacher.speech_llm.quantized import QuantizedLinear, quantize
from wavllm_teacher.speech_llm.tokens import ByteTokenizer

SHAPE = replace(TINY, decoder=replace(TINY.decoder, feed_forward=192))
"""Whole groups of 64."""


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 3), st.sampled_from([8, 4]), st.integers(-6, 2), st.integers(0, 999))
def test_weights_are_rounded_to_the_nearest_step(outputs, groups, bits, exponent, seed):
    torch.manual_seed(seed)
    linear = nn.Linear(64 * groups, outputs, bias=False)
    linear.weight.data *= 10.0**exponent
    kept = QuantizedLinear(linear, bits)
    found = kept.weight(torch.float32)
    step = kept.scales.float().repeat_interleave(kept.group, dim=1)
    # Half a step, and the largest weight of a group where float16 rounded its scale down.
    assert ((found - linear.weight).abs() <= step * 0.5 + linear.weight.abs() * 2.0**-10).all()
    x = torch.randn(3, 64 * groups)
    torch.testing.assert_close(kept(x), x @ found.T)


def test_what_4_bits_hold_is_exact():
    linear = nn.Linear(64, 2, bias=False)
    linear.weight.data = torch.stack([torch.arange(64) % 15 - 7, 7 - torch.arange(64) % 15]) * 0.25
    kept = QuantizedLinear(linear, 4)
    torch.testing.assert_close(kept.weight(torch.float32), linear.weight.data, atol=0, rtol=0)
    assert kept.values.nbytes == 64


@pytest.mark.parametrize(("bits", "bytes_per_weight"), [(8, 1 + 2 / 64), (4, 0.5 + 2 / 64)])
def test_size(bits, bytes_per_weight):
    kept = QuantizedLinear(nn.Linear(64, 32, bias=False), bits)
    assert sum(b.nbytes for b in kept.buffers()) == 64 * 32 * bytes_per_weight


def test_zero_weights_stay_zero():
    linear = nn.Linear(64, 3, bias=False)
    nn.init.zeros_(linear.weight)
    for bits in (8, 4):
        assert not QuantizedLinear(linear, bits).weight(torch.float32).any()


@pytest.mark.parametrize(("bits", "most"), [(8, 0.03), (4, 0.5)])
def test_a_quantized_decoder_answers_nearly_the_same(bits, most):
    model, rounded = tiny(2, SHAPE), tiny(2, SHAPE)
    quantize(rounded.decoder, bits)
    tokens = torch.arange(40)[None]
    valid = torch.ones(1, 40, dtype=torch.bool)
    with torch.no_grad():
        wanted, found = (m.decoder(m.decoder.embed(tokens), valid, None) for m in (model, rounded))
    error = (found - wanted).norm() / wanted.norm()
    assert 0 < error < most
    assert dict(model.trained()).keys() == dict(rounded.trained()).keys()
    answers = Assistant(rounded, ByteTokenizer()).answer
    requests = [Request("hi"), Request("a longer one")]
    short = Decoding(most_tokens=8)
    assert answers(requests, short) == answers(requests, replace(short, cached=False))


def test_gradients_flow_through_integers():
    model = tiny(1, SHAPE)
    quantize(model.decoder, 4)
    embedded = model.decoder.embed(torch.arange(9)[None])
    model.decoder(embedded, torch.ones(1, 9, dtype=torch.bool), None).logsumexp(2).sum().backward()
    plain = tiny(1, SHAPE)
    with torch.no_grad():
        for ours, theirs in zip(
            plain.decoder.llama.model.layers, model.decoder.llama.model.layers, strict=True
        ):
            for name, layer in theirs.named_modules():
                if isinstance(layer, QuantizedLinear):
                    ours.get_submodule(name).weight.copy_(layer.weight(torch.float32))
    plain.decoder(embedded, torch.ones(1, 9, dtype=torch.bool), None).logsumexp(2).sum().backward()
    for (name, value), (_, wanted) in zip(model.trained(), plain.trained(), strict=True):
        if "lora" in name:
            torch.testing.assert_close(value.grad, wanted.grad)
    corrections = [value.grad for name, value in model.trained() if "lora" in name]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in corrections)


def test_checkpoints_of_a_quantized_model(tmp_path):
    model = tiny(2, SHAPE)
    storage.save_frozen(model, tmp_path)
    storage.save_adapters(model, tmp_path)
    rounded = storage.load(tmp_path, bits=4)
    assert isinstance(rounded.decoder.llama.model.layers[3].mlp.up_proj, QuantizedLinear)
    # Adapters that were trained on integers still know which decoder those were.
    storage.save_adapters(rounded, tmp_path)
    storage.load(tmp_path)
    with pytest.raises(ConfigError, match="no checkpoint"):
        storage.save_frozen(rounded, tmp_path)
    with pytest.raises(ConfigError, match="integers already"):
        quantize(rounded.decoder, 8)
    storage.save_frozen(tiny(2, SHAPE, seed=5), tmp_path)
    with pytest.raises(ArtifactError, match="another decoder"):
        storage.load(tmp_path, bits=4)


@pytest.mark.parametrize(
    ("linear", "bits", "message"),
    [
        (nn.Linear(64, 2, bias=False), 3, "3 bits"),
        (nn.Linear(63, 2, bias=False), 4, "63 inputs"),
        (nn.Linear(64, 2), 8, "bias"),
    ],
)
def test_what_cannot_be_kept(linear, bits, message):
    with pytest.raises(ConfigError, match=message):
        QuantizedLinear(linear, bits)
