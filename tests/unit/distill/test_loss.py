"""The loss against the project's own CCC."""

import numpy as np
import pytest
import torch

from distill.loss import ccc_loss, mse_loss
from edgekit.metrics import adv_ccc


def test_is_the_sum_of_one_minus_ccc():
    rng = np.random.default_rng(0)
    target = rng.random((64, 3))
    prediction = 0.5 * target + 0.2 * rng.random((64, 3))
    expected = sum(1 - value for value in adv_ccc(prediction, target).values())
    found = ccc_loss(torch.from_numpy(prediction), torch.from_numpy(target)).item()
    assert found == pytest.approx(expected, abs=1e-6)


def test_constant_batch_has_a_finite_gradient():
    prediction = torch.full((8, 3), 0.5, requires_grad=True)
    loss = ccc_loss(prediction, torch.full((8, 3), 0.5))
    loss.backward()
    assert loss.item() == 3
    assert torch.isfinite(prediction.grad).all()


def test_squared_error_is_summed_over_dimensions():
    prediction = torch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 2.0]])
    assert mse_loss(prediction, torch.zeros(2, 3)).item() == pytest.approx(0 + 5 + 4)
