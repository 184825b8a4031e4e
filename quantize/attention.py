"""Layers around attention pooling: scores, the pooling itself, and what reads the pooled values."""

import math
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UnsupportedError
from edgekit.graph import Op, Quantization, Tensor
from edgekit.graph.fixedpoint import POOL_BITS, exp_table, quantize_multiplier
from edgekit.graph.types import Attribute
from quantize.calibration import SMALLEST_RANGE, affine_quantization
from quantize.network import Array, Layer
from quantize.weights import channel_scales, round_weights

if TYPE_CHECKING:
    from quantize.quantizer import Quantizer

ADV_RANGE = (-2.0, 1.9999)
ADV_QUANTIZATION = Quantization((2.0**-14,))
POOLED_HEADROOM = 2.0
"""Room of a second-order pooling above what calibration saw: 16 bits can spare one."""


def bias_and_range(quantizer: "Quantizer", layer: Layer) -> tuple[Array, Quantization]:
    """Return a linear layer's bias and output range.

    Softmax over time does not see an offset that a feature has at all times: scores are centred feature
    by feature, so that one range fits all features closely.
    """
    seen, network = quantizer.seen[layer.output], quantizer.network
    readers = [
        (other.kind, place)
        for other in network.layers
        for place, name in enumerate(other.inputs)
        if name == layer.output
    ]
    clipped = (layer.low, layer.high) != (-math.inf, math.inf)
    if clipped or readers != [("attention_pool", 1)] or layer.output == network.output:
        return layer.bias, quantizer.range_of(layer)
    centre = (seen.feature_low.astype(np.float64) + seen.feature_high) / 2
    reach = float((seen.feature_high - seen.feature_low).max()) / 2
    found = affine_quantization(-reach, reach)
    return layer.bias - centre, quantizer.no_finer_than_multipliers(layer, found)


def add_attention_pool(quantizer: "Quantizer", layer: Layer) -> str:
    """Add the pooling over time, values beside scores; return the name of its result."""
    value, tensor, value_q = quantizer.input_of(layer)
    score, _, score_q = quantizer.input_of(layer, 1)
    table = quantizer.builder.add_constant(f"{layer.name}_exp", "uint16", exp_table(score_q.scales[0]))
    output_q = Quantization((value_q.scales[0] / 2**POOL_BITS,))
    output = Tensor(f"{layer.name}_out", (tensor.shape[1],), "int16", output_q)
    attributes = {"value_zero_point": value_q.zero_point}
    op = Op("attention_pool", layer.name, (value, score, table), (output.name,), attributes, layer.origin)
    return quantizer.builder.add_op(op, output)


def add_second_order(quantizer: "Quantizer", layer: Layer) -> str:
    """Add pooled values beside their products; return the name of the result."""
    name, tensor, input_q = quantizer.input_of(layer)
    seen = quantizer.seen[layer.output]
    reach = max(-seen.low, seen.high, SMALLEST_RANGE)
    output_q = Quantization((float(np.float32(POOLED_HEADROOM * reach / 32767)),))
    # The map that was pooled still has its channels.
    channels = _pooled_channels(quantizer, layer)
    pairs = [
        quantize_multiplier(scale / output_q.scales[0])
        for scale in (input_q.scales[0], input_q.scales[0] ** 2)
    ]
    attributes: dict[str, Attribute] = {
        "channels": channels,
        "multipliers": (pairs[0][0], pairs[1][0]),
        "shifts": (pairs[0][1], pairs[1][1]),
    }
    output = Tensor(f"{layer.name}_out", (tensor.shape[0] + channels**2,), "int16", output_q)
    op = Op("second_order", layer.name, (name,), (output.name,), attributes, layer.origin)
    return quantizer.builder.add_op(op, output)


def _pooled_channels(quantizer: "Quantizer", layer: Layer) -> int:
    """Return the channels of the map whose tokens were pooled."""
    by_output = {other.output: other for other in quantizer.network.layers}
    tokens = by_output[by_output[layer.inputs[0]].inputs[0]]
    return quantizer.builder.tensors[quantizer.names[tokens.inputs[0]]].shape[2]


def add_fully_connected_int16(quantizer: "Quantizer", layer: Layer) -> str:
    """Add the linear layer that reads what attention pooled; return the name of its result.

    Raises:
        UnsupportedError: If an activation or another layer follows it, or a student's A/D/V leave Q14.
    """
    if (layer.low, layer.high) != (-math.inf, math.inf):
        raise _unsupported(layer, "it reads what attention pooled, and no activation may follow it")
    if layer.output != quantizer.network.output:
        raise _unsupported(layer, "it reads what attention pooled, and has to be the last layer")
    name = quantizer.input_of(layer)[0]
    # One scale for all rows: per-channel int16 layers are not what TFLite runtimes share.
    scales = np.full(len(layer.weights), channel_scales(layer.weights, 127).max(), np.float32)
    stored = round_weights(layer.weights, scales, 127)
    constants = quantizer.add_linear_constants(layer, stored, scales, layer.bias, int4=False)
    output_q = _answer_quantization(quantizer, layer)
    requantize = quantizer.add_requantization(layer, scales, output_q)
    output = Tensor(f"{layer.name}_out", (len(layer.weights),), "int16", output_q)
    op = Op(
        "fully_connected_int16", layer.name, (name, *constants, *requantize), (output.name,), {}, layer.origin
    )
    return quantizer.builder.add_op(op, output)


def _answer_quantization(quantizer: "Quantizer", layer: Layer) -> Quantization:
    """Return Q14 for a student's A/D/V, and what fits the answers of any other model."""
    seen = quantizer.seen[layer.output]
    if ADV_RANGE[0] <= seen.low <= seen.high <= ADV_RANGE[1]:
        return ADV_QUANTIZATION
    if quantizer.has_front_end:
        raise UnsupportedError(
            f"layer {layer.name!r}: A/D/V from {seen.low:.2f} to {seen.high:.2f} leaves {ADV_RANGE} (Q14)",
            "train on labels between 0 and 1",
        )
    places = math.ceil(math.log2(max(-seen.low, seen.high) / ADV_RANGE[1]))
    return Quantization((ADV_QUANTIZATION.scales[0] * 2.0**places,))


def _unsupported(layer: Layer, constraint: str) -> UnsupportedError:
    what = f"layer {layer.name!r} (from {', '.join(layer.origin)}): {constraint}"
    return UnsupportedError(what, "change the model there")
