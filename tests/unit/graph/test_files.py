"""The graph on disk, as text, traced and compared."""

import dataclasses
import json

import numpy as np
import pytest
from support import noise

from edgekit.errors import ArtifactError, ParityError
from edgekit.graph import Op, Quantization, graph_digest, load_graph, run, save_graph, to_text
from edgekit.graph.cost import macs
from edgekit.graph.parity import LayerParity, compare, compare_traces, merge, require_parity
from edgekit.graph.traces import collect


def test_round_trip(graph, tmp_path):
    save_graph(graph, tmp_path)
    again = load_graph(tmp_path)
    assert again.ops == graph.ops
    assert dict(again.tensors) == dict(graph.tensors)
    assert all(np.array_equal(again.constants[name], value) for name, value in graph.constants.items())
    assert graph_digest(again) == graph_digest(graph)


def test_same_graph_same_bytes(graph, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_graph(graph, tmp_path / name)
    for file in ("graph.json", "weights.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_digest_ignores_weights_and_quantization_but_not_structure(graph):
    retrained = dataclasses.replace(
        graph, constants={**graph.constants, "l1_bias": graph.constants["l1_bias"] + 1}
    )
    assert graph_digest(retrained) == graph_digest(graph)
    wider = dataclasses.replace(
        graph,
        ops=tuple(
            dataclasses.replace(op, attributes={**op.attributes, "stride": (2, 1)}) if op.name == "l1" else op
            for op in graph.ops
        ),
    )
    assert graph_digest(wider) != graph_digest(graph)


def test_digest_knows_what_is_read_and_written_and_in_which_order(graph):
    two = dataclasses.replace(graph, outputs=(*graph.outputs, "mix_out"))
    turned = dataclasses.replace(two, outputs=two.outputs[::-1])
    other = dataclasses.replace(graph, inputs=(*graph.inputs, "more"))
    assert len({graph_digest(each) for each in (graph, two, turned, other)}) == 4


@pytest.mark.parametrize("damage", ["missing", "truncated json", "schema", "bad zip", "constants"])
def test_damage_is_an_artifact_error(graph, tmp_path, damage):
    save_graph(graph, tmp_path)
    structure = tmp_path / "graph.json"
    if damage == "missing":
        structure.unlink()
    elif damage == "truncated json":
        structure.write_text(structure.read_text()[:-40])
    elif damage == "bad zip":
        (tmp_path / "weights.npz").write_bytes(b"PK not a zip")
    else:
        values = json.loads(structure.read_text())
        values["schema" if damage == "schema" else "constants"] = 99 if damage == "schema" else []
        structure.write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match="not a readable integer graph"):
        load_graph(tmp_path)


def test_text_names_every_operator(graph):
    text = to_text(graph)
    assert all(f"  {op.name}: " in text for op in graph.ops)
    assert "l1_weights: int8[4,3,3,1]" in text


def test_attributes_are_checked():
    op = Op("conv2d", "c", (), (), {"kernel": (3, 3), "shift": 4})
    with pytest.raises(TypeError, match="not an integer"):
        op.integer("kernel")
    with pytest.raises(TypeError, match="not a tuple"):
        op.integers("shift")
    assert op.integer("shift") == 4


def test_unknown_operator_name(graph):
    with pytest.raises(KeyError):
        graph.op("nothing")


def test_per_channel_quantization():
    values = np.array([[2, 4], [2, 4]], np.int8)
    assert Quantization((0.5, 2.0), 0, 0).dequantize(values).tolist() == [[1.0, 2.0], [4.0, 8.0]]


def rows_of(graph, values):
    """The reference's results as the traces of running code: streams row by row."""
    for index, op in enumerate(graph.ops):
        value = values[op.outputs[0]]
        if op.kind == "flatten":
            continue
        if graph.output(op).shape[0] == -1:
            yield from ((index, row.tobytes()) for row in value)
        else:
            yield from ((index, part.tobytes()) for part in (value * 0, value))


def test_traces_join_to_the_reference(graph):
    values = run(graph, {"pcm": noise()})
    found = collect(graph, rows_of(graph, values))
    rows = compare_traces("c-host", graph, values, found)
    assert {row.layer for row in rows} == {op.name for op in graph.ops} - {"tokens"}
    assert all(row.ok and row.mismatches == 0 and row.elements > 0 for row in rows)


def test_a_missing_trace_is_an_error(graph):
    values = run(graph, {"pcm": noise()})
    found = collect(graph, rows_of(graph, values))
    del found["l2_out"]
    with pytest.raises(ParityError, match="layer l2 was not traced"):
        compare_traces("c-host", graph, values, found)


def test_rows_that_no_result_depends_on_may_be_missing(graph):
    values = run(graph, {"pcm": noise(1.003)})
    assert len(values["l1_out"]) % 2 == 1
    found = collect(graph, rows_of(graph, values))
    short = found | {"l1_out": found["l1_out"][:-1]}
    row = next(row for row in compare_traces("c-host", graph, values, short) if row.layer == "l1")
    assert (row.elements, row.ok) == (short["l1_out"].size, True)
    with pytest.raises(ParityError, match="layer l1 gives shape"):
        compare_traces("c-host", graph, values, found | {"l1_out": found["l1_out"][:-2]})
    with pytest.raises(ParityError, match="layer l2 gives shape"):
        compare_traces("c-host", graph, values, found | {"l2_out": found["l2_out"][:-1]})


def test_a_mismatch_names_backend_and_layer():
    row = compare("tflite", "l3", np.array([1, 2, 3]), np.array([1, 2, 5]))
    assert (row.mismatches, row.max_lsb, row.ok) == (1, 2, False)
    with pytest.raises(
        ParityError, match="tflite differs from the integer graph at layer l3: 1 of 3 values, by up to 2"
    ):
        require_parity([row])


def test_what_differs_is_written_before_it_is_said(tmp_path):
    with pytest.raises(ParityError) as caught:
        require_parity([compare("c-host", "l1", np.array([1, 2]), np.array([1, 4]))], tmp_path)
    assert str(tmp_path / "parity.json") in caught.value.hint
    assert json.loads((tmp_path / "parity.json").read_text())["layers"][0]["mismatches"] == 1


def test_allowed_differences_are_allowed():
    row = compare("onnx", "l3", np.arange(1000), np.arange(1000) + (np.arange(1000) == 5), 1, 0.001)
    assert row.ok
    require_parity([row])
    assert not dataclasses.replace(row, mismatches=2).ok


def test_shapes_must_agree():
    with pytest.raises(ParityError, match="shape"):
        compare("onnx", "l3", np.zeros(3, int), np.zeros(4, int))


def test_empty_layers_compare():
    assert compare("onnx", "l3", np.zeros(0, int), np.zeros(0, int)).max_lsb == 0


def test_rows_of_several_clips_merge():
    rows = [
        LayerParity("onnx", "l1", 10, 1, 1),
        LayerParity("onnx", "l2", 5, 0, 0),
        LayerParity("onnx", "l1", 10, 2, 3),
    ]
    assert merge(rows) == [LayerParity("onnx", "l1", 20, 3, 3), LayerParity("onnx", "l2", 5, 0, 0)]
    assert rows[0].to_dict()["layer"] == "l1"


def test_macs_of_a_convolution(graph):
    values = run(graph, {"pcm": noise()})
    counts = macs(graph, values)
    frames = values["l1_out"].shape[0]
    assert counts["l1"] == frames * 8 * 4 * 9
    assert counts["adv"] == 3 * values["attend_out"].size
    assert "pool" not in counts
    often = macs(graph, values, results=7)
    assert often == counts | {"adv": 7 * counts["adv"]}


def test_activations_are_the_inputs_that_are_computed(graph):
    assert [tensor.name for tensor in graph.activations(graph.op("attend"))] == ["lin_out", "sof_out"]
