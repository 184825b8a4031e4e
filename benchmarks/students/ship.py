"""Put a trained student where it ships, with its card: python -m benchmarks.students.ship ARTIFACT.

ARTIFACT is a folder that `edgekit distill` wrote from the labels of `training.label_everything`. Writes
edgekit/data/students/VARIANT: weights, front end, metrics.json and MODEL_CARD.md, all figures measured here.
"""

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.students.agreement import TITLES, TestSets
from benchmarks.tables import line
from benchmarks.teachers.features import shared_folder
from distill.config import recommended_config
from distill.registry import SHIPPED, variant_name
from distill.student import Student
from distill.training import FRONT_END, TOGETHER, WEIGHTS, load_student
from edgekit import artifact
from edgekit.errors import EdgekitError
from edgekit.metrics import DIMENSIONS

HOW = (
    "one prediction per whole clip, one CCC per dimension over all clips of a set; float32, no padding after "
    "the end of a clip"
)
LEVELS = {
    "causal": "**causally**: a running mean and a running level, so that audio can stream.",
    "utterance": "over the whole **utterance**, as in the paper.",
}
OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon for the matrices at ten times the rate, AdamW for the rest"}

FULL = "full"
"""Folder of the full teacher in the commands of a card."""
ASSEMBLE = f"""    python -m wavllm_teacher.train assemble --encoder whisper-base-encoder --out {FULL}
"""

CARD = Path(__file__).parent / "card.md"


def main() -> int:
    """Measure the student and write its folder; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.students.ship", description=__doc__.splitlines()[0]
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".benchmarks/students"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        made, shared = artifact.read(options.artifact, "distill"), shared_folder()
        print(_ship(made, TestSets.of_both_teachers(shared, options.cache)))
    except EdgekitError as error:
        print(f"{error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


def _ship(made: artifact.Artifact, sets: TestSets) -> Path:
    params = made.manifest.params
    student = load_student(made.path, params["student"]).eval()
    out = SHIPPED / variant_name(params["student"], params["level"], params["hop"])
    out.mkdir(exist_ok=True)
    for name in (WEIGHTS, FRONT_END):
        shutil.copyfile(made.file(name), out / name)
    metrics = _metrics(student, params, sets)
    artifact.write_json(out / "metrics.json", metrics)
    teacher = json.loads(made.file("metrics.json").read_text())["crops_labelled_by"]
    artifact.write_text(out / "MODEL_CARD.md", _card(out.name, params, teacher, metrics))
    return out


def _metrics(student: Student, params: dict[str, Any], sets: TestSets) -> dict[str, Any]:
    found = sets.agreement(student)
    rounded = {
        name: {
            teacher: {key: round(value, 4) for key, value in ccc.items()} for teacher, ccc in of_set.items()
        }
        for name, of_set in found.items()
    }
    return {
        "student": params["student"],
        "level": params["level"],
        "hop": params["hop"],
        "parameters": sum(p.numel() for p in student.parameters()),
        "trained_parameters": sum(p.numel() for p in student.parameters() if p.requires_grad),
        "how": HOW,
        "clips": {name: len(clips) for name, clips in sets.clips.items()},
        "ccc": rounded,
    }


def _card(name: str, params: dict[str, Any], teacher: str, metrics: dict[str, Any]) -> str:
    rows = [["student against", *DIMENSIONS], ["---"] * 4]
    for of_set, teachers in metrics["ccc"].items():
        for against, ccc in teachers.items():
            values = [f"{ccc[dimension]:.3f}" for dimension in DIMENSIONS]
            rows.append([f"the {against} teacher, {TITLES[of_set]}", *values])
    front_end = params["front_end"]
    per_ms = front_end["sample_rate_hz"] / 1000
    usual = asdict(recommended_config(params["student"], params["level"], params["hop"], from_scratch=True))
    settings = "".join(
        f"--set {key}={_text(params[key])} " for key, value in sorted(usual.items()) if params[key] != value
    )
    return CARD.read_text().format(
        **{key: params[key] for key in ("hop", "batch", "steps", "learning_rate", "pool", "crop_s")},
        title=f"{params['student']}, hop {params['hop']}, {params['level']}",
        name=name,
        trained=metrics["trained_parameters"],
        parameters=metrics["parameters"],
        window_ms=front_end["n_fft"] / per_ms,
        hop_ms=front_end["hop"] / per_ms,
        level=LEVELS[params["level"]],
        level_name=params["level"],
        optimizer=OPTIMIZERS[params["optimizer"]],
        mixing="mixtures of two clips, " if params["mixup"] else "",
        settings=settings,
        relabel=_flags(teacher),
        assemble=ASSEMBLE if FULL in _flags(teacher) else "",
        labelled=_labelled(teacher.split(TOGETHER)),
        table="\n".join(line(row) for row in rows),
    )


def _flags(teacher: str) -> str:
    """Return the options that name who labelled the crops, nothing for who does so unasked.

    Example:
        >>> _flags("compact + whisper-base")
        '--relabel compact --relabel full '
    """
    names = [FULL if name == "whisper-base" else name for name in teacher.split(TOGETHER)]
    return "" if names == ["compact"] else "".join(f"--relabel {name} " for name in names)


def _labelled(names: list[str]) -> str:
    """Return a sentence's beginning.

    Example:
        >>> _labelled(["compact", "whisper-base"])
        'The **compact** and **whisper-base** teachers labelled every crop, the mean of both is learned'
    """
    if len(names) == 1:
        return f"The **{names[0]}** teacher labelled every crop"
    listed = " and ".join(f"**{name}**" for name in names)
    return f"The {listed} teachers labelled every crop, the mean of both is learned"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.exit(main())
