"""How good the trained teacher's recipe is: python -m benchmarks.teachers [--out FILE] [--cache DIR].

Reads the shared corpora and encoder (EDGEKIT_SHARED, without it ../shared) and writes benchmarks/teachers.md.
Pooled encoder states are kept in the cache, array by array: a rerun goes on where it was.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from benchmarks.teachers import experiments, report
from benchmarks.teachers.features import encoding_s, read_corpora, shared_folder
from edgekit import artifact
from edgekit.errors import EdgekitError


def main() -> int:
    """Run every experiment and write the tables; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.teachers", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "teachers.md")
    parser.add_argument("--cache", type=Path, default=Path(".benchmarks/teachers"))
    options = parser.parse_args()
    # One thread: sums in another order give other last digits.
    torch.set_num_threads(1)
    try:
        emodb, ravdess = read_corpora(shared_folder(), options.cache)
    except EdgekitError as error:
        print(f"{error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    started = time.perf_counter()
    base = experiments.base_recipes(emodb, ravdess)
    figures = report.Figures(
        emodb=experiments.emodb_rows(emodb),
        multi=experiments.multi_corpus_rows(emodb, ravdess),
        base=base,
        across=experiments.across_rows(emodb, ravdess, base),
        encoding_s=encoding_s(options.cache),
        fitting_s=time.perf_counter() - started,
    )
    artifact.write_text(options.out, report.markdown(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
