"""A float student, calibrated and fine-tuned on labelled audio, as an integer graph."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.audio import FrontEnd, log_mel, to_pcm16
from edgekit.graph import Graph, run
from edgekit.labels import LabelSet
from edgekit.progress import Progress
from edgekit.threads import torch_threads
from quantize.calibration import RANGES, Observation, observe
from quantize.config import QuantizeConfig
from quantize.correction import correct_outputs
from quantize.equalization import equalize
from quantize.importer import import_onnx
from quantize.layers import front_end_graph
from quantize.network import Network
from quantize.quantizer import quantize_network
from quantize.runtime import OnnxModel

Clip = NDArray[np.float32]


def quantize_student(
    config: QuantizeConfig, model: Path, front_end: FrontEnd, labels: LabelSet, progress: Progress
) -> Graph:
    """Return the integer graph of a student.

    Args:
        config: How.
        model: Its float ONNX file, log-mel in.
        front_end: Of its log-mels.
        labels: Its training clips calibrate.
        progress: Told how much is done.

    Raises:
        UnsupportedError: If the student has a layer that is not supported; it names the layer.
    """
    network = import_onnx(model)
    rows = spread(labels.indices("train"), config.calibration_clips)
    window = config.window_samples if network.needs_whole_clip else None
    clips = [heard(labels.clip(i), window) for i in rows]
    features = [log_mel(clip, front_end) for clip in clips]
    seen: Mapping[str, Observation] = observe(model, network, features, progress)
    if config.equalize:
        network, seen = equalize(network, seen)
    graph = quantize_network(
        network,
        front_end,
        seen,
        config.weights == "mixed4",
        window_samples=config.window_samples,
        choose_range=RANGES[config.ranges],
        correct_biases=config.correct_biases,
    )
    student = OnnxModel(model)
    if config.qat_steps:
        crops = _crops(labels, config)
        graph = _finetuned(graph, network, crops, student, front_end, config.qat_steps, progress)
    some = spread(range(len(clips)), config.correction_clips)
    wanted = np.array([student(features[i][None]) for i in some])
    return correct_outputs(graph, [to_pcm16(clips[i]) for i in some], wanted, progress)


def _crops(labels: LabelSet, config: QuantizeConfig) -> list[Clip]:
    """Return a window of each of some training clips."""
    rng, window, crops = np.random.default_rng(0), config.window_samples, []
    for row in spread(labels.indices("train"), config.qat_clips):
        clip = labels.clip(row)
        start = int(rng.integers(max(1, len(clip) - window + 1)))
        crops.append(heard(clip[start:], window))
    return crops


def _finetuned(
    graph: Graph,
    network: Network,
    crops: Sequence[Clip],
    student: OnnxModel,
    front_end: FrontEnd,
    steps: int,
    progress: Progress,
) -> Graph:
    # Imported late: torch takes seconds, and int8 does without.
    from quantize.finetuning import Examples, finetune

    front = front_end_graph(graph)
    inputs = [run(front, {"pcm": to_pcm16(crop)})[front.outputs[0]] for crop in crops]
    wanted = [student(log_mel(crop, front_end)[None]) for crop in crops]
    examples = Examples(np.stack(inputs).astype(np.int8), np.array(wanted, np.float32))
    with torch_threads(1):
        return finetune(graph, network, examples, steps, progress=progress)


def heard(clip: Clip, window_samples: int | None) -> Clip:
    """Return what the network hears of a clip: all of it, or a window, which a shorter clip fills again."""
    return clip if window_samples is None else np.resize(clip, window_samples)


def spread(rows: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of the rows, evenly over all of them.

    Example:
        >>> spread([0, 1, 2, 3, 4, 5], 3)
        [0, 2, 4]
    """
    taken = min(count, len(rows))
    return [rows[i * len(rows) // taken] for i in range(taken)]
