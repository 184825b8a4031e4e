"""The integer graph as a torch module: forward, exactly its integers; backward, as if nothing were rounded.

Rounding and clamping pass gradients straight through (Bengio et al., arXiv 1308.3432). No operator is written
a second time: what torch cannot compute exactly, the reference computes.

Letters: B clips, T time, W mel positions, C channels, K inputs, O output channels.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgekit.graph import Graph, Op
from edgekit.graph.fixedpoint import POOL_BITS
from edgekit.graph.linear_ops import dilation_of, requantize
from edgekit.graph.reference import OPERATORS
from quantize.layers import network_ops, scales

EXACT_IN_FLOAT32 = 1 << 24
WITHIN_STEP = 0.49
"""How far from its integer a weight may start, in steps: nearest rounding then gives that integer."""
LINEAR_KINDS = ("conv2d", "depthwise_conv2d", "fully_connected", "fully_connected_int16")
INT16_RANGE = (-32768, 32767)


class TrainableGraph(nn.Module):
    """A graph after its front end, with float weights that round to the graph's.

    Weights are in steps of their own scale, biases in steps of their layer's result.

    Args:
        graph: A quantized network.
        weights: The real weights that a layer of that name was made of; without, it begins with its own.
    """

    def __init__(self, graph: Graph, weights: Mapping[str, NDArray[np.float64]]) -> None:
        super().__init__()
        self.graph = graph
        self.ops = network_ops(graph)
        self.weights, self.biases = nn.ParameterDict(), nn.ParameterDict()
        for op in self.ops:
            if op.kind in LINEAR_KINDS:
                stored, bias, *_ = graph.constant_inputs(op)
                self.weights[op.name] = _latent(graph, op, weights.get(op.name), stored)
                self.biases[op.name] = nn.Parameter(torch.from_numpy(bias * _gains(graph, op)))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return every activation of (B, ...) inputs, all integers in float32 (float64 where wider)."""
        values = {self.graph.activations(self.ops[0])[0].name: inputs}
        for op in self.ops:
            activations = [values[tensor.name] for tensor in self.graph.activations(op)]
            if op.kind in LINEAR_KINDS:
                values[op.outputs[0]] = self._linear(op, activations[0])
            else:
                smooth = SMOOTH[op.kind](self.graph, op, *activations)
                values[op.outputs[0]] = _straight_through(_reference(self.graph, op, activations), smooth)
        return values

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return (B, D) real values of the graph's output."""
        tensor = self.graph.tensors[self.graph.outputs[0]]
        assert tensor.quantization is not None, "the output stands for real values"
        found = self(inputs)[tensor.name]
        real: Tensor = (found - tensor.quantization.zero_point) * scales(tensor)[0]
        return real.flatten(1)

    def integer_graph(self) -> Graph:
        """Return the graph with the weights and biases as they are now."""
        constants = dict(self.graph.constants)
        for op in self.ops:
            if op.kind in LINEAR_KINDS:
                weights, bias = (value.detach().numpy() for value in self._integers(op))
                constants[op.inputs[1]] = weights.astype(np.int8)
                constants[op.inputs[2]] = bias.astype(np.int32)
        return dataclasses.replace(self.graph, constants=constants)

    def _integers(self, op: Op) -> tuple[Tensor, Tensor]:
        """Return a layer's weights and bias, rounded; gradients pass."""
        low, high = (-8, 7) if self.graph.tensors[op.inputs[1]].dtype == "int4" else (-128, 127)
        weights = _rounded(self.weights[op.name].clamp(low, high))
        gains = torch.from_numpy(_gains(self.graph, op))
        return weights, _rounded(self.biases[op.name] / gains)

    def _linear(self, op: Op, x: Tensor) -> Tensor:
        weights, bias = self._integers(op)
        zero_points = [
            op.integer(name) if name in op.attributes else 0
            for name in ("input_zero_point", "output_zero_point")
        ]
        with torch.no_grad():
            taps = weights.movedim(_output_axis(op), 0).flatten(1).abs().sum(1) * int(x.abs().max() + 128)
            wide = float((taps + bias.abs()).max()) >= EXACT_IN_FLOAT32
        dtype = torch.float64 if wide else torch.float32
        accumulator = ACCUMULATE[op.kind](op, x.to(dtype) - zero_points[0], weights.to(dtype)) + bias.to(
            dtype
        )
        _, _, multiplier, shift = (value.astype(np.int64) for value in self.graph.constant_inputs(op))
        exact = requantize(op, accumulator.detach().numpy().astype(np.int64), multiplier, shift)
        gains = torch.from_numpy(_gains(self.graph, op)).to(dtype)
        smooth = accumulator * gains + zero_points[1]
        return _straight_through(exact, smooth.clamp(*_clamp(op)))


