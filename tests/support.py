"""Small random students as float ONNX files, and integer graphs made from them by the real quantizer."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from codegen.emit import model_sources
from codegen.host import HostC
from edgekit.audio import FrontEnd, log_mel
from edgekit.graph import Graph
from edgekit.target import Target
from edgekit.targets import list_targets, load_target
from firmware_sim.qemu_process import QEMU
from quantize.calibration import observe
from quantize.importer import import_onnx
from quantize.quantizer import quantize_network

STREAM_PADS = [1, 1, 0, 1]


class OnnxStudent:
    """Writes a student of the paper's form, of any width and depth, with random weights."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def random(self, name: str, *shape: int, spread: float = 1.0) -> str:
        return self.constant(name, (self.rng.normal(size=shape) * spread).astype(np.float32))

    def node(self, kind: str, name: str, inputs: list[str], **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv(self, layer: str, x: str, inputs: int, outputs: int, norm: bool = True) -> str:
        # Log-mels reach -100 dB: the first layer brings them to about 1.
        spread = (2 / (9 * inputs)) ** 0.5 * (0.05 if layer == "l1" else 1)
        weights = self.random(f"{layer}.weight", outputs, inputs, 3, 3, spread=spread)
        x = self.node("Conv", f"/{layer}/conv", [x, weights], kernel_shape=[3, 3], pads=STREAM_PADS)
        if norm:
            mean = self.random(f"{layer}.mean", outputs, spread=0.1)
            ones = np.ones(outputs, np.float32)
            stats = [
                self.constant(f"{layer}.{name}", v * ones) for name, v in (("gamma", 1.1), ("beta", 0.1))
            ]
            variance = self.constant(f"{layer}.var", 1.5 * ones)
            x = self.node("BatchNormalization", f"/{layer}/norm", [x, *stats, mean, variance])
        return self.node("Relu", f"/{layer}/relu", [x])

    def write(self, path: Path, bands: int = 8, channels: int = 4, depth: tuple[int, int] = (1, 1)) -> Path:
        x = self.node("Unsqueeze", "/unsqueeze", ["logmel", self.constant("axis", np.array([1]))])
        last, width = 1, bands
        for index in range(sum(depth)):
            x = self.conv(f"l{index + 1}", x, last, channels)
            last = channels
            if index + 1 == depth[0]:
                window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": STREAM_PADS}
                x = self.node("MaxPool", "/pool", [x], **window)
                width = (width - 1) // 2 + 1
        size = width * channels
        x = self.node(
            "Conv",
            "/mix/conv",
            [x, self.random("mix.weight", channels, channels, 1, 1), self.random("mix.bias", channels)],
        )
        x = self.node("Transpose", "/tokens/transpose", [x], perm=[0, 2, 1, 3])
        x = self.node("Reshape", "/tokens/reshape", [x, self.constant("shape", np.array([0, 0, size]))])
        lin, sof = (self.linear(name, x, size) for name in ("lin", "sof"))
        weight = self.node("Softmax", "/sof/softmax", [sof], axis=1)
        attended = self.node("Mul", "/attend/mul", [lin, weight])
        pooled = self.node(
            "ReduceSum", "/attend/sum", [attended, self.constant("time", np.array([1]))], keepdims=0
        )
        adv = [
            pooled,
            self.random("adv.weight", 3, size, spread=0.04 / size**0.5),
            self.random("adv.bias", 3, spread=0.3),
        ]
        self.nodes.append(helper.make_node("Gemm", adv, ["adv"], name="/adv", transB=1))
        self.save(path, bands)
        return path

    def linear(self, name: str, x: str, size: int) -> str:
        weights = self.random(f"{name}.weight_t", size, size, spread=size**-0.5)
        product = self.node("MatMul", f"/{name}/matmul", [x, weights])
        return self.node("Add", f"/{name}/add", [product, self.random(f"{name}.bias", size)])

    def save(self, path: Path, bands: int, outputs: int = 3) -> None:
        inputs = [helper.make_tensor_value_info("logmel", TensorProto.FLOAT, ["batch", "frames", bands])]
        results = [helper.make_tensor_value_info("adv", TensorProto.FLOAT, ["batch", outputs])]
        graph = helper.make_graph(self.nodes, "student", inputs, results, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, str(path))


def noise(duration_s: float = 1.0, seed: int = 1) -> np.ndarray:
    """Return (N,) int16 PCM with bursts: loud and quiet, offset, clipped here and there."""
    rng = np.random.default_rng(seed)
    count = round(duration_s * 16_000)
    envelope = np.repeat(rng.uniform(0, 1, count // 500 + 1) ** 3, 500)[:count]
    samples = rng.normal(size=count) * envelope * 20_000 + 300
    return np.clip(samples, -32768, 32767).astype(np.int16)


def small_graph(
    folder: Path,
    *,
    bands: int = 8,
    channels: int = 4,
    depth: tuple[int, int] = (1, 1),
    level: str = "causal",
    int4: bool = False,
    seed: int = 0,
    memory_frames: int = 64,
    n_fft: int = 64,
) -> Graph:
    """Return an integer graph of a random student, calibrated on noise."""
    front_end = FrontEnd(n_fft=n_fft, mel_bands=bands, level=level, memory_frames=memory_frames)
    path = OnnxStudent(seed).write(folder / "student.onnx", bands, channels, depth)
    network = import_onnx(path)
    features = [log_mel(noise(seed=s) / 32768, front_end) for s in range(3)]
    return quantize_network(network, front_end, observe(path, network, features), int4_linears=int4)


def target_of(cpu: str) -> Target:
    """Return a target that ships with a core."""
    return next(target for target in map(load_target, list_targets()) if target.core.cpu == cpu)


def fill_count(model: HostC, again: Callable[[], object]) -> None:
    """Set what a model counts its results with to the most that it holds; `again` makes one more."""
    words = np.frombuffer(model._state, np.uint32)
    seen = []
    for _ in range(3):
        again()
        seen.append(words == model.heard())
    (place,) = np.flatnonzero(np.all(seen, axis=0))
    words[place] = np.iinfo(np.uint32).max
    assert model.heard() == np.iinfo(np.uint32).max


def consume(program: str, c_folder: Path, work: Path) -> None:
    """Compile generated C as C and a program as C++; link and run it."""
    objects = work / "objects"
    objects.mkdir()
    (objects / "consumer.cpp").write_text(program)
    strict = ["-Wall", "-Wextra", "-Werror", f"-I{c_folder}"]
    for command in (
        ["gcc", "-std=c99", "-c", *strict, *model_sources(c_folder)],
        ["g++", "-c", *strict, "consumer.cpp"],
    ):
        subprocess.run(command, cwd=objects, check=True)
    subprocess.run(["g++", *objects.glob("*.o"), "-o", "consumer"], cwd=objects, check=True)
    subprocess.run([objects / "consumer"], check=True)


needs_qemu = pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"needs {QEMU}")
