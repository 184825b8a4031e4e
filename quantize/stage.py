"""The quantize stage: a student and the labelled audio in, the integer graph and its copies out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.errors import ConfigError
from edgekit.progress import Progress, silent

if TYPE_CHECKING:
    from edgekit.audio import FrontEnd
    from edgekit.graph import Graph
    from edgekit.labels import LabelSet

STAGE = "quantize"
WEIGHTS = ("mixed4", "int8")
RANGE_CHOICES = ("mse", "minmax", "percentile")
PARITY_AUDIO_S = 20.0
LONGEST_WINDOW_S = 30.0


@dataclass(frozen=True)
class QuantizeConfig:
    """How to quantize.

    Attributes:
        weights: `mixed4` stores the wide fully connected layers in int4, `int8` none.
        calibration_clips: Training clips that the activation ranges are read from.
        correction_clips: How many of those the last bias is corrected on.
        evaluation_clips: Held-out clips that the agreement with the float student is measured on, at most.
        ranges: How the range of an activation is chosen: least square error (`mse`), all that was seen
            (`minmax`), or all but the outermost values (`percentile`).
        window_s: What a network hears at a time that cannot stream; shorter clips are repeated.

    Raises:
        ConfigError: If `weights` is neither of the two.
    """

    weights: Literal["mixed4", "int8"] = "mixed4"
    calibration_clips: int = 64
    correction_clips: int = 32
    evaluation_clips: int = 96
    ranges: Literal["mse", "minmax", "percentile"] = "mse"
    window_s: float = 2.0

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise ConfigError(f"unknown weights {self.weights!r}", f"use one of {', '.join(WEIGHTS)}")
        if self.ranges not in RANGE_CHOICES:
            raise ConfigError(f"unknown ranges {self.ranges!r}", f"use one of {', '.join(RANGE_CHOICES)}")
        if not 0.1 <= self.window_s <= LONGEST_WINDOW_S:
            raise ConfigError(f"window_s = {self.window_s}", f"use 0.1 to {LONGEST_WINDOW_S:g} seconds")


def identity(
    config: QuantizeConfig, student_digest: str, labels_digest: str
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the inputs and settings that decide the artifact."""
    return {"student": student_digest, "labels": labels_digest}, asdict(config)


def quantize(
    config: QuantizeConfig, student: Path, labels: Path, out: Path, progress: Progress = silent
) -> Artifact:
    """Quantize a distilled student.

    Writes graph.json, weights.npz, graph.txt, model.onnx (waveform in), model.tflite (log-mel int8 in) and
    parity.json: every layer of both copies against the graph, and agreement with the float student.

    Args:
        config: How.
        student: Folder of a distill artifact.
        labels: Folder of the label artifact; its audio calibrates and evaluates.
        out: Folder to write.
        progress: Told how much is done.

    Raises:
        ArtifactError: If an input is damaged.
        UnsupportedError: If the student has a layer that is not supported.
        ParityError: If a copy does not compute the graph's integers.
    """
    from edgekit.audio import FrontEnd
    from edgekit.graph import save_graph, to_text
    from edgekit.labels import read_labels

    source, label_set = artifact.read(student, "distill"), read_labels(labels)
    inputs, params = identity(config, source.digest, label_set.digest)
    front_end = FrontEnd.from_dict(json.loads(source.file("frontend.json").read_text()))
    with artifact.writing(out, STAGE, inputs, params) as work:
        model = source.file("student.onnx")
        graph = _quantize(config, model, front_end, label_set, progress)
        save_graph(graph, work)
        artifact.write_text(work / "graph.txt", to_text(graph) + "\n")
        artifact.write_json(
            work / "parity.json", _write_copies(config, graph, model, front_end, label_set, work, progress)
        )
    return artifact.read(out, STAGE)


def _quantize(
    config: QuantizeConfig, model: Path, front_end: "FrontEnd", labels: "LabelSet", progress: Progress
) -> "Graph":
    from edgekit.audio import log_mel, to_pcm16
    from quantize.calibration import RANGES, observe
    from quantize.importer import import_onnx
    from quantize.quantizer import correct_outputs, quantize_network
    from quantize.runtime import OnnxModel

    network = import_onnx(model)
    rows = spread(labels.indices("train"), config.calibration_clips)
    window = _window_samples(config) if network.needs_whole_clip else None
    clips = [_heard(labels.clip(i), window) for i in rows]
    features = [log_mel(clip, front_end) for clip in clips]
    seen = observe(model, network, features, progress)
    int4_linears = config.weights == "mixed4"
    graph = quantize_network(
        network,
        front_end,
        seen,
        int4_linears,
        window_samples=_window_samples(config),
        choose_range=RANGES[config.ranges],
    )
    some, student = spread(range(len(clips)), config.correction_clips), OnnxModel(model)
    wanted = np.array([student(features[i][None]) for i in some])
    return correct_outputs(graph, [to_pcm16(clips[i]) for i in some], wanted, progress)


