"""The distill stage: an artifact of teacher labels in, an artifact with the trained student out.

Cheap to import: the pipeline asks for the identity on every build, so torch is imported only to train.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config import DistillConfig
from distill.registry import shipped_student
from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.audio import FrontEnd
from edgekit.errors import ArtifactError
from edgekit.progress import Progress

if TYPE_CHECKING:
    from distill.agreement import Agreement
    from distill.clips import Splits
    from distill.trainer import State
    from distill.wav2small import Wav2Small

STAGE = "distill"
WEIGHTS = "student.safetensors"
FRONT_END = "frontend.json"


def identity(config: DistillConfig, labels_digest: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return inputs and params of the manifest: what the trained student depends on.

    Raises:
        ConfigError: If no trained student ships to start from.
    """
    inputs = {"labels": labels_digest}
    if config.warm_start:
        inputs["warm_start"] = artifact.sha256_file(shipped_student(config.student, config.level) / WEIGHTS)
    return inputs, {**asdict(config), "front_end": config.front_end.to_dict()}


def distill(config: DistillConfig, labels: Path, out: Path, progress: Progress) -> Artifact:
    """Train a student on a teacher's labels and write it as an artifact.

    Args:
        config: The settings.
        labels: A label artifact.
        out: Where `student.safetensors`, `student.onnx`, `frontend.json`, `metrics.json` and `history.csv`
            go. An interrupted training continues when called again with the same arguments.
        progress: Called with `training` and the step.

    Raises:
        ArtifactError: If the labels or the shipped student are damaged.
        AudioError: If the labels hold no clip to train on, or a clip cannot be used.
        ConfigError: If no trained student ships to start from, or `out` cannot be written.
    """
    inputs, params = identity(config, artifact.read(labels, "label").digest)
    with artifact.writing(out, STAGE, inputs, params) as work:
        _train(config, labels, work, progress)
    return artifact.read(out, STAGE)


def _train(config: DistillConfig, labels: Path, work: Path, progress: Progress) -> None:
    from distill.clips import load_splits
    from distill.trainer import Trainer, history_csv, initial_student, torch_threads
    from distill.wav2small import MIN_STREAMING_FRAMES
    from edgekit.labels import read_labels

    label_set = read_labels(labels)
    front_end = config.front_end
    least_samples = front_end.n_fft + (MIN_STREAMING_FRAMES - 1) * front_end.hop
    splits = load_splits(label_set, least_samples)
    with torch_threads(config.threads):
        if config.warm_start:
            student = load_student(shipped_student(config.student, config.level), config.student)
        else:
            student = initial_student(config, front_end, splits.train.targets)
        state = Trainer(student, splits, config, work).run(progress)
        metrics = _metrics(config, student, splits, state)
    metrics["teachers"] = sorted(set(label_set.teacher))
    _write_student(student, work)
    artifact.write_json(work / "metrics.json", metrics)
    artifact.write_text(work / "history.csv", history_csv(state.history))


def load_student(folder: Path, name: str) -> "Wav2Small":
    """Return the trained student of a folder with `student.safetensors` and `frontend.json`.

    Raises:
        ArtifactError: If a file is missing or damaged, or the weights are of another network.
    """
    import json

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from distill.registry import create_student

    hint = "run edgekit distill again, or install edgekit anew"
    try:
        front_end = FrontEnd.from_dict(json.loads((folder / FRONT_END).read_text()))
        student = create_student(name, front_end)
        student.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, TypeError, SafetensorError, RuntimeError) as error:
        # torch lists mismatching tensors over many lines; the first two say what is wrong.
        reason = " ".join(str(error).split("\n")[:2])
        raise ArtifactError(f"{folder}: not a trained {name} ({reason})", hint) from error
    return student


def _write_student(student: "Wav2Small", work: Path) -> None:
    from safetensors.torch import save

    from distill.export import student_onnx

    student.eval()
    tensors = {name: value.contiguous() for name, value in student.state_dict().items()}
    artifact.write_bytes(work / WEIGHTS, save(tensors))
    artifact.write_bytes(work / "student.onnx", student_onnx(student).SerializeToString(deterministic=True))
    artifact.write_json(work / FRONT_END, student.front_end.to_dict())


def _metrics(config: DistillConfig, student: "Wav2Small", splits: "Splits", state: "State") -> dict[str, Any]:
    from distill.agreement import measure
    from distill.trainer import clip_features, predict

    measured_on = "test" if len(splits.test) else "dev"
    clips = splits.test if len(splits.test) else splits.dev
    found = measure(predict(student, clip_features(clips, student.front_end)), clips.targets)
    assert state.best is not None
    return {
        "student": config.student,
        "level": config.level,
        "parameters": sum(p.numel() for p in student.parameters()),
        "steps": config.steps,
        "best_step": state.best.step,
        "clips": {"train": len(splits.train), "dev": len(splits.dev), "test": len(splits.test)},
        "measured_on": measured_on,
        **_agreement_fields(found),
    }


def _agreement_fields(found: "Agreement") -> Mapping[str, Any]:
    undefined = {"undefined": found.undefined} if found.undefined else {}
    error = round(found.error, 6)
    return {"student_vs_teacher": found.to_dict(), "mean_squared_error": error, **undefined}
