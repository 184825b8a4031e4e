"""From a float network and what calibration saw to the integer graph."""

import math
from collections.abc import Callable, Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.audio import SAMPLE_RATE_HZ, FrontEnd
from edgekit.errors import UnsupportedError
from edgekit.graph import TIME, Graph, Op, Quantization, Tensor
from edgekit.graph.tables import (
    hard_swish_table,
    logistic_table,
    micro_logistic_table,
    micro_tanh_table,
    relu6_table,
    relu_table,
    rescale_table,
    softmax_table,
    tanh_table,
)
from edgekit.graph.types import Attribute
from quantize.attention import (
    add_attention_pool,
    add_fully_connected_int16,
    add_second_order,
    bias_and_range,
)
from quantize.calibration import Observation, affine_quantization, best_range
from quantize.frontend_ops import add_front_end
from quantize.graph_builder import GraphBuilder
from quantize.network import Array, Layer, Network
from quantize.scales import (
    INT8_RANGE,
    clamp_of,
    mean_attributes,
    product_attributes,
    requantization,
    sum_attributes,
)
from quantize.weights import Scales, channel_scales, round_weights, round_with_compensation

INT4_FEATURES = 64
"""`mixed4` stores fully connected layers with at least this many outputs in int4."""
INT4_SEARCH_STEPS = 32
SMALLEST_SWISH_RANGE = 2.0**-6
"""Of an activation beside a hard swish: runtimes round its multipliers differently where scales are tiny."""
LARGEST_MULTIPLIER = 64
"""Of a layer's result by its accumulator: half of what the graph allows."""
WINDOW_SAMPLES = 2 * SAMPLE_RATE_HZ
LARGEST_BIAS = 1 << 28
UNIT = Quantization((1 / 255,), -128)
SHARES = Quantization((1 / 256,), -128)
FIXED_RANGES = {"sigmoid": SHARES, "softmax": SHARES, "tanh": Quantization((1 / 128,))}
INPUT = "input"
FUNCTION_TABLES: Mapping[str, Callable[[Quantization, Quantization], NDArray[np.int64]]] = {
    "hard_swish": hard_swish_table,
    "sigmoid": logistic_table,
    "tanh": tanh_table,
    "relu": relu_table,
    "relu6": relu6_table,
}

MICRO_TABLES = {"sigmoid": micro_logistic_table, "tanh": micro_tanh_table}
"""Functions that TFLite Micro computes otherwise than LiteRT: in some scales, to other integers."""
SATURATED = 8.0
"""Beyond it, either function is constant in 8 bits."""
LARGEST_RATIO = 1 << 22
"""Of two scales: 9 bits of a value less its zero point, so shifted, fit int32."""

Observations = Mapping[str, Observation]
RangeChoice = Callable[[Observation], Quantization]


