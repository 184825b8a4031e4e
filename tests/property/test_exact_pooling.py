"""Poolings, tables and the front end against their formulas written out a second time, in exact fractions."""

import math
from fractions import Fraction

import numpy as np
from exact import FAST, nearest, nearest_away, rescaled, scaling, seeds
from hypothesis import given
from hypothesis import strategies as st

from edgekit.graph import Op
from edgekit.graph.elementwise_ops import lookup, softmax
from edgekit.graph.fixedpoint import exp_table, log2_table
from edgekit.graph.front_end_ops import frame, frame_level, level_normalize, log2, mel_filter, power_spectrum
from edgekit.graph.linear_ops import fully_connected_int16
from edgekit.graph.pooling_ops import attention_pool, max_pool2d, second_order
from edgekit.graph.tables import softmax_table


def op(kind, **attributes):
    return Op(kind, "it", (), ("y",), attributes)


def rescaled_16(value: int, multiplier: int, shift: int) -> int:
    """Return value * multiplier / 2^31 * 2^shift, the multiplier rounded to 16 bits, saturated to int16."""
    reduced = min(nearest(Fraction(multiplier, 2**16)), 0x7FFF)
    exact = nearest(Fraction(value * reduced, 2**15) * Fraction(2) ** shift)
    return min(max(exact, -32768), 32767)


@FAST
@given(seed=seeds, kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), stride=st.integers(1, 2))
def test_maxima(seed, kernel, stride):
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (6, 7, 2))
    padding = (int(rng.integers(kernel[0])), 0, int(rng.integers(kernel[1])), 0)
    pool = op("max_pool2d", kernel=kernel, stride=(stride, stride), padding=padding)
    for (t, w, c), found in np.ndenumerate(max_pool2d(pool, x)):
        rows = range(t * stride - padding[0], t * stride - padding[0] + kernel[0])
        columns = range(w * stride - padding[2], w * stride - padding[2] + kernel[1])
        seen = [int(x[i, j, c]) for i in rows for j in columns if i >= 0 and j >= 0]
        assert found == max(seen)


@FAST
@given(seed=seeds)
def test_tables_are_read_at_their_values(seed):
    rng = np.random.default_rng(seed)
    table, x = rng.integers(-128, 128, 256), rng.integers(-128, 128, (3, 4))
    by_value = dict(zip(range(-128, 128), table.tolist(), strict=True))
    assert lookup(op("lookup"), x, table).tolist() == [[by_value[v] for v in row] for row in x.tolist()]


@FAST
@given(seed=seeds, scale=st.floats(0.001, 0.2))
def test_softmax_is_within_a_step_of_the_real_one(seed, scale):
    """Its own rounding is gemmlowp's, compared with two runtimes elsewhere; here: what it approximates."""
    x = np.random.default_rng(seed).integers(-128, 128, (2, 9))
    found = softmax(op("softmax"), x, softmax_table(scale).astype(np.int64))
    for row, values in zip(found.tolist(), x.tolist(), strict=True):
        powers = [math.exp(scale * (v - max(values))) for v in values]
        wanted = [min(256 * p / sum(powers), 255) - 128 for p in powers]
        assert all(abs(a - b) <= 1 for a, b in zip(row, wanted, strict=True))


@FAST
@given(seed=seeds)
def test_fully_connected_in_16_bits(seed):
    rng = np.random.default_rng(seed)
    inputs, outputs = (int(n) for n in rng.integers((1, 1), (20, 5)))
    x, weights = rng.integers(-32768, 32768, inputs), rng.integers(-127, 128, (outputs, inputs))
    bias = rng.integers(-(10**6), 10**6, outputs)
    multiplier, shift = scaling(rng, outputs, -31, 8)
    found = fully_connected_int16(op("fully_connected_int16"), x, weights, bias, multiplier, shift)
    for o in range(outputs):
        total = int(bias[o]) + sum(a * b for a, b in zip(x.tolist(), weights[o].tolist(), strict=True))
        assert found[o] == rescaled_16(total, int(multiplier[o]), int(shift[o]))


@FAST
@given(seed=seeds, steps=st.integers(1, 40), scale=st.floats(0.001, 0.3))
def test_attention(seed, steps, scale):
    """Feature by feature, sums kept as fractions of 2^-15 that are rounded where the maximum rises."""
    rng = np.random.default_rng(seed)
    value, score = rng.integers(-128, 128, (2, steps, 2))
    point, table = int(rng.integers(-128, 128)), exp_table(scale).astype(np.int64)
    found = attention_pool(op("attention_pool", value_zero_point=point), value, score, table)
    weight_of = table.tolist()
    for feature in range(2):
        top, above, below = -128, 0, 0
        for v, s in zip(value[:, feature].tolist(), score[:, feature].tolist(), strict=True):
            if s > top:
                above = nearest(Fraction(above * weight_of[s - top], 2**15))
                below = nearest(Fraction(below * weight_of[s - top], 2**15))
                top = s
            above += weight_of[top - s] * (v - point)
            below += weight_of[top - s]
        assert found[feature] == nearest_away(Fraction(above * 2**7, below))


