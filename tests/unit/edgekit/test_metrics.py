import math

import numpy as np
import pytest

from edgekit.metrics import adv_ccc, ccc


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
