"""What an artifact says of where it came from: digests of its inputs, names, axes and the licence."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx_by_hand import Model
from unit.quantize.graphs import student
from unit.quantize.test_foreign_faults import INT8

from edgekit import artifact, labels
from edgekit.graph import load_graph
from quantize import evaluation, stage
from quantize import student as student_module
from quantize.config import QuantizeConfig
from quantize.foreign import quantize_model

SETTINGS = {"student": "wav2small", "hop": 32, "level": "causal", "teachers": ["compact"]}


def quantize(tmp_path):
    return quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")


def mean_of_a_map(m):
    m.conv()
    m.node("ReduceMean", m.last, m.constant(np.array([2, 3], np.int64)), keepdims=0)


def turned_map(m):
    m.conv()
    m.turn(0, 2, 3, 1)


@pytest.mark.parametrize(("build", "axes"), [(mean_of_a_map, "1"), (turned_map, "1 2 3")])
def test_the_output_has_the_float_models_name(build, axes, tmp_path):
    """Whatever the last layer is called: a reshape without a name, a Transpose that moves nothing."""
    model = Model((2, 6, 7))
    build(model)
    model.write(tmp_path)
    facts = load_graph(quantize(tmp_path).path).metadata
    assert (facts["input"], facts["output"]) == ("x, axes 2 3 1", f"{model.last}, axes {axes}")


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [
        ({}, "not stated by the float model"),
        ({"License": "MIT", "author": "somebody"}, "MIT"),
        ({"licence": ""}, "not stated by the float model"),
    ],
)
def test_the_licence_is_what_the_float_model_states(stated, wanted, tmp_path):
    model = Model((10,))
    model.gemm(10)
    model.write(tmp_path)
    proto = onnx.load(str(tmp_path / "m.onnx"))
    onnx.helper.set_model_props(proto, stated)
    onnx.save(proto, str(tmp_path / "m.onnx"))
    made = quantize(tmp_path)
    written = {item.key: item.value for item in onnx.load(str(made.file("model.onnx"))).metadata_props}
    assert written["licence"] == wanted
    assert tflite_facts(made)["licence"] == wanted


def tflite_facts(made):
    model = schema.ModelT.InitFromPackedBuf(made.file("model.tflite").read_bytes())
    (entry,) = (item for item in model.metadata if item.name == b"edgekit")
    return json.loads(bytes(model.buffers[entry.buffer].data))


def test_weights_beside_the_model_are_inputs_too(tmp_path):
    """Other weights in the same .onnx are another model."""
    model = Model((10,))
    model.gemm(10)
    model.write(tmp_path)
    proto = onnx.load(str(tmp_path / "m.onnx"))
    onnx.save(proto, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.bin", size_threshold=0)
    first = quantize(tmp_path).manifest.inputs
    assert set(first) == {"model", "model: m.bin", "calibration"}
    stored = np.fromfile(tmp_path / "m.bin", np.float32)
    (2 * stored).tofile(tmp_path / "m.bin")
    again = quantize(tmp_path).manifest.inputs
    assert {name for name in first if first[name] != again[name]} == {"model: m.bin"}


def test_a_students_files_state_the_licence_of_its_labels(tmp_path, monkeypatch):
    made_by_training = {
        "frontend.json": json.loads(student().metadata["front_end"]),
        "metrics.json": SETTINGS,
        "student.onnx": {},
    }
    with artifact.writing(tmp_path / "student", "distill", {}, {}) as work:
        for name, content in made_by_training.items():
            artifact.write_json(work / name, content)
    (tmp_path / "labels").mkdir()
    artifact.write_json(tmp_path / "labels" / "teacher.json", {"licence": "CC-BY-4.0"})
    monkeypatch.setattr(labels, "read_labels", lambda _: SimpleNamespace(digest="0"))
    monkeypatch.setattr(student_module, "quantize_student", lambda *_: student())
    monkeypatch.setattr(evaluation, "write_copies", lambda *_: {})
    config = QuantizeConfig(weights="int8")
    made = stage.quantize(config, tmp_path / "student", tmp_path / "labels", tmp_path / "graph")
    facts = load_graph(made.path).metadata
    assert facts["licence"] == "of the teacher's labels: CC-BY-4.0"
    assert facts["student"] == "wav2small, hop 32, causal"