def _latent(
    graph: Graph, op: Op, real: NDArray[np.float64] | None, stored: NDArray[np.integer]
) -> nn.Parameter:
    if real is None:
        return nn.Parameter(torch.from_numpy(stored.astype(np.float32)))
    tensor = graph.tensors[op.inputs[1]]
    shape = [1] * stored.ndim
    shape[_output_axis(op)] = -1
    steps = real / np.reshape(scales(tensor), shape)
    near = np.clip(steps, stored - WITHIN_STEP, stored + WITHIN_STEP)
    return nn.Parameter(torch.from_numpy(near.astype(np.float32)))


def _gains(graph: Graph, op: Op) -> NDArray[np.float64]:
    """Return (O,) steps of the result for one of the accumulator."""
    _, _, multiplier, shift = graph.constant_inputs(op)
    return np.asarray(multiplier.astype(np.float64) * 2.0 ** (shift.astype(np.float64) - 31))


def _output_axis(op: Op) -> int:
    return 2 if op.kind == "depthwise_conv2d" else 0


def _clamp(op: Op) -> tuple[int, ...]:
    return INT16_RANGE if op.kind == "fully_connected_int16" else op.integers("clamp")


def _rounded(values: Tensor) -> Tensor:
    return values.round().detach() + (values - values.detach())


def _straight_through(exact: NDArray[np.integer], smooth: Tensor) -> Tensor:
    """Return the integers, with the gradients of what they would be without rounding."""
    # In this order: what is added to the integers is 0, so they stay exact.
    return torch.from_numpy(exact).to(smooth.dtype) + (smooth - smooth.detach())


def _reference(graph: Graph, op: Op, activations: Sequence[Tensor]) -> NDArray[np.int64]:
    constants = [value.astype(np.int64) for value in graph.constant_inputs(op)]
    clips = zip(*(value.detach().numpy().astype(np.int64) for value in activations), strict=True)
    return np.stack([OPERATORS[op.kind](op, *clip, *constants) for clip in clips])


def _padded(op: Op, x: Tensor, fill: float = 0.0) -> Tensor:
    """Return a (B, T, W, C) map as the (B, C, T', W') that torch convolves, padded."""
    top, bottom, left, right = op.integers("padding")
    return functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom), value=fill)


def _conv2d(op: Op, x: Tensor, weights: Tensor) -> Tensor:
    kernels, stride = weights.permute(0, 3, 1, 2), op.integers("stride")
    found = functional.conv2d(_padded(op, x), kernels, stride=stride, dilation=dilation_of(op))
    return found.permute(0, 2, 3, 1)


def _depthwise_conv2d(op: Op, x: Tensor, weights: Tensor) -> Tensor:
    kernels, stride, groups = weights.permute(2, 0, 1)[:, None], op.integers("stride"), x.shape[3]
    found = functional.conv2d(_padded(op, x), kernels, None, stride, 0, dilation_of(op), groups)
    return found.permute(0, 2, 3, 1)


def _matrix(_op: Op, x: Tensor, weights: Tensor) -> Tensor:
    return x @ weights.T


ACCUMULATE: Mapping[str, Callable[[Op, Tensor, Tensor], Tensor]] = {
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise_conv2d,
    "fully_connected": _matrix,
    "fully_connected_int16": _matrix,
}


def _max_pool(_graph: Graph, op: Op, x: Tensor) -> Tensor:
    found = functional.max_pool2d(_padded(op, x, -128), op.integers("kernel"), op.integers("stride"))
    return found.permute(0, 2, 3, 1)


