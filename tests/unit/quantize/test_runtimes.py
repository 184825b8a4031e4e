"""Every integer layer of every student in LiteRT, TFLite Micro and onnxruntime, on 20 clips of speech."""

from pathlib import Path

import numpy as np
import pytest
import torch
from unit.quantize.graphs import wav2small

import edgekit
from distill.config import DistillConfig
from distill.export import student_onnx
from distill.registry import create_student
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


@pytest.fixture(scope="module")
def speech():
    """Parts of 20 clips that ship."""
    files = sorted((Path(edgekit.__file__).parent / "data" / "speech" / "clips").glob("*.opus"))
    return [read_audio(file)[4000 : 4000 + WINDOW_SAMPLES] for file in files[: 5 * COUNT : 5]]


def graph_of(student, speech, folder):
    torch.manual_seed(0)
    config = DistillConfig(student=student, level="utterance", warm_start=False)
    network = create_student(student, config.front_end).train()
    features = [log_mel(clip, config.front_end) for clip in speech[:6]]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.5
        for _ in range(6):
            network.forward_logmel(torch.from_numpy(np.stack(features)))
    path = folder / f"{student}.onnx"
    path.write_bytes(student_onnx(network.eval()).SerializeToString())
    layers = import_onnx(path)
    seen = observe(path, layers, features)
    return quantize_network(layers, config.front_end, seen, int4_linears=False, window_samples=WINDOW_SAMPLES)


def rows_of(graph, speech, folder):
    """Return what each runtime makes of each layer, over all clips."""
    write_onnx(graph, folder / "model.onnx")
    write_tflite(graph, folder / "model.tflite")
    litert, micro = TfliteModel(folder / "model.tflite", graph), MicroLayers(graph)
    onnx, rows = OnnxLayers(folder / "model.onnx", graph), []
    for clip in speech:
        values = run(graph, {"pcm": to_pcm16(clip)})
        rows += tflite_rows(graph, values, litert(values["log_mel"]))
        rows += micro_rows(graph, values, micro)
        rows += onnx_rows(graph, values, onnx)
    return merge(rows)


def check(rows, least):
    exact = [row for row in rows if row.backend != "onnx"]
    assert {(r.backend, r.layer): (r.mismatches, r.max_lsb) for r in exact if r.mismatches} == {}
    assert {(r.layer, r.mismatches, r.elements, r.max_lsb) for r in rows if not r.ok} == set()
    for backend in ("tflite", "tflite-micro", "onnx"):
        layers = [row for row in rows if row.backend == backend]
        assert len(layers) >= least - 1
        assert all(row.elements >= 3 * COUNT for row in layers)


def test_wav2small(speech, tmp_path):
    check(rows_of(wav2small(), speech, tmp_path), 12)


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
    check(rows_of(graph_of(student, speech, tmp_path), speech, tmp_path), least)
