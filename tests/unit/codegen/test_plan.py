import dataclasses

import numpy as np
import pytest

from codegen.blob import HEADER_BYTES, blob_sections, build_blob, pack_rows
from codegen.emit import DEFAULT_WINDOW_FRAMES
from codegen.plan import plan_stream, state_bytes
from edgekit.errors import UnsupportedError
from edgekit.graph import Op, graph_digest


def test_rows_of_a_convolution_form_a_padded_ring(graph):
    rows = plan_stream(graph).rows["l1_out"]
    assert (rows.height, rows.width, rows.channels, rows.left, rows.right, rows.top) == (3, 8, 4, 1, 1, 1)
    assert (rows.row_bytes, rows.offset, rows.data_bytes, rows.ring) == (40, 4, 32, True)


def test_flatten_shares_its_inputs_row(graph):
    plan = plan_stream(graph)
    assert plan.rows["tokens_out"] is plan.rows["mix_out"]
    assert not plan.rows["mix_out"].ring


def test_state_by_layer_adds_up_to_the_state(graph, model):
    needed = state_bytes(plan_stream(graph), DEFAULT_WINDOW_FRAMES)
    # Besides: pointer, averages, counters, ring positions and alignment.
    assert 0 < model.state_bytes - sum(needed.values()) < 100
    assert needed["l2"] == 3 * 6 * 4


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
        == (bias - op.integer("input_zero_point") * weights.reshape(4, -1).sum(axis=1)).tolist()
    )


def test_int4_pairs_low_nibble_first():
    assert pack_rows(np.array([[-8, 7], [0, -1]], np.int8)).tolist() == [[0x78], [0xF0]]
