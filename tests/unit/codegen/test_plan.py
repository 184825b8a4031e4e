import dataclasses

import numpy as np
import pytest
from support import noise
from unit.quantize.graphs import noise_bursts, random_student

from codegen.blob import HEADER_BYTES, blob_sections, build_blob
from codegen.columns import (
    MEL_FROM_TAPS,
    MOST_CHANNELS,
    SCALE,
    TIME_FROM_TAPS,
    columns_of,
    paired_weights,
    stored_weights,
)
from codegen.dense import MOST_INT4_INPUTS, packed_weights, rows_of
from codegen.emit import DEFAULT_WINDOW_FRAMES, emit_sources
from codegen.host import HostModel, build_library, run_traced
from codegen.plan import plan_stream, state_bytes
from codegen.spectrum import folds, stored_basis
from codegen.vectors import vector_weights
from distill.config import DistillConfig
from edgekit.errors import UnsupportedError
from edgekit.graph import Op, graph_digest, run
from edgekit.graph.parity import compare_traces, require_parity


def test_rows_of_a_convolution_form_a_padded_ring(graph):
    rows = plan_stream(graph).rows["l4_out"]
    assert (rows.height, rows.width, rows.channels, rows.left, rows.right, rows.top) == (3, 13, 5, 1, 1, 1)
    # Four tiles of four outputs read three positions more, and channels in fours.
    assert (rows.row_bytes, rows.offset, rows.data_bytes, rows.ring) == (75, 5, 65, True)
    assert rows.bytes == 3 * 75 + 3 * 5 + 3


def test_rows_are_computed_in_pairs_where_the_pooling_reads_pairs(graph):
    plan = plan_stream(graph)
    assert [plan.columns[name].rows for name in ("l1", "l2", "l3", "l4", "l5")] == [1, 2, 2, 1, 1]
    assert list(plan.kept) == ["l4", "l5"]
    # The pooling's first window ends with rows 0 and 1 of l3, which reads 1 and 2 of l2: its pair is -1, 0.
    assert [plan.leads(graph.op(name)) for name in ("l2", "l3")] == [True, False]
    windows = [(rows.height, rows.top, rows.stride) for rows in (plan.rows["l1_out"], plan.rows["l2_out"])]
    assert windows == [(4, 2, 2), (4, 1, 2)]
    assert plan.rows["l3_out"].stride == 2


def test_flatten_shares_its_inputs_row(graph):
    plan = plan_stream(graph)
    assert plan.rows["tokens_out"] is plan.rows["mix_out"]
    assert not plan.rows["mix_out"].ring


def test_rows_that_are_read_at_once_lie_apart_in_the_scratch(graph):
    plan = plan_stream(graph)
    places = plan.places
    assert list(places) == ["l5_out", "mix_out", "lin_out", "sof_out"]
    # Behind what l5 needs, which writes the first of them; l2 and l3 may need more.
    assert places["l5_out"] == plan.scratch["l5"]
    starts = list(places.values())
    assert all(b - a >= 65 for a, b in zip(starts, [*starts[1:], plan.scratch_bytes], strict=True))


def test_state_by_layer_adds_up_to_the_state(graph, instructions, model):
    needed = state_bytes(plan_stream(graph, instructions), DEFAULT_WINDOW_FRAMES)
    # Besides: pointer, averages, counters, ring positions and alignment.
    assert 0 < model.state_bytes - sum(needed.values()) < 100
    if instructions == "portable":
        # Three rows of 13 positions with their padding, what is read behind them, what is kept between turns.
        assert needed["l5"] == 3 * 75 + 3 * 5 + 3 + 4 * 13 * 5


def test_a_graph_without_attention_is_refused(graph):
    with pytest.raises(UnsupportedError, match="attention pooling"):
        plan_stream(dataclasses.replace(graph, ops=graph.ops[:-2]))


def test_an_operator_that_does_not_stream_is_named(graph):
    odd = Op("log2", "odd", ("mix_out", "log2_table"), ("odd_out",), {}, ("/odd",))
    index = next(i for i, op in enumerate(graph.ops) if op.name == "tokens")
    ops = (*graph.ops[:index], odd, *graph.ops[index:])
    with pytest.raises(UnsupportedError, match="log2 'odd' \\(from /odd\\)"):
        plan_stream(dataclasses.replace(graph, ops=ops))


