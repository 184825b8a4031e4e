"""What a student costs: multiply-accumulates, size of its files, time and memory in onnxruntime."""

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime import quantization
from torch import Tensor, nn

from distill.student import Student
from edgekit.audio import SAMPLE_RATE_HZ

SECONDS = 5
SAMPLES = SECONDS * SAMPLE_RATE_HZ
RUNS = 30

# In a process of its own: what resident memory reaches above where it was before there was a session.
RUN = """
import json, resource, sys, time
import numpy, onnxruntime
file, shape, runs = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
values = numpy.random.default_rng(0).uniform(-0.3, 0.3, shape).astype(numpy.float32)
if len(shape) == 3:
    values = values * 100 - 50
def resident(field):
    line = next(line for line in open("/proc/self/status") if line.startswith(field))
    return int(line.split()[1]) * 1024
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 3
open("/proc/self/clear_refs", "w").write("5")
before = resident("VmRSS")
session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
feed = {session.get_inputs()[0].name: values}
session.run(None, feed)
peak = resident("VmHWM") - before
times = []
for _ in range(runs):
    started = time.process_time()
    session.run(None, feed)
    times.append(time.process_time() - started)
print(json.dumps({"cpu_ms": 1e3 * float(numpy.median(times)), "peak_bytes": peak}))
"""


@dataclass(frozen=True)
class Run:
    """One ONNX file on 5 s of audio.

    Attributes:
        size_bytes: Of the file.
        cpu_ms: Median processor time of a run, on one thread.
        peak_bytes: What loading it and the first run add to the process's resident memory, at most.
    """

    size_bytes: int
    cpu_ms: float
    peak_bytes: int


def run_onnx(file: Path, shape: tuple[int, ...]) -> Run:
    """Measure a model on noise of that shape: (1, samples) of audio, or (1, frames, bands) in dB."""
    command = [sys.executable, "-c", RUN, str(file), json.dumps(shape), str(RUNS)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return Run(file.stat().st_size, found["cpu_ms"], found["peak_bytes"])


def macs(student: Student) -> int:
    """Return the multiply-accumulates of a student for 5 s of audio, front end as dense matrices included.

    Counted as it runs: convolutions, linear layers and the mel matrix; not normalisation (folded away when
    deployed), activations, pooling.
    """
    total = 0

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            total += output.numel() * module.weight[0].numel()

    handles = [module.register_forward_hook(count) for module in student.modules()]
    with torch.no_grad():
        student.eval()(torch.zeros(1, SAMPLES))
    for handle in handles:
        handle.remove()
    return total + student.front_end.frame_count(SAMPLES) * student.mel.numel()


def tokens_per_s(student: Student) -> float:
    """Return how many tokens attention pooling sees in a second of audio."""
    return SAMPLE_RATE_HZ / student.front_end.hop / student.token_frames


def quantize_static(source: Path, out: Path, features: list[NDArray[np.float32]]) -> None:
    """Write an ONNX model in onnxruntime's own int8: QDQ, weights per channel, ranges of (T, M) clips."""

    class Clips(quantization.CalibrationDataReader):  # type: ignore[misc]  # has no annotations
        def __init__(self) -> None:
            self.clips = iter(features)

        def get_next(self) -> dict[str, Any] | None:
            clip = next(self.clips, None)
            return None if clip is None else {"logmel": clip[None]}

    # It recommends a preparation of its own, for every file and every weight.
    logging.disable(logging.WARNING)
    try:
        quantization.quantize_static(
            str(source),
            str(out),
            Clips(),
            per_channel=True,
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    finally:
        logging.disable(logging.NOTSET)


def runtime_version() -> str:
    """Return which onnxruntime measures."""
    return str(onnxruntime.__version__)
