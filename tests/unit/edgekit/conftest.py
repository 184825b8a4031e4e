"""A finished build directory in miniature: real artifacts around invented figures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.edgekit.commands import Ran

from edgekit import artifact, pipeline
from edgekit.cli.app import main
from edgekit.graph.parity import LayerParity
from edgekit.progress import Progress
from edgekit.report import STAGES

ADV = ("arousal", "dominance", "valence")


def parity_row(backend: str, layer: str, elements: int, mismatches: int = 0, max_lsb: int = 0) -> dict:
    return LayerParity(
        backend, layer, elements, mismatches, max_lsb, max_lsb, 0.01 * (mismatches > 0)
    ).to_dict()


def stage_files() -> dict[str, dict[str, object]]:
    """Stage name to its files; text, or a value written as JSON."""
    return {
        "label": {
            "teacher.json": {
                "name": "compact",
                "parameters": 1_900_000,
                "teacher_vs_reference": dict.fromkeys(ADV, 0.5),
                "measured_on": "held-out speakers",
            }
        },
        "distill": {
            "metrics.json": {
                "parameters": 72_659,
                "student_vs_teacher": {"arousal": 0.91, "dominance": 0.82, "valence": None},
                "undefined": {"valence": "the teacher gave every clip the same value"},
                "measured_on": "test",
                "clips": {"train": 100, "dev": 20, "test": 40},
                "kept_step": 15,
                "steps": 20,
            },
            "history.svg": "<svg/>",
        },
        "quantize": {
            "parity.json": {
                "layers": [
                    parity_row("onnx", "l1", 1000, 3, 1),
                    parity_row("onnx", "l2", 500, 0, 0),
                    parity_row("tflite", "l1", 1000),
                ],
                "accuracy": {
                    "quantized_vs_student": dict.fromkeys(ADV, 0.995),
                    "clips": 40,
                    "measured_on": "test",
                },
            },
            "model.onnx": "o" * 55_000,
            "model.tflite": "t" * 70_000,
        },
        "codegen": {
            "parity.json": {"layers": [parity_row("c-host", "l1", 320_000)]},
            "memory.json": {"state_bytes_by_layer": {"l1": 84, "l2": 1092}},
        },
        "firmware": {"firmware.elf": "elf", "model.bin": "w" * 50_000},
        "simulate": {"profile.json": profile()},
        "alternatives": {"remedies.json": {"remedies": []}},
    }


def profile() -> dict[str, object]:
    return {
        "timing": {"table": "cortex-m33", "cycles_are_upper_bound": False},
        "audio": {"samples": 32_000, "duration_s": 2.0, "sample_rate_hz": 16_000, "block_samples": 64},
        "layers": [
            {"name": "spectrum", "instructions": 4_000_000, "cycles": 6_000_000},
            {"name": "l1", "instructions": 9_000_000, "cycles": 14_000_000, "macs": 5_000_000},
        ],
        "latency": {
            "worst_block_cycles": 90_000,
            "cycles_per_second_of_audio": 10_000_000.0,
            "instructions_per_second_of_audio": 6_500_000.0,
            "core_load_percent": 20.0,
        },
        "energy": {"average_uw": 348.0, "battery_hours": 672.4},
        "memory": {"static_bytes": 20_000, "stack_bytes": 1_000, "total_ram_bytes": 21_000},
        "flash": {"flash_bytes": 100_000},
        "parity": [parity_row("simulated-core", "l1", 32_000)],
        "accuracy": {"device_vs_graph": dict.fromkeys(ADV, 1.0), "clips": 3},
    }


def write_build(folder: Path, files: dict[str, dict[str, object]]) -> Path:
    """Write one artifact per stage, and the marker of a build for hearing-aid."""
    for stage, content in files.items():
        with artifact.writing(folder / STAGES[stage], stage, {}, {}) as work:
            for name, value in content.items():
                (work / name).write_text(value if isinstance(value, str) else json.dumps(value))
    marker = {"schema": 1, "target": "hearing-aid", "target_file": "hearing-aid"}
    artifact.write_json(folder / "build.json", marker)
    return folder


@pytest.fixture
def build_files() -> dict[str, dict[str, object]]:
    return stage_files()


@pytest.fixture
def build_dir(tmp_path: Path, build_files: dict[str, dict[str, object]]) -> Path:
    return write_build(tmp_path / "build", build_files)


@pytest.fixture
def make_build() -> Callable[[Path, dict[str, dict[str, object]]], Path]:
    return write_build


@pytest.fixture
def stand_in_stages(monkeypatch: pytest.MonkeyPatch, build_files: dict[str, dict[str, object]]) -> None:
    """Stages that write `build_files` and count to three; the seed is a setting of distill."""

    def stages(config: pipeline.BuildConfig, _: object) -> tuple[pipeline.Stage, ...]:
        return tuple(stand_in(name, config.seed if name == "distill" else 0, build_files) for name in STAGES)

    monkeypatch.setattr(pipeline, "stages", stages)


def stand_in(name: str, seed: int, files: dict[str, dict[str, object]]) -> pipeline.Stage:
    def identity(built: dict[str, artifact.Artifact]) -> tuple[dict[str, str], dict[str, int]]:
        return {stage: made.digest for stage, made in list(built.items())[-1:]}, {"seed": seed}

    def run(built: dict[str, artifact.Artifact], out: Path, progress: Progress) -> artifact.Artifact:
        with artifact.writing(out, name, *identity(built)) as work:
            for done in range(4):
                progress("working", done, 3)
            for file, value in files[name].items():
                (work / file).write_text(value if isinstance(value, str) else json.dumps(value))
        return artifact.read(out, name)

    return pipeline.Stage(name, identity, run)


@pytest.fixture
def edgekit(capsys) -> Callable[..., Ran]:
    def run(*words: object) -> Ran:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
