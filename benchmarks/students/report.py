"""The table of students as Markdown; no figure is typed here but the paper's."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.students import bars
from benchmarks.students.agreement import (
    EMODB,
    NOISY,
    NOISY_HEARD,
    RAVDESS,
    SYNTHETIC,
    TITLES,
    Agreement,
)
from benchmarks.students.cost import RUNS, Run, runtime_version
from benchmarks.students.training import POOL, STEPS
from benchmarks.tables import ccc_cell, line
from edgekit.metrics import DIMENSIONS

SETS = (EMODB, NOISY, NOISY_HEARD, RAVDESS, SYNTHETIC)

PAPER = """## The paper's figures

Wav2Small (arXiv 2408.13920, v1 and v4) states 72 K parameters, 60 KB (v1) or 120 KB (v4) quantised for
onnxruntime, 250 tokens a second and 5 s of audio as input. The other figures of this table are second-hand:
they come from summaries of the paper whose text we could not read ourselves.

| model | parameters | MACs for 5 s | CPU ms | peak memory | quantized ONNX | tokens/s |
| --- | --- | --- | --- | --- | --- | --- |
| Wav2Small | 72 K | 0.4 G | 9 | 9 MB | 120 KB (v1: 60 KB) | 250 |
| MobileNetV4-small | 3.12 M | | 5 | 36 MB | | 16 |
| other MobileNets | not published in what we could read | | | | | |

Basis: ONNX on a Xeon core, 5 s of audio; which runtime options, whether "peak memory" holds the runtime
itself, and whether the 120 KB file holds the front end are not stated. Its accuracy is on MSP-Podcast
against human ratings: CCC of about .66 / .56 / .37 on Test-1 for the 72 K student, read off a figure. Ours
is against teachers on acted speech: **the two cannot be compared**. Only what depends on the network alone
can: parameters, operations, tokens, size, and, on the machine at hand, time and memory.
"""


@dataclass(frozen=True)
class Row:
    """One student.

    Attributes:
        name: Its variant.
        shipped: Whether its weights come with edgekit.
        parameters: All of them, the frozen front end as dense matrices included.
        trained: Those that training changes.
        macs: For 5 s of audio.
        tokens_per_s: What attention pooling sees.
        float_run: The float model, from log-mel frames on.
        int8_run: The same quantized by onnxruntime.
        edgekit_run: Quantized by edgekit, from the waveform on.
        ccc: Set, then teacher, to agreement; empty: not trained.
    """

    name: str
    shipped: bool
    parameters: int
    trained: int
    macs: int
    tokens_per_s: float
    float_run: Run
    int8_run: Run
    edgekit_run: Run
    ccc: Agreement


def markdown(rows: Sequence[Row], processor: str) -> str:
    """Return the whole page."""
    return "\n".join([_introduction(processor), *_costs(rows), "", *_agreements(rows), *_bars(rows), PAPER])


def _introduction(processor: str) -> str:
    return f"""# Students, measured

Written by `python -m benchmarks.students`; every figure but the paper's was measured: costs in that run,
agreements as [students.json](students.json) keeps them with the recipe of each student.

- **Parameters**: all, the frozen front end (as dense Fourier and mel matrices) included; in brackets those
  that training changes. Hop 128 has a window of 128 samples, so that none goes unheard: its matrices are
  larger, its network is the same.
- **MACs**: multiply-accumulates of 5 s of audio, front end as dense matrices included.
- **Float**: the student as ONNX, from log-mel frames on. **ORT int8**: the same through onnxruntime's own
  static quantizer (weights per channel), for every student. **edgekit**: `model.onnx` of `edgekit
  quantize`, mixed4, from the waveform on, front end inside; students that cannot stream for windows of 5 s.
- **CPU time** and **peak memory** of 5 s: median processor time of {RUNS} runs, and what loading the model
  and a first run add to the resident memory of a process; onnxruntime {runtime_version()}, one thread,
  {processor}.

## Cost
"""


def _costs(rows: Sequence[Row]) -> list[str]:
    kinds = [
        f"{what}, {of}" for what in ("KB", "CPU ms", "peak MB") for of in ("float", "ORT int8", "edgekit")
    ]
    head = ["student", "parameters (trained)", "MACs", "tokens/s", *kinds]
    lines = [line(head), line(["---"] * len(head))]
    for row in rows:
        runs = (row.float_run, row.int8_run, row.edgekit_run)
        lines.append(
            line(
                [
                    row.name,
                    f"{row.parameters:,} ({row.trained:,})",
                    f"{row.macs / 1e6:,.0f} M",
                    f"{row.tokens_per_s:g}",
                    *(f"{run.size_bytes / 1000:,.1f}" for run in runs),
                    *(f"{run.cpu_ms:.1f}" for run in runs),
                    *(f"{run.peak_bytes / 1e6:.1f}" for run in runs),
                ]
            )
        )
    return lines


def _agreements(rows: Sequence[Row]) -> list[str]:
    teachers = list(next(row.ccc[EMODB] for row in rows if row.ccc))
    lines = [
        "## Agreement with the teachers",
        "",
        f"CCC of {' / '.join(DIMENSIONS)}: one prediction per whole clip, float, over all clips of a set.",
        "No student learned from these speakers (two of EmoDB, four of RAVDESS), or from RAVDESS at all.",
        "The babble is made of read speech that is also learned from, and drawn for the babble of training.",
        "",
    ]
    for teacher in teachers:
        head = [f"against {teacher}", *(TITLES[name] for name in SETS)]
        lines += [line(head), line(["---"] * len(head))]
        for row in rows:
            if row.ccc:
                cells = (ccc_cell(row.ccc[name][teacher]) for name in SETS)
                lines.append(line([row.name + ("" if row.shipped else " *"), *cells]))
        lines.append("")
    if any(row.ccc and not row.shipped for row in rows):
        lines += [
            f"\\* trained for this table by the same recipe cut to {STEPS} steps on {POOL:,} crops: not as",
            "good as it can be; its weights do not come with edgekit.",
            "",
        ]
    if left_out := [row.name for row in rows if not row.ccc]:
        lines += [f"Not trained for this run, so not compared: {', '.join(left_out)}.", ""]
    return lines


def _bars(rows: Sequence[Row]) -> list[str]:
    return bars.section({row.name: row.ccc for row in rows if row.shipped and row.ccc})
