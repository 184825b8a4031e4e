"""From a float network and what calibration saw to the integer graph."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.audio import FrontEnd
from edgekit.errors import UnsupportedError
from edgekit.graph import TIME, Graph, Op, Quantization, Tensor, run
from edgekit.graph.fixedpoint import POOL_BITS, exp_table
from edgekit.graph.types import Attribute
from edgekit.progress import Progress, silent
from quantize.calibration import Observation, affine_quantization, best_range
from quantize.frontend_ops import add_front_end
from quantize.graph_builder import GraphBuilder
from quantize.network import Array, Layer, Network
from quantize.scales import requantization
from quantize.weights import channel_scales, round_weights, round_with_compensation

INT4_FEATURES = 64
"""`mixed4` stores fully connected layers with at least this many outputs in int4."""
INT4_SEARCH_STEPS = 32
ADV_RANGE = (-2.0, 1.9999)
ADV_QUANTIZATION = Quantization((2.0**-14,))

Observations = Mapping[str, Observation]


class Quantizer:
    """Adds one layer after another to a graph; remembers what each ONNX name became."""

    def __init__(self, network: Network, seen: Observations, int4_linears: bool) -> None:
        self.network = network
        self.seen = seen
        self.int4_linears = int4_linears
        self.builder = GraphBuilder("edgekit")
        self.names: dict[str, str] = {}

    def run(self, front_end: FrontEnd) -> Graph:
        """Return the verified integer graph, PCM in, A/D/V in Q14 out."""
        floor_db = 10 * np.log10(front_end.floor_power)
        log_mel = affine_quantization(floor_db, self.seen[self.network.input].high)
        self.names[self.network.input] = add_front_end(self.builder, front_end, log_mel)
        for layer in self.network.layers:
            self.names[layer.output] = ADDERS[layer.kind](self, layer)
        return self.builder.build((self.names[self.network.output],))

    def input_of(self, layer: Layer, index: int = 0) -> tuple[str, Tensor, Quantization]:
        """Return an input's graph name, tensor and quantization."""
        name = self.names[layer.inputs[index]]
        tensor = self.builder.tensors[name]
        assert tensor.quantization is not None, "every activation between layers is quantized"
        return name, tensor, tensor.quantization

    def add_linear_constants(
        self, layer: Layer, stored: NDArray[np.int8], scales: NDArray[np.float32], bias: Array, int4: bool
    ) -> tuple[str, str]:
        """Add a layer's weights and its int32 bias; return their names."""
        input_scale = np.float64(self.input_of(layer)[2].scales[0])
        bias_scales = input_scale * scales.astype(np.float64)
        weights_q, bias_q = (
            Quantization(tuple(s.tolist()), 0, 0) for s in (scales.astype(float), bias_scales)
        )
        dtype = "int4" if int4 else "int8"
        bias_values = np.rint(bias / bias_scales).astype(np.int64)
        return (
            self.builder.add_constant(f"{layer.name}_weights", dtype, stored, weights_q),
            self.builder.add_constant(f"{layer.name}_bias", "int32", bias_values, bias_q),
        )

    def add_requantization(
        self, layer: Layer, scales: NDArray[np.float32], output: Quantization
    ) -> tuple[str, str]:
        """Add a layer's multipliers and shifts; return their names."""
        multiplier, shift = requantization(self.input_of(layer)[2].scales[0], scales, output.scales[0])
        return (
            self.builder.add_constant(f"{layer.name}_multiplier", "int32", multiplier),
            self.builder.add_constant(f"{layer.name}_shift", "int8", shift),
        )


def _add_conv2d(quantizer: Quantizer, layer: Layer) -> str:
    name, tensor, input_q = quantizer.input_of(layer)
    output_q = best_range(quantizer.seen[layer.output])
    scales = channel_scales(layer.weights, 127)
    stored = round_weights(layer.weights, scales, 127)
    constants = quantizer.add_linear_constants(layer, stored, scales, layer.bias, int4=False)
    requantize = quantizer.add_requantization(layer, scales, output_q)
    attributes: dict[str, Attribute] = {
        "kernel": layer.kernel,
        "stride": layer.stride,
        "padding": layer.padding,
        "input_zero_point": input_q.zero_point,
        "output_zero_point": output_q.zero_point,
        "clamp": (output_q.zero_point if layer.relu else -128, 127),
    }
    output = Tensor(f"{layer.name}_out", _map_shape(layer, tensor, len(layer.weights)), "int8", output_q)
    inputs = (name, *constants, *requantize)
    op = Op("conv2d", layer.name, inputs, (output.name,), attributes, layer.origin)
    return quantizer.builder.add_op(op, output)


