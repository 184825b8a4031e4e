"""A float network as a list of layers: what the importer makes of an ONNX file and calibration reads."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Columns = NDArray[np.int64]


@dataclass(frozen=True)
class Layer:
    """One layer with its batch norm folded and its activation fused.

    Attributes:
        kind: `conv2d`, `depthwise_conv2d`, `max_pool2d`, `average_pool2d`, `mean`, `add`, `mul`, `lookup`,
            `flatten`, `fully_connected`, `attention_pool`, `second_order`, `softmax`, `reshape`, `transpose`
            or `pad`.
        name: A C identifier, unique in the network.
        inputs: ONNX names of the activations that it reads (attention_pool: values, then scores).
        output: ONNX name of its result, activation included.
        origin: Names of the ONNX nodes that it stands for.
        weights: conv2d (O, KH, KW, C); depthwise_conv2d (KH, KW, O); fully_connected (O, K), K in the graph's
            (mel, channel) order.
        bias: (O,).
        columns: Of fully_connected: (K,) which feature of the ONNX tensor each column reads.
        low, high: What results are clipped to: 0 and infinity for Relu, 0 and 6 for Relu6.
        shape: Of reshape: the result's.
        axes: Of transpose.
        function: Of lookup: `hard_swish`, `sigmoid`, `tanh`, `relu`, `relu6` or `hard_sigmoid`.
        kernel, stride, dilation: (time, mel).
        padding: (top, bottom, left, right).
        channels_last: Whether the ONNX tensor is (time, mel, channel) where it is a map.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    output: str
    origin: tuple[str, ...]
    weights: Array = field(default_factory=lambda: np.empty(0))
    bias: Array = field(default_factory=lambda: np.empty(0))
    columns: Columns = field(default_factory=lambda: np.empty(0, np.int64))
    low: float = -math.inf
    high: float = math.inf
    shape: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    function: str = ""
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    channels_last: bool = False


@dataclass(frozen=True)
class Network:
    """Layers in execution order.

    Attributes:
        input, output: ONNX names of the input and of the last layer's result.
        layers: The layers.
        input_shape: The input's in the graph, without the batch; 0 where ONNX leaves a size open.
        onnx_shape: The input's in ONNX, likewise.
        input_axes, output_axes: Where each axis of the graph's input and output lies in ONNX's, without the
            batch.
        output_name: What ONNX calls the result; no layer's, where the last node only gives it that name.
    """

    input: str
    output: str
    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...] = ()
    onnx_shape: tuple[int, ...] = ()
    input_axes: tuple[int, ...] = ()
    output_axes: tuple[int, ...] = ()
    output_name: str = ""

    @property
    def needs_whole_clip(self) -> bool:
        """Whether it cannot stream: it pads the end of time, or averages over all of it."""
        return any(layer.kind == "mean" or layer.padding[1] > 0 for layer in self.layers)
