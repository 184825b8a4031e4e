import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavllm_teacher.head import (
    VARIANCE_FLOOR,
    EmotionHead,
    category_means,
    fit_head,
    mean_and_deviation,
    one_hot,
)
from wavllm_teacher.pooling import length_mask


def test_pooling_is_mean_and_deviation_of_the_valid_frames():
    frames = torch.randn(2, 7, 4)
    pooled = mean_and_deviation(frames, length_mask(torch.tensor([5, 7])))
    alone = torch.cat([frames[0, :5].mean(0), frames[0, :5].std(0, correction=0)])
    torch.testing.assert_close(pooled[0], alone)
    torch.testing.assert_close(pooled[1, :4], frames[1].mean(0))


def test_pooling_of_equal_frames_has_the_floor_as_deviation():
    pooled = mean_and_deviation(torch.ones(1, 5, 2), torch.ones(1, 5, dtype=torch.bool))
    torch.testing.assert_close(pooled[0, 2:], torch.full((2,), VARIANCE_FLOOR**0.5))


def test_a_sure_head_gives_the_category_and_an_unsure_one_the_mean():
    head = EmotionHead(1, 2)
    head.adv.copy_(torch.tensor([[0.0, 0.2, 0.4], [1.0, 0.8, 0.6]]))
    torch.testing.assert_close(head.expected(torch.tensor([[50.0, 0.0]])), head.adv[:1])
    torch.testing.assert_close(head.expected(torch.zeros(1, 2)), torch.full((1, 3), 0.5))


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.floats(0, 30))
def test_predictions_stay_between_the_categories(seed, gain):
    torch.manual_seed(seed)
    head = EmotionHead(6, 4)
    head.adv.uniform_()
    with torch.no_grad():
        adv = head(gain * torch.randn(20, 6))
    assert torch.all(adv >= head.adv.amin(0) - 1e-5)
    assert torch.all(adv <= head.adv.amax(0) + 1e-5)


def clusters(rng, count=90, features=5):
    """Return features that tell three categories apart, the categories, and A/D/V that follow them."""
    categories = [("angry", "calm", "sad")[i % 3] for i in range(count)]
    pooled = rng.normal(0, 0.4, (count, features)).astype(np.float32)
    pooled[np.arange(count), np.arange(count) % 3] += 2
    adv = np.stack([rng.normal(i % 3, 0.01, 3) for i in range(count)]).astype(np.float32)
    return pooled, categories, adv


def test_a_fitted_head_tells_new_clips_apart():
    rng = np.random.default_rng(0)
    pooled, categories, adv = clusters(rng)
    wanted = one_hot(categories)
    head = fit_head(pooled, wanted, category_means(wanted, adv))
    fresh, _, fresh_adv = clusters(rng)
    with torch.no_grad():
        found = head(torch.from_numpy(fresh)).numpy()
    assert np.corrcoef(found.ravel(), fresh_adv.ravel())[0, 1] > 0.95


def test_the_fit_is_where_the_gradient_vanishes():
    rng = np.random.default_rng(1)
    pooled, categories, adv = clusters(rng)
    wanted, strength = one_hot(categories), 0.3
    head = fit_head(pooled, wanted, category_means(wanted, adv), copies=2, strength=strength)
    z = ((torch.from_numpy(pooled) - head.mean) / head.scale).double()
    weight = head.score.weight.double().clone().requires_grad_(True)
    bias = head.score.bias.double().clone().requires_grad_(True)
    log_p = torch.log_softmax(z @ weight.T + bias, dim=1)
    loss = 0.5 * (weight**2).sum() - strength / 2 * (torch.from_numpy(wanted) * log_p).sum()
    torch.autograd.backward(loss)
    assert max(weight.grad.abs().max().item(), bias.grad.abs().max().item()) < 1e-3


def test_copies_do_not_weaken_the_penalty():
    rng = np.random.default_rng(2)
    pooled, categories, adv = clusters(rng)
    wanted = one_hot(categories)
    means = category_means(wanted, adv)
    once = fit_head(pooled, wanted, means)
    thrice = fit_head(np.tile(pooled, (3, 1)), np.tile(wanted, (3, 1)), means, copies=3)
    torch.testing.assert_close(once.score.weight, thrice.score.weight, atol=1e-3, rtol=0)


def test_category_means_are_those_of_its_clips():
    adv = np.array([[0, 0, 0], [1, 1, 1], [0.5, 0, 1]], np.float32)
    means = category_means(one_hot(["sad", "angry", "angry"]), adv)
    assert means == pytest.approx(np.array([[0.75, 0.5, 1], [0, 0, 0]]))
