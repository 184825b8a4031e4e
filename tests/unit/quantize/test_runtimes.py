"""Every integer layer of every student in LiteRT, TFLite Micro and onnxruntime, on 20 clips of speech."""

from pathlib import Path

import pytest
from unit.quantize.graphs import random_student, wav2small

import edgekit
from distill.config import DistillConfig
from distill.export import student_onnx
from distill.registry import shipped_student
from distill.training import load_student
from edgekit.audio import log_mel, read_audio, to_pcm16
from edgekit.graph import run
from edgekit.graph.parity import merge
from quantize.calibration import observe
from quantize.importer import import_onnx
from quantize.onnx_writer import write_onnx
from quantize.parity import MicroLayers, OnnxLayers, TfliteModel, micro_rows, onnx_rows, tflite_rows
from quantize.quantizer import quantize_network
from quantize.tflite_writer import write_tflite

WINDOW_SAMPLES = 6400
COUNT = 20
FLOAT = ("attend", "second")
"""What a .tflite computes in float."""


@pytest.fixture(scope="module")
def speech():
    """Parts of 20 clips that ship."""
    files = sorted((Path(edgekit.__file__).parent / "data" / "speech" / "clips").glob("*.opus"))
    return [read_audio(file)[4000 : 4000 + WINDOW_SAMPLES] for file in files[: 5 * COUNT : 5]]


def rows_of(graph, speech, folder):
    """Return what each runtime makes of each layer, over all clips."""
    litert, micro = TfliteModel(folder / "model.tflite", graph), MicroLayers(graph)
    onnx, rows = OnnxLayers(folder / "model.onnx", graph), []
    for clip in speech:
        values = run(graph, {"pcm": to_pcm16(clip)})
        rows += tflite_rows(graph, values, litert(values["log_mel"]))
        rows += micro_rows(graph, values, micro)
        rows += onnx_rows(graph, values, onnx)
    return merge(rows)


def check(rows, least):
    exact = [row for row in rows if row.backend != "onnx" and row.layer not in FLOAT]
    assert all(row.allowed_lsb == 0 for row in exact)
    assert {(r.backend, r.layer): (r.mismatches, r.max_lsb) for r in exact if r.mismatches} == {}
    assert {(r.layer, r.mismatches, r.elements, r.max_lsb) for r in rows if not r.ok} == set()
    for backend in ("tflite", "tflite-micro", "onnx"):
        layers = [row for row in rows if row.backend == backend]
        assert len(layers) >= least - 1
        assert all(row.elements >= 3 * COUNT for row in layers)


def test_wav2small(speech, tmp_path):
    graph = wav2small()
    write_onnx(graph, tmp_path / "model.onnx")
    write_tflite(graph, tmp_path / "model.tflite")
    check(rows_of(graph, speech, tmp_path), 12)


@pytest.mark.parametrize("weights", ["mixed4", "int8"])
@pytest.mark.parametrize(("level", "hop"), [("causal", 32), ("utterance", 32), ("causal", 128)])
def test_the_students_that_ship(level, hop, weights, speech, tmp_path):
    student = load_student(shipped_student("wav2small", level, hop), "wav2small").eval()
    model, front_end = tmp_path / "student.onnx", student.front_end
    model.write_bytes(student_onnx(student).SerializeToString())
    network = import_onnx(model)
    seen = observe(model, network, [log_mel(clip, front_end) for clip in speech[:6]])
    graph = quantize_network(network, front_end, seen, int4_linears=weights == "mixed4")
    write_onnx(graph, tmp_path / "model.onnx")
    write_tflite(graph, tmp_path / "model.tflite")
    check(rows_of(graph, speech, tmp_path), 12)


@pytest.mark.parametrize(
    ("student", "least"),
    [
        ("wav2small2", 10),
        ("mobilenetv4-small", 55),
        ("mobilenetv3-small", 90),
        ("mobilenetv3-large", 100),
        ("mobilenetv4-medium", 90),
    ],
)
def test_other_students(student, least, speech, tmp_path):
    config = DistillConfig(student=student, level="utterance", warm_start=False)
    graph = random_student(config, speech, tmp_path, settled=6, observed=6, window_samples=WINDOW_SAMPLES)
    check(rows_of(graph, speech, tmp_path), least)