def _map_shape(layer: Layer, tensor: Tensor, channels: int) -> tuple[int, ...]:
    left, right = layer.padding[2:]
    mel = (tensor.shape[1] + left + right - layer.kernel[1]) // layer.stride[1] + 1
    return (TIME, mel, channels)


def _add_max_pool2d(quantizer: Quantizer, layer: Layer) -> str:
    name, tensor, input_q = quantizer.input_of(layer)
    attributes = {"kernel": layer.kernel, "stride": layer.stride, "padding": layer.padding}
    output = Tensor(f"{layer.name}_out", _map_shape(layer, tensor, tensor.shape[2]), "int8", input_q)
    op = Op("max_pool2d", layer.name, (name,), (output.name,), attributes, layer.origin)
    return quantizer.builder.add_op(op, output)


def _add_flatten(quantizer: Quantizer, layer: Layer) -> str:
    name, tensor, input_q = quantizer.input_of(layer)
    output = Tensor(f"{layer.name}_out", (TIME, tensor.shape[1] * tensor.shape[2]), "int8", input_q)
    op = Op("flatten", layer.name, (name,), (output.name,), {}, layer.origin)
    return quantizer.builder.add_op(op, output)


def _add_fully_connected(quantizer: Quantizer, layer: Layer) -> str:
    name, tensor, input_q = quantizer.input_of(layer)
    if tensor.dtype == "int16":
        return _add_fully_connected_int16(quantizer, layer)
    bias, output_q = _bias_and_range(quantizer, layer)
    int4 = quantizer.int4_linears and len(layer.weights) >= INT4_FEATURES
    largest, search_steps = (7, INT4_SEARCH_STEPS) if int4 else (127, 1)
    scales = channel_scales(layer.weights, largest, search_steps)
    if not int4:
        # At 8 bits one scale for all rows costs no accuracy, and a .tflite 8 bytes a row less.
        scales = np.full_like(scales, scales.max())
    inputs = quantizer.seen[layer.inputs[0]].tokens.astype(np.float64)
    stored = round_with_compensation(layer.weights, scales, largest, inputs)
    # What rounding shifts the mean output by goes into the bias.
    lost = layer.weights - stored * scales.astype(np.float64)[:, None]
    constants = quantizer.add_linear_constants(layer, stored, scales, bias + lost @ inputs.mean(axis=0), int4)
    requantize = quantizer.add_requantization(layer, scales, output_q)
    attributes: dict[str, Attribute] = {
        "input_zero_point": input_q.zero_point,
        "output_zero_point": output_q.zero_point,
        "clamp": (output_q.zero_point if layer.relu else -128, 127),
    }
    output = Tensor(f"{layer.name}_out", (TIME, len(layer.weights)), "int8", output_q)
    op = Op(
        "fully_connected",
        layer.name,
        (name, *constants, *requantize),
        (output.name,),
        attributes,
        layer.origin,
    )
    return quantizer.builder.add_op(op, output)


def _bias_and_range(quantizer: Quantizer, layer: Layer) -> tuple[Array, Quantization]:
    """Return a linear layer's bias and output range.

    Softmax over time does not see an offset that a feature has at all times: scores are centred feature
    by feature, so that one range fits all features closely.
    """
    seen = quantizer.seen[layer.output]
    is_score = any(
        other.kind == "attention_pool" and other.inputs[1] == layer.output
        for other in quantizer.network.layers
    )
    if not is_score:
        return layer.bias, best_range(seen)
    centre = (seen.feature_low.astype(np.float64) + seen.feature_high) / 2
    reach = float((seen.feature_high - seen.feature_low).max()) / 2
    return layer.bias - centre, affine_quantization(-reach, reach)