class Quantizer:
    """Adds one layer after another to a graph; remembers what each ONNX name became."""

    def __init__(
        self,
        network: Network,
        seen: Observations,
        int4_linears: bool,
        window_samples: int,
        choose_range: RangeChoice,
        correct_biases: bool = True,
    ) -> None:
        self.network = network
        self.correct_biases = correct_biases
        self.window_samples = window_samples
        self.choose_range = choose_range
        self.seen = seen
        self.int4_linears = int4_linears
        self.has_front_end = False
        self.builder = GraphBuilder("edgekit")
        self.names: dict[str, str] = {}

    def run_plain(self) -> Graph:
        """Return the verified integer graph of a network without front end, int8 in and out."""
        quantization = self.choose_range(self.seen[self.network.input])
        self.builder.add_input(Tensor(INPUT, self.network.input_shape, "int8", quantization))
        self.names[self.network.input] = INPUT
        return self._finish()

    def run(self, front_end: FrontEnd) -> Graph:
        """Return the verified integer graph, PCM in, A/D/V in Q14 out."""
        self.has_front_end = True
        floor_db = 10 * np.log10(front_end.floor_power)
        log_mel = affine_quantization(floor_db, self.seen[self.network.input].high)
        frames = front_end.frame_count(self.window_samples) if self.network.needs_whole_clip else TIME
        self.names[self.network.input] = add_front_end(self.builder, front_end, log_mel, frames)
        return self._finish()

    def _finish(self) -> Graph:
        for layer in self.network.layers:
            self._require_readable(layer)
            self.names[layer.output] = ADDERS[layer.kind](self, layer)
        return self.builder.build((self.names[self.network.output],))

    def _require_readable(self, layer: Layer) -> None:
        """Require that what attention pooled, in 16 bits, goes into a linear layer alone."""
        pooled = any(self.builder.tensors[self.names[name]].dtype == "int16" for name in layer.inputs)
        if pooled and layer.kind not in ("fully_connected", "second_order"):
            what = f"layer {layer.name!r} ({layer.kind}, from {', '.join(layer.origin)})"
            why = "reads what attention pooled, which only a Gemm or MatMul may"
            raise UnsupportedError(f"{what} {why}", "change the model there")

    def input_of(self, layer: Layer, index: int = 0) -> tuple[str, Tensor, Quantization]:
        """Return an input's graph name, tensor and quantization."""
        name = self.names[layer.inputs[index]]
        tensor = self.builder.tensors[name]
        assert tensor.quantization is not None, "every activation between layers is quantized"
        return name, tensor, tensor.quantization

    def room_for_bias(self, layer: Layer, scales: Scales, bias: Array) -> Scales:
        """Return (O,) scales, wider where weights are so small that the bias beside would leave int32."""
        least = np.abs(bias) / (self.input_of(layer)[2].scales[0] * LARGEST_BIAS)
        return np.asarray(np.maximum(scales, least), np.float32)

    def rows_into(self, layer: Layer) -> Array:
        """Return (N, K) rows that calibration saw a linear layer read, in its columns' order."""
        name, made = layer.inputs[0], {other.output: other for other in self.network.layers}
        while name not in self.seen:
            # A reshape that ONNX has no tensor for.
            name = made[name].inputs[0]
        rows = self.seen[name].rows
        return rows[:, layer.columns].astype(np.float64)

    def lost_output(self, layer: Layer, lost: Array) -> Array:
        """Return (O,) what rounding a convolution's weights takes from its mean output.

        It goes into the bias (Nagel et al., arXiv 1906.04721).

        Args:
            layer: The convolution.
            lost: (O, KH, KW, C) real weights less stored ones; of a depthwise one, (O, KH, KW).
        """
        seen = self.seen.get(layer.inputs[0])
        channels = lost.shape[3] if lost.ndim > 3 else self.input_of(layer)[1].shape[2]
        if not self.correct_biases or seen is None or channels not in (1, seen.rows.shape[1]):
            return np.zeros(len(lost))
        mean = seen.rows.reshape(-1, channels).astype(np.float64).mean(axis=0)
        if lost.ndim > 3:
            return np.asarray(lost.sum(axis=(1, 2)) @ mean)
        return np.asarray(lost.sum(axis=(1, 2)) * np.repeat(mean, len(lost) // channels))

    def range_of(self, layer: Layer) -> Quantization:
        """Return the range of a layer's results."""
        if (layer.low, layer.high) == (0.0, 1.0):
            # All of int8 and no more: TFLite has no activation that clips at 1.
            return UNIT
        seen = self.seen[layer.output]
        seen = seen.clipped(SATURATED) if self._goes_into(layer, MICRO_TABLES) else seen
        found = self.no_finer_than_multipliers(layer, self.choose_range(seen))
        least = SMALLEST_SWISH_RANGE / 255 if self._is_beside_hard_swish(layer) else 0.0
        return Quantization((max(found.scales[0], least),), found.zero_point)

    def _goes_into(self, layer: Layer, functions: Collection[str]) -> bool:
        """Return whether nothing but some functions reads a layer."""
        readers = [other for other in self.network.layers if layer.output in other.inputs]
        inside = bool(readers) and layer.output != self.network.output
        return inside and all(other.function in functions for other in readers)

    def _is_beside_hard_swish(self, layer: Layer) -> bool:
        """Return whether a layer is a hard swish, or is read by one."""
        readers = [other for other in self.network.layers if layer.output in other.inputs]
        return any(other.function == "hard_swish" for other in (layer, *readers))

    def no_finer_than_multipliers(self, layer: Layer, found: Quantization) -> Quantization:
        """Return a range, wider where large terms cancel: a multiplier is below 2^7."""
        sources = [self.input_of(layer, index)[2].scales[0] for index in range(len(layer.inputs))]
        largest = float(np.abs(layer.weights).max()) / 127 if layer.weights.size else 1.0
        terms = math.prod(sources) if layer.kind == "mul" else max(sources) * largest
        wider = terms / (LARGEST_MULTIPLIER * found.scales[0])
        if wider <= 1:
            return found
        scale = float(np.float32(found.scales[0] * wider))
        return Quantization((scale,), found.zero_point)

    def add_linear_constants(
        self,
        layer: Layer,
        stored: NDArray[np.int8],
        scales: NDArray[np.float32],
        bias: Array,
        int4: bool,
        axis: int = 0,
    ) -> tuple[str, str]:
        """Add a layer's weights, whose outputs are an axis, and its int32 bias; return their names."""
        input_scale = np.float64(self.input_of(layer)[2].scales[0])
        bias_scales = input_scale * scales.astype(np.float64)
        weights_q = Quantization(tuple(scales.astype(float).tolist()), 0, axis)
        bias_q = Quantization(tuple(bias_scales.tolist()), 0, 0)
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


def _add_convolution(quantizer: Quantizer, layer: Layer) -> str:
    """Add a convolution, or a depthwise one, whose outputs are the last axis of its weights."""
    name, tensor, input_q = quantizer.input_of(layer)
    output_q = quantizer.range_of(layer)
    axis = 2 if layer.kind == "depthwise_conv2d" else 0
    by_output = np.moveaxis(layer.weights, axis, 0)
    scales = quantizer.room_for_bias(layer, channel_scales(by_output, 127), layer.bias)
    stored = np.ascontiguousarray(np.moveaxis(round_weights(by_output, scales, 127), 0, axis))
    lost = by_output - np.moveaxis(stored, axis, 0) * scales.astype(np.float64).reshape(
        -1, *[1] * (by_output.ndim - 1)
    )
    bias = layer.bias + quantizer.lost_output(layer, lost)
    constants = quantizer.add_linear_constants(layer, stored, scales, bias, int4=False, axis=axis)
    requantize = quantizer.add_requantization(layer, scales, output_q)
    attributes = _window_attributes(layer) | {
        "input_zero_point": input_q.zero_point,
        "output_zero_point": output_q.zero_point,
        "clamp": clamp_of(output_q, layer.low, layer.high),
    }
    output = Tensor(f"{layer.name}_out", _map_shape(layer, tensor, len(by_output)), "int8", output_q)
    inputs = (name, *constants, *requantize)
    op = Op(layer.kind, layer.name, inputs, (output.name,), attributes, layer.origin)
    return quantizer.builder.add_op(op, output)


def _map_shape(layer: Layer, tensor: Tensor, channels: int) -> tuple[int, ...]:
    top, bottom, left, right = layer.padding
    (kernel_t, kernel_w), (step_t, step_w) = layer.kernel, layer.dilation
    reach_t, reach_w = (kernel_t - 1) * step_t + 1, (kernel_w - 1) * step_w + 1
    mel = (tensor.shape[1] + left + right - reach_w) // layer.stride[1] + 1
    if tensor.shape[0] == TIME:
        return (TIME, mel, channels)
    return ((tensor.shape[0] + top + bottom - reach_t) // layer.stride[0] + 1, mel, channels)


def _window_attributes(layer: Layer) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {
        "kernel": layer.kernel,
        "stride": layer.stride,
        "padding": layer.padding,
    }
    return found if layer.dilation == (1, 1) else {**found, "dilation": layer.dilation}


def _add_pool(quantizer: Quantizer, layer: Layer) -> str:
    name, tensor, input_q = quantizer.input_of(layer)
    attributes = _window_attributes(layer)
    if layer.kind == "average_pool2d":
        attributes["clamp"] = INT8_RANGE
    output = Tensor(f"{layer.name}_out", _map_shape(layer, tensor, tensor.shape[2]), "int8", input_q)
    op = Op(layer.kind, layer.name, (name,), (output.name,), attributes, layer.origin)
    return quantizer.builder.add_op(op, output)


def _add_mean(quantizer: Quantizer, layer: Layer) -> str:
    name, tensor, input_q = quantizer.input_of(layer)
    output_q = quantizer.range_of(layer)
    attributes = mean_attributes(input_q, output_q, tensor.shape[0] * tensor.shape[1])
    output = Tensor(f"{layer.name}_out", (1, 1, tensor.shape[2]), "int8", output_q)
    op = Op("mean", layer.name, (name,), (output.name,), attributes, layer.origin)
    return quantizer.builder.add_op(op, output)


def _add_pair(quantizer: Quantizer, layer: Layer) -> str:
    """Add the sum or the product of two tensors."""
    (one, tensor, one_q), (other, other_tensor, other_q) = (
        quantizer.input_of(layer, index) for index in (0, 1)
    )
    output_q = quantizer.range_of(layer)
    attributes_of = sum_attributes if layer.kind == "add" else product_attributes
    clamp = clamp_of(output_q, layer.low, layer.high)
    attributes = attributes_of(one_q, other_q, output_q, clamp)
    shape = np.broadcast_shapes(tensor.shape, other_tensor.shape)
    output = Tensor(f"{layer.name}_out", shape, "int8", output_q)
    op = Op(layer.kind, layer.name, (one, other), (output.name,), attributes, layer.origin)
    return quantizer.builder.add_op(op, output)


def _add_lookup(quantizer: Quantizer, layer: Layer) -> str:
    name, tensor, input_q = quantizer.input_of(layer)
    if layer.function in MICRO_TABLES:
        name, input_q = _where_runtimes_agree(quantizer, layer)
    # TFLite Micro's RELU6 has one scale for both sides.
    kept = input_q if layer.function == "relu6" else None
    output_q = kept or FIXED_RANGES.get(layer.function) or quantizer.range_of(layer)
    values = FUNCTION_TABLES[layer.function](input_q, output_q)
    table = quantizer.builder.add_constant(f"{layer.name}_table", "int8", values)
    output = Tensor(f"{layer.name}_out", tensor.shape, "int8", output_q)
    attributes = {"function": layer.function}
    op = Op("lookup", layer.name, (name, table), (output.name,), attributes, layer.origin)
    return quantizer.builder.add_op(op, output)


def _where_runtimes_agree(quantizer: Quantizer, layer: Layer) -> tuple[str, Quantization]:
    """Return a function's input in a scale where both runtimes have one table: changed to it if need be."""
    name, tensor, source = quantizer.input_of(layer)
    found, scale = source, min(source.scales[0], SATURATED / 127)
    while not _runtimes_agree(layer.function, found):
        found = Quantization((float(np.float32(scale)),), source.zero_point if scale < SATURATED / 127 else 0)
        scale *= 1 + 2.0**-6
    if found is source:
        return name, source
    if source.scales[0] > LARGEST_RATIO * found.scales[0]:
        what = f"layer {layer.name!r} ({layer.function}, from {', '.join(layer.origin)})"
        raise UnsupportedError(f"{what}: its input leaves +-{LARGEST_RATIO * SATURATED:.0f}", "scale it down")
    values = rescale_table(source, found, -math.inf, math.inf)
    table = quantizer.builder.add_constant(f"{layer.name}_input_table", "int8", values)
    output = Tensor(f"{layer.name}_input_out", tensor.shape, "int8", found)
    attributes = {"function": "rescale"}
    op = Op("lookup", f"{layer.name}_input", (name, table), (output.name,), attributes, layer.origin)
    return quantizer.builder.add_op(op, output), found


def _runtimes_agree(function: str, source: Quantization) -> bool:
    tables = (FUNCTION_TABLES[function], MICRO_TABLES[function])
    one, other = (table(source, FIXED_RANGES[function]) for table in tables)
    return np.array_equal(one, other)


def _add_softmax(quantizer: Quantizer, layer: Layer) -> str:
    name, tensor, input_q = quantizer.input_of(layer)
    values = softmax_table(input_q.scales[0])
    table = quantizer.builder.add_constant(f"{layer.name}_exponentials", "int32", values)
    output = Tensor(f"{layer.name}_out", tensor.shape, "int8", FIXED_RANGES["softmax"])
    op = Op("softmax", layer.name, (name, table), (output.name,), {}, layer.origin)
    return quantizer.builder.add_op(op, output)


def _add_moved(quantizer: Quantizer, layer: Layer) -> str:
    """Add a reshape, transpose or pad: the values stay what they are."""
    name, tensor, input_q = quantizer.input_of(layer)
    attributes: dict[str, Attribute]
    if layer.kind == "reshape":
        shape, attributes = layer.shape, {"shape": layer.shape}
    elif layer.kind == "transpose":
        shape, attributes = tuple(tensor.shape[axis] for axis in layer.axes), {"axes": layer.axes}
    else:
        top, bottom, left, right = layer.padding
        rows, columns, channels = tensor.shape
        shape = (rows + top + bottom, columns + left + right, channels)
        attributes = {"padding": layer.padding, "fill": input_q.zero_point}
    output = Tensor(f"{layer.name}_out", shape, "int8", input_q)
    op = Op(layer.kind, layer.name, (name,), (output.name,), attributes, layer.origin)
    return quantizer.builder.add_op(op, output)


def _add_flatten(quantizer: Quantizer, layer: Layer) -> str:
    name, tensor, input_q = quantizer.input_of(layer)
    shape = (tensor.shape[0], tensor.shape[1] * tensor.shape[2])
    output = Tensor(f"{layer.name}_out", shape, "int8", input_q)
    op = Op("flatten", layer.name, (name,), (output.name,), {}, layer.origin)
    return quantizer.builder.add_op(op, output)


def _add_fully_connected(quantizer: Quantizer, layer: Layer) -> str:
    name, tensor, input_q = quantizer.input_of(layer)
    if tensor.dtype == "int16":
        return add_fully_connected_int16(quantizer, layer)
    bias, output_q = bias_and_range(quantizer, layer)
    int4 = quantizer.int4_linears and len(layer.weights) >= INT4_FEATURES
    largest, search_steps = (7, INT4_SEARCH_STEPS) if int4 else (127, 1)
    scales = quantizer.room_for_bias(layer, channel_scales(layer.weights, largest, search_steps), bias)
    if quantizer.has_front_end and not int4:
        # A student's CCC is the same with one scale for all rows, and its .tflite a twenty-fifth smaller.
        scales = np.full_like(scales, scales.max())
    inputs = quantizer.rows_into(layer)
    stored = round_with_compensation(layer.weights, scales, largest, inputs)
    if quantizer.correct_biases:
        lost = layer.weights - stored * scales.astype(np.float64)[:, None]
        bias = bias + lost @ inputs.mean(axis=0)
    constants = quantizer.add_linear_constants(layer, stored, scales, bias, int4)
    requantize = quantizer.add_requantization(layer, scales, output_q)
    attributes: dict[str, Attribute] = {
        "input_zero_point": input_q.zero_point,
        "output_zero_point": output_q.zero_point,
        "clamp": clamp_of(output_q, layer.low, layer.high),
    }
    output = Tensor(f"{layer.name}_out", (tensor.shape[0], len(layer.weights)), "int8", output_q)
    op = Op(
        "fully_connected",
        layer.name,
        (name, *constants, *requantize),
        (output.name,),
        attributes,
        layer.origin,
    )
    return quantizer.builder.add_op(op, output)


ADDERS: Mapping[str, Callable[[Quantizer, Layer], str]] = {
    "conv2d": _add_convolution,
    "depthwise_conv2d": _add_convolution,
    "max_pool2d": _add_pool,
    "average_pool2d": _add_pool,
    "mean": _add_mean,
    "add": _add_pair,
    "mul": _add_pair,
    "lookup": _add_lookup,
    "flatten": _add_flatten,
    "fully_connected": _add_fully_connected,
    "attention_pool": add_attention_pool,
    "second_order": add_second_order,
    "softmax": _add_softmax,
    "reshape": _add_moved,
    "transpose": _add_moved,
    "pad": _add_moved,
}


def quantize_network(
    network: Network,
    front_end: FrontEnd,
    seen: Observations,
    int4_linears: bool,
    window_samples: int = WINDOW_SAMPLES,
    choose_range: RangeChoice = best_range,
    correct_biases: bool = True,
) -> Graph:
    """Return the integer graph of a float network.

    Args:
        network: What `import_onnx` read.
        front_end: The settings that its log-mels were computed with.
        seen: What `observe` saw, by ONNX name.
        int4_linears: Store the wide fully connected layers in int4.
        window_samples: What a network hears at a time that cannot stream.
        choose_range: One of `calibration.RANGES`.
        correct_biases: Let biases make up for what rounding weights shifts mean outputs by.

    Raises:
        UnsupportedError: If a layer or the resulting graph is not supported; it names the layer.
    """
    quantizer = Quantizer(network, seen, int4_linears, window_samples, choose_range, correct_biases)
    return quantizer.run(front_end)


def quantize_plain(
    network: Network, seen: Observations, int4_linears: bool, choose_range: RangeChoice = best_range
) -> Graph:
    """Return the integer graph of a network without front end; see `quantize_network`."""
    return Quantizer(network, seen, int4_linears, WINDOW_SAMPLES, choose_range).run_plain()
