"""Integer graphs of the student's shape with random weights, ranges set from random log-mels."""

import json
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgekit.audio import FrontEnd
from edgekit.graph import TIME, Graph, Op, Quantization, Tensor, verify
from edgekit.graph.fixedpoint import exp_table
from edgekit.graph.reference import OPERATORS
from quantize.scales import requantization

PADDING = (1, 0, 1, 1)
RELU, LINEAR = (-128, 127), (-127, 127)


def log_mels(frames: int, bands: int, seed: int = 1) -> NDArray[np.int8]:
    """Smooth random (T, W, 1) int8 maps."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(frames + 4, bands))
    smooth = sum(noise[i : i + frames] for i in range(5)) * 25
    return np.clip(np.rint(smooth - 20), -128, 127).astype(np.int8)[:, :, None]


@dataclass
class Builder:
    """Adds layers one at a time, each calibrated on what the layers before it make of `values`."""

    rng: np.random.Generator
    values: dict[str, NDArray[np.int64]]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, NDArray] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def scale(self, name: str) -> float:
        return self.tensors[name].quantization.scales[0]

    def constant(self, name, value, dtype=None, quantization=None) -> str:
        self.tensors[name] = Tensor(name, value.shape, dtype or value.dtype.name, quantization)
        self.constants[name] = value
        return name

    def add(self, kind, name, inputs, shape, dtype, quantization, **attributes) -> str:
        op = Op(kind, name, inputs, (name,), attributes, (name,))
        self.ops.append(op)
        self.tensors[name] = Tensor(name, shape, dtype, quantization)
        arrays = [(self.constants | self.values)[i].astype(np.int64) for i in inputs]
        self.values[name] = OPERATORS[kind](op, *arrays)
        return name

    def weights(self, name, shape, dtype) -> tuple[str, NDArray]:
        limit = 7 if dtype == "int4" else 127
        values = np.clip(np.rint(self.rng.normal(size=shape) * limit / 3), -limit, limit).astype(np.int8)
        scales = self.rng.uniform(0.6, 1.4, shape[0]) * 0.2 / limit
        quantization = Quantization(tuple(scales.astype(np.float32).tolist()), 0, 0)
        return self.constant(f"{name}_weights", values, dtype, quantization), scales

    def linear(self, kind, name, source, weight_shape, shape, dtype="int8", relu=False, **attributes) -> str:
        """Add a conv2d or fully_connected whose results fill the int8 range."""
        weights, weight_scales = self.weights(name, weight_shape, dtype)
        bias = self.constant(f"{name}_bias", self.rng.integers(-2000, 2000, weight_shape[0]).astype(np.int32))
        zero_point = -128 if relu else 3
        attributes |= {
            "input_zero_point": self.tensors[source].quantization.zero_point,
            "output_zero_point": zero_point,
            "clamp": (-128, 127),
        }
        inputs = (source, weights, bias, f"{name}_multiplier", f"{name}_shift")
        scale = self.real_range(kind, attributes, inputs, weight_scales, relu) / (255 if relu else 127)
        multiplier, shift = requantization(self.scale(source), weight_scales, scale)
        self.constant(f"{name}_multiplier", multiplier)
        self.constant(f"{name}_shift", shift)
        return self.add(kind, name, inputs, shape, "int8", Quantization((scale,), zero_point), **attributes)

    def real_range(self, kind, attributes, inputs, weight_scales, relu) -> float:
        """Largest real result, from the accumulators: the operator's double with all weights' scales equal."""
        x = (self.constants | self.values)[inputs[0]].astype(np.int64)
        w, b = (self.constants[i].astype(np.int64) for i in inputs[1:3])
        probe = Op(kind, "probe", (), (), {**attributes, "clamp": (-(1 << 40), 1 << 40), "output_zero_point": 0})
        half = np.full(len(w), 1 << 30)
        accumulators = OPERATORS[kind](probe, x, w, b, half, np.full(len(w), 1)).astype(float)
        real = accumulators * weight_scales * self.scale(inputs[0])
        return float(np.quantile(real if relu else np.abs(real), 0.9995))


def student(
    bands: int = 8, channels: int = 4, weights: str = "int4", level: str = "causal", frames: int = 160, seed: int = 0
) -> Graph:
    """Return l1, pool, l2, mix, flatten, lin and sof, attention, adv, reading int8 log-mels."""
    return student_of_depth((1, 1), bands, channels, weights, level, frames, seed)


def wav2small(weights: str = "int4") -> Graph:
    """Return a graph of Wav2Small's full size: 72.6 k weights."""
    return student_of_depth((3, 4), 26, 13, weights, "causal", 200, 0)


def student_of_depth(depth, bands, channels, weights, level, frames, seed) -> Graph:
    """Build it: `depth` 3x3 convolutions before and after the pool."""
    x = log_mels(frames, bands)
    builder = Builder(np.random.default_rng(seed), {"log_mel": x.astype(np.int64)})
    builder.tensors["log_mel"] = Tensor(
        "log_mel", (TIME, bands, 1), "int8", Quantization((float(np.float32(0.45)),), 27)
    )
    name, last = "log_mel", 1
    window = {"stride": (1, 1), "padding": PADDING, "kernel": (3, 3)}
    for index in range(1, sum(depth) + 1):
        shape = (channels, 3, 3, last)
        name = builder.linear("conv2d", f"l{index}", name, shape, (TIME, bands, channels), relu=True, **window)
        last = channels
        if index == depth[0]:
            bands = (bands - 1) // 2 + 1
            pool = window | {"stride": (2, 2)}
            before = builder.tensors[name].quantization
            name = builder.add("max_pool2d", "pool", (name,), (TIME, bands, channels), "int8", before, **pool)
    point = {"stride": (1, 1), "padding": (0, 0, 0, 0), "kernel": (1, 1)}
    mix = builder.linear("conv2d", "mix", name, (channels, 1, 1, channels), (TIME, bands, channels), **point)
    return _head(builder, mix, bands * channels, weights, level)


def _head(builder: Builder, mix: str, size: int, weights: str, level: str) -> Graph:
    after = builder.tensors[mix].quantization
    tokens = builder.add("flatten", "tokens", (mix,), (TIME, size), "int8", after)
    for name in ("lin", "sof"):
        builder.linear("fully_connected", name, tokens, (size, size), (TIME, size), weights)
    table = builder.constant("exp", exp_table(builder.scale("sof")))
    pooled = Quantization((builder.scale("lin") / 128,))
    value_zero_point = builder.tensors["lin"].quantization.zero_point
    builder.add(
        "attention_pool", "attend", ("lin", "sof", table), (size,), "int16", pooled, value_zero_point=value_zero_point
    )
    adv_weights, scales = builder.weights("adv", (3, size), "int8")
    multiplier, shift = requantization(pooled.scales[0], scales, 2.0**-14)
    constants = {"bias": np.array([900, -700, 400], np.int32), "multiplier": multiplier, "shift": shift}
    inputs = [builder.constant(f"adv_{key}", value) for key, value in constants.items()]
    builder.add("fully_connected_int16", "adv", ("attend", adv_weights, *inputs), (3,), "int16", Quantization((2.0**-14,)))
    bands = builder.tensors["log_mel"].shape[1]
    front_end = FrontEnd(mel_bands=bands, level=level, memory_frames=64)
    metadata = {"front_end": json.dumps(front_end.to_dict()), "licence": "CC-BY-4.0"}
    graph = Graph(
        "student", ("log_mel",), ("adv",), builder.tensors, builder.constants, tuple(builder.ops), metadata
    )
    verify(graph)
    return graph
