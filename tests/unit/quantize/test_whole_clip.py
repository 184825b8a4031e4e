"""Students that need the whole clip: their graph, and both files written from it, layer by layer."""

from collections import Counter

import numpy as np
import onnx
import pytest
from unit.quantize.graphs import noise_bursts, random_student

from distill.config import DistillConfig
from edgekit.audio import log_mel, to_pcm16
from edgekit.errors import UnsupportedError
from edgekit.graph import run
from quantize.importer import import_onnx
from quantize.parity import OnnxLayers, TfliteModel, onnx_rows, tflite_rows
from quantize.runtime import one_thread_session
from quantize.tflite_reader import read_tflite

WINDOW_SAMPLES = 8000
FLOAT = ("attend",)
CLIPS = [np.resize(noise_bursts(0.7, seed=seed), WINDOW_SAMPLES) for seed in range(6)]


@pytest.fixture(scope="module", params=["mobilenetv3-small", "mobilenetv4-small"])
def student(request, tmp_path_factory):
    """A student with random weights and batch statistics of noise; its graph and both files."""
    config = DistillConfig(student=request.param, level="utterance", warm_start=False)
    folder = tmp_path_factory.mktemp(request.param)
    graph = random_student(
        config, CLIPS, folder, settled=len(CLIPS), observed=4, window_samples=WINDOW_SAMPLES
    )
    return request.param, graph, folder


def test_it_is_made_of_the_operators_of_its_family(student):
    name, graph, _ = student
    kinds = Counter(op.kind for op in graph.ops)
    assert kinds["depthwise_conv2d"] >= 11
    assert kinds["add"] >= 6
    # Squeeze and excite, and hard swish, are MobileNetV3's.
    assert (kinds["mean"] > 0, kinds["mul"] > 0, kinds["lookup"] > 0) == (("v3" in name),) * 3


def test_every_tensor_has_the_shape_that_it_declares(student):
    _, graph, _ = student
    found = run(graph, {"pcm": to_pcm16(CLIPS[5])})
    declared = {name: graph.tensors[name].shape for name in found if -1 not in graph.tensors[name].shape}
    assert len(declared) > 50
    assert {name: found[name].shape for name in declared} == declared


def test_both_files_hold_its_integers(student):
    _, graph, folder = student
    tflite, copy = TfliteModel(folder / "model.tflite", graph), OnnxLayers(folder / "model.onnx", graph)
    mismatches = 0
    for clip in CLIPS[4:]:
        values = run(graph, {"pcm": to_pcm16(clip)})
        rows = list(tflite_rows(graph, values, tflite(values["log_mel"])))
        assert {row.layer: row.max_lsb for row in rows if not row.ok} == {}
        assert all(row.allowed_lsb == 0 for row in rows if row.layer not in FLOAT)
        assert len(rows) > 50
        mismatches += sum(row.mismatches for row in onnx_rows(graph, values, copy) if row.allowed_lsb == 1)
        elements = sum(row.elements for row in rows)
    assert mismatches <= 1e-5 * elements


def test_its_layers_follow_the_float_ones(student):
    """The first ones: in a network of random weights, errors grow with depth as signals do."""
    _, graph, folder = student
    layers = import_onnx(folder / "student.onnx").layers[:10]
    model = onnx.load(str(folder / "student.onnx"))
    names = [layer.output for layer in layers]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    front_end = DistillConfig(level="utterance", warm_start=False).front_end
    session = one_thread_session(model.SerializeToString())
    real = session.run(names, {"logmel": log_mel(CLIPS[4], front_end)[None]})
    values = run(graph, {"pcm": to_pcm16(CLIPS[4])})
    for layer, wanted in zip(layers, real, strict=True):
        tensor = graph.output(graph.op(layer.name))
        found = tensor.quantization.dequantize(values[tensor.name])
        agreement = np.corrcoef(found.ravel(), wanted[0].transpose(1, 2, 0).ravel())[0, 1]
        assert agreement > 0.94, layer.name


def test_the_tflite_reads_back_up_to_its_float_attention(student):
    """The reader does not know the float attention; what it says names it."""
    _, _, folder = student
    with pytest.raises(
        UnsupportedError, match=r"DEQUANTIZE 'dequantize_\d+': operator DEQUANTIZE, supported: CONV_2D"
    ):
        read_tflite(folder / "model.tflite")