@FAST
@given(seed=seeds, bands=st.integers(1, 4), channels=st.integers(1, 4))
def test_second_order(seed, bands, channels):
    rng = np.random.default_rng(seed)
    x = rng.integers(-32768, 32768, bands * channels)
    multipliers, shifts = (tuple(v.tolist()) for v in scaling(rng, 2, -31, 1))
    pooling = op("second_order", channels=channels, multipliers=multipliers, shifts=shifts)
    maps = x.reshape(bands, channels).tolist()
    wanted = [rescaled_16(v, multipliers[0], shifts[0]) for row in maps for v in row]
    for a in range(channels):
        for b in range(channels):
            wanted.append(rescaled_16(sum(row[a] * row[b] for row in maps), multipliers[1], shifts[1]))
    assert second_order(pooling, x).tolist() == wanted


def averages(values: list[Fraction], memory: int) -> list[Fraction]:
    """Return running averages in steps of 1/256, the weight of the newest rounded down to 2^-20."""
    average, found = Fraction(0), []
    for t, value in enumerate(values):
        weight = Fraction(2**20 // min(t + 1, memory), 2**20)
        average = Fraction(nearest((average + (value - average) * weight) * 256), 256)
        found.append(average)
    return found


@FAST
@given(seed=seeds, memory=st.integers(1, 9), loud=st.booleans())
def test_frames_and_their_level(seed, memory, loud):
    rng = np.random.default_rng(seed)
    reach = 32768 if loud else 300
    pcm = rng.integers(-reach, reach, 8 + 4 * 6) + (0 if loud else 2000)
    shape = {"n_fft": 8, "hop": 4, "memory_frames": memory}
    frames = frame(op("frame", **shape), pcm)
    fresh = [pcm[:8].tolist(), *(pcm[8 + 4 * t : 12 + 4 * t].tolist() for t in range(6))]
    means = averages([Fraction(sum(part), len(part)) for part in fresh], memory)
    for t, mean in enumerate(means):
        wanted = [min(max(v - nearest(mean), -32768), 32767) for v in pcm[4 * t : 4 * t + 8].tolist()]
        assert frames[t].tolist() == wanted
    newest = [frames[0].tolist(), *(row[4:].tolist() for row in frames[1:])]
    squares = [Fraction(sum(v * v for v in part), len(part)) for part in newest]
    found = frame_level(op("frame_level", epsilon_q8=5, **shape), frames, log2_table().astype(np.int64))
    levels = averages(squares, memory)
    assert found.tolist() == [log2_of(int(level * 256) + 5) for level in levels]


def log2_of(value: int) -> int:
    """Return log2 in Q9 by the table's straight lines."""
    if value == 0:
        return -32768
    exponent = value.bit_length() - 1
    fraction = math.floor(Fraction(value, 2**exponent) * 2**15) - 2**15
    low, high = (int(v) for v in log2_table()[fraction // 256 : fraction // 256 + 2])
    between = nearest(Fraction((high - low) * (fraction % 256), 256))
    return nearest(Fraction(exponent * 2**15 + low + between, 2**6))


@FAST
@given(value=st.integers(0, 2**62))
def test_logarithms(value):
    found = log2(op("log2"), np.array([value]), log2_table().astype(np.int64))[0]
    assert found == log2_of(value)
    assert value == 0 or abs(found / 512 - math.log2(value)) < 0.0021


@FAST
@given(seed=seeds)
def test_spectrum_and_mel(seed):
    rng = np.random.default_rng(seed)
    frames, basis = rng.integers(-32768, 32768, (2, 8)), rng.integers(-32768, 32768, (2, 5, 8))
    power = power_spectrum(op("power_spectrum", shift_bits=9), frames, basis)
    for t in range(2):
        for k in range(5):
            parts = [
                nearest(Fraction(sum(a * b for a, b in zip(frames[t].tolist(), row, strict=True)), 2**9))
                for row in basis[:, k].tolist()
            ]
            assert power[t, k] == sum(part * part for part in parts)
    first, count, weights = np.array([0, 2]), np.array([3, 2]), rng.integers(0, 1000, 5)
    mel = mel_filter(op("mel_filter"), power, first, count, weights)
    for t in range(2):
        p, w = power[t].tolist(), weights.tolist()
        assert mel[t].tolist() == [p[0] * w[0] + p[1] * w[1] + p[2] * w[2], p[2] * w[3] + p[3] * w[4]]


@FAST
@given(seed=seeds)
def test_level_normalization(seed):
    rng = np.random.default_rng(seed)
    (multiplier,), (shift,) = (v.tolist() for v in scaling(rng, 1, -31, 1))
    settings = {"offset_q9": 700, "floor_q9": -9000, "output_zero_point": int(rng.integers(-128, 128))}
    log_mel, level = rng.integers(-20000, 20000, (3, 4)), rng.integers(-9000, 9000, 3)
    normalize = op("level_normalize", multiplier=multiplier, shift=shift, **settings)
    for (t, m, _), found in np.ndenumerate(level_normalize(normalize, log_mel, level)):
        relative = max(int(log_mel[t, m]) - int(level[t]) + 700, -9000)
        wanted = rescaled(relative, multiplier, shift) + settings["output_zero_point"]
        assert found == min(max(wanted, -128), 127)