def _average_pool(_graph: Graph, op: Op, x: Tensor) -> Tensor:
    kernel, stride = op.integers("kernel"), op.integers("stride")
    means, inside = (
        functional.avg_pool2d(_padded(op, value), kernel, stride) for value in (x, torch.ones_like(x))
    )
    return (means / inside).permute(0, 2, 3, 1)


def _mean(graph: Graph, op: Op, x: Tensor) -> Tensor:
    zero_point, gain = op.integer("input_zero_point"), scales(*graph.activations(op))[0]
    result = graph.output(op)
    return (x - zero_point).mean(dim=(1, 2), keepdim=True) * (gain / scales(result)[0]) + op.integer(
        "output_zero_point"
    )


def _add(graph: Graph, op: Op, x: Tensor, y: Tensor) -> Tensor:
    one, other = (
        (value - zero) * scales(tensor)[0]
        for value, zero, tensor in zip(
            (x, y), op.integers("input_zero_points"), graph.activations(op), strict=True
        )
    )
    found = (one + other) / scales(graph.output(op))[0] + op.integer("output_zero_point")
    return found.clamp(*op.integers("clamp"))


def _mul(graph: Graph, op: Op, x: Tensor, y: Tensor) -> Tensor:
    (one, other), result = graph.activations(op), graph.output(op)
    zeros = op.integers("input_zero_points")
    gain = scales(one)[0] * scales(other)[0] / scales(result)[0]
    found = (x - zeros[0]) * (y - zeros[1]) * gain + op.integer("output_zero_point")
    return found.clamp(*op.integers("clamp"))


def _lookup(graph: Graph, op: Op, x: Tensor) -> Tensor:
    """Return a line through the function's neighbouring values: it has the table's slope."""
    (table,) = graph.constant_inputs(op)
    slopes = torch.from_numpy(np.gradient(table.astype(np.float32)))
    return x * slopes[(x.detach() + 128).long()]


def _softmax(graph: Graph, op: Op, x: Tensor) -> Tensor:
    probabilities: Tensor = (x * scales(*graph.activations(op))[0]).softmax(dim=-1)
    return probabilities * 256 - 128


def _attention_pool(graph: Graph, op: Op, value: Tensor, score: Tensor) -> Tensor:
    weights = (score * scales(graph.activations(op)[1])[0]).softmax(dim=1)
    pooled: Tensor = ((value - op.integer("value_zero_point")) * weights).sum(dim=1)
    return pooled * float(1 << POOL_BITS)


def _second_order(_graph: Graph, op: Op, x: Tensor) -> Tensor:
    maps = x.reshape(len(x), -1, op.integer("channels"))
    gains = (
        multiplier * 2.0 ** (shift - 31)
        for multiplier, shift in zip(op.integers("multipliers"), op.integers("shifts"), strict=True)
    )
    parts = (x, (maps.transpose(1, 2) @ maps).flatten(1))
    return torch.cat([part * gain for part, gain in zip(parts, gains, strict=True)], dim=1)


def _flatten(_graph: Graph, _op: Op, x: Tensor) -> Tensor:
    return x.flatten(2)


def _reshape(_graph: Graph, op: Op, x: Tensor) -> Tensor:
    return x.reshape(len(x), *op.integers("shape"))


def _transpose(_graph: Graph, op: Op, x: Tensor) -> Tensor:
    return x.permute(0, *(axis + 1 for axis in op.integers("axes")))


def _pad(_graph: Graph, op: Op, x: Tensor) -> Tensor:
    return _padded(op, x, op.integer("fill")).permute(0, 2, 3, 1)


SMOOTH: Mapping[str, Callable[..., Tensor]] = {
    "max_pool2d": _max_pool,
    "average_pool2d": _average_pool,
    "mean": _mean,
    "add": _add,
    "mul": _mul,
    "lookup": _lookup,
    "softmax": _softmax,
    "attention_pool": _attention_pool,
    "second_order": _second_order,
    "flatten": _flatten,
    "reshape": _reshape,
    "transpose": _transpose,
    "pad": _pad,
}
"""What each operator would compute without rounding, in steps of its result: where gradients come from."""
