import dataclasses

import numpy as np
import pytest
from support import noise
from unit.quantize.graphs import noise_bursts, random_student

from codegen.blob import HEADER_BYTES, blob_sections, build_blob
from codegen.columns import columns_of, paired_weights, stored_weights
from codegen.dense import packed_weights, rows_of
from codegen.emit import DEFAULT_WINDOW_FRAMES, emit_sources
from codegen.host import HostModel, build_library, run_traced
from codegen.plan import plan_stream, state_bytes
from codegen.vectors import vector_weights
from distill.config import DistillConfig
from edgekit.errors import UnsupportedError
from edgekit.graph import Op, graph_digest, run
from edgekit.graph.parity import compare_traces, require_parity


def test_rows_of_a_convolution_form_a_padded_ring(graph):
    rows = plan_stream(graph).rows["l1_out"]
    assert (rows.height, rows.width, rows.channels, rows.left, rows.right, rows.top) == (3, 26, 5, 1, 1, 1)
    assert (rows.row_bytes, rows.offset, rows.data_bytes, rows.ring) == (140, 5, 130, True)


def test_flatten_shares_its_inputs_row(graph):
    plan = plan_stream(graph)
    assert plan.rows["tokens_out"] is plan.rows["mix_out"]
    assert not plan.rows["mix_out"].ring


def test_state_by_layer_adds_up_to_the_state(graph, instructions, model):
    plan = plan_stream(graph, instructions)
    needed = state_bytes(plan, DEFAULT_WINDOW_FRAMES)
    # Besides: pointer, averages, counters, ring positions and alignment.
    assert 0 < model.state_bytes - sum(needed.values()) < 100
    if instructions == "portable":
        # Rows of 13 positions, padded to four tiles; and all scratch memory.
        assert needed["l2"] == 3 * (4 * 4 + 2) * 5 + plan.lanes_bytes


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


def test_a_word_of_int4_holds_its_inputs_in_the_order_of_the_lanes(graph):
    rows = rows_of(graph, graph.op("lin"))
    weights = np.zeros((2, rows.words * 8), np.int8)
    weights[1, :8] = np.arange(8) - 4
    packed = packed_weights(rows, weights)
    assert packed.shape == (1, rows.words, 4)
    nibbles = [(int(packed[0, 0, 1]) >> shift & 15) - 8 for shift in range(0, 32, 4)]
    assert nibbles == [-4, -3, 0, 1, -2, -1, 2, 3]
    assert packed[0, 0, 0] == 0x88888888


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
    op = graph.op("l2")
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


def test_products_at_the_points_are_24_times_the_outputs(graph):
    """Winograd's F(4, 3) by its weights alone: points of six values, products, four outputs."""
    op = graph.op("l2")
    columns, weights = columns_of(graph, op), graph.constant_inputs(op)[0].astype(int)
    assert columns.method == "winograd"
    lanes = paired_weights(columns, weights).astype(int)
    values = np.random.default_rng(0).integers(-128, 128, (3, 6, 5))
    to_points = np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    )
    to_outputs = np.array(
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    )
    points = np.einsum("px,hxc->phc", to_points, np.pad(values, ((0, 0), (0, 0), (0, 1))))
    points = points[:, :, [0, 2, 1, 3, 4, 5]].reshape(6, -1, 2)
    products = (lanes[0, :, :, 0] * points).sum(axis=(1, 2))
    wanted = [sum((values[:, x : x + 3] * weights[0]).ravel()) for x in range(4)]
    assert (to_outputs @ products).tolist() == [24 * value for value in wanted]


def test_a_dilated_convolution_does_not_stream(graph):
    op = graph.op("l2")
    wide = dataclasses.replace(op, attributes={**op.attributes, "dilation": (1, 2)})
    ops = tuple(wide if each is op else each for each in graph.ops)
    with pytest.raises(UnsupportedError, match="dilation 1"):
        plan_stream(dataclasses.replace(graph, ops=ops))
