"""The front end as ONNX nodes: waveform to log-mels, the graph's operators in float.

What an integer front end rounds coarsely is rounded here too: the samples to 16-bit PCM, the running mean
to whole steps of it. Its 8 and more fractional bits elsewhere are below float's concern.
"""

import json
import math

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgekit.audio import FrontEnd, mel_filters
from edgekit.errors import UnsupportedError
from edgekit.graph import Graph, Op
from quantize.onnx_nodes import Nodes

TO_THE_END = int(np.iinfo(np.int64).max)
FULL_SCALE = 32768.0
LEVEL_UNITS = 256.0
"""`epsilon_q8` counts 256ths of a squared PCM step."""


def emit_front_end(nodes: Nodes, waveform: str, graph: Graph) -> str:
    """Append the front end and return the name of its result.

    Args:
        nodes: Where to append.
        waveform: Name of the (1, N) float32 samples in [-1, 1].
        graph: The graph, whose metadata holds the settings and whose operators the time constants.

    Returns:
        (T, M) float32: natural logarithm of each mel power over the level, floored.

    Raises:
        UnsupportedError: If the graph has no front end.
    """
    front_end = FrontEnd.from_dict(json.loads(graph.metadata["front_end"]))
    frame, level = _operator(graph, "frame"), _operator(graph, "frame_level")
    centred = _centred_frames(nodes, _pcm(nodes, waveform), frame)
    divisor = nodes.add(
        "Add", _level(nodes, centred, level), nodes.number(level.integer("epsilon_q8") / LEVEL_UNITS)
    )
    mel = nodes.add("MatMul", _power_spectrum(nodes, centred, front_end), _filters(nodes, front_end))
    relative = nodes.add("Div", mel, divisor)
    return nodes.add("Log", nodes.add("Max", relative, nodes.number(front_end.floor_power)))


def decibels_to_log(decibels: float) -> float:
    """Return the natural logarithm of a power ratio given in dB."""
    return decibels * math.log(10) / 10


def _operator(graph: Graph, kind: str) -> Op:
    for op in graph.ops:
        if op.kind == kind:
            return op
    raise UnsupportedError(
        f"graph {graph.name}: has no {kind}, so no waveform input", "re-run edgekit quantize"
    )


def _pcm(nodes: Nodes, waveform: str) -> str:
    """Return (N,) samples as `to_pcm16` makes them, in float32."""
    samples = nodes.add("Reshape", waveform, nodes.integers(-1))
    steps = nodes.add("Round", nodes.add("Mul", samples, nodes.number(FULL_SCALE)))
    return _saturated(nodes, steps)


def _saturated(nodes: Nodes, values: str) -> str:
    return nodes.add("Clip", values, nodes.number(-FULL_SCALE), nodes.number(FULL_SCALE - 1))


def _mean(nodes: Nodes, values: str, axis: int) -> str:
    return nodes.add("ReduceMean", values, nodes.integers(axis))


def _slice(nodes: Nodes, values: str, start: int, end: int, axis: int) -> str:
    return nodes.add("Slice", values, *(nodes.integers(number) for number in (start, end, axis)))


def _centred_frames(nodes: Nodes, samples: str, op: Op) -> str:
    """Return the (T, n_fft) frames less their running mean, as the graph's `frame`."""
    frames = _frames(nodes, samples, op)
    first, later = _new_samples(nodes, frames, op)
    means = nodes.add("Concat", _mean(nodes, first, 1), _mean(nodes, later, 1), axis=0)
    average = _running_average(nodes, means, op.integer("memory_frames"))
    return _saturated(nodes, nodes.add("Sub", frames, nodes.add("Round", average)))


def _frames(nodes: Nodes, samples: str, op: Op) -> str:
    """Cut (N,) samples into (T, n_fft): hop-sized blocks, each frame a run of them."""
    n_fft, hop = op.integer("n_fft"), op.integer("hop")
    size = nodes.integers(hop)
    whole = nodes.add("Mul", nodes.add("Div", nodes.add("Shape", samples), size), size)
    used = nodes.add("Slice", samples, nodes.integers(0), whole)
    blocks = nodes.add("Reshape", used, nodes.integers(-1, hop))
    run = n_fft // hop
    if run == 1:
        return blocks
    ends = [*range(1 - run, 0), TO_THE_END]
    parts = [_slice(nodes, blocks, index, end, 0) for index, end in enumerate(ends)]
    return nodes.add("Concat", *parts, axis=1)


def _new_samples(nodes: Nodes, frames: str, op: Op) -> tuple[str, str]:
    """Return what no earlier frame held: all (1, n_fft) of the first, (T - 1, hop) of the later ones."""
    first = _slice(nodes, frames, 0, 1, 0)
    later = _slice(nodes, frames, 1, TO_THE_END, 0)
    return first, _slice(nodes, later, -op.integer("hop"), TO_THE_END, 1)


def _level(nodes: Nodes, centred: str, op: Op) -> str:
    """Return the mean square: (T, 1) running, or (1,) over all where `memory_frames` is 0."""
    first, later = _new_samples(nodes, nodes.add("Mul", centred, centred), op)
    if memory_frames := op.integer("memory_frames"):
        means = nodes.add("Concat", _mean(nodes, first, 1), _mean(nodes, later, 1), axis=0)
        return _running_average(nodes, means, memory_frames)
    rows = [nodes.add("Reshape", part, nodes.integers(-1)) for part in (first, later)]
    return _mean(nodes, nodes.add("Concat", *rows, axis=0), 0)


def _running_average(nodes: Nodes, values: str, memory_frames: int) -> str:
    """Return (T, 1) averages: y += (x - y) / min(t + 1, memory_frames)."""
    start = nodes.constant(np.zeros(1, np.float32))
    return nodes.scan(_average_body(memory_frames), [start, start], values)


def _average_body(memory_frames: int) -> onnx.GraphProto:
    # A dot keeps the body's names apart from those of the graph around it.
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
    inputs, outputs = (
        [helper.make_tensor_value_info(f"average.{name}", TensorProto.FLOAT, [1]) for name in names]
        for names in (("before", "seen", "x"), ("after", "divisor", "y"))
    )
    return helper.make_graph(body, "average", inputs, outputs)


def _power_spectrum(nodes: Nodes, frames: str, front_end: FrontEnd) -> str:
    """Return (T, n_fft // 2 + 1) powers of the Hann-windowed frames."""
    window = nodes.add("HannWindow", nodes.constant(np.int64(front_end.n_fft)))
    column = nodes.add("Unsqueeze", nodes.add("Mul", frames, window), nodes.integers(2))
    spectrum = nodes.add("DFT", column, "", nodes.constant(np.int64(1)), onesided=1)
    squares = nodes.add("Mul", spectrum, spectrum)
    return nodes.add("ReduceSum", squares, nodes.integers(2), keepdims=0)


def _filters(nodes: Nodes, front_end: FrontEnd) -> str:
    """Return the (bins, M) mel filters, scattered at load from their few non-zero weights."""
    filters = mel_filters(front_end)
    (places,) = np.nonzero(filters.ravel())
    zeros = nodes.add("ConstantOfShape", nodes.integers(filters.size))
    weights = filters.ravel()[places].astype(np.float32)
    indices = nodes.constant(places.astype(np.int32))
    flat = nodes.add("ScatterElements", zeros, indices, nodes.constant(weights))
    return nodes.add("Reshape", flat, nodes.integers(*filters.shape))
