"""Integer graphs of the student's shape: random weights, ranges set from what noise makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from distill.config import DistillConfig
from distill.export import student_onnx
from distill.registry import create_student
from edgekit.audio import FrontEnd, log_mel
from edgekit.graph import TIME, Graph, Op, Quantization, Tensor, run
from edgekit.graph.fixedpoint import exp_table
from edgekit.graph.reference import OPERATORS
from quantize.calibration import observe
from quantize.frontend_ops import add_front_end
from quantize.graph_builder import GraphBuilder
from quantize.importer import import_onnx
from quantize.onnx_writer import write_onnx
from quantize.quantizer import WINDOW_SAMPLES, quantize_network
from quantize.scales import requantization
from quantize.tflite_writer import write_tflite

PADDING = (1, 0, 1, 1)
FULL_RANGE = (-128, 127)


def noise_bursts(duration_s: float = 0.4, seed: int = 1) -> NDArray[np.float32]:
    """Return samples with the level going up and down, an offset, and a silence."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * 16_000)) / 16_000
    level = 0.02 + 0.2 * np.sin(2 * np.pi * 2.5 * time_s) ** 2 * (np.cos(9 * time_s) > -0.8)
    coloured = np.convolve(rng.standard_normal(time_s.size), [1, 0.8, 0.5], "same")
    return (level * coloured * 0.5 + 0.01).astype(np.float32)


