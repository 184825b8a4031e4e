import numpy as np
import pytest
import torch
from unit.wavllm_teacher.tiny import TINY_SHAPE, voice

from edgekit.metrics import adv_ccc
from wavllm_teacher.compact import AttentionBlock, CompactShape, CompactTeacher, ConvBlock
from wavllm_teacher.pooling import VARIANCE_FLOOR, AttentiveStatistics, length_mask
from wavllm_teacher.training import ccc_loss
from wavllm_teacher.whisper import Head


def test_pooling_with_even_weights_is_mean_and_deviation():
    pool = AttentiveStatistics(4, 3)
    torch.nn.init.zeros_(pool.score.weight)
    frames = torch.randn(1, 50, 4)
    pooled = pool(frames, torch.ones(1, 50, dtype=torch.bool))
    expected = torch.cat([frames.mean(1), frames.std(1, correction=0)], dim=1)
    torch.testing.assert_close(pooled, expected)


def test_pooling_ignores_frames_that_are_not_valid():
    pool = AttentiveStatistics(4, 3)
    frames = torch.randn(2, 7, 4)
    alone = pool(frames[:1, :5], length_mask(torch.tensor([5])))
    together = pool(frames, length_mask(torch.tensor([5, 7])))
    torch.testing.assert_close(together[:1], alone)


def test_pooling_of_equal_frames_has_the_floor_as_deviation():
    pooled = AttentiveStatistics(2, 3)(torch.ones(1, 5, 2), torch.ones(1, 5, dtype=torch.bool))
    torch.testing.assert_close(pooled[0, 2:], torch.full((2,), VARIANCE_FLOOR**0.5))


def test_loss_is_three_minus_the_sum_of_ccc():
    rng = np.random.default_rng(0)
    p, t = rng.random((2, 40, 3)).astype(np.float32)
    expected = 3 - sum(adv_ccc(p, t).values())
    assert ccc_loss(torch.from_numpy(p), torch.from_numpy(t)).item() == pytest.approx(expected, abs=1e-5)


def test_head_standardises_every_state_before_it_mixes():
    head = Head(2, 3)
    head.mean[0], head.scale[0] = 5.0, 100.0
    states = torch.randn(2, 4, 3)
    with torch.no_grad():
        head.mix[0, 0] = 1.0
        weight = torch.softmax(head.mix[0], 0)
        expected = weight[0] * (states[0] - 5) / 100 + weight[1] * states[1]
        torch.testing.assert_close(head.frames(states)[:, :3], expected)


def test_compact_prediction_does_not_depend_on_the_level():
    network = CompactTeacher(TINY_SHAPE).eval()
    torch.nn.init.normal_(network.out.weight)
    loud = voice(0.8, 3)
    np.testing.assert_allclose(network.predict([loud]), network.predict([loud * 0.1]), atol=1e-4)


def test_compact_padding_in_a_batch_changes_little_but_the_edge():
    torch.manual_seed(0)
    network = CompactTeacher(TINY_SHAPE).eval()
    torch.nn.init.normal_(network.out.weight, std=0.1)
    mel = torch.randn(1, 200, 16)
    alone = network(mel, length_mask(torch.tensor([50])))
    padded = torch.cat([mel, torch.zeros(1, 100, 16)], dim=1)
    together = network(padded, torch.arange(75)[None] < 50)
    torch.testing.assert_close(together, alone, atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", [ConvBlock, AttentionBlock])
def test_blocks_keep_padding_silent(kind):
    valid = length_mask(torch.tensor([3, 6]))
    out = kind(TINY_SHAPE, 0.0)(torch.randn(2, 6, 16) * valid[..., None], valid)
    assert torch.all(out[0, 3:] == 0)
    assert torch.all(out[valid] != 0)


@pytest.mark.parametrize("size", [1, 64, 399, 1600, 16001])
def test_compact_predicts_on_any_length(size):
    adv = CompactTeacher(TINY_SHAPE).eval().predict([voice(2.0, 0)[:size], np.zeros(size, np.float32)])
    assert adv.shape == (2, 3)
    assert adv.dtype == np.float32
    assert np.isfinite(adv).all()


def test_no_clips_give_no_rows():
    assert CompactTeacher(TINY_SHAPE).eval().predict([]).shape == (0, 3)


def test_compact_teacher_has_fewer_than_two_million_parameters():
    assert sum(p.numel() for p in CompactTeacher(CompactShape()).parameters()) <= 2_000_000
