"""The quantize stage: a student and the labelled audio in, the integer graph and its copies out."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.metrics import DIMENSIONS
from edgekit.progress import Progress, silent
from quantize.config import QuantizeConfig

STAGE = "quantize"
TEACHER_RECORD = "teacher.json"


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
    from quantize.evaluation import write_copies
    from quantize.student import quantize_student

    source, label_set = artifact.read(student, "distill"), read_labels(labels)
    inputs, params = identity(config, source.digest, label_set.digest)
    front_end = FrontEnd.from_dict(json.loads(source.file("frontend.json").read_text()))
    with artifact.writing(out, STAGE, inputs, params) as work:
        model = source.file("student.onnx")
        graph = quantize_student(config, model, front_end, label_set, progress)
        graph = replace(graph, metadata={**graph.metadata, **_facts(config, source, labels)})
        save_graph(graph, work)
        artifact.write_text(work / "graph.txt", to_text(graph) + "\n")
        parity = write_copies(config, graph, model, front_end, label_set, work, progress)
        artifact.write_json(work / "parity.json", parity)
    return artifact.read(out, STAGE)


def _facts(config: QuantizeConfig, student: Artifact, labels: Path) -> dict[str, str]:
    """Return what the written files say of themselves beside the front end."""
    trained, record = json.loads(student.file("metrics.json").read_text()), labels / TEACHER_RECORD
    teacher = json.loads(record.read_text()) if record.is_file() else {}
    return {
        "student": f"{trained['student']}, hop {trained['hop']}, {trained['level']}",
        "weights": config.weights,
        "output": ", ".join(DIMENSIONS),
        "teachers": ", ".join(trained["teachers"]),
        "licence": f"of the teacher's labels: {teacher.get('licence', 'not recorded')}",
    }
