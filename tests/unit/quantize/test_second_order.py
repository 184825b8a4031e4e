"""Wav2Small2.0: products of pooled values, in the graph and in both files."""

import numpy as np
import pytest
from unit.quantize.graphs import noise_bursts, random_student

from distill.config import DistillConfig
from edgekit.audio import log_mel, to_pcm16
from edgekit.errors import UnsupportedError
from edgekit.graph import run
from quantize.importer import import_onnx
from quantize.parity import OnnxLayers, TfliteModel, onnx_rows, tflite_rows
from quantize.runtime import OnnxModel

FLOAT = ("attend", "second")
CLIPS = [noise_bursts(0.5 + 0.05 * seed, seed=seed) for seed in range(8)]


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    config, folder = DistillConfig(student="wav2small2", warm_start=False), tmp_path_factory.mktemp("student")
    graph = random_student(config, CLIPS, folder, settled=1, observed=5, seed=1)
    features = [log_mel(clip, config.front_end) for clip in CLIPS]
    return graph, folder, features


def test_its_layers(student):
    graph, _, _ = student
    kinds = [op.kind for op in graph.ops]
    assert kinds.count("flatten") == 2
    assert kinds[-3:] == ["attention_pool", "second_order", "fully_connected_int16"]
    assert graph.tensors["second_out"].shape == (13 * 13 + 13 * 13,)


def test_graph_and_files_follow_the_float_student(student):
    graph, folder, features = student
    float_student, copy = OnnxModel(folder / "student.onnx"), OnnxModel(folder / "model.onnx")
    tflite = TfliteModel(folder / "model.tflite", graph)
    wanted, found = [], {"graph": [], "onnx": [], "tflite": []}
    for clip, frames in zip(CLIPS, features, strict=True):
        values = run(graph, {"pcm": to_pcm16(clip)})
        wanted.append(float_student(frames[None]))
        found["graph"].append(values[graph.outputs[0]] / 2**14)
        found["onnx"].append(copy(clip[None]))
        found["tflite"].append(tflite(values["log_mel"])[graph.outputs[0]] / 2**14)
    spread = np.std(wanted, axis=0)
    assert (spread > 0.01).all()
    for name, adv in found.items():
        assert np.abs(np.array(adv) - wanted).max() < 0.02, name
        for dimension in range(3):
            agreement = np.corrcoef(np.array(adv)[:, dimension], np.array(wanted)[:, dimension])[0, 1]
            assert agreement > 0.9, (name, dimension)
    assert np.abs(np.array(found["tflite"]) - found["graph"]).max() < 1e-3


def test_integer_layers_are_the_same(student):
    graph, folder, _ = student
    values = run(graph, {"pcm": to_pcm16(CLIPS[6])})
    rows = tflite_rows(graph, values, TfliteModel(folder / "model.tflite", graph)(values["log_mel"]))
    assert {row.layer: row.max_lsb for row in rows if not row.ok} == {}
    assert all(row.allowed_lsb == 0 for row in rows if row.layer not in FLOAT)
    rows = list(onnx_rows(graph, values, OnnxLayers(folder / "model.onnx", graph)))
    assert all(row.ok for row in rows)
    assert len(rows) == 13


def test_products_of_anything_else_are_refused(student, tmp_path):
    import onnx

    _, folder, _ = student
    model = onnx.load(str(folder / "student.onnx"))
    node = next(node for node in model.graph.node if node.op_type == "Concat")
    del node.input[1]
    onnx.save(model, str(tmp_path / "changed.onnx"))
    with pytest.raises(UnsupportedError, match=r"\(Concat\): required: pooled values, then their products"):
        import_onnx(tmp_path / "changed.onnx")