@dataclass
class Student:
    """Adds layers one at a time, each calibrated on what the layers before it make of noise."""

    front_end: FrontEnd
    rng: np.random.Generator
    builder: GraphBuilder = field(default_factory=lambda: GraphBuilder("student"))
    values: dict[str, NDArray[np.integer]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        log_mel = Quantization((float(np.float32(0.45)),), 70)
        name = add_front_end(self.builder, self.front_end, log_mel)
        pcm = np.asarray(noise_bursts() * 32768, np.int16)
        self.values = dict(run(self.builder.build((name,)), {"pcm": pcm}))
        self.builder.metadata["licence"] = "CC-BY-4.0"

    def quantization(self, name: str) -> Quantization:
        return self.builder.tensors[name].quantization

    def add(self, kind, name, inputs, shape, dtype, quantization, **attributes) -> str:
        op = Op(kind, name, tuple(inputs), (f"{name}_out",), attributes, (name,))
        known = self.builder.constants | self.values
        self.values[f"{name}_out"] = OPERATORS[kind](op, *(known[i].astype(np.int64) for i in inputs))
        return self.builder.add_op(op, Tensor(f"{name}_out", shape, dtype, quantization))

    def constant(self, name, dtype, values, quantization=None) -> str:
        return self.builder.add_constant(name, dtype, np.asarray(values), quantization)

    def weights(self, name, shape, dtype="int8", one_scale=False) -> NDArray[np.float32]:
        limit = 7 if dtype == "int4" else 127
        values = np.clip(np.rint(self.rng.normal(size=shape) * limit / 3), -limit, limit).astype(np.int8)
        spread = 1.0 if one_scale else self.rng.uniform(0.6, 1.4, shape[0])
        # Scores spread over several units: a softmax of them is far from a plain mean.
        largest = 2.0 if name == "sof" else 0.2
        scales = np.full(shape[0], spread * largest / limit).astype(np.float32)
        self.constant(f"{name}_weights", dtype, values, Quantization(tuple(scales.tolist()), 0, 0))
        return scales

    def linear(
        self, kind, name, source, weight_shape, sizes, dtype="int8", relu=False, zero_point=None, **attributes
    ):
        """Add a conv2d or fully_connected whose results fill the int8 range."""
        scales = self.weights(name, weight_shape, dtype, one_scale=kind != "conv2d" and dtype == "int8")
        self.constant(f"{name}_bias", "int32", self.rng.integers(-2000, 2000, weight_shape[0]))
        if zero_point is None:
            zero_point = -128 if relu else 3
        attributes |= {"input_zero_point": self.quantization(source).zero_point}
        inputs = (source, f"{name}_weights", f"{name}_bias")
        reach = self.reach(kind, inputs, scales, attributes, relu)
        output = Quantization((reach / (127 - zero_point),), zero_point)
        self.requantize(name, source, scales, output)
        clamp = (zero_point if relu else -128, 127)
        attributes |= {"output_zero_point": zero_point, "clamp": clamp}
        inputs = (*inputs, f"{name}_multiplier", f"{name}_shift")
        return self.add(kind, name, inputs, (TIME, *sizes), "int8", output, **attributes)

    def requantize(self, name, source, scales, output) -> None:
        multiplier, shift = requantization(self.quantization(source).scales[0], scales, output.scales[0])
        self.constant(f"{name}_multiplier", "int32", multiplier)
        self.constant(f"{name}_shift", "int8", shift)

    def reach(self, kind, inputs, scales, attributes, relu) -> float:
        """Return nearly the largest real result, from the accumulators (multiplier 1/2, shift 1)."""
        far = 1 << 40
        probe = Op(kind, "probe", (), (), {**attributes, "clamp": (-far, far), "output_zero_point": 0})
        known = self.builder.constants | self.values
        arrays = [known[i].astype(np.int64) for i in inputs]
        half, one = np.full(len(scales), 1 << 30), np.full(len(scales), 1)
        real = OPERATORS[kind](probe, *arrays, half, one) * scales * self.quantization(inputs[0]).scales[0]
        return float(np.quantile(real if relu else np.abs(real), 0.9995))

    def window(self, name: str, kind: str, source: str, channels: int, stride: int = 1, **choices) -> str:
        """Add a causal 3x3 convolution or pool."""
        mel, inputs = self.builder.tensors[source].shape[1:]
        window = {"kernel": (3, 3), "stride": (stride, stride), "padding": PADDING}
        sizes = ((mel - 1) // stride + 1, channels)
        if kind == "max_pool2d":
            return self.add(
                kind, name, (source,), (TIME, *sizes), "int8", self.quantization(source), **window
            )
        return self.linear(kind, name, source, (channels, 3, 3, inputs), sizes, **window, **choices)

    def head(self, source: str, weights: str) -> Graph:
        """Add mix, tokens, lin, sof, attend and adv, and return the graph."""
        mel, channels = self.builder.tensors[source].shape[1:]
        point = {"kernel": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0)}
        mix = self.linear("conv2d", "mix", source, (channels, 1, 1, channels), (mel, channels), **point)
        size = mel * channels
        tokens = self.add("flatten", "tokens", (mix,), (TIME, size), "int8", self.quantization(mix))
        lin = self.linear("fully_connected", "lin", tokens, (size, size), (size,), weights)
        sof = self.linear("fully_connected", "sof", tokens, (size, size), (size,), weights)
        self.constant("attend_exp", "uint16", exp_table(self.quantization(sof).scales[0]))
        pooled = Quantization((self.quantization(lin).scales[0] / 128,))
        point = self.quantization(lin).zero_point
        inputs = (lin, sof, "attend_exp")
        attend = self.add(
            "attention_pool", "attend", inputs, (size,), "int16", pooled, value_zero_point=point
        )
        scales, adv = self.weights("adv", (3, size), one_scale=True), Quantization((2.0**-14,))
        self.constant("adv_bias", "int32", [900, -700, 400])
        self.requantize("adv", attend, scales, adv)
        inputs = [attend, *(f"adv_{part}" for part in ("weights", "bias", "multiplier", "shift"))]
        self.add("fully_connected_int16", "adv", inputs, (3,), "int16", adv)
        return self.builder.build(("adv_out",))


def student(
    weights: str = "int4",
    front_end: FrontEnd | None = None,
    channels: int = 4,
    before_pool: Sequence[str] = ("l1",),
    after_pool: Sequence[str] = ("l2",),
    seed: int = 0,
    **choices,
) -> Graph:
    """Return a small graph; `choices` go to its 3x3 convolutions."""
    choices = {"relu": True} | choices
    made = Student(front_end or FrontEnd(mel_bands=8, memory_frames=64), np.random.default_rng(seed))
    name = "log_mel"
    for layer in before_pool:
        name = made.window(layer, "conv2d", name, channels, **choices)
    name = made.window("pool", "max_pool2d", name, channels, stride=2)
    for layer in after_pool:
        name = made.window(layer, "conv2d", name, channels, **choices)
    return made.head(name, weights)


def wav2small(weights: str = "int4") -> Graph:
    """Return a graph of Wav2Small's full size: 72 k weights."""
    return student(weights, FrontEnd(), 13, ("l1", "l2", "l3"), ("l4", "l5", "l6", "l7"))


def random_student(
    config: DistillConfig,
    clips: Sequence[NDArray[np.float32]],
    folder: Path,
    *,
    settled: int,
    observed: int,
    seed: int = 0,
    window_samples: int = WINDOW_SAMPLES,
) -> Graph:
    """Return the graph of a student with random weights; writes `student.onnx` and both files made from it.

    Its batch statistics are those of the first `settled` clips, of one length; `observed` of them calibrate.
    """
    torch.manual_seed(seed)
    network = create_student(config.student, config.front_end).train()
    features = [log_mel(clip, config.front_end) for clip in clips[: max(settled, observed)]]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.5
        for _ in range(8):
            network.forward_logmel(torch.from_numpy(np.stack(features[:settled])))
    path = folder / "student.onnx"
    path.write_bytes(student_onnx(network.eval()).SerializeToString())
    layers = import_onnx(path)
    seen = observe(path, layers, features[:observed])
    graph = quantize_network(
        layers, config.front_end, seen, int4_linears=False, window_samples=window_samples
    )
    write_onnx(graph, folder / "model.onnx")
    write_tflite(graph, folder / "model.tflite")
    return graph
