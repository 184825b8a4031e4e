import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from unit.quantize.graphs import noise_bursts, student, wav2small

from edgekit.audio import FrontEnd, to_pcm16
from edgekit.errors import UnsupportedError
from edgekit.graph import Graph, Quantization, run
from quantize.parity import TfliteModel, tflite_rows
from quantize.tflite_file import BUFFER_ALIGNMENT_BYTES
from quantize.tflite_writer import write_tflite


def written(graph: Graph, folder: Path) -> Path:
    write_tflite(graph, folder / "model.tflite")
    return folder / "model.tflite"


def parsed(path: Path) -> schema.ModelT:
    return schema.ModelT.InitFromPackedBuf(path.read_bytes())


def change_op(graph: Graph, name: str, **changes) -> Graph:
    ops = tuple(dataclasses.replace(op, **changes) if op.name == name else op for op in graph.ops)
    return dataclasses.replace(graph, ops=ops)


def rows_of(graph: Graph, path: Path, duration_s: float = 0.4):
    """Return the graph's values, and the parity of the integer layers."""
    values = run(graph, {"pcm": to_pcm16(noise_bursts(duration_s, seed=5))})
    rows = tflite_rows(graph, values, TfliteModel(path, graph)(values["log_mel"]))
    return values, [row for row in rows if row.layer != "attend"]


@pytest.mark.parametrize("weights", ["int4", "int8"])
def test_every_integer_layer_equals_the_reference(weights: str, tmp_path: Path) -> None:
    graph = student(weights)
    _, rows = rows_of(graph, written(graph, tmp_path))
    assert [row.layer for row in rows] == ["l1", "pool", "l2", "mix", "lin", "sof", "adv"]
    assert [(row.mismatches, row.max_lsb) for row in rows] == [(0, 0)] * 7
    assert all(row.elements > 100 for row in rows[:-1])


def test_float_attention_is_within_one_lsb(tmp_path: Path) -> None:
    graph = student()
    values = run(graph, {"pcm": to_pcm16(noise_bursts(0.5, seed=5))})
    found = TfliteModel(written(graph, tmp_path), graph)(values["log_mel"])
    unweighted = (values["lin_out"].mean(axis=0) - 3) * 128
    assert np.abs(found["attend_out"].astype(int) - values["attend_out"]).max() <= 1
    assert np.abs(unweighted - values["attend_out"]).max() > 20


def test_full_size_equals_the_reference(tmp_path: Path) -> None:
    graph = wav2small()
    _, rows = rows_of(graph, written(graph, tmp_path))
    assert {row.layer: row.mismatches for row in rows if row.mismatches} == {}
    assert sum(row.elements for row in rows) > 100_000


@pytest.mark.parametrize(("weights", "most_bytes"), [("int4", 52_000), ("int8", 76_000)])
def test_full_size_fits_its_budget(weights: str, most_bytes: int, tmp_path: Path) -> None:
    assert written(wav2small(weights), tmp_path).stat().st_size <= most_bytes


@pytest.mark.parametrize("duration_s", [0.04, 0.11, 1.0])
def test_time_axis_takes_any_length(duration_s: float, tmp_path: Path) -> None:
    graph = student()
    values, rows = rows_of(graph, written(graph, tmp_path), duration_s)
    assert values["log_mel"].shape[0] == FrontEnd().frame_count(round(duration_s * 16_000))
    assert all(row.mismatches == 0 for row in rows)


@pytest.mark.parametrize("choices", [{"zero_point": -20}, {"zero_point": -20, "relu": False}])
def test_pool_padding_and_relu_hold_at_any_zero_point(choices: dict, tmp_path: Path) -> None:
    # At zero point -20 padding with the zero point would win against negative values (no ReLU), and a
    # clamp at -128 would let them through (ReLU).
    graph = student(**choices)
    values, rows = rows_of(graph, written(graph, tmp_path))
    assert all(row.mismatches == 0 for row in rows)
    assert (values["l1_out"].min() < -20) == (choices.get("relu") is False)


def test_holds_exactly_the_graphs_integers(tmp_path: Path) -> None:
    graph = student("int4")
    model = parsed(written(graph, tmp_path))
    tensors = model.subgraphs[0].tensors
    code = model.operatorCodes
    convolutions = [
        op
        for op in model.subgraphs[0].operators
        if code[op.opcodeIndex].builtinCode == schema.BuiltinOperator.CONV_2D
    ]
    layers = [op for op in graph.ops if op.kind in ("conv2d", "fully_connected", "fully_connected_int16")]
    assert len(convolutions) == len(layers)
    for convolution, op in zip(convolutions, layers, strict=True):
        weights, bias = graph.constant_inputs(op)[:2]
        tensor = tensors[convolution.inputs[1]]
        data = model.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.INT4:
            low, high = (data << 4).view(np.int8) >> 4, data.view(np.int8) >> 4
            data = np.stack([low, high], 1).reshape(-1)[: weights.size]
        assert np.array_equal(data.view(np.int8), weights.ravel())
        bias_type = np.int64 if op.kind == "fully_connected_int16" else np.int32
        stored = model.buffers[tensors[convolution.inputs[2]].buffer].data.view(bias_type)
        assert np.array_equal(stored, bias)
    kinds = {tensors[op.inputs[1]].type for op in convolutions}
    assert kinds == {schema.TensorType.INT4, schema.TensorType.INT8}


