"""Hours of audio: nothing drifts, nothing overflows, and counters that are full stay full."""

import ctypes

import numpy as np
import pytest
from support import noise, small_graph

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


def test_sums_of_weights_are_halved_before_they_overflow(kernel):
    """From just below the limit: both halve, so the mean stays; the sums never leave 40 bits."""
    limit = 1 << WEIGHT_LIMIT_BITS
    table = np.full(256, 1 << EXP_BITS, np.uint16)
    value, score, maximum = (np.array([v], np.int8) for v in (100, 5, 5))
    numerator, denominator = np.array([(limit - 1) * 7], np.int64), np.array([limit - 1], np.uint64)
    for _ in range(5):
        before = float(numerator[0]) / float(denominator[0])
        kernel.ek_attention_update(
            pointer(value), pointer(score), pointer(table), 0, 1,
            pointer(maximum), pointer(numerator), pointer(denominator),
        )  # fmt: skip
        assert 0 < int(denominator[0]) < limit
        assert float(numerator[0]) / float(denominator[0]) == pytest.approx(before, rel=1e-4)
    pooled = np.zeros(1, np.int16)
    kernel.ek_attention_read(pointer(numerator), pointer(denominator), 1, pointer(pooled))
    assert pooled.tolist() == [round(float(numerator[0]) * 128 / float(denominator[0]))]


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


def test_a_full_count_of_tokens_stays_full(streaming):
    graph, model = streaming
    model.reset()
    pcm = noise(1)
    model.push(pcm)
    before = model.read()
    state = np.frombuffer(model._state, np.uint32)
    features = graph.tensors["lin_out"].shape[1]
    # Behind the pointer, both averages and both sums: frames, filled, tokens.
    tokens = (ctypes.sizeof(ctypes.c_void_p) + 16 + 16 * features) // 4 + 2
    assert 0 < state[tokens] < 1000
    state[tokens] = (1 << 32) - 1
    model.push(pcm)
    assert state[tokens] == (1 << 32) - 1
    assert model.read() is not None
    assert before is not None
