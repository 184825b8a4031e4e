"""What made the students good: python -m benchmarks.distillation [--only NAME] [--done] [--out FILE].

Reads the shared corpora and encoder (EDGEKIT_SHARED, without it ../shared) and writes
benchmarks/distillation.md. Every row is a training; they take hours together, so what each gave is kept in
distillation.json beside the page, with its command, and a row of the same command is not trained again. With
--only, one row is trained and nothing written but its result: two shells can share the work. With --done,
nothing is trained, and the page leaves out what has not been.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.distillation import report
from benchmarks.distillation.rows import ALL, FULL, Row
from benchmarks.measured import Measured
from benchmarks.students.agreement import Agreement, TestSets, full_teacher
from benchmarks.students.training import label_everything, once, show
from benchmarks.teachers.features import shared_folder
from distill.training import load_student
from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.errors import EdgekitError
from edgekit.labels import audio_root, read_labels
from edgekit.pipeline import listener
from wavllm_teacher.labelling import LabelConfig, label


def main() -> int:
    """Train every row and write the page; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.distillation", description=__doc__.splitlines()[0]
    )
    rows = {row.name: row for row in ALL}
    parser.add_argument("--only", choices=rows, action="append", help="train this row and write no page")
    parser.add_argument("--done", action="store_true", help="write the page of what has been trained")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "distillation.md")
    parser.add_argument("--cache", type=Path, default=Path(".benchmarks/distillation"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        shared, kept = shared_folder(), Measured(options.out.with_suffix(".json"))
        labels = label_everything(shared, options.cache)
        for name in options.only or ([] if options.done else rows):
            if options.only or kept.get(name, rows[name].command) is None:
                result = _measured(rows[name], labels, shared, options.cache)
                kept.put(name, rows[name].command, result)
        if not options.only:
            found = {name: kept.get(name, row.command) for name, row in rows.items()}
            trained = {name: result for name, result in found.items() if result}
            artifact.write_text(options.out, report.markdown(trained, _hours(labels)))
    except EdgekitError as error:
        print(f"{error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


def _measured(row: Row, labels: Path, shared: Path, cache: Path) -> Agreement:
    sets = TestSets.of_both_teachers(shared, cache)
    made = _trained(row, labels, cache, full_teacher(shared, cache))
    return sets.agreement(load_student(made.path, "wav2small").eval())


def _trained(row: Row, labels: Path, cache: Path, full: Path) -> Artifact:
    source = labels if row.share == 1 else _share(row.share, labels, cache)
    teachers = [str(full) if name == FULL else name for name in row.relabel]
    relabel = listener(*teachers) if teachers else None
    return once(row.config, source, cache / row.name, show, relabel)


def _share(share: float, labels: Path, cache: Path) -> Path:
    """Return labels of a random part of the clips to learn from, and of all test clips."""
    found = read_labels(labels)
    order = np.random.default_rng(0).permutation(len(found))
    learned = [row for row in order if found.split[row] != "test"]
    rows = sorted([*learned[: round(share * len(learned))], *found.indices("test")])
    manifest = cache / f"labels-{share:g}.csv"
    lines = ["file,start_s,end_s,split"]
    lines += [f"{found.file[r]},{found.start_s[r]},{found.end_s[r]},{found.split[r]}" for r in rows]
    artifact.write_text(manifest, "\n".join(lines) + "\n")
    return label(LabelConfig((manifest,), audio_root=audio_root(labels)), manifest.with_suffix("")).path


def _hours(labels: Path) -> float:
    """Return the hours of audio that are learned from."""
    found = read_labels(labels)
    learned = [row for row in range(len(found)) if found.split[row] != "test"]
    return float((found.end_s[learned] - found.start_s[learned]).sum()) / 3600


if __name__ == "__main__":
    sys.exit(main())