def test_a_map_with_two_readers_is_refused(graph):
    second = dataclasses.replace(graph.op("l2"), name="second", outputs=("mix_out",))
    index = next(i for i, op in enumerate(graph.ops) if op.name == "tokens")
    with pytest.raises(UnsupportedError, match="no other reader"):
        plan_stream(dataclasses.replace(graph, ops=(*graph.ops[:index], second, *graph.ops[index:])))


def test_pointwise_readers_share_a_row(tmp_path):
    config = DistillConfig(student="wav2small2", warm_start=False)
    clips = [noise_bursts(0.5, seed=seed) for seed in range(2)]
    graph = random_student(config, clips, tmp_path, settled=1, observed=2)
    plan = plan_stream(graph)
    assert plan.second is graph.op("second")
    assert not plan.rows["l7_out"].ring
    for name, text in emit_sources(graph, 16_000).items():
        (tmp_path / name).write_text(text)
    model = HostModel(build_library(tmp_path, tmp_path))
    pcm = noise(0.4)
    require_parity(compare_traces("c", graph, run(graph, {"pcm": pcm}), run_traced(model, graph, pcm)))


def test_pointwise_readers_of_which_one_waits_are_refused(graph):
    """The second would miss the rows at which what the first feeds still waits for more."""
    first = next(i for i, op in enumerate(graph.ops) if op.name == "mix")
    mix, window = graph.ops[first], graph.op("l2")
    waiting = dataclasses.replace(
        window, name="waiting", inputs=("mix_out", *window.inputs[1:]), outputs=("w_out",)
    )
    again = dataclasses.replace(mix, name="again", outputs=("mix_out",))
    tensors = {**graph.tensors, "w_out": dataclasses.replace(graph.tensors["mix_out"], name="w_out")}
    ops = (*graph.ops[: first + 1], waiting, again, *graph.ops[first + 1 :])
    with pytest.raises(UnsupportedError, match="no other reader"):
        plan_stream(dataclasses.replace(graph, ops=ops, tensors=tensors))


def test_blob_opens_with_the_graph_digest_and_sections_are_aligned(graph):
    blob, sections = build_blob(graph), blob_sections(graph)
    assert blob[:4] == b"EKM1"
    assert int.from_bytes(blob[8:12], "little") == len(blob)
    assert blob[16:HEADER_BYTES].hex() == graph_digest(graph)
    assert all(section.offset % 4 == 0 for section in sections)
    for section in sections:
        assert blob[section.offset : section.offset + len(section.data)] == section.data
    assert len({section.name for section in sections}) == len(sections)


def test_folded_bias_takes_the_zero_point_from_the_input(graph):
    op = graph.op("l1")
    weights, bias = (values.astype(int) for values in graph.constant_inputs(op)[:2])
    section = next(s for s in blob_sections(graph) if s.name == "L1_BIAS")
    folded = np.frombuffer(section.data, np.int32)
    assert (
        folded.tolist()
        == (bias - op.integer("input_zero_point") * weights.reshape(len(weights), -1).sum(axis=1)).tolist()
    )


def test_a_word_of_int4_holds_two_inputs_of_four_rows(graph):
    rows = rows_of(graph, graph.op("lin"))
    assert (rows.bits, rows.words) == (4, 33)
    weights = np.zeros((5, 65), np.int8)
    weights[:4, 1], weights[:4, 3] = (-8, 7, 0, -3), (1, 2, 3, 4)
    packed = packed_weights(rows, weights)
    assert packed.shape == (2, 33)
    # Inputs 1 and 3 meet in the second lane; 8 is added but to the last row.
    assert packed[0, 1] == 0x4BA9_D8F0
    assert packed[0, 0] == 0x0888_0888


def test_a_vector_of_int4_holds_32_inputs_of_one_row():
    weights = np.arange(5 * 40).reshape(5, 40) % 15 - 7
    packed = vector_weights(weights, 4, 4)
    assert packed.shape == (2, 2, 4, 16)
    found = packed[1, 1, 0].astype(int)
    low, high = ((found & 15) ^ 8) - 8, ((found >> 4) ^ 8) - 8
    assert low.tolist() == [*weights[4, 32:].tolist(), *[0] * 8]
    assert not high.any()
    assert ((packed[0, 0, 2] >> 4 ^ 8).astype(int) - 8).tolist() == weights[2, 16:32].tolist()


