"""Hours of audio: nothing drifts, nothing overflows, and counters that are full stay full."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import fill_count, noise, small_graph

from codegen.emit import emit_sources
from codegen.host import HostModel, build_library
from edgekit.graph import run
from edgekit.graph.fixedpoint import EXP_BITS, WEIGHT_LIMIT_BITS, running_average_q
from edgekit.graph.pooling_ops import attention_pool
from edgekit.toolchain import compile_host

PIECE_S = 20
KERNELS = "codegen/kernels"


@pytest.fixture(scope="module")
def streaming(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    graph = small_graph(folder, bands=8, channels=3, memory_frames=2048)
    for name, text in emit_sources(graph, 16_000).items():
        (folder / name).write_text(text)
    return graph, HostModel(build_library(folder, folder))


def heard(graph, model, duration_s):
    """Push so much audio; return the traced level, values and scores, and the last A/D/V."""
    wanted = {graph.ops.index(graph.op(name)): name for name in ("level", "lin", "sof")}
    kept = {name: [] for name in wanted.values()}
    model.reset()
    for start in range(0, duration_s, PIECE_S):
        # Loud and quiet stretches, offsets: the running mean and level have something to follow.
        pcm = noise(PIECE_S, seed=start) // (1 + start // PIECE_S % 7) + 500 * (start // PIECE_S % 5)
        with model.tracing() as rows:
            model.push(np.asarray(pcm, np.int16))
        for layer, data in rows:
            if layer in wanted:
                kept[wanted[layer]].append(data)
    return {name: b"".join(parts) for name, parts in kept.items()}, model.read()


@pytest.mark.parametrize(
    "duration_s", [120, pytest.param(7200, marks=pytest.mark.slow)], ids=["2 minutes", "2 hours"]
)
def test_pooling_over_hours_is_the_reference_over_all_its_tokens(streaming, duration_s):
    """What lies before it looks back a few frames only, so no length changes it."""
    graph, model = streaming
    kept, adv = heard(graph, model, duration_s)
    features = graph.tensors["lin_out"].shape[1]
    values, scores = (np.frombuffer(kept[name], np.int8).reshape(-1, features) for name in ("lin", "sof"))
    assert len(values) > 200 * duration_s
    pool = graph.op("attend")
    (table,) = graph.constant_inputs(pool)
    pooled = attention_pool(pool, *(a.astype(np.int64) for a in (values, scores, table)))
    start = {"attend_out": pooled.astype(np.int16)}
    ops = tuple(op for op in graph.ops if op.name == "adv")
    expected = run(type(graph)(**{**vars(graph), "ops": ops}), start)["adv_out"]
    assert adv.tolist() == expected.tolist()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory, request):
    """A kernel of its own, in a library."""
    root = request.config.rootpath / KERNELS
    folder = tmp_path_factory.mktemp("kernels")
    sources = [root / f"ek_{name}.c" for name in ("attention_update", "attention_read", "running_average")]
    return ctypes.CDLL(str(compile_host(sources, folder / "kernels.so", include=[root])))


def pointer(values):
    return ctypes.c_void_p(values.ctypes.data)


def halves(sums):
    """Return sums of weights as the kernels keep them: the low 32 bits and the 8 above."""
    return np.array([s & 0xFFFFFFFF for s in sums], np.uint32), np.array([s >> 32 for s in sums], np.uint8)


def whole(denominator, above):
    return [int(low) + (int(high) << 32) for low, high in zip(denominator, above, strict=True)]


def read(kernel, numerators, denominators):
    """Return the pooled values of some sums."""
    numerator, pooled = np.array(numerators, np.int64), np.zeros(len(numerators), np.int16)
    denominator, above = halves(denominators)
    kernel.ek_attention_read(
        pointer(numerator), pointer(denominator), pointer(above), len(pooled), pointer(pooled)
    )
    return pooled.tolist()


def test_sums_of_weights_are_halved_before_they_overflow(kernel):
    """From just below the limit: both halve, so the mean stays; the sums never leave 40 bits."""
    limit = 1 << WEIGHT_LIMIT_BITS
    table = np.full(256, 1 << EXP_BITS, np.uint16)
    value, score, maximum = (np.array([v], np.int8) for v in (100, 5, 5))
    numerator = np.array([(limit - 1) * 7], np.int64)
    denominator, above = halves([limit - 1])
    for _ in range(5):
        before = int(numerator[0]) / whole(denominator, above)[0]
        kernel.ek_attention_update(
            pointer(value), pointer(score), pointer(table), 0, 1,
            pointer(maximum), pointer(numerator), pointer(denominator), pointer(above),
        )  # fmt: skip
        assert 0 < whole(denominator, above)[0] < limit
        assert int(numerator[0]) / whole(denominator, above)[0] == pytest.approx(before, rel=1e-4)
    assert read(kernel, [int(numerator[0])], whole(denominator, above)) == [
        round(int(numerator[0]) * 128 / whole(denominator, above)[0])
    ]


def exact(numerator, denominator):
    """Return a pooled value, ties away from zero."""
    magnitude = (abs(numerator) * 128 + denominator // 2) // denominator
    return -magnitude if numerator < 0 else magnitude


@settings(max_examples=500, derandomize=True)
@given(st.integers(15, 38).flatmap(lambda bits: st.integers(1 << bits, (2 << bits) - 1)), st.data())
def test_any_legal_sums_are_divided_exactly(kernel, denominator, data):
    most = 255 * denominator
    wanted = data.draw(st.integers(-32640, 32640))
    # As drawn, and around a value and a tie, where an estimate of the quotient goes wrong.
    near = [(2 * wanted + odd) * denominator // 256 + more for odd in (0, 1) for more in (-1, 0, 1)]
    numerators = [data.draw(st.integers(-most, most)), -most, most, *(n for n in near if abs(n) <= most)]
    expected = [exact(numerator, denominator) for numerator in numerators]
    assert read(kernel, numerators, [denominator] * len(numerators)) == expected


def test_the_largest_and_the_smallest_sums_are_divided_exactly(kernel):
    denominators = [d + e for b in range(15, 40) for d in (1 << b, 3 << (b - 1)) for e in (-1, 0, 1)]
    for denominator in (d for d in denominators if 1 << 15 <= d < 1 << WEIGHT_LIMIT_BITS):
        numerators = [
            sign * (k * denominator // 128 + e)
            for k in range(0, 32641, 97)
            for e in (0, 1)
            for sign in (1, -1)
        ]
        legal = [n for n in numerators if abs(n) <= 255 * denominator]
        assert read(kernel, legal, [denominator] * len(legal)) == [exact(n, denominator) for n in legal]


def random_sums(kernel, start, scores, table, tokens=400, features=64):
    """Add random tokens to sums; return what the C and the recurrence in whole integers make of them."""
    rng = np.random.default_rng(0)
    maximum = np.zeros(features, np.int8)
    numerator = rng.integers(-255 * start, 255 * start, features)
    denominator, above = halves([start] * features)
    tops, bottoms, largest = numerator.tolist(), [start] * features, [0] * features
    for _ in range(tokens):
        value, score = (rng.integers(*limits, features).astype(np.int8) for limits in ((-128, 128), scores))
        kernel.ek_attention_update(
            pointer(value), pointer(score), pointer(table), -7, features,
            pointer(maximum), pointer(numerator), pointer(denominator), pointer(above),
        )  # fmt: skip
        for i, (v, s) in enumerate(zip(value.tolist(), score.tolist(), strict=True)):
            higher = max(largest[i], s)
            down, weight = int(table[higher - largest[i]]), int(table[higher - s])
            tops[i] = ((tops[i] * down + (1 << 14)) >> EXP_BITS) + weight * (v + 7)
            bottoms[i] = ((bottoms[i] * down + (1 << 14)) >> EXP_BITS) + weight
            full = bottoms[i] >> WEIGHT_LIMIT_BITS
            tops[i], bottoms[i], largest[i] = tops[i] >> full, bottoms[i] >> full, higher
    return (numerator.tolist(), whole(denominator, above), maximum.tolist()), (tops, bottoms, largest)


@pytest.mark.parametrize("start", [1 << 15, (1 << 32) - 100_000, (1 << 33) + 5, (1 << 39) - 100_000])
@pytest.mark.parametrize("scores", [(-3, 1), (-100, 100)])
def test_sums_carry_rescale_and_halve_as_whole_integers_do(kernel, start, scores):
    table = np.round(np.exp(-0.05 * np.arange(256)) * (1 << EXP_BITS)).astype(np.uint16)
    found, expected = random_sums(kernel, start, scores, table)
    assert found == expected


def test_running_averages_keep_to_the_recurrence_once_their_count_is_full(kernel):
    kernel.ek_running_average.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_uint32]
    kernel.ek_running_average.restype = ctypes.c_int64
    rng = np.random.default_rng(0)
    values = rng.integers(-(1 << 41), 1 << 41, 20_000)
    expected = running_average_q(values, 64)
    average = 0
    for step, value in enumerate(values.tolist()):
        average = kernel.ek_running_average(average, value, min(step + 1, 64))
        assert average == expected[step]


def test_a_full_count_of_utterances_stays_full(tmp_path):
    graph = small_graph(tmp_path, level="utterance")
    for name, text in emit_sources(graph, 16_000).items():
        (tmp_path / name).write_text(text)
    model = HostModel(build_library(tmp_path, tmp_path))

    def utter(seed):
        pcm = noise(0.3, seed)
        model.push(pcm)
        assert model.finish() == 0
        return pcm

    fill_count(model, lambda: utter(0))
    for seed in (1, 2):
        pcm = utter(seed)
        assert model.heard() == 0xFFFFFFFF
        assert model.read().tolist() == run(graph, {"pcm": pcm})["adv_out"].tolist()
    model.reset()
    assert model.heard() == 0


def test_a_full_count_of_tokens_stays_full(streaming):
    graph, model = streaming
    model.reset()
    pcm = noise(1)
    model.push(pcm)
    before = model.read()
    state = np.frombuffer(model._state, np.uint32)
    features = graph.tensors["lin_out"].shape[1]
    # Behind the pointer, both averages and both sums: frames, filled, tokens.
    tokens = (ctypes.sizeof(ctypes.c_void_p) + 16 + 12 * features) // 4 + 2
    assert 0 < state[tokens] < 1000
    state[tokens] = (1 << 32) - 1
    model.push(pcm)
    assert state[tokens] == (1 << 32) - 1
    assert model.read() is not None
    assert before is not None