def _add_attention_pool(quantizer: Quantizer, layer: Layer) -> str:
    value, tensor, value_q = quantizer.input_of(layer)
    score, _, score_q = quantizer.input_of(layer, 1)
    table = quantizer.builder.add_constant(f"{layer.name}_exp", "uint16", exp_table(score_q.scales[0]))
    output_q = Quantization((value_q.scales[0] / 2**POOL_BITS,))
    output = Tensor(f"{layer.name}_out", (tensor.shape[1],), "int16", output_q)
    attributes = {"value_zero_point": value_q.zero_point}
    op = Op("attention_pool", layer.name, (value, score, table), (output.name,), attributes, layer.origin)
    return quantizer.builder.add_op(op, output)


def _add_fully_connected_int16(quantizer: Quantizer, layer: Layer) -> str:
    seen = quantizer.seen[layer.output]
    if not ADV_RANGE[0] <= seen.low <= seen.high <= ADV_RANGE[1]:
        raise UnsupportedError(
            f"layer {layer.name!r}: A/D/V from {seen.low:.2f} to {seen.high:.2f} leaves {ADV_RANGE} (Q14)",
            "train on labels between 0 and 1",
        )
    if layer.output != quantizer.network.output:
        raise UnsupportedError(
            f"layer {layer.name!r}: after attention pooling only the A/D/V layer is supported",
            "change the model",
        )
    name = quantizer.input_of(layer)[0]
    # One scale for all rows: per-channel int16 layers are not what TFLite runtimes share.
    scales = np.full(len(layer.weights), channel_scales(layer.weights, 127).max(), np.float32)
    stored = round_weights(layer.weights, scales, 127)
    constants = quantizer.add_linear_constants(layer, stored, scales, layer.bias, int4=False)
    requantize = quantizer.add_requantization(layer, scales, ADV_QUANTIZATION)
    output = Tensor(f"{layer.name}_out", (len(layer.weights),), "int16", ADV_QUANTIZATION)
    op = Op(
        "fully_connected_int16", layer.name, (name, *constants, *requantize), (output.name,), {}, layer.origin
    )
    return quantizer.builder.add_op(op, output)


ADDERS: Mapping[str, Callable[[Quantizer, Layer], str]] = {
    "conv2d": _add_conv2d,
    "max_pool2d": _add_max_pool2d,
    "flatten": _add_flatten,
    "fully_connected": _add_fully_connected,
    "attention_pool": _add_attention_pool,
}


def correct_outputs(
    graph: Graph,
    clips: Sequence[NDArray[np.int16]],
    wanted: NDArray[np.floating],
    progress: Progress = silent,
) -> Graph:
    """Return the graph with its last bias moved so that it agrees with the float model on average.

    What all roundings together shift A/D/V by is nearly the same for every clip; on speech of little
    variety it would cost more agreement than the rest of the quantization.

    Args:
        graph: The graph.
        clips: Calibration audio as PCM.
        wanted: (N, 3) the float model's A/D/V of each.
        progress: Told how many clips are done.
    """
    found = []
    for done, clip in enumerate(clips):
        progress("correct the outputs", done, len(clips))
        found.append(ADV_QUANTIZATION.dequantize(run(graph, {"pcm": clip})[graph.outputs[0]]))
    progress("correct the outputs", len(clips), len(clips))
    bias = graph.ops[-1].inputs[2]
    quantization = graph.tensors[bias].quantization
    assert quantization is not None, "biases carry their scales"
    steps = np.rint((wanted - np.array(found)).mean(axis=0) / np.array(quantization.scales))
    corrected = (graph.constants[bias] + steps).astype(np.int32)
    return dataclasses.replace(graph, constants={**graph.constants, bias: corrected})


def quantize_network(
    network: Network, front_end: FrontEnd, seen: Observations, int4_linears: bool, licence: str = ""
) -> Graph:
    """Return the integer graph of a float network.

    Args:
        network: What `import_onnx` read.
        front_end: The settings that its log-mels were computed with.
        seen: What `observe` saw, by ONNX name.
        int4_linears: Store the wide fully connected layers in int4.
        licence: Of the weights, for the files written from the graph.

    Raises:
        UnsupportedError: If a layer or the resulting graph is not supported; it names the layer.
    """
    graph = Quantizer(network, seen, int4_linears).run(front_end)
    metadata = {**graph.metadata, "licence": licence}
    return dataclasses.replace(graph, metadata=metadata)
