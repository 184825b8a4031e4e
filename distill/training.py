"""The distill stage: an artifact of teacher labels in, an artifact with the trained student out.

Cheap to import: the pipeline asks for the identity on every build, so torch is imported only to train.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config import DistillConfig
from distill.registry import shipped_student
from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.audio import SAMPLE_RATE_HZ, FrontEnd
from edgekit.errors import ArtifactError, ConfigError
from edgekit.progress import Progress, silent
from edgekit.threads import torch_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from distill.agreement import Agreement
    from distill.clips import Clips, Splits
    from distill.crops import CropLabeller, Labeller
    from distill.pool import Pool
    from distill.student import Student
    from distill.trainer import State
    from edgekit.parallel import Team

STAGE = "distill"
WEIGHTS = "student.safetensors"
FRONT_END = "frontend.json"
TOGETHER = " + "
"""Between the names of teachers whose labels are averaged."""


@dataclass(frozen=True)
class Relabel:
    """A teacher that labels what the student hears, instead of the labels of the clips that it was made from.

    Attributes:
        name: The teacher's.
        digest: Of its weights.
        load: Loads it; called only where crops have to be made.
    """

    name: str
    digest: str
    load: "Callable[[], Labeller]"


def identity(
    config: DistillConfig, labels_digest: str, relabel: Relabel | None = None
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return inputs and params of the manifest: what the trained student depends on.

    Raises:
        ConfigError: If no trained student ships to start from.
    """
    inputs = {"labels": labels_digest}
    if config.warm_start:
        inputs["warm_start"] = artifact.sha256_file(_shipped(config) / WEIGHTS)
    if relabel is not None:
        inputs["relabel"] = relabel.digest
    return inputs, {**asdict(config), "front_end": config.front_end.to_dict()}


def _shipped(config: DistillConfig) -> Path:
    return shipped_student(config.student, config.level, config.hop)


def distill(
    config: DistillConfig, labels: Path, out: Path, progress: Progress, relabel: Relabel | None = None
) -> Artifact:
    """Train a student on a teacher's labels and write it as an artifact.

    Under torchrun, all processes train together, and the first one writes.

    Args:
        config: The settings.
        labels: A label artifact.
        out: Where `student.safetensors`, `student.onnx`, `frontend.json`, `metrics.json`, `history.csv` and
            `history.svg` go. An interrupted training continues when called again with the same arguments.
        progress: Called with the crops made, then with `training` and the step.
        relabel: The teacher that labels the crops; None: they have the labels of their clips.

    Raises:
        ArtifactError: If the labels or the shipped student are damaged.
        AudioError: If the labels hold no clip to train on, or a clip cannot be used.
        ConfigError: If no trained student ships to start from, crops are too short for the student, training
            diverges, or `out` cannot be written.
    """
    from edgekit.parallel import team

    inputs, params = identity(config, artifact.read(labels, "label").digest, relabel)
    with team() as processes:
        if processes.leads:
            with artifact.writing(out, STAGE, inputs, params) as work:
                processes.wait()
                _train(config, labels, work, progress, relabel, processes)
        else:
            processes.wait()
            _train(config, labels, artifact.work_folder(out), silent, relabel, processes)
        processes.wait()
    return artifact.read(out, STAGE)


