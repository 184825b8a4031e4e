import numpy as np
import pytest
import torch
from unit.wavllm_teacher.tiny import TINY_SHAPE, TINY_WHISPER, voice

from wavllm_teacher.compact import CompactShape, CompactTeacher, sinusoids
from wavllm_teacher.encoder import WhisperStates, load_encoder
from wavllm_teacher.pooling import length_mask
from wavllm_teacher.slimming import factors, slim

FULL_RANK = CompactShape(
    width=16,
    heads=2,
    expansion=32,
    stem_ranks=(16, 16),
    attention_ranks=(16, 16),
    expansion_ranks=(16, 16),
    categories=3,
)
"""Ranks at which nothing of the tiny encoder is lost."""


def random_network() -> CompactTeacher:
    torch.manual_seed(0)
    network = CompactTeacher(TINY_SHAPE).eval()
    network.head.adv.uniform_()
    return network


def own_states(network, samples):
    mel = network.log_mel(samples)[None]
    return network.states(mel, torch.ones(1, mel.shape[2] // 2, dtype=torch.bool))


def test_at_full_rank_the_states_are_those_of_whisper():
    torch.manual_seed(0)
    encoder = WhisperStates(TINY_WHISPER)
    # The positions of a random encoder are random; those of Whisper are sines, which are not stored here.
    encoder.encoder.embed_positions.weight.copy_(sinusoids(1500, 16))
    clips = [voice(2.0, seed) for seed in range(4)]
    network = slim(encoder, clips, FULL_RANK)
    fresh = voice(1.3, 9)
    with torch.no_grad():
        own = torch.cat(own_states(network, fresh))
    torch.testing.assert_close(own, encoder(fresh, 2), atol=2e-3, rtol=0)


def test_at_low_rank_the_states_are_near_those_of_whisper():
    torch.manual_seed(0)
    encoder = WhisperStates(TINY_WHISPER)
    encoder.encoder.embed_positions.weight.copy_(sinusoids(1500, 16))
    clips = [voice(2.0, seed) for seed in range(4)]
    network, wanted = slim(encoder, clips, TINY_SHAPE), encoder(clips[0], 2)
    with torch.no_grad():
        error = torch.cat(own_states(network, clips[0])) - wanted
    assert 0 < error.std() < 0.5 * wanted.std()


def test_positions_are_those_of_the_real_encoder(shared):
    encoder = load_encoder(shared / "weights/whisper-base-encoder").encoder
    torch.testing.assert_close(sinusoids(1500, 512), encoder.embed_positions.weight, atol=1e-3, rtol=0)


def test_factors_lose_only_directions_without_variance():
    rng = torch.Generator().manual_seed(0)
    basis = torch.randn(3, 8, generator=rng, dtype=torch.float64)
    inputs = torch.randn(500, 3, generator=rng, dtype=torch.float64) @ basis + 1
    weight = torch.randn(5, 8, generator=rng, dtype=torch.float64)
    bias = torch.randn(5, generator=rng, dtype=torch.float64)
    covariance = torch.cov(inputs.T, correction=0)
    down, up, shift = factors(weight, bias, inputs.mean(0), covariance, 3)
    assert (down.shape, up.shape) == ((3, 8), (5, 3))
    torch.testing.assert_close(inputs @ down.T @ up.T + shift, inputs @ weight.T + bias, atol=1e-2, rtol=0)


def test_the_bias_keeps_the_mean_output():
    rng = torch.Generator().manual_seed(1)
    inputs = torch.randn(500, 8, generator=rng, dtype=torch.float64) + 3
    weight = torch.randn(5, 8, generator=rng, dtype=torch.float64)
    covariance = torch.cov(inputs.T, correction=0)
    down, up, shift = factors(weight, torch.zeros(5), inputs.mean(0), covariance, 2)
    outputs = inputs @ down.T @ up.T + shift
    torch.testing.assert_close(outputs.mean(0), (inputs @ weight.T).mean(0))
    assert (outputs - inputs @ weight.T).std() > 0.1


def test_padding_in_a_batch_changes_nothing():
    network = random_network()
    mel = torch.randn(1, 80, 100)
    padded = torch.cat([mel, torch.zeros(1, 80, 60)], dim=2)
    with torch.no_grad():
        alone = network(mel, length_mask(torch.tensor([50])))
        together = network(padded, torch.arange(80)[None] < 50)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [1, 64, 399, 1600, 16001])
def test_it_predicts_on_any_length(size):
    adv = random_network().predict([voice(2.0, 0)[:size], np.zeros(size, np.float32)])
    assert adv.shape == (2, 3)
    assert adv.dtype == np.float32
    assert np.isfinite(adv).all()


def test_no_clips_give_no_rows():
    assert random_network().predict([]).shape == (0, 3)


def test_it_has_fewer_than_two_million_parameters():
    network = CompactTeacher(CompactShape())
    assert sum(tensor.numel() for tensor in network.state_dict().values()) <= 2_000_000


def test_a_shape_survives_json():
    assert CompactShape.from_dict(TINY_SHAPE.to_dict()) == TINY_SHAPE


@pytest.mark.parametrize("sizes", [{"width": 15, "heads": 3}, {"heads": 3}, {"stem_ranks": (0, 1)}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=r"impossible sizes|width"):
        CompactShape(**sizes)
