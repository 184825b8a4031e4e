import numpy as np
import pytest
import torch

from edgekit.metrics import adv_ccc
from wavllm_teacher.pooling import VARIANCE_FLOOR, AttentiveStatistics, length_mask
from wavllm_teacher.training import ccc_loss


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
