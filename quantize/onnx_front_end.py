"""The front end as ONNX nodes: waveform to log-mel, the float definition of `edgekit.audio.log_mel`."""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgekit.audio import FrontEnd, mel_filters
from quantize.onnx_nodes import Nodes

TO_THE_END = np.iinfo(np.int64).max


def emit_front_end(nodes: Nodes, waveform: str, front_end: FrontEnd) -> str:
    """Append the front end and return the name of its result.

    Args:
        nodes: Where to append.
        waveform: (1, N) float32 samples in [-1, 1].
        front_end: The settings.

    Returns:
        (T, M) float32, the natural logarithm of each mel power relative to the level, floored.
    """
    samples = nodes.add("Reshape", waveform, nodes.integers(-1))
    if front_end.level == "utterance":
        samples = nodes.add("Sub", samples, _mean(nodes, samples, 0))
        level = _mean(nodes, nodes.add("Mul", samples, samples), 0)
        centred = _frames(nodes, samples, front_end)
    else:
        frames = _frames(nodes, samples, front_end)
        mean = _running_average(nodes, _new_samples_mean(nodes, frames, front_end), front_end)
        centred = nodes.add("Sub", frames, mean)
        squares = nodes.add("Mul", centred, centred)
        level = _running_average(nodes, _new_samples_mean(nodes, squares, front_end), front_end)
    mel = nodes.add("MatMul", _power_spectrum(nodes, centred, front_end), _filters(nodes, front_end))
    divisor = nodes.add("Add", level, nodes.number(front_end.level_epsilon))
    floored = nodes.add("Max", nodes.add("Div", mel, divisor), nodes.number(front_end.floor_power))
    return nodes.add("Log", floored)


def decibels_to_log(decibels: float) -> float:
    """Return the natural logarithm of a power ratio given in dB."""
    return decibels * math.log(10) / 10


def _mean(nodes: Nodes, values: str, axis: int) -> str:
    return nodes.add("ReduceMean", values, nodes.integers(axis))


def _slice(nodes: Nodes, values: str, start: int, end: int, axis: int) -> str:
    return nodes.add("Slice", values, *(nodes.integers(number) for number in (start, end, axis)))


def _frames(nodes: Nodes, samples: str, front_end: FrontEnd) -> str:
    """Cut (N,) samples into (T, n_fft): hop-sized blocks, each frame a run of them."""
    hop = nodes.integers(front_end.hop)
    whole = nodes.add("Mul", nodes.add("Div", nodes.add("Shape", samples), hop), hop)
    used = nodes.add("Slice", samples, nodes.integers(0), whole)
    blocks = nodes.add("Reshape", used, nodes.integers(-1, front_end.hop))
    run = front_end.n_fft // front_end.hop
    if run == 1:
        return blocks
    ends = [index - run + 1 for index in range(run - 1)] + [TO_THE_END]
    parts = [_slice(nodes, blocks, index, end, 0) for index, end in enumerate(ends)]
    return nodes.add("Concat", *parts, axis=1)


def _new_samples_mean(nodes: Nodes, frames: str, front_end: FrontEnd) -> str:
    """Return (T, 1) means over the samples that no earlier frame held."""
    first = _mean(nodes, _slice(nodes, frames, 0, 1, 0), 1)
    later = _slice(nodes, _slice(nodes, frames, 1, TO_THE_END, 0), -front_end.hop, TO_THE_END, 1)
    return nodes.add("Concat", first, _mean(nodes, later, 1), axis=0)


def _running_average(nodes: Nodes, values: str, front_end: FrontEnd) -> str:
    """Return (T, 1) averages: y += (x - y) / min(t + 1, memory_frames)."""
    start = nodes.constant(np.zeros(1, np.float32))
    return nodes.scan(_average_body(front_end.memory_frames), [start, start], values)


def _average_body(memory_frames: int) -> onnx.GraphProto:
    # Constants are nodes here, not initializers of the outer graph: converters resolve the former reliably.
    body = [
        helper.make_node("Constant", [], ["average.one"], value_floats=[1.0]),
        helper.make_node("Constant", [], ["average.memory"], value_floats=[float(memory_frames)]),
        helper.make_node("Add", ["average.seen", "average.one"], ["average.count"]),
        helper.make_node("Min", ["average.count", "average.memory"], ["average.divisor"]),
        helper.make_node("Sub", ["average.x", "average.before"], ["average.change"]),
        helper.make_node("Div", ["average.change", "average.divisor"], ["average.step"]),
        helper.make_node("Add", ["average.before", "average.step"], ["average.after"]),
        helper.make_node("Identity", ["average.after"], ["average.y"]),
    ]
    inputs, outputs = ("average.before", "average.seen", "average.x"), ("average.after", "average.divisor", "average.y")
    infos = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in names]
        for names in (inputs, outputs)
    ]
    return helper.make_graph(body, "average", *infos)


def _power_spectrum(nodes: Nodes, frames: str, front_end: FrontEnd) -> str:
    """Return (T, n_fft // 2 + 1) powers of the Hann-windowed frames."""
    window = nodes.add("HannWindow", nodes.constant(np.int64(front_end.n_fft)))
    windowed = nodes.add("Mul", frames, window)
    column = nodes.add("Unsqueeze", windowed, nodes.integers(2))
    spectrum = nodes.add("DFT", column, "", nodes.constant(np.int64(1)), onesided=1)
    squares = nodes.add("Mul", spectrum, spectrum)
    return nodes.add("ReduceSum", squares, nodes.integers(2), keepdims=0)


def _filters(nodes: Nodes, front_end: FrontEnd) -> str:
    """Return the (bins, M) mel filters, scattered at load from their few non-zero weights."""
    filters = mel_filters(front_end)
    (places,) = np.nonzero(filters.ravel())
    zeros = nodes.add("ConstantOfShape", nodes.integers(filters.size))
    indices, weights = places.astype(np.int32), filters.ravel()[places].astype(np.float32)
    flat = nodes.add(
        "ScatterElements", zeros, nodes.constant(indices), nodes.constant(weights)
    )
    return nodes.add("Reshape", flat, nodes.integers(*filters.shape))