def test_default_length_is_two_seconds_and_output_is_adv(tmp_path: Path) -> None:
    graph = student()
    model = parsed(written(graph, tmp_path))
    subgraph = model.subgraphs[0]
    (source,), (output,) = (
        [subgraph.tensors[i] for i in indices] for indices in (subgraph.inputs, subgraph.outputs)
    )
    assert (source.name, list(source.shape), list(source.shapeSignature)) == (
        b"log_mel",
        [1, 999, 8, 1],
        [1, -1, 8, 1],
    )
    assert (output.name, list(output.shape), output.type) == (
        b"adv_out",
        [1, 1, 1, 3],
        schema.TensorType.INT16,
    )
    assert list(output.quantization.scale) == [2.0**-14]
    lengths = {t.name.decode(): t.shape[1] for t in subgraph.tensors if t.name}
    values = run(graph, {"pcm": np.zeros(32_000, np.int16)})
    assert lengths["l1_out"] == values["l1_out"].shape[0]
    assert lengths["pool_out"] == values["pool_out"].shape[0]
    assert lengths["sof_out"] == values["sof_out"].shape[0]


def test_default_kernels_run_it_by_signature(tmp_path: Path) -> None:
    graph = student()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = Interpreter(str(written(graph, tmp_path)), num_threads=1)
    values = run(graph, {"pcm": to_pcm16(noise_bursts(2.0))})
    runner = interpreter.get_signature_runner()
    found = runner(log_mel=values["log_mel"][None])["adv_out"].reshape(3)
    assert np.abs(found - values["adv_out"]).max() <= 64  # other kernels round otherwise: 0.004


def test_metadata_describes_the_model(tmp_path: Path) -> None:
    graph = student()
    model = parsed(written(graph, tmp_path))
    (entry,) = model.metadata
    stored = json.loads(bytes(model.buffers[entry.buffer].data))
    assert entry.name == b"edgekit"
    assert stored["licence"] == "CC-BY-4.0"
    assert FrontEnd.from_dict(json.loads(stored["front_end"])).mel_bands == 8
    assert b"log-mel" in model.description


def test_buffers_are_aligned_and_bytes_repeat(tmp_path: Path) -> None:
    graph = student()
    data = written(graph, tmp_path).read_bytes()
    assert data[4:8] == b"TFL3"
    for buffer in parsed(tmp_path / "model.tflite").buffers[1:]:
        content = buffer.data.tobytes()
        starts = [
            i for i in range(0, len(data), BUFFER_ALIGNMENT_BYTES) if data[i : i + len(content)] == content
        ]
        assert starts
    assert written(student(), tmp_path).read_bytes() == data


def test_scales_that_do_not_give_the_multipliers_are_refused(tmp_path: Path) -> None:
    graph = student()
    tensor = graph.tensors["l2_out"]
    wrong = dataclasses.replace(
        tensor, quantization=Quantization((tensor.quantization.scales[0] * 1.001,), -128)
    )
    broken = dataclasses.replace(graph, tensors={**graph.tensors, "l2_out": wrong})
    with pytest.raises(UnsupportedError, match="conv2d 'l2'"):
        write_tflite(broken, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_unknown_clamp_and_operator_are_refused(tmp_path: Path) -> None:
    graph = student()
    attributes = {**graph.op("l2").attributes, "clamp": (-128, 5)}
    with pytest.raises(UnsupportedError, match=r"'l2': clamp \(-128, 5\)"):
        write_tflite(change_op(graph, "l2", attributes=attributes), tmp_path / "model.tflite")
    with pytest.raises(UnsupportedError, match="hard_swish 'l2'"):
        write_tflite(change_op(graph, "l2", kind="hard_swish"), tmp_path / "model.tflite")


def test_input_that_is_no_log_mel_is_refused(tmp_path: Path) -> None:
    graph = student()
    tensor = dataclasses.replace(graph.tensors["log_mel"], dtype="int16")
    broken = dataclasses.replace(graph, tensors={**graph.tensors, "log_mel": tensor})
    with pytest.raises(UnsupportedError, match="log_mel"):
        write_tflite(broken, tmp_path / "model.tflite")


def test_op_without_scale_is_refused(tmp_path: Path) -> None:
    graph = student()
    tensor = dataclasses.replace(graph.tensors["l1_out"], quantization=None)
    with pytest.raises(UnsupportedError, match="'l1_out' has no scale"):
        write_tflite(dataclasses.replace(graph, tensors={**graph.tensors, "l1_out": tensor}), tmp_path / "m")
