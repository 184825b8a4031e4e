"""Putting the report together from the JSON files that the stages left in a build directory."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgekit import __version__, artifact
from edgekit.artifact import Artifact
from edgekit.errors import ArtifactError
from edgekit.graph.parity import LayerParity
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
    "alternatives": "alternatives",
}
"""Stage name to its folder in the build directory."""


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
    size = _size(built, student, profile)
    state = _json(built["codegen"], "memory.json")
    memory = _memory(profile) | _arena(state)
    latency, energy = _latency(profile, target), _energy(profile, target)
    layers = _layers(profile)
    return Report(
        target={"name": target.name, "description": target.description, "digest": target.digest},
        verdicts=_verdicts(target, {**size, **memory, **latency, **energy}),
        accuracy=_accuracy(teacher, student, graph, profile),
        size=size,
        memory=memory,
        state_bytes_by_layer=state["state_bytes_by_layer"],
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
    quantized, device = graph["accuracy"], profile["accuracy"]
    held_out = student["measured_on"]
    kept = f"step {student['kept_step']} of {student['steps']}"
    learned_on = f"{_clips(student['clips'][held_out], held_out)}, {kept}"
    quantized_on = _clips(quantized["clips"], quantized["measured_on"])
    device_on = _clips(device["clips"], "simulated")
    return {
        "teacher_vs_reference": _cccs(teacher["teacher_vs_reference"], teacher["measured_on"]),
        "student_vs_teacher": _cccs(student["student_vs_teacher"], learned_on, student.get("undefined")),
        "quantized_vs_student": _cccs(quantized["quantized_vs_student"], quantized_on),
        "device_vs_graph": _cccs(device["device_vs_graph"], device_on),
    }


def _clips(count: int, kind: str) -> str:
    return f"{count} {kind} clip{'' if count == 1 else 's'}"


def _cccs(
    values: Mapping[str, float | None] | None, how: str, undefined: Mapping[str, str] | None = None
) -> dict[str, Figure]:
    found, reasons = values or {}, undefined or {}
    none = f"undefined on {how}" if values else how
    return {
        d: Figure(found.get(d), "measured", how if found.get(d) is not None else reasons.get(d, none))
        for d in DIMENSIONS
    }


def _size(built: Mapping[str, Artifact], student: Values, profile: Values) -> dict[str, Figure]:
    def stored(stage: str, name: str) -> Figure:
        return Figure(built[stage].file(name).stat().st_size, "measured", f"size of {name}")

    return {
        "parameters": Figure(student["parameters"], "measured", "counted in the student"),
        "onnx_bytes": stored("quantize", "model.onnx"),
        "tflite_bytes": stored("quantize", "model.tflite"),
        "weights_bytes": stored("firmware", "model.bin"),
        "flash_bytes": Figure(profile["flash"]["flash_bytes"], "measured", "loaded sections of firmware.elf"),
    }


def _memory(profile: Values) -> dict[str, Figure]:
    how = {
        "static_bytes": "writable sections of firmware.elf",
        "stack_bytes": "deepest stack of the simulated run",
        "total_ram_bytes": "static + stack",
    }
    return {name: Figure(profile["memory"][name], "measured", how[name]) for name in how}


def _arena(state: Values) -> dict[str, Figure]:
    """Return the arena of a network that runs whole, and the least that any needs; a stream has none."""
    how = {"size_bytes": "planned by lifetimes", "bound_bytes": "in use at the fullest layer"}
    return {
        f"arena_{name}": Figure(size, "measured", how[name]) for name, size in state.get("arena", {}).items()
    }


def _latency(profile: Values, target: Target) -> dict[str, Figure]:
    table, values = profile["timing"]["table"], profile["latency"]
    model = f"timing model {table}"
    compared = "not compared with a board"
    if profile["timing"]["cycles_are_upper_bound"]:
        least = values["instructions_per_second_of_audio"]
        compared = f"uncalibrated: between {least:,.0f} (1 per instruction) and this (2 per MVE instruction)"
    sources: dict[str, tuple[Basis, str]] = {
        "instructions_per_second_of_audio": ("measured", "counted on the simulated core"),
        "cycles_per_second_of_audio": ("estimated", f"{model}, {compared}"),
        "worst_block_cycles": ("estimated", f"{model}, {target.audio.block_samples} samples a block"),
        "core_load_percent": ("estimated", "cycles of the model / clock"),
    }
    figures = {name: Figure(values[name], basis, how) for name, (basis, how) in sources.items()}
    audio_path = Figure(100 - target.audio.core_share_percent, "estimated", "as the target file states")
    counted = [row for row in profile["layers"] if row.get("macs")]
    per_mac = sum(row["cycles"] for row in counted) / max(1, sum(row["macs"] for row in counted))
    return {
        **figures,
        "cycles_per_mac": Figure(per_mac, "estimated", f"{model}, layers that multiply"),
        "audio_path_load_percent": audio_path,
    }


def _energy(profile: Values, target: Target) -> dict[str, Figure]:
    power = target.power
    how = {
        "average_uw": f"load x clock x {power.active_uw_per_mhz:g} uW/MHz",
        "battery_hours": f"{power.battery_mwh:g} mWh spent on the model alone",
    }
    figures = {name: Figure(profile["energy"][name], "estimated", how[name]) for name in how}
    if profile["latency"]["core_load_percent"] > 100:
        figures["battery_hours"] = Figure(None, "estimated", "the core cannot keep up: load above 100 %")
    return figures


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
    by_backend: dict[str, list[LayerParity]] = {}
    for row in rows:
        by_backend.setdefault(row["backend"], []).append(LayerParity(**row))
    return {
        backend: Parity(
            layers=len(layers),
            elements=sum(layer.elements for layer in layers),
            mismatches=sum(layer.mismatches for layer in layers),
            max_lsb=max(layer.max_lsb for layer in layers),
            allowed_lsb=max(layer.allowed_lsb for layer in layers),
            held=all(layer.ok and layer.elements > 0 for layer in layers),
        )
        for backend, layers in by_backend.items()
    }


def _provenance(built: Mapping[str, Artifact], teacher: Values) -> dict[str, Any]:
    return {
        "edgekit": __version__,
        "teacher": teacher["name"],
        "artifacts": {stage: made.digest for stage, made in built.items()},
        "params": {stage: made.manifest.params for stage, made in built.items()},
    }
