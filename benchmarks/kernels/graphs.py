"""What is measured: single layers of random weights, imported networks, and the students that ship."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.students.training import Variant, show, trained
from edgekit.audio import DEFAULT_AUDIO
from edgekit.errors import AudioError
from edgekit.graph import Graph, Op, Tensor, load_graph, verify
from edgekit.graph.fixedpoint import quantize_multiplier
from quantize.config import QuantizeConfig
from quantize.stage import quantize
from quantize.tflite_reader import read_tflite
from wavllm_teacher.labelling import LabelConfig, label

HALF_OF_RANGE = 60.0


def _layer(kind: str, shape: tuple[int, ...], weights: tuple[int, ...], result: tuple[int, ...]) -> Graph:
    """Return a graph of one layer whose results fill the int8 range."""
    rng = np.random.default_rng(0)
    outputs, depthwise = result[-1], kind == "depthwise_conv2d"
    values = rng.integers(-127, 128, weights).astype(np.int8)
    products = np.prod(weights[:2] if depthwise else weights[1:])
    multiplier, shift = quantize_multiplier(HALF_OF_RANGE / (74 * 74 * float(np.sqrt(products))))
    constants: dict[str, NDArray[np.integer]] = {
        "weights": values,
        "bias": rng.integers(-1000, 1000, outputs).astype(np.int32),
        "multiplier": np.full(outputs, multiplier, np.int32),
        "shift": np.full(outputs, shift, np.int8),
    }
    tensors = {"x": Tensor("x", shape, "int8"), "y": Tensor("y", result, "int8")}
    tensors |= {name: Tensor(name, value.shape, value.dtype.name) for name, value in constants.items()}
    attributes: dict[str, int | str | tuple[int, ...]] = {
        "input_zero_point": 5,
        "output_zero_point": -10,
        "clamp": (-128, 127),
    }
    if kind != "fully_connected":
        kernel = weights[:2] if depthwise else weights[1:3]
        half = tuple(size // 2 for size in kernel)
        attributes |= {"kernel": tuple(kernel), "stride": (1, 1), "padding": (half[0],) * 2 + (half[1],) * 2}
    op = Op(kind, "layer", ("x", *constants), ("y",), attributes, ("layer",))
    graph = Graph("layer", ("x",), ("y",), tensors, constants, (op,))
    verify(graph)
    return graph


def _convolution(rows: int, width: int, inputs: int, outputs: int, kernel: int) -> Graph:
    weights = (outputs, kernel, kernel, inputs)
    return _layer("conv2d", (rows, width, inputs), weights, (rows, width, outputs))


def _depthwise(rows: int, width: int, channels: int) -> Graph:
    shape = (rows, width, channels)
    return _layer("depthwise_conv2d", shape, (3, 3, channels), shape)


def _fully_connected(inputs: int, outputs: int) -> Graph:
    return _layer("fully_connected", (1, inputs), (outputs, inputs), (1, outputs))


def layers() -> dict[str, Graph]:
    """Return the layers of the peers' table by title."""
    return {
        "conv 3x3 13->13, 26x100": _convolution(100, 26, 13, 13, 3),
        "conv 3x3 1->13, 26x100": _convolution(100, 26, 1, 13, 3),
        "conv 3x3 16->16, 26x100": _convolution(100, 26, 16, 16, 3),
        "pointwise 64->64, 25x5": _convolution(25, 5, 64, 64, 1),
        "pointwise 13->13, 26x100": _convolution(100, 26, 13, 13, 1),
        "depthwise 3x3 64, 25x5": _depthwise(25, 5, 64),
        "depthwise 3x3 13, 26x100": _depthwise(100, 26, 13),
        "fully connected 169x169": _fully_connected(169, 169),
        "fully connected 64x12": _fully_connected(64, 12),
    }


def imported(shared: Path) -> dict[str, Graph]:
    """Return the imported networks by name.

    Raises:
        AudioError: If the shared material is not there.
    """
    files = sorted((shared / "models").glob("*.tflite"))
    if not files:
        raise AudioError(f"{shared / 'models'}: no .tflite models", "set EDGEKIT_SHARED to where they are")
    return {file.stem: read_tflite(file, "micro") for file in files}


def students(cache: Path) -> dict[str, Graph]:
    """Return the graphs of the causal students that ship, quantized as in a build, by title."""
    labels = label(LabelConfig((DEFAULT_AUDIO,)), cache / "labels").path
    graphs = {}
    for hop in (32, 128):
        variant = Variant("wav2small", "causal", hop)
        student = trained(variant, labels, cache, show)
        made = quantize(QuantizeConfig(), student.path, labels, cache / f"{variant.name}-graph", show)
        graphs[f"wav2small, causal, hop {hop}"] = load_graph(made.path)
    return graphs
