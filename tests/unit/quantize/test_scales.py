import numpy as np
import pytest

from edgekit.graph.fixedpoint import pack_int4, quantize_multiplier
from quantize.scales import requantization


def test_scales_are_rounded_to_float32_before_the_product() -> None:
    # 0.1 is not its float32 neighbour: the multiplier from doubles differs in its low bits.
    (multiplier,), (shift,) = requantization(0.1, [0.1], 0.3)
    single = float(np.float32(0.1)) ** 2 / float(np.float32(0.3))
    assert (multiplier, shift) == quantize_multiplier(single)
    assert multiplier != quantize_multiplier(0.1 * 0.1 / 0.3)[0]


def test_one_pair_for_each_channel_near_the_real_ratio() -> None:
    rng = np.random.default_rng(0)
    weights = rng.uniform(1e-4, 1e-2, 50)
    multiplier, shift = requantization(0.03, weights, 0.07)
    assert multiplier.dtype == shift.dtype == np.int32
    real = multiplier / 2.0**31 * 2.0**shift
    assert np.allclose(real, 0.03 * weights / 0.07, rtol=1e-6)


@pytest.mark.parametrize("scales", [(0.0, [1.0], 1.0), (1.0, [np.inf], 1.0), (1.0, [1.0, -1.0], 1.0)])
def test_scale_that_is_no_scale_is_an_error(scales) -> None:
    with pytest.raises(ValueError, match="multiplier is positive and finite"):
        requantization(*scales)


def test_int4_packing_of_every_value() -> None:
    values = np.arange(-8, 8, dtype=np.int8)
    packed = pack_int4(values)
    assert np.array_equal(
        np.stack([(packed << 4).view(np.int8) >> 4, packed.view(np.int8) >> 4], 1).ravel(), values
    )
