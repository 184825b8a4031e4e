import math

import numpy as np
import pytest

from edgekit.metrics import adv_ccc, ccc, pearson, rmse


def test_equals_lins_formula():
    rng = np.random.default_rng(1)
    p, r = rng.normal(size=50), rng.normal(size=50)
    covariance = np.mean((p - p.mean()) * (r - r.mean()))
    expected = 2 * covariance / (p.std() ** 2 + r.std() ** 2 + (p.mean() - r.mean()) ** 2)
    assert ccc(p, r) == pytest.approx(expected)


@pytest.mark.parametrize(("prediction", "expected"), [([1, 2, 3], 1.0), ([3, 2, 1], -1.0), ([2, 2, 2], 0.0)])
def test_known_values(prediction, expected):
    assert ccc(prediction, [1, 2, 3]) == pytest.approx(expected)


def test_is_undefined_for_equal_constants():
    assert math.isnan(ccc([1, 1], [1, 1]))


def test_punishes_a_shift_that_correlation_ignores():
    reference = np.linspace(0, 1, 20)
    assert ccc(reference + 1, reference) < 0.5


@pytest.mark.parametrize(("p", "r"), [([1, 2], [1, 2, 3]), ([[1, 2]], [[1, 2]])])
def test_refuses_other_shapes(p, r):
    with pytest.raises(ValueError, match="two series of one length"):
        ccc(p, r)


def test_one_value_per_dimension_in_order():
    reference = np.array([[0.1, 0.2, 0.3], [0.4, 0.9, 0.1], [0.7, 0.3, 0.8]])
    prediction = reference.copy()
    prediction[:, 1] = reference[::-1, 1]
    found = adv_ccc(prediction, reference)
    assert list(found) == ["arousal", "dominance", "valence"]
    assert found["arousal"] == pytest.approx(1)
    assert found["dominance"] < 1


def test_refuses_two_dimensions():
    with pytest.raises(ValueError, match=r"\(N, 3\)"):
        adv_ccc(np.zeros((4, 2)), np.zeros((4, 2)))


def test_correlation_and_error_equal_their_formulas():
    rng = np.random.default_rng(2)
    p, r = rng.normal(size=(2, 50))
    assert pearson(p, r) == pytest.approx(np.corrcoef(p, r)[0, 1])
    assert rmse(p, r) == pytest.approx(math.sqrt(sum((a - b) ** 2 for a, b in zip(p, r, strict=True)) / 50))


def test_correlation_is_blind_to_shift_and_scale():
    reference = np.linspace(0, 1, 20)
    assert pearson(0.1 * reference + 0.8, reference) == pytest.approx(1)


@pytest.mark.parametrize(("p", "r"), [([1, 1], [1, 2]), ([1, 2], [0.1, 0.1]), ([1], [2]), ([], [])])
def test_correlation_with_a_constant_is_undefined(p, r):
    assert math.isnan(pearson(p, r))


def test_error_of_nothing_is_undefined():
    assert math.isnan(rmse([], []))


@pytest.mark.parametrize("metric", [pearson, rmse])
def test_correlation_and_error_refuse_other_shapes(metric):
    with pytest.raises(ValueError, match=f"{metric.__name__} needs two series of one length"):
        metric([1, 2], [1, 2, 3])