def _window_samples(config: QuantizeConfig) -> int:
    from edgekit.audio import SAMPLE_RATE_HZ

    return round(config.window_s * SAMPLE_RATE_HZ)


def _heard(clip: NDArray[np.float32], window_samples: int | None) -> NDArray[np.float32]:
    """Return what the network hears of a clip: all of it, or a window, which a shorter clip fills again."""
    return clip if window_samples is None else np.resize(clip, window_samples)


def spread(rows: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of the rows, evenly over all of them.

    Example:
        >>> spread([0, 1, 2, 3, 4, 5], 3)
        [0, 2, 4]
    """
    taken = min(count, len(rows))
    return [rows[i * len(rows) // taken] for i in range(taken)]


def _write_copies(
    config: QuantizeConfig,
    graph: "Graph",
    model: Path,
    front_end: "FrontEnd",
    labels: "LabelSet",
    work: Path,
    progress: Progress,
) -> dict[str, Any]:
    from edgekit.graph import TIME
    from edgekit.graph.parity import require_parity
    from quantize.onnx_writer import write_onnx
    from quantize.parity import check_copies
    from quantize.tflite_writer import write_tflite

    write_onnx(graph, work / "model.onnx")
    write_tflite(graph, work / "model.tflite")
    split, held_out = labels.held_out()
    rows = spread(held_out, config.evaluation_clips)
    window = _window_samples(config) if graph.tensors["log_mel"].shape[0] != TIME else None
    clips = [_heard(labels.clip(i), window) for i in rows]
    copies = check_copies(graph, work, _first_seconds(clips, PARITY_AUDIO_S), progress)
    require_parity(copies.layers)
    accuracy = _accuracy(graph, work, model, front_end, clips, labels.adv[rows], progress)
    return {
        "layers": [row.to_dict() for row in copies.layers],
        "end_to_end": {name: difference.to_dict() for name, difference in copies.end_to_end.items()},
        "accuracy": {**accuracy, "clips": len(clips), "measured_on": split},
    }


def _first_seconds(clips: Sequence[NDArray[np.float32]], duration_s: float) -> list[NDArray[np.float32]]:
    from edgekit.audio import SAMPLE_RATE_HZ

    taken: list[NDArray[np.float32]] = []
    for clip in clips:
        if sum(map(len, taken)) >= duration_s * SAMPLE_RATE_HZ:
            break
        taken.append(clip)
    return taken


def _accuracy(
    graph: "Graph",
    work: Path,
    model: Path,
    front_end: "FrontEnd",
    clips: Sequence[NDArray[np.float32]],
    teacher: NDArray[np.float32],
    progress: Progress,
) -> dict[str, Mapping[str, float | None]]:
    """Return CCCs of graph and ONNX copy against the float student, and of the graph against the teacher."""
    from edgekit.audio import log_mel, to_pcm16
    from edgekit.graph import run
    from edgekit.metrics import defined_adv_ccc
    from quantize.runtime import OnnxModel

    student, copy = OnnxModel(model), OnnxModel(work / "model.onnx")
    found: dict[str, list[NDArray[np.floating]]] = {"graph": [], "student": [], "onnx": []}
    for done, clip in enumerate(clips):
        progress("measure accuracy", done, len(clips))
        found["graph"].append(run(graph, {"pcm": to_pcm16(clip)})[graph.outputs[0]] / 2**14)
        found["student"].append(student(log_mel(clip, front_end)[None]))
        found["onnx"].append(copy(clip[None]))
    progress("measure accuracy", len(clips), len(clips))
    adv = {name: np.array(values) for name, values in found.items()}
    return {
        "quantized_vs_student": defined_adv_ccc(adv["graph"], adv["student"]),
        "onnx_vs_student": defined_adv_ccc(adv["onnx"], adv["student"]),
        "quantized_vs_teacher": defined_adv_ccc(adv["graph"], teacher),
    }
