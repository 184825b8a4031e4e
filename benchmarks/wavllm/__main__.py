"""What the speech language model learns: python -m benchmarks.wavllm [--only PART] [--out FILE].

Writes benchmarks/wavllm.md. Each part is a training of minutes, so what it gave is kept in wavllm.json beside
the page, with what it was measured of, and is not measured again. With --only, that part alone is measured,
and anew.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measured import Measured
from benchmarks.wavllm import answers, report, scales, tiny
from edgekit import artifact
from edgekit.errors import EdgekitError


@dataclass(frozen=True)
class Part:
    """One section of the page.

    Attributes:
        of: What decides its result, as text.
        measure: Gives the result.
    """

    of: str
    measure: Callable[[], Any]


PARTS = {
    "tiny": Part(tiny.identity(), tiny.measure),
    "answers": Part(answers.identity(), answers.measure),
    "scales": Part(json.dumps(scales.settings(), sort_keys=True), scales.measure),
}


def main() -> int:
    """Measure what is missing and write the page; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wavllm", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, help="measure this part, also if it is kept")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "wavllm.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = Measured(options.out.with_suffix(".json"))
    try:
        for name, part in PARTS.items():
            if name == options.only or (options.only is None and kept.get(name, part.of) is None):
                kept.put(name, part.of, part.measure())
    except EdgekitError as error:
        print(f"{error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    found = {name: kept.get(name, part.of) for name, part in PARTS.items()}
    found[report.EARLIER] = kept.get(report.EARLIER, tiny.identity(tiny.FEWER))
    artifact.write_text(
        options.out, report.markdown({name: result for name, result in found.items() if result})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
