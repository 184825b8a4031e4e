"""What quantizing the shipped students costs: python -m benchmarks.quantization [--out FILE] [--cache DIR].

Reads the shared corpora and encoder (EDGEKIT_SHARED, without it ../shared) and writes
benchmarks/quantization.md, in about half an hour on one core.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quantization.rows import DEFAULTS, VARIANTS, Row, changes
from benchmarks.students.agreement import EMODB, RAVDESS, TestSets
from benchmarks.students.training import Variant, label_everything, show, trained
from benchmarks.tables import ccc_cell, line
from benchmarks.teachers.features import shared_folder
from distill.trainer import predict
from distill.training import load_student
from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.audio import log_mel, to_pcm16
from edgekit.errors import EdgekitError
from edgekit.graph import run
from edgekit.labels import read_labels
from edgekit.metrics import DIMENSIONS, adv_ccc
from quantize.attention import ADV_QUANTIZATION
from quantize.onnx_writer import write_onnx
from quantize.student import quantize_student
from quantize.tflite_writer import write_tflite

SETS = (EMODB, RAVDESS)
TEACHER = "compact"
INTRODUCTION = """# Quantization: what it costs, and what each part is worth

Written by `python -m benchmarks.quantization`; every figure comes from that run.

Clips of speakers that no student was trained on (EmoDB and RAVDESS test speakers, whole clips), quantized on
64 training clips. *Against float*: CCC of arousal / dominance / valence between the integer graph and the
float student. *Fall*: the float student's CCC against the compact teacher less the graph's, the largest of
the three dimensions; negative where the graph agrees better. Seconds are those of calibrating and making the
graph on one thread, without writing and comparing the copies.
"""


@dataclass(frozen=True)
class Found:
    """One student quantized one way: cells of its line."""

    against_float: dict[str, dict[str, float]]
    fall: float
    error: float
    onnx_bytes: int
    tflite_bytes: int
    seconds: float


class Bench:
    """Quantizes one student many ways and measures each on the same clips."""

    def __init__(self, made: Artifact, labels: Path, sets: TestSets) -> None:
        self.made, self.labels, self.sets = made, read_labels(labels), sets
        student = load_student(made.path, "wav2small").eval()
        self.front_end = student.front_end
        self.real: dict[str, NDArray[np.float32]] = {}
        for name in SETS:
            frames = [log_mel(clip, self.front_end) for clip in sets.clips[name]]
            self.real[name] = predict(student, frames)

    def measure(self, row: Row) -> Found:
        """Return what one way to quantize does."""
        began = time.perf_counter()
        model = self.made.file("student.onnx")
        graph = quantize_student(row.config, model, self.front_end, self.labels, show)
        seconds = time.perf_counter() - began
        found = {
            name: np.array(
                [
                    ADV_QUANTIZATION.dequantize(run(graph, {"pcm": to_pcm16(clip)})[graph.outputs[0]])
                    for clip in self.sets.clips[name]
                ]
            )
            for name in SETS
        }
        teacher = self.sets.labels(EMODB, TEACHER)
        before, after = adv_ccc(self.real[EMODB], teacher), adv_ccc(found[EMODB], teacher)
        with tempfile.TemporaryDirectory() as folder:
            write_onnx(graph, Path(folder, "model.onnx"))
            write_tflite(graph, Path(folder, "model.tflite"))
            onnx, tflite = (Path(folder, f"model.{kind}").stat().st_size for kind in ("onnx", "tflite"))
        return Found(
            {name: adv_ccc(found[name], self.real[name]) for name in SETS},
            max(before[dimension] - after[dimension] for dimension in DIMENSIONS),
            float(np.abs(found[EMODB] - self.real[EMODB]).mean()),
            onnx,
            tflite,
            seconds,
        )


def _line(title: str, found: Found) -> str:
    cells = [ccc_cell(found.against_float[name], places=4) for name in SETS]
    sizes = [f"{size:,}" for size in (found.onnx_bytes, found.tflite_bytes)]
    return line([title, *cells, f"{found.fall:+.4f}", f"{found.error:.4f}", *sizes, f"{found.seconds:.0f}"])


def _table(first: str, lines: list[str]) -> list[str]:
    head = [
        first,
        "against float, EmoDB",
        "against float, RAVDESS",
        "fall",
        "mean error",
        "model.onnx",
        "model.tflite",
        "s",
    ]
    return [line(head), line(["---"] * len(head)), *lines, ""]


def _page(labels: Path, sets: TestSets, cache: Path) -> str:
    lines = [INTRODUCTION, "## The students that ship", ""]
    benches = {variant: Bench(trained(variant, labels, cache, show), labels, sets) for variant in VARIANTS}
    rows = [
        _line(f"{_title(variant)}, {row.title}", bench.measure(row))
        for row in DEFAULTS
        for variant, bench in benches.items()
    ]
    lines += _table("student", rows)
    for weights in ("mixed4", "int8"):
        lines += [f"## One change at a time, `{weights}`, {_title(VARIANTS[0])}", ""]
        bench = benches[VARIANTS[0]]
        lines += _table("change", [_line(row.title, bench.measure(row)) for row in changes(weights)])
    return "\n".join(lines)


def _title(variant: Variant) -> str:
    return f"hop {variant.hop} {variant.level}"


def main() -> int:
    """Measure everything and write the page; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quantization", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "quantization.md")
    parser.add_argument("--cache", type=Path, default=Path(".benchmarks/students"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        shared, cache = shared_folder(), options.cache
        sets = TestSets.of_both_teachers(shared, cache)
        artifact.write_text(options.out, _page(label_everything(shared, cache), sets, cache))
    except EdgekitError as error:
        print(f"{error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
