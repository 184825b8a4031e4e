"""What every student costs and how well it agrees: python -m benchmarks.students [--out FILE] [--cache DIR].

Reads the shared corpora and encoder (EDGEKIT_SHARED, without it ../shared) and writes benchmarks/students.md.
Students that do not ship are trained first, which takes hours; how well each agrees is kept in students.json
beside the page, with how it was trained, and is not measured again while that is unchanged. With --only, one
of them is trained and nothing written but its agreement: two shells can share the work. With --costs, nothing
is trained: what students cost does not depend on their weights, and the agreement of those not trained yet is
left out.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measured import Measured
from benchmarks.students import report
from benchmarks.students.agreement import Agreement, TestSets
from benchmarks.students.cost import SAMPLES, SECONDS, Run, macs, quantize_static, run_onnx, tokens_per_s
from benchmarks.students.training import VARIANTS, Variant, label_everything, show, trained, untrained
from benchmarks.teachers.features import shared_folder
from distill.student import Student
from distill.training import load_student
from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.audio import log_mel
from edgekit.errors import EdgekitError
from edgekit.labels import read_labels
from quantize.config import QuantizeConfig
from quantize.stage import quantize
from quantize.student import spread

CALIBRATION_CLIPS = 64
EVALUATION_CLIPS = 8


def main() -> int:
    """Measure every student and write the page; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.students", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "students.md")
    parser.add_argument("--cache", type=Path, default=Path(".benchmarks/students"))
    parser.add_argument("--costs", action="store_true", help="train nothing")
    variants = {variant.name: variant for variant in VARIANTS}
    parser.add_argument("--only", choices=variants, help="train this student and write no page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        bench = Bench(shared_folder(), options.cache, Measured(options.out.with_suffix(".json")))
        if options.only:
            bench.agreement(variants[options.only])
            return 0
        rows = [bench.row(variant, train=not options.costs) for variant in VARIANTS]
        artifact.write_text(options.out, report.markdown(rows, _processor()))
    except EdgekitError as error:
        print(f"{error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


class Bench:
    """Measures one student after another.

    Args:
        shared: Folder with the corpora and the encoder.
        cache: Where labels and students are kept.
        kept: Agreements of students measured before.
    """

    def __init__(self, shared: Path, cache: Path, kept: Measured) -> None:
        self.cache = cache
        self.kept = kept
        self.labels = label_everything(shared, cache)
        self.sets = TestSets.of_both_teachers(shared, cache)

    def agreement(self, variant: Variant) -> Agreement:
        """Train a student if need be, measure it and keep what it gave."""
        made = trained(variant, self.labels, self.cache, show)
        found = self.sets.agreement(load_student(made.path, variant.student).eval())
        self.kept.put(variant.name, variant.recipe, found)
        return found

    def row(self, variant: Variant, *, train: bool) -> report.Row:
        """Return a student's line; `train` it if nobody has, or leave its agreement out."""
        ccc = self.kept.get(variant.name, variant.recipe)
        if ccc is None and (train or variant.ships):
            ccc = self.agreement(variant)
        made = (trained if variant.ships else untrained)(variant, self.labels, self.cache, show)
        return _row(variant, made, self.labels, ccc or {})


def _row(variant: Variant, made: Artifact, labels: Path, ccc: Agreement) -> report.Row:
    student = load_student(made.path, variant.student).eval()
    frames = (1, student.front_end.frame_count(SAMPLES), student.front_end.mel_bands)
    with tempfile.TemporaryDirectory() as folder:
        int8 = Path(folder, "int8.onnx")
        quantize_static(made.file("student.onnx"), int8, _calibration(student, labels))
        return report.Row(
            name=variant.name,
            shipped=variant.ships,
            parameters=sum(p.numel() for p in student.parameters()),
            trained=sum(p.numel() for p in student.parameters() if p.requires_grad),
            macs=macs(student),
            tokens_per_s=tokens_per_s(student),
            float_run=run_onnx(made.file("student.onnx"), frames),
            int8_run=run_onnx(int8, frames),
            edgekit_run=_own_run(made, labels, Path(folder, "graph")),
            ccc=ccc,
        )


def _calibration(student: Student, labels: Path) -> list[NDArray[np.float32]]:
    found = read_labels(labels)
    rows = spread(found.indices("train"), CALIBRATION_CLIPS)
    return [log_mel(found.clip(row), student.front_end) for row in rows]


def _own_run(made: Artifact, labels: Path, out: Path) -> Run:
    # Fine-tuning changes what the integers are, not what they cost.
    config = QuantizeConfig(evaluation_clips=EVALUATION_CLIPS, window_s=SECONDS, qat_steps=0)
    graph = quantize(config, made.path, labels, out)
    return run_onnx(graph.file("model.onnx"), (1, SAMPLES))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


if __name__ == "__main__":
    sys.exit(main())
