"""The reference against the formulas written out a second time: loops over exact fractions, no numpy."""

from fractions import Fraction

import numpy as np
from exact import FAST, clipped, nearest, nearest_away, rescaled, scaling, seeds
from hypothesis import given
from hypothesis import strategies as st

from edgekit.graph import Op
from edgekit.graph.elementwise_ops import add, mul
from edgekit.graph.linear_ops import conv2d, depthwise_conv2d, fully_connected
from edgekit.graph.pooling_ops import average_pool2d, mean


def window_op(kind, rng, kernel):
    low, high = sorted(int(n) for n in rng.integers(-128, 128, 2))
    return Op(
        kind,
        "it",
        (),
        ("y",),
        {
            "kernel": kernel,
            "stride": tuple(int(n) for n in rng.integers(1, 3, 2)),
            "padding": tuple(int(rng.integers(0, size)) for size in np.repeat(kernel, 2)),
            "dilation": tuple(int(n) for n in rng.integers(1, 3, 2)),
            "input_zero_point": int(rng.integers(-128, 128)),
            "output_zero_point": int(rng.integers(-128, 128)),
            "clamp": (low, high),
        },
    )


def taps(op, rows, columns):
    """Yield each output place with the input places under it; None where there is padding."""
    (kernel_t, kernel_w), (stride_t, stride_w) = op.attributes["kernel"], op.attributes["stride"]
    step_t, step_w = op.attributes["dilation"]
    top, bottom, left, right = op.attributes["padding"]
    outputs_t = (rows + top + bottom - (kernel_t - 1) * step_t - 1) // stride_t + 1
    outputs_w = (columns + left + right - (kernel_w - 1) * step_w - 1) // stride_w + 1
    for t in range(outputs_t):
        for w in range(outputs_w):
            places = {}
            for i in range(kernel_t):
                for j in range(kernel_w):
                    row, column = t * stride_t + i * step_t - top, w * stride_w + j * step_w - left
                    inside = 0 <= row < rows and 0 <= column < columns
                    places[i, j] = (row, column) if inside else None
            yield (t, w), places


@FAST
@given(seed=seeds, kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), depthwise=st.booleans())
def test_convolutions(seed, kernel, depthwise):
    rng = np.random.default_rng(seed)
    rows, columns, channels, outputs = (int(n) for n in rng.integers((5, 5, 1, 1), (8, 8, 4, 4)))
    op = window_op("conv2d", rng, kernel)
    x = rng.integers(-128, 128, (rows, columns, channels))
    if depthwise:
        outputs = channels * int(rng.integers(1, 3))
    weights = rng.integers(-127, 128, (*kernel, outputs) if depthwise else (outputs, *kernel, channels))
    bias = rng.integers(-5000, 5000, outputs)
    multiplier, shift = scaling(rng, outputs, -31, 8)
    found = (depthwise_conv2d if depthwise else conv2d)(op, x, weights, bias, multiplier, shift)
    zero_point = op.attributes["input_zero_point"]
    for (t, w), places in taps(op, rows, columns):
        for o in range(outputs):
            total = int(bias[o])
            for (i, j), place in places.items():
                if place is None:
                    continue
                if depthwise:
                    value = int(x[(*place, o // (outputs // channels))]) - zero_point
                    total += value * int(weights[i, j, o])
                else:
                    for c in range(channels):
                        total += (int(x[(*place, c)]) - zero_point) * int(weights[o, i, j, c])
            wanted = rescaled(total, int(multiplier[o]), int(shift[o])) + op.attributes["output_zero_point"]
            assert found[t, w, o] == clipped(wanted, op)
    assert found.size == sum(1 for _ in taps(op, rows, columns)) * outputs


@FAST
@given(seed=seeds, once=st.booleans())
def test_fully_connected(seed, once):
    rng = np.random.default_rng(seed)
    rows, inputs, outputs = (int(n) for n in rng.integers((1, 1, 1), (4, 12, 5)))
    op = window_op("fully_connected", rng, (1, 1))
    if once:
        op = Op(op.kind, op.name, (), ("y",), {**op.attributes, "rounding": "single"})
    x, weights = rng.integers(-128, 128, (rows, inputs)), rng.integers(-127, 128, (outputs, inputs))
    bias = rng.integers(-5000, 5000, outputs)
    multiplier, shift = scaling(rng, outputs, -31, 8)
    found = fully_connected(op, x, weights, bias, multiplier, shift)
    for r in range(rows):
        for o in range(outputs):
            pairs = zip(x[r].tolist(), weights[o].tolist(), strict=True)
            total = int(bias[o]) + sum((a - op.attributes["input_zero_point"]) * b for a, b in pairs)
            exact = Fraction(total * int(multiplier[o]), 2**31) * Fraction(2) ** int(shift[o])
            scaled = nearest(exact) if once else rescaled(total, int(multiplier[o]), int(shift[o]))
            assert found[r, o] == clipped(scaled + op.attributes["output_zero_point"], op)


@FAST
@given(seed=seeds, kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_averages(seed, kernel):
    rng = np.random.default_rng(seed)
    rows, columns = (int(n) for n in rng.integers(5, 8, 2))
    op = window_op("average_pool2d", rng, kernel)
    x = rng.integers(-128, 128, (rows, columns, 1))
    found = average_pool2d(op, x)
    for (t, w), places in taps(op, rows, columns):
        inside = [int(x[(*place, 0)]) for place in places.values() if place is not None]
        if inside:
            assert found[t, w, 0] == clipped(nearest_away(Fraction(sum(inside), len(inside))), op)


@FAST
@given(seed=seeds)
def test_means_sums_and_products(seed):
    rng = np.random.default_rng(seed)
    (multiplier, other, last), (shift, other_shift, last_shift) = (v.tolist() for v in scaling(rng, 3))
    low, high = sorted(int(n) for n in rng.integers(-128, 128, 2))
    points = tuple(int(n) for n in rng.integers(-128, 128, 2))
    shared = {"output_zero_point": int(rng.integers(-128, 128)), "clamp": (low, high)}
    x, y = rng.integers(-128, 128, (2, 3, 2)), rng.integers(-128, 128, (1, 1, 2))
    one = {"multiplier": multiplier, "shift": shift, **shared}
    mean_op = Op("mean", "it", (), ("y",), {"input_zero_point": points[0], **one})
    mul_op = Op("mul", "it", (), ("y",), {"input_zero_points": points, **one})
    sums = {
        "left_shift": 20,
        "input_zero_points": points,
        "multipliers": (multiplier, other),
        "shifts": (shift, other_shift),
        "output_multiplier": last,
        "output_shift": last_shift - 8,
    }
    add_op = Op("add", "it", (), ("y",), {**sums, **shared})
    averaged, product, total = mean(mean_op, x), mul(mul_op, x, y), add(add_op, x, y)
    for c in range(2):
        centred = sum(int(v) - points[0] for v in x[:, :, c].ravel())
        wanted = rescaled(centred, multiplier, shift) + shared["output_zero_point"]
        assert averaged[0, 0, c] == clipped(wanted, mean_op)
        for t, w in np.ndindex(2, 3):
            a, b = int(x[t, w, c]) - points[0], int(y[0, 0, c]) - points[1]
            wanted = rescaled(a * b, multiplier, shift) + shared["output_zero_point"]
            assert product[t, w, c] == clipped(wanted, mul_op)
            finer = rescaled(a << 20, multiplier, shift) + rescaled(b << 20, other, other_shift)
            wanted = rescaled(finer, last, last_shift - 8) + shared["output_zero_point"]
            assert total[t, w, c] == clipped(wanted, add_op)
