import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from unit.quantize.graphs import noise_bursts, student, wav2small

from edgekit.audio import FrontEnd, to_pcm16
from edgekit.errors import UnsupportedError
from edgekit.graph import Graph, run
from quantize.onnx_writer import write_onnx
from quantize.parity import OnnxLayers, onnx_rows
from quantize.runtime import OnnxModel, one_thread_session


def written(graph: Graph, folder: Path) -> Path:
    write_onnx(graph, folder / "model.onnx")
    return folder / "model.onnx"


def rows_of(graph: Graph, path: Path, duration_s: float = 0.4):
    values = run(graph, {"pcm": to_pcm16(noise_bursts(duration_s, seed=5))})
    return list(onnx_rows(graph, values, OnnxLayers(path, graph)))


def activation(path: Path, name: str, element_type: int, samples) -> np.ndarray:
    """Return what the model computes under a name."""
    model = onnx.load(str(path))
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, element_type, None))
    (found,) = one_thread_session(model.SerializeToString()).run([name], {"waveform": samples[None]})
    return found


def log_mels(path: Path, samples) -> np.ndarray:
    """Return the model's (T, mel) int8 log-mels."""
    return activation(path, "log_mel", onnx.TensorProto.INT8, samples)[0, 0].astype(int)


@pytest.mark.parametrize("weights", ["int4", "int8"])
@pytest.mark.parametrize("choices", [{}, {"zero_point": -20}, {"relu": False}])
def test_integer_layers_stay_within_one_lsb(weights: str, choices: dict, tmp_path: Path) -> None:
    graph = student(weights, **choices)
    rows = rows_of(graph, written(graph, tmp_path))
    assert [row.layer for row in rows] == ["l1", "pool", "l2", "mix", "lin", "sof", "attend", "adv"]
    assert all(row.ok for row in rows)
    assert {(row.allowed_lsb, row.allowed_fraction) for row in rows[:-2]} == {(1, 0.001)}


def test_full_size_fits_its_budget_and_hardly_differs(tmp_path: Path) -> None:
    graph = wav2small()
    path = written(graph, tmp_path)
    rows = rows_of(graph, path)
    assert path.stat().st_size <= 60_000
    assert sum(row.mismatches for row in rows if row.allowed_lsb == 1) <= 1e-5 * sum(
        row.elements for row in rows
    )


@pytest.mark.parametrize("level", ["causal", "utterance"])
@pytest.mark.parametrize(("n_fft", "hop"), [(64, 32), (64, 64), (64, 16), (32, 16)])
def test_log_mels_are_the_graphs(level: str, n_fft: int, hop: int, tmp_path: Path) -> None:
    front_end = FrontEnd(n_fft, hop, mel_bands=8, level=level, memory_frames=20)
    graph = student(front_end=front_end)
    samples = noise_bursts(0.5, seed=3)
    expected = run(graph, {"pcm": to_pcm16(samples)})["log_mel"][:, :, 0].astype(int)
    difference = np.abs(log_mels(written(graph, tmp_path), samples) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.03


def test_quiet_log_mels_are_the_graphs(tmp_path: Path) -> None:
    # Here the level's epsilon and the rounding of the mean to whole PCM steps matter.
    graph = student()
    samples = (noise_bursts(0.5, seed=3) * 0.003).astype(np.float32)
    expected = run(graph, {"pcm": to_pcm16(samples)})["log_mel"][:, :, 0].astype(int)
    difference = np.abs(log_mels(written(graph, tmp_path), samples) - expected)
    assert difference.mean(axis=0).max() < 0.1


def test_samples_are_rounded_and_saturated_as_pcm(tmp_path: Path) -> None:
    graph = student()
    path = written(graph, tmp_path)
    loud = noise_bursts() * 40
    assert np.abs(loud).max() > 1
    pcm = to_pcm16(loud)
    assert np.array_equal(log_mels(path, loud), log_mels(path, (pcm / 32768).astype(np.float32)))
    faint = (noise_bursts() * 1e-4).astype(np.float32)
    assert np.array_equal(log_mels(path, faint), log_mels(path, (to_pcm16(faint) / 32768).astype(np.float32)))


@pytest.mark.parametrize("duration_s", [0.1, 2.0])
def test_adv_is_the_graphs_for_any_length(duration_s: float, tmp_path: Path) -> None:
    graph = student()
    samples = noise_bursts(duration_s, seed=4)
    expected = run(graph, {"pcm": to_pcm16(samples)})["adv_out"] / 2**14
    found = OnnxModel(written(graph, tmp_path))(samples[None])
    assert np.abs(found - expected).max() < 0.002
    assert np.ptp(expected) > 0.02


def test_float_attention_is_the_graphs(tmp_path: Path) -> None:
    graph = student()
    samples = noise_bursts(0.5, seed=5)
    values = run(graph, {"pcm": to_pcm16(samples)})
    expected = graph.tensors["attend_out"].quantization.dequantize(values["attend_out"])
    unweighted = graph.tensors["lin_out"].quantization.dequantize(values["lin_out"]).mean(axis=0)
    found = activation(written(graph, tmp_path), "attend_out", onnx.TensorProto.FLOAT, samples)[0]
    assert np.abs(found - expected).max() < 0.05 * np.abs(unweighted - expected).max()


def test_interface_metadata_and_opset(tmp_path: Path) -> None:
    graph = student()
    model = onnx.load(str(written(graph, tmp_path)))
    onnx.checker.check_model(model, full_check=True)
    properties = {item.key: item.value for item in model.metadata_props}
    assert properties["licence"] == "CC-BY-4.0"
    assert FrontEnd.from_dict(json.loads(properties["front_end"])).mel_bands == 8
    session = one_thread_session(tmp_path / "model.onnx")
    assert [(i.name, i.shape, i.type) for i in session.get_inputs()] == [
        ("waveform", [1, "samples"], "tensor(float)")
    ]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("adv_out", [1, 3])]


def test_int4_weights_are_stored_packed(tmp_path: Path) -> None:
    graph = student("int4")
    model = onnx.load(str(written(graph, tmp_path)))
    packed = [item for item in model.graph.initializer if item.data_type == onnx.TensorProto.INT4]
    found = [onnx.numpy_helper.to_array(item).astype(np.int8) for item in packed]
    wanted = [graph.constants[f"{name}_weights"].T for name in ("lin", "sof")]
    assert all(np.array_equal(*pair) for pair in zip(found, wanted, strict=True))
    assert [len(item.raw_data) for item in packed] == [weights.size // 2 for weights in wanted]


def test_same_graph_same_bytes(tmp_path: Path) -> None:
    assert written(student(), tmp_path).read_bytes() == written(student(), tmp_path).read_bytes()


def test_unknown_operator_is_refused_by_name(tmp_path: Path) -> None:
    graph = student()
    ops = tuple(dataclasses.replace(op, kind="hard_swish") if op.name == "l2" else op for op in graph.ops)
    with pytest.raises(UnsupportedError, match="hard_swish 'l2'"):
        write_onnx(dataclasses.replace(graph, ops=ops), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_graph_without_front_end_is_refused(tmp_path: Path) -> None:
    graph = student()
    ops = tuple(op for op in graph.ops if op.kind != "frame_level")
    with pytest.raises(UnsupportedError, match="no frame_level"):
        write_onnx(dataclasses.replace(graph, ops=ops), tmp_path / "model.onnx")
