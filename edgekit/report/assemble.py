"""Putting the report together from the JSON files that the stages left in a build directory."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit import __version__, artifact
from edgekit.artifact import Artifact
from edgekit.errors import ArtifactError
from edgekit.graph.parity import LayerParity
from edgekit.metrics import DIMENSIONS
from edgekit.report.budget import MISSED, NO_DEADLINE_MISSED, target_limits
from edgekit.report.costs import (
    energy_assumptions,
    energy_of,
    latency_of,
    layers_of,
    missed_deadlines_of,
    schedule_of,
    timing_of,
)
from edgekit.report.figures import Figure, Limit, Verdict
from edgekit.report.model import Memory, QuantizationError, Report
from edgekit.report.remedies import remedies_of
from edgekit.report.rows import Arena, Buffer, LayerError, Learning, Life, Parity, Symbol
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

_SIMULATED = {
    "clips": "simulated",
    "flash_bytes": "loaded sections of firmware.elf",
    "static_bytes": "writable sections of firmware.elf",
    "stack_bytes": "deepest stack of the simulated run",
    "audio_buffer_bytes": "audio that may wait under the target's policy",
    "total_ram_bytes": "static, stack and audio that may wait",
    "stack_reserved_bytes": "set aside by the linker; not in the total",
}
_NATIVE = {
    **_SIMULATED,
    "clips": "natively run",
    "flash_bytes": "the model's code, constants and weights, by the symbols of firmware.elf",
    "static_bytes": "state, audio block and other variables, by the symbols of firmware.elf",
    "stack_bytes": "deepest stack of the run, on a stack painted before",
    "stack_reserved_bytes": "given to the thread that runs the model; not in the total",
}
"""How figures were measured: on a simulated core, and on this computer itself."""


def assemble(folder: Path, target: Target, limits: Mapping[str, Limit] | None = None) -> Report:
    """Return the report of a build directory.

    Args:
        folder: A build directory in which every stage has finished.
        target: The target that it was built for.
        limits: Budgets that replace those of the target; the others stay, and no deadline may be missed.

    Raises:
        ArtifactError: If a stage's artifact is missing, damaged, or made by an older edgekit.
    """
    built = {stage: artifact.read(folder / place, stage) for stage, place in STAGES.items()}
    teacher, student = _json(built["label"], "teacher.json"), _json(built["distill"], "metrics.json")
    graph = _json(built["quantize"], "parity.json", "quantization_error")
    profile = _json(built["simulate"], "profile.json", "timing.error", "schedule")
    found = _json(built["alternatives"], "remedies.json")["remedies"]
    host = _json(built["codegen"], "parity.json")
    ops, timing = _json(built["quantize"], "graph.json")["ops"], timing_of(profile)
    words = _NATIVE if timing.cycles_basis == "measured" else _SIMULATED
    size, memory = _size(built, student, profile, words), _memory(built, profile, ops, words)
    latency, energy = latency_of(profile, timing, target), energy_of(profile, timing, target)
    missed = {MISSED: missed_deadlines_of(profile, timing)}
    figures = {**size, **memory.figures, **latency, **energy, **missed}
    wanted = target_limits(target) | dict(limits or {}) | {MISSED: NO_DEADLINE_MISSED}
    verdicts = tuple(Verdict(name, limit, figures[name]) for name, limit in wanted.items())
    return Report(
        target=_target(target),
        verdicts=verdicts,
        remedies=remedies_of(found, verdicts),
        accuracy=_accuracy(teacher, student, graph, profile, words),
        size=size,
        memory=memory,
        latency=latency,
        timing=timing,
        schedule=schedule_of(profile),
        layers=layers_of(profile, timing, ops),
        energy=energy,
        assumptions=energy_assumptions(profile, target),
        parity=_parity([*graph["layers"], *host["layers"], *profile["parity"]]),
        quantization=_quantization(graph["quantization_error"]),
        learning=_learning(built["distill"], student),
        provenance=_provenance(built, teacher),
    )


def _json(made: Artifact, name: str, *newer: str) -> dict[str, Any]:
    """Return a JSON file of an artifact, with the keys that older versions did not write."""
    values = json.loads(made.file(name).read_text())
    if not isinstance(values, dict):
        raise ArtifactError(f"{made.path / name}: not a JSON object", "run edgekit build again")
    _require(made, name, values, *newer)
    return values


def _require(made: Artifact, name: str, values: Values, *newer: str) -> None:
    for path in newer:
        inner: Any = values
        for key in path.split("."):
            if key not in inner:
                again = f"remove {made.path}, then run edgekit build again"
                raise ArtifactError(f"{made.path / name}: made by an older edgekit, without {path}", again)
            inner = inner[key]


def _target(target: Target) -> dict[str, Any]:
    return {
        "name": target.name,
        "description": target.description,
        "digest": target.digest,
        "cpu": target.core.cpu,
        "clock_hz": target.core.clock_hz,
        "ram_bytes": target.memory.ram_bytes,
        "flash_bytes": target.memory.flash_bytes,
        "sample_rate_hz": target.audio.sample_rate_hz,
        "block_samples": target.audio.block_samples,
    }


def _accuracy(
    teacher: Values,
    student: Values,
    graph: Values,
    profile: Values,
    words: Mapping[str, str],
) -> dict[str, dict[str, Figure]]:
    quantized, device = graph["accuracy"], profile["accuracy"]
    held_out = student["measured_on"]
    kept = f"step {student['kept_step']} of {student['steps']}"
    learned_on = f"{_clips(student['clips'][held_out], held_out)}, {kept}"
    quantized_on = _clips(quantized["clips"], quantized["measured_on"])
    device_on = _clips(device["clips"], words["clips"])
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


def _size(
    built: Mapping[str, Artifact], student: Values, profile: Values, words: Mapping[str, str]
) -> dict[str, Figure]:
    def stored(stage: str, name: str) -> Figure:
        return Figure(built[stage].file(name).stat().st_size, "measured", f"size of {name}")

    return {
        "parameters": Figure(student["parameters"], "measured", "counted in the student"),
        "student_onnx_bytes": stored("distill", "student.onnx"),
        "onnx_bytes": stored("quantize", "model.onnx"),
        "tflite_bytes": stored("quantize", "model.tflite"),
        "weights_bytes": stored("firmware", "model.bin"),
        "flash_bytes": Figure(profile["flash"]["flash_bytes"], "measured", words["flash_bytes"]),
    }


def _memory(
    built: Mapping[str, Artifact], profile: Values, ops: Sequence[Values], words: Mapping[str, str]
) -> Memory:
    facts = _json(built["codegen"], "memory.json")
    if "arena" in facts:
        _require(built["codegen"], "memory.json", facts, "arena.buffers")
    state = facts["state_bytes_by_layer"]
    return Memory(
        figures=_ram(profile["memory"], words) | _arena_sizes(facts),
        state_bytes_by_layer={op["name"]: state[op["name"]] for op in ops if op["name"] in state},
        ram_symbols=_symbols(profile["memory"]["symbols"]),
        flash_sections={row["name"]: row["size_bytes"] for row in profile["flash"]["sections"]},
        flash_symbols=_symbols(profile["flash"]["symbols"]),
        arena=_arena(facts["arena"]) if "arena" in facts else None,
    )


def _ram(memory: Values, words: Mapping[str, str]) -> dict[str, Figure]:
    names = ("static_bytes", "stack_bytes", "audio_buffer_bytes", "total_ram_bytes", "stack_reserved_bytes")
    return {name: Figure(memory[name], "measured", words[name]) for name in names}


def _arena_sizes(facts: Values) -> dict[str, Figure]:
    """Return the arena of a network that runs whole, and the least that any needs; a stream has none."""
    how = {"size_bytes": "planned by lifetimes", "bound_bytes": "in use at the fullest layer"}
    arena = facts.get("arena")
    return {f"arena_{name}": Figure(arena[name], "measured", how[name]) for name in how} if arena else {}


def _arena(values: Values) -> Arena:
    buffers = (
        Buffer(row["name"], row["offset_bytes"], tuple(Life(**life) for life in row["lives"]))
        for row in values["buffers"]
    )
    return Arena(tuple(values["steps"]), tuple(buffers))


def _symbols(rows: Iterable[Values]) -> tuple[Symbol, ...]:
    return tuple(Symbol(**row) for row in rows)


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


def _quantization(found: Values) -> QuantizationError:
    return QuantizationError(found["how"], tuple(LayerError(**row) for row in found["layers"]))


def _learning(student: Artifact, metrics: Values) -> Learning:
    rows = csv.DictReader(io.StringIO(student.file("history.csv").read_text()))
    steps = [{name: float(field) if field else None for name, field in row.items()} for row in rows]
    return Learning(metrics["kept_step"], tuple(steps))


def _provenance(built: Mapping[str, Artifact], teacher: Values) -> dict[str, Any]:
    return {
        "edgekit": __version__,
        "teacher": teacher["name"],
        "artifacts": {stage: made.digest for stage, made in built.items()},
        "params": {stage: made.manifest.params for stage, made in built.items()},
    }