def _train(
    config: DistillConfig,
    labels: Path,
    work: Path,
    progress: Progress,
    relabel: Relabel | None,
    processes: "Team",
) -> None:
    from distill.clips import joined, load_splits
    from distill.curves import history_svg
    from distill.trainer import (
        Trainer,
        centre_outputs,
        history_csv,
        initial_student,
        require_clips_for_all,
        require_precision,
    )
    from edgekit.labels import read_labels

    require_clips_for_all(processes, config)
    label_set, front_end = read_labels(labels), config.front_end
    with torch_threads(config.threads):
        if config.warm_start:
            student = load_student(_shipped(config), config.student)
        else:
            student = initial_student(config)
        require_precision(student, config)
        least_samples = front_end.n_fft + (student.least_frames - 1) * front_end.hop
        _require_long_crops(config, least_samples)
        splits = load_splits(label_set, least_samples)
        if config.final:
            splits = replace(splits, train=joined(splits.train, splits.dev))
        if not config.warm_start:
            centre_outputs(student, splits.train.targets)
        if not processes.leads:
            # The leader makes the pool; here its files are only opened.
            processes.wait()
        pool = _make_pool(config, splits.train, work / ".pool", progress, relabel)
        if processes.leads:
            processes.wait()
        state = Trainer(student, pool, splits.dev, config, work, processes).run(progress)
        if not processes.leads:
            return
        metrics = _metrics(config, student, splits, state)
    metrics["teachers"] = sorted(set(label_set.teacher))
    metrics["crops_labelled_by"] = relabel.name if relabel else None
    _write_student(student, work)
    artifact.write_json(work / "metrics.json", metrics)
    artifact.write_text(work / "history.csv", history_csv(state.history))
    artifact.write_text(work / "history.svg", history_svg(state.history, config.loss))


def _require_long_crops(config: DistillConfig, least_samples: int) -> None:
    from distill.crops import crop_samples

    if crop_samples(config.crop_s) < least_samples:
        what = f"crop_s = {config.crop_s} is too short: {config.student} with hop {config.hop} hears nothing"
        least_ms = math.ceil(1000 * least_samples / SAMPLE_RATE_HZ)
        raise ConfigError(what, f"use --set crop_s={least_ms / 1000} or more")


def _make_pool(
    config: DistillConfig, clips: "Clips", folder: Path, progress: Progress, relabel: Relabel | None
) -> "Pool":
    from distill.crops import Drawing, crop_samples
    from distill.pool import make_pool

    drawing = Drawing(
        crop_samples(config.crop_s), config.augment, config.mixup, speed=relabel is not None, seed=config.seed
    )
    labeller = _labeller(relabel.load(), config) if relabel else None
    return make_pool(clips, config.pool, drawing, config.front_end, labeller, folder, progress)


def _labeller(teacher: "Labeller", config: DistillConfig) -> "CropLabeller":
    """Return what has a teacher label the part of a crop that the settings say."""
    if config.labels == "heard":
        return lambda crops: teacher([crop.heard for crop in crops])
    return lambda crops: teacher([crop.dry for crop in crops])


def load_student(folder: Path, name: str) -> "Student":
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


def _write_student(student: "Student", work: Path) -> None:
    from safetensors.torch import save

    from distill.export import student_onnx

    student.eval()
    tensors = {name: value.contiguous() for name, value in student.state_dict().items()}
    artifact.write_bytes(work / WEIGHTS, save(tensors))
    artifact.write_bytes(work / "student.onnx", student_onnx(student).SerializeToString(deterministic=True))
    artifact.write_json(work / FRONT_END, student.front_end.to_dict())


def _metrics(config: DistillConfig, student: "Student", splits: "Splits", state: "State") -> dict[str, Any]:
    from distill.agreement import measure
    from distill.trainer import clip_features, predict

    measured_on = "test" if len(splits.test) else "train" if config.final else "dev"
    clips: Clips = getattr(splits, measured_on)
    found = measure(predict(student, clip_features(clips, student.front_end)), clips.targets)
    assert state.best is not None
    return {
        "student": config.student,
        "level": config.level,
        "hop": config.hop,
        "parameters": sum(p.numel() for p in student.parameters()),
        "steps": config.steps,
        "kept_step": config.steps if config.final else state.best.step,
        "clips": {"train": len(splits.train), "dev": len(splits.dev), "test": len(splits.test)},
        "measured_on": measured_on,
        **_agreement_fields(found),
    }


def _agreement_fields(found: "Agreement") -> Mapping[str, Any]:
    undefined = {"undefined": found.undefined} if found.undefined else {}
    error = round(found.error, 6)
    return {"student_vs_teacher": found.to_dict(), "mean_squared_error": error, **undefined}
