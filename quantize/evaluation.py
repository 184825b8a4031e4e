"""The written copies of a graph on held-out audio: parity of each layer, and agreement in A/D/V."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.audio import SAMPLE_RATE_HZ, FrontEnd, log_mel, to_pcm16
from edgekit.graph import TIME, Graph, run
from edgekit.labels import LabelSet
from edgekit.metrics import defined_adv_ccc
from edgekit.progress import Progress
from quantize.attention import ADV_QUANTIZATION
from quantize.config import QuantizeConfig
from quantize.layer_error import layer_errors
from quantize.layers import network_input
from quantize.onnx_writer import write_onnx
from quantize.parity import Feed, check_copies
from quantize.runtime import OnnxModel
from quantize.student import heard, spread
from quantize.tflite_writer import write_tflite

Clips = Sequence[NDArray[np.float32]]
PARITY_AUDIO_S = 20.0


def write_copies(
    config: QuantizeConfig,
    graph: Graph,
    model: Path,
    front_end: FrontEnd,
    labels: LabelSet,
    work: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Write model.onnx and model.tflite and return what parity.json says of them.

    Args:
        config: How many clips measure.
        graph: What to write.
        model: The float student, log-mel in.
        front_end: Of its log-mels.
        labels: Its held-out clips measure.
        work: Folder to write into.
        progress: Told how much is done.

    Raises:
        ParityError: If a copy does not compute the graph's integers; it names the layer.
    """
    write_onnx(graph, work / "model.onnx")
    write_tflite(graph, work / "model.tflite")
    split, held_out = labels.held_out()
    rows = spread(held_out, config.evaluation_clips)
    window = config.window_samples if network_input(graph).shape[0] != TIME else None
    clips = [heard(labels.clip(i), window) for i in rows]
    feeds = [Feed.of_clip(clip) for clip in _first_seconds(clips, PARITY_AUDIO_S)]
    copies = check_copies(graph, work, feeds, progress)
    copies.require(work)
    accuracy = _accuracy(graph, work, model, front_end, clips, labels.adv[rows], progress)
    errors = layer_errors(graph, model, front_end, clips, split, equalized=config.equalize)
    return {
        **copies.to_dict(),
        "accuracy": {**accuracy, "clips": len(clips), "measured_on": split},
        "quantization_error": errors,
    }


def _first_seconds(clips: Clips, duration_s: float) -> Clips:
    taken: list[NDArray[np.float32]] = []
    for clip in clips:
        if sum(map(len, taken)) >= duration_s * SAMPLE_RATE_HZ:
            break
        taken.append(clip)
    return taken


def _accuracy(
    graph: Graph,
    work: Path,
    model: Path,
    front_end: FrontEnd,
    clips: Clips,
    teacher: NDArray[np.float32],
    progress: Progress,
) -> dict[str, Mapping[str, float | None]]:
    """Return CCCs of graph and ONNX copy against the student, of graph and student against the teacher."""
    student, copy = OnnxModel(model), OnnxModel(work / "model.onnx")
    found: dict[str, list[NDArray[np.floating]]] = {"graph": [], "student": [], "onnx": []}
    for done, clip in enumerate(clips):
        progress("measure accuracy", done, len(clips))
        values = run(graph, {"pcm": to_pcm16(clip)})[graph.outputs[0]]
        found["graph"].append(ADV_QUANTIZATION.dequantize(values))
        found["student"].append(student(log_mel(clip, front_end)[None]))
        found["onnx"].append(copy(clip[None]))
    progress("measure accuracy", len(clips), len(clips))
    adv = {name: np.array(values) for name, values in found.items()}
    return {
        "quantized_vs_student": defined_adv_ccc(adv["graph"], adv["student"]),
        "onnx_vs_student": defined_adv_ccc(adv["onnx"], adv["student"]),
        "quantized_vs_teacher": defined_adv_ccc(adv["graph"], teacher),
        "student_vs_teacher": defined_adv_ccc(adv["student"], teacher),
    }
