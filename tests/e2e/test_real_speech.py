"""The promises on real recordings: the shipped student, quantized, as C, on the simulated core."""

import csv
from pathlib import Path

import numpy as np
import pytest
from support import needs_qemu, small_graph

from codegen.emit import emit_sources, model_sources
from codegen.host import HostModel, build_library, run_traced
from codegen.toolchain import compile_firmware
from distill.export import student_onnx
from distill.registry import shipped_student
from distill.training import load_student
from edgekit.audio import SAMPLE_RATE_HZ, log_mel, read_audio, to_pcm16
from edgekit.graph import run
from edgekit.graph.parity import compare_traces, merge, require_parity
from edgekit.metrics import adv_ccc
from edgekit.targets import load_target
from firmware_sim import simulate
from firmware_sim.stage import check_layers
from quantize.calibration import observe
from quantize.importer import import_onnx
from quantize.onnx_writer import write_onnx
from quantize.quantizer import quantize_network
from quantize.runtime import OnnxModel
from quantize.tflite_writer import write_tflite

pytestmark = pytest.mark.shared


def emodb(shared: Path, split: str, count: int) -> list[np.ndarray]:
    """Return clips of a split, spread over its speakers and sentences."""
    rows = list(csv.DictReader((shared / "corpus" / "labels.csv").read_text().splitlines()))
    paths = [row["path"] for row in rows if row["corpus"] == "emodb" and row["split"] == split]
    return [read_audio(shared / "corpus" / paths[i * len(paths) // count]) for i in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def student(folder):
    """The shipped causal student as ONNX, and its front end."""
    model = load_student(shipped_student("wav2small", "causal"), "wav2small")
    model.eval()
    path = folder / "student.onnx"
    path.write_bytes(student_onnx(model).SerializeToString())
    return path, model.front_end


@pytest.fixture(scope="module")
def held_out(shared):
    """Clips of speakers that nothing was trained or calibrated on."""
    return emodb(shared, "test", 40)


@pytest.fixture(scope="module")
def graph(shared, student):
    path, front_end = student
    network = import_onnx(path)
    features = [log_mel(clip, front_end) for clip in emodb(shared, "train", 48)]
    return quantize_network(network, front_end, observe(path, network, features), int4_linears=True)


@pytest.fixture(scope="module")
def c_folder(graph, folder):
    for name, text in emit_sources(graph, SAMPLE_RATE_HZ).items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def reference(graph, held_out):
    return [run(graph, {"pcm": to_pcm16(clip)}) for clip in held_out]


def test_c_equals_the_graph_on_every_layer_for_20_seconds(graph, c_folder, held_out, reference):
    model = HostModel(build_library(c_folder, c_folder))
    rows = []
    for clip, expected in zip(held_out, reference, strict=True):
        rows += compare_traces("c-host", graph, expected, run_traced(model, graph, to_pcm16(clip)))
    assert sum(map(len, held_out)) > 20 * SAMPLE_RATE_HZ
    require_parity(merge(rows))


def test_any_blocks_give_the_same_result(graph, c_folder, held_out, reference):
    model = HostModel(build_library(c_folder, c_folder))
    pcm, expected = to_pcm16(held_out[0]), reference[0]["adv_out"].tolist()
    for block in (1, 7, 64, 333):
        model.reset()
        for start in range(0, pcm.size, block):
            model.push(pcm[start : start + block])
        assert model.read().tolist() == expected, block


def test_simulated_core_equals_the_graph_on_every_layer_for_2_seconds(graph, c_folder, held_out):
    target = load_target("hearing-aid")
    elf = compile_firmware(
        model_sources(c_folder), [c_folder], target, c_folder / "traced.elf", {"EDGEKIT_TRACE": "1"}
    )
    clips = [to_pcm16(clip)[:SAMPLE_RATE_HZ] for clip in held_out[:2]]
    checked = check_layers(elf, target, graph, clips)
    assert checked.samples >= 2 * SAMPLE_RATE_HZ
    assert checked.device.tolist() == checked.graph.tolist()


@needs_qemu
def test_cortex_m55_equals_the_graph_on_every_layer(graph, held_out, tmp_path):
    target = load_target("corstone-300")
    for name, text in emit_sources(graph, SAMPLE_RATE_HZ, target.core.instructions).items():
        (tmp_path / name).write_text(text)
    sources = model_sources(tmp_path)
    elf = compile_firmware(sources, [tmp_path], target, tmp_path / "traced.elf", {"EDGEKIT_TRACE": "1"})
    checked = check_layers(elf, target, graph, [to_pcm16(clip)[:SAMPLE_RATE_HZ] for clip in held_out[:2]])
    assert checked.samples >= 2 * SAMPLE_RATE_HZ
    assert len(checked.rows) > 15
    assert checked.device.tolist() == checked.graph.tolist()


def test_memory_fits_the_budget(c_folder, held_out):
    target = load_target("hearing-aid")
    elf = compile_firmware(model_sources(c_folder), [c_folder], target, c_folder / "firmware.elf")
    result = simulate(elf, target, to_pcm16(held_out[0])[:8000])
    assert result.total_ram_bytes <= 32 * 1024


def test_quantized_follows_the_float_student_on_held_out_speakers(student, held_out, reference):
    path, front_end = student
    model = OnnxModel(path)
    exact = np.array([model(log_mel(clip, front_end)[None]) for clip in held_out])
    found = np.array([values["adv_out"] for values in reference]) / 2**14
    agreement = adv_ccc(found, exact)
    assert min(agreement.values()) >= 0.98, agreement


def test_onnx_is_small_and_runs_on_the_waveform(graph, folder, held_out, reference):
    path = folder / "model.onnx"
    write_onnx(graph, path)
    assert path.stat().st_size <= 60_000
    found = OnnxModel(path)(held_out[0][None])
    assert np.abs(found - reference[0]["adv_out"] / 2**14).max() < 0.01


def test_tflite_runs_in_litert(graph, folder, reference):
    from ai_edge_litert.interpreter import Interpreter

    path = folder / "model.tflite"
    write_tflite(graph, path)
    interpreter = Interpreter(str(path))
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    log_mels = reference[0]["log_mel"][None]
    interpreter.resize_tensor_input(entry["index"], log_mels.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry["index"], log_mels)
    interpreter.invoke()
    found = interpreter.get_tensor(result["index"]).reshape(-1).astype(int)
    assert np.abs(found - reference[0]["adv_out"]).max() < 0.01 * 2**14


def test_an_utterances_network_is_part_of_its_load(shared, tmp_path):
    # It runs when the window is full or the audio ends: the cost must not vanish between two blocks.
    costs = {}
    for level in ("causal", "utterance"):
        folder = tmp_path / level
        folder.mkdir()
        for name, text in emit_sources(small_graph(folder, level=level), SAMPLE_RATE_HZ).items():
            (folder / name).write_text(text)
        target = load_target("hearing-aid")
        elf = compile_firmware(model_sources(folder), [folder], target, folder / "firmware.elf")
        result = simulate(elf, target, to_pcm16(emodb(shared, "test", 1)[0])[:8000])
        costs[level] = result.cycles_per_second_of_audio
    assert costs["utterance"] == pytest.approx(costs["causal"], rel=0.1)
