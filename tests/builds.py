"""A finished build directory in miniature: real artifacts around invented figures."""

import json
from pathlib import Path

from edgekit import artifact
from edgekit.graph.parity import LayerParity
from edgekit.report import STAGES

ADV = ("arousal", "dominance", "valence")
HISTORY = """step,learning_rate,train_loss,dev_arousal,dev_dominance,dev_valence
0,0.0002,,0.5,0.4,
10,0.0001,0.7,0.8,0.6,0.3
20,1e-06,0.5,0.9,0.7,0.4
"""


FLASH = {
    "firmware_bytes": 49_152,
    "journal": 0x1000_C000,
    "fitting": 0x1000_E000,
    "fitting_bytes": 8_192,
    "slots": [0x1001_0000, 0x1002_8000],
    "slot_bytes": 98_304,
}


def parity_row(backend: str, layer: str, elements: int, mismatches: int = 0, max_lsb: int = 0) -> dict:
    return LayerParity(
        backend, layer, elements, mismatches, max_lsb, max_lsb, 0.01 * (mismatches > 0)
    ).to_dict()


def layer_error(layer: str, percent: float, decibels: float) -> dict[str, object]:
    return {"layer": layer, "error_percent": percent, "signal_to_noise_db": decibels, "elements": 1000}


def symbol(name: str, section: str, size_bytes: int) -> dict[str, object]:
    return {"name": name, "section": section, "size_bytes": size_bytes}


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
            "history.csv": HISTORY,
            "student.onnx": "f" * 275_000,
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
                "quantization_error": {
                    "how": "4 test clips, 8.1 s",
                    "layers": [layer_error("l1", 1.0, 40.0), layer_error("l2", 2.0, 33.98)],
                },
            },
            "graph.json": {
                "ops": [
                    {"name": "spectrum", "kind": "power_spectrum"},
                    {"name": "l1", "kind": "conv2d"},
                    {"name": "l2", "kind": "conv2d"},
                ]
            },
            "model.onnx": "o" * 55_000,
            "model.tflite": "t" * 70_000,
        },
        "codegen": {
            "parity.json": {"layers": [parity_row("c-host", "l1", 320_000)]},
            "memory.json": {"state_bytes_by_layer": {"l1": 84, "l2": 1092}},
        },
        "firmware": {"firmware.elf": "elf", "model.bin": "w" * 50_000, "updates.json": {"flash": FLASH}},
        "simulate": {"profile.json": profile()},
        "alternatives": {"remedies.json": {"remedies": []}},
    }


def profile() -> dict[str, object]:
    return {
        "timing": {
            "table": "cortex-m33",
            "source": "a manual",
            "fetch_wait_cycles": 0.0,
            "data_wait_cycles": 0.5,
            "error": {"worst_percent": 10.0, "mean_percent": 4.0, "how": "12 boards"},
            "cycles_are_upper_bound": False,
            "basis": {"instructions": "measured", "cycles": "estimated"},
        },
        "schedule": schedule(),
        "audio": {"samples": 32_000, "duration_s": 2.0, "sample_rate_hz": 16_000, "block_samples": 64},
        "layers": [
            {"name": "board", "instructions": 1_000, "cycles": 2_000},
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
        "memory": {
            "static_bytes": 20_000,
            "stack_bytes": 1_000,
            "audio_buffer_bytes": 512,
            "stack_reserved_bytes": 8_192,
            "total_ram_bytes": 21_512,
            "symbols": [symbol("state", ".bss", 19_000), symbol("block", ".bss", 128)],
        },
        "flash": {
            "flash_bytes": 100_000,
            "sections": [
                {"name": ".text", "size_bytes": 49_000},
                {"name": ".model", "size_bytes": 50_000},
                {"name": ".rodata", "size_bytes": 1_000},
            ],
            "symbols": [
                symbol("edgekit_model_data", ".model", 50_000),
                *(symbol(f"kernel_{number}", ".text", 900 - number) for number in range(20)),
            ],
        },
        "parity": [parity_row("simulated-core", "l1", 32_000)],
        "accuracy": {"device_vs_graph": dict.fromkeys(ADV, 1.0), "clips": 3},
    }


def measured_profile() -> dict[str, object]:
    """The profile of a run on this computer itself."""
    made = profile()
    made["timing"] |= {"table": "host", "error": None, "data_wait_cycles": 0.0}
    made["timing"]["basis"] = {"instructions": "measured", "cycles": "measured"}
    made["layers"] = [{"name": "all", "instructions": None, "cycles": 20_000_000, "macs": 5_000_000}]
    made["latency"]["instructions_per_second_of_audio"] = None
    made["energy"] = {"average_uw": None, "battery_hours": None}
    made["parity"] = [parity_row("native-program", "l1", 32_000)]
    return made


def arena() -> dict[str, object]:
    """An arena of two steps: a result, and scratch memory below it."""
    return {
        "size_bytes": 1200,
        "bound_bytes": 1176,
        "steps": ["l1", "l2", "results"],
        "buffers": [
            {
                "name": "l1_out",
                "offset_bytes": 84,
                "lives": [{"first_step": 0, "last_step": 1, "size_bytes": 1092}],
            },
            {
                "name": "l2:scratch",
                "offset_bytes": 0,
                "lives": [{"first_step": 1, "last_step": 1, "size_bytes": 84}],
            },
        ],
    }


def schedule() -> dict[str, object]:
    """Three of the blocks of 4 ms, one of them late."""
    return {
        "policy": "continuous",
        "window_s": None,
        "every_s": None,
        "block_ms": 4.0,
        "audio_path_cycles_per_block": 140_000,
        "model_load_percent": 20.0,
        "audio_path_load_percent": 70.0,
        "total_load_percent": 90.0,
        "longest_result_ms": 3.6,
        "missed_deadlines": 0,
        "blocks": 1_000,
        "deadline_ms": 4.0,
        "buffer_bytes": 128,
        "in_time": {
            "audio_s": 2.0,
            "blocks": 500,
            "lost_blocks": 0,
            "results": 496,
            "longest_result_ms": 3.5,
        },
        "timeline": [
            {"arrival_ms": 4.0, "begin_ms": 4.0, "end_ms": 7.0, "due_ms": 8.0, "missed": False},
            {"arrival_ms": 8.0, "begin_ms": 8.0, "end_ms": 13.0, "due_ms": 12.0, "missed": True},
            {"arrival_ms": 12.0, "begin_ms": 13.0, "end_ms": 15.0, "due_ms": 16.0, "missed": False},
        ],
    }


def write_build(folder: Path, files: dict[str, dict[str, object]], target: str = "hearing-aid") -> Path:
    """Write one artifact per stage, and the marker of a build for a target."""
    for stage, content in files.items():
        with artifact.writing(folder / STAGES[stage], stage, {}, {}) as work:
            for name, value in content.items():
                (work / name).write_text(value if isinstance(value, str) else json.dumps(value))
    marker = {"schema": 1, "target": target, "target_file": target}
    artifact.write_json(folder / "build.json", marker)
    return folder
