"""Putting the report together from the JSON files that the stages left in a build directory."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgekit import __version__, artifact
from edgekit.artifact import Artifact
from edgekit.errors import ArtifactError
from edgekit.metrics import DIMENSIONS
from edgekit.report.model import Basis, Figure, Figures, LayerCost, Parity, Report, Verdict
from edgekit.target import Target

Values = Mapping[str, Any]

STAGES = {
    "label": "labels",
    "distill": "student",
    "quantize": "graph",
    "codegen": "c",
    "firmware": "firmware",
    "simulate": "sim",
}
"""Stage name to its folder in the build directory."""

# QLinear operators of ONNX Runtime round half to even in float; the others compute the graph's integers.
TOLERANCE_LSB = {"onnx": 1}


def assemble(folder: Path, target: Target) -> Report:
    """Return the report of a build directory.

    Args:
        folder: A build directory in which every stage has finished.
        target: The target that it was built for.

    Raises:
        ArtifactError: If a stage's artifact is missing or damaged.
    """
    built = {stage: artifact.read(folder / place, stage) for stage, place in STAGES.items()}
    teacher, student = _json(built["label"], "teacher.json"), _json(built["distill"], "metrics.json")
    graph, profile = _json(built["quantize"], "parity.json"), _json(built["simulate"], "profile.json")
    host = _json(built["codegen"], "parity.json")
    size = _size(built["quantize"], student, profile)
    memory, latency, energy = _memory(profile), _latency(profile, target), _energy(profile, target)
    layers = _layers(profile)
    return Report(
        target={"name": target.name, "description": target.description, "digest": target.digest},
        verdicts=_verdicts(target, {**size, **memory, **latency, **energy}),
        accuracy=_accuracy(teacher, student, graph, profile),
        size=size,
        memory=memory,
        peak_layer=profile["memory"].get("peak_layer", ""),
        latency=latency,
        layers=layers,
        energy=energy,
        parity=_parity([*graph["layers"], *host["layers"], *profile["parity"]]),
        provenance=_provenance(built, teacher),
    )


def _json(made: Artifact, name: str) -> dict[str, Any]:
    values = json.loads(made.file(name).read_text())
    if not isinstance(values, dict):
        raise ArtifactError(f"{made.path / name}: not a JSON object", "run edgekit build again")
    return values


def _verdicts(target: Target, figures: Figures) -> tuple[Verdict, ...]:
    budgets = ("total_ram_bytes", "flash_bytes", "onnx_bytes", "core_load_percent", "average_uw")
    return tuple(Verdict(name, getattr(target.budget, name), figures[name]) for name in budgets)


def _accuracy(
    teacher: Values,
    student: Values,
    graph: Values,
    profile: Values,
) -> dict[str, dict[str, Figure]]:
    counted = student["clips"][student["measured_on"]]
    quantized, device = graph["accuracy"], profile["accuracy"]
    held_out = f"{counted} {student['measured_on']} clips"
    return {
        "teacher_vs_reference": _cccs(teacher.get("teacher_vs_reference"), teacher.get("measured_on", "")),
        "student_vs_teacher": _cccs(student["student_vs_teacher"], held_out, student.get("undefined")),
        "quantized_vs_student": _cccs(quantized["quantized_vs_student"], f"{quantized['clips']} test clips"),
        "device_vs_graph": _cccs(device["device_vs_graph"], f"{device['clips']} clips on the simulated core"),
    }


def _cccs(
    values: Mapping[str, float | None] | None, how: str, undefined: Mapping[str, str] | None = None
) -> dict[str, Figure]:
    found = values or {}
    reasons = undefined or {}
    return {d: Figure(found.get(d), "measured", reasons.get(d, how or "not known")) for d in DIMENSIONS}


def _size(graph: Artifact, student: Values, profile: Values) -> dict[str, Figure]:
    def stored(name: str) -> Figure:
        return Figure(graph.file(name).stat().st_size, "measured", f"size of {name}")

    return {
        "parameters": Figure(student["parameters"], "measured", "counted in the student"),
        "onnx_bytes": stored("model.onnx"),
        "tflite_bytes": stored("model.tflite"),
        "flash_bytes": Figure(profile["flash"]["flash_bytes"], "measured", "loaded sections of firmware.elf"),
    }


def _memory(profile: Values) -> dict[str, Figure]:
    how = {
        "static_bytes": "writable sections of firmware.elf",
        "stack_bytes": "deepest stack of the simulated run",
        "total_ram_bytes": "static + stack",
    }
    return {name: Figure(profile["memory"][name], "measured", how[name]) for name in how}


def _latency(profile: Values, target: Target) -> dict[str, Figure]:
    table, values = profile["timing"]["table"], profile["latency"]
    model = f"timing model {table}, error not measured"
    left = f"{target.audio.core_share_percent:g} % of the core is left by the audio path"
    sources: dict[str, tuple[Basis, str]] = {
        "instructions_per_second_of_audio": ("measured", "counted on the simulated core"),
        "cycles_per_second_of_audio": ("estimated", model),
        "worst_block_cycles": ("estimated", f"{model}, {target.audio.block_samples} samples a block"),
        "core_load_percent": ("estimated", f"cycles / clock; {left}"),
    }
    return {name: Figure(values[name], basis, how) for name, (basis, how) in sources.items()}


def _energy(profile: Values, target: Target) -> dict[str, Figure]:
    power = target.power
    how = {
        "average_uw": f"load x clock x {power.active_uw_per_mhz:g} uW/MHz",
        "battery_hours": f"{power.battery_mwh:g} mWh spent on the model alone",
    }
    return {name: Figure(profile["energy"][name], "estimated", how[name]) for name in how}


def _layers(profile: Values) -> tuple[LayerCost, ...]:
    seconds = profile["audio"]["duration_s"]
    return tuple(
        LayerCost(
            layer=row["name"],
            instructions_per_second_of_audio=row["instructions"] / seconds,
            cycles_per_second_of_audio=row["cycles"] / seconds,
            macs_per_second_of_audio=row["macs"] / seconds if "macs" in row else None,
        )
        for row in profile["layers"]
    )


def _parity(rows: Iterable[Values]) -> dict[str, Parity]:
    by_backend: dict[str, list[Values]] = {}
    for row in rows:
        by_backend.setdefault(row["backend"], []).append(row)
    return {
        backend: Parity(
            layers=len(layers),
            elements=sum(row["elements"] for row in layers),
            mismatches=sum(row["mismatches"] for row in layers),
            max_lsb=max(row["max_lsb"] for row in layers),
            tolerance_lsb=TOLERANCE_LSB.get(backend, 0),
        )
        for backend, layers in by_backend.items()
    }


def _provenance(built: Mapping[str, Artifact], teacher: Values) -> dict[str, Any]:
    return {
        "edgekit": __version__,
        "teacher": teacher.get("name", ""),
        "artifacts": {stage: made.digest for stage, made in built.items()},
        "params": {stage: made.manifest.params for stage, made in built.items()},
    }