def test_a_convolution_for_vectors_reads_patches(graph):
    op = graph.op("l5")
    columns, weights = columns_of(graph, op, "mve"), graph.constant_inputs(op)[0]
    # 13 positions by threes, 45 values of a patch in three vectors, 3 rows of 5 channels to the next patch.
    assert (columns.method, columns.count, columns.depth, columns.step_bytes) == ("mve", 15, 3, 15)
    assert columns.lanes_bytes == 4 * (-(-(14 * 15 + 48) // 4) + 2 * 15 + 7)
    stored = stored_weights(columns, weights)
    assert stored.shape == (3, 3, 2, 16)
    first = stored[0, :, 1].view(np.int8).ravel()
    assert first[:45].tolist() == weights[1].transpose(1, 0, 2).ravel().tolist()
    assert not first[45:].any()
    assert not stored[2, :, 1].any()


def test_int4_of_many_inputs_is_stored_in_int8(graph):
    lin = graph.op("lin")
    weights = graph.tensors[lin.inputs[1]]
    assert weights.dtype == "int4"
    for inputs, bits in ((MOST_INT4_INPUTS, 4), (MOST_INT4_INPUTS + 1, 8)):
        wide = {**graph.tensors, weights.name: dataclasses.replace(weights, shape=(4, inputs))}
        assert rows_of(dataclasses.replace(graph, tensors=wide), lin).bits == bits
    assert MOST_INT4_INPUTS * 128 * 8 * 4096 < 2**31


def test_half_of_a_symmetric_basis_is_stored(graph):
    basis = graph.constants["dft_basis"]
    stored = stored_basis(basis)
    assert (folds(basis), stored.shape) == (True, (17, 16, 4, 2))
    # Bin 3: cosines of samples 4, 6 and 5, 7, then sines.
    assert stored[3, 1, :2].tolist() == [basis[0, 3, [4, 6]].tolist(), basis[0, 3, [5, 7]].tolist()]
    assert stored[3, 1, 2:].tolist() == [basis[1, 3, [4, 6]].tolist(), basis[1, 3, [5, 7]].tolist()]


def test_any_other_basis_is_stored_whole(graph):
    basis = graph.constants["dft_basis"].copy()
    basis[1, 5, 9] += 1
    assert not folds(basis)
    assert stored_basis(basis).tolist() == basis.tolist()


TO_TIMES = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
TO_MEL_POINTS = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
TO_ROWS = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
TO_OUTPUTS = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def test_products_at_the_points_are_48_times_the_outputs(graph):
    """Winograd's F(2, 3) x F(4, 3) by its weights alone: points of a tile, products, two rows of outputs."""
    op = graph.op("l2")
    columns, weights = columns_of(graph, op), graph.constant_inputs(op)[0].astype(int)
    assert columns.method == "winograd"
    lanes = paired_weights(columns, weights).astype(int)
    values = np.random.default_rng(0).integers(-128, 128, (4, 6, 5))
    points = np.einsum("th,px,hxc->tpc", TO_TIMES, TO_MEL_POINTS, np.pad(values, ((0, 0), (0, 0), (0, 1))))
    points = points[:, :, [0, 2, 1, 3, 4, 5]].reshape(24, -1, 2)
    products = (lanes[0, :, :, 0] * points).sum(axis=(1, 2)).reshape(4, 6)
    wanted = [[(values[t : t + 3, x : x + 3] * weights[0]).sum() for x in range(4)] for t in range(2)]
    assert (TO_ROWS @ products @ TO_OUTPUTS.T).tolist() == (SCALE * np.array(wanted)).tolist()


def test_weights_at_the_points_fit_int16_and_sums_int32():
    largest = np.abs(MEL_FROM_TAPS).sum(axis=1).max() * np.abs(TIME_FROM_TAPS).sum(axis=1).max() * 128
    assert largest < 2**15
    assert SCALE * 9 * MOST_CHANNELS * 128 * 128 < 2**31


def test_a_dilated_convolution_does_not_stream(graph):
    op = graph.op("l2")
    wide = dataclasses.replace(op, attributes={**op.attributes, "dilation": (1, 2)})
    ops = tuple(wide if each is op else each for each in graph.ops)
    with pytest.raises(UnsupportedError, match="dilation 1"):
        plan_stream(dataclasses.replace(graph, ops=ops))
