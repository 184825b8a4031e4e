"""A float network as a list of layers: what the importer makes of an ONNX file and calibration reads."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """One layer with its batch norm folded and its activation fused.

    Attributes:
        kind: `conv2d`, `max_pool2d`, `flatten`, `fully_connected` or `attention_pool`.
        name: A C identifier, unique in the network.
        inputs: ONNX names of the activations that it reads (attention_pool: values, then scores).
        output: ONNX name of its result, activation included.
        origin: Names of the ONNX nodes that it stands for.
        weights: conv2d (O, KH, KW, C); fully_connected (O, K), K in the graph's (mel, channel) order.
        bias: (O,).
        relu: Whether negative results become 0.
        kernel, stride: (time, mel).
        padding: (top, bottom, left, right).
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    output: str
    origin: tuple[str, ...]
    weights: Array = field(default_factory=lambda: np.empty(0))
    bias: Array = field(default_factory=lambda: np.empty(0))
    relu: bool = False
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class Network:
    """Layers in execution order, and the ONNX names of the log-mel input and of the A/D/V output."""

    input: str
    output: str
    layers: tuple[Layer, ...]
