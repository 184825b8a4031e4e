"""Float ONNX models that are no students, from torch and from hand: quantized, written, compared."""

import itertools
import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_by_hand import Model
from torch import nn

from edgekit.errors import ArtifactError, ConfigError, UnsupportedError
from quantize import parity
from quantize.config import QuantizeConfig
from quantize.foreign import quantize_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Constant folding")
INT8 = QuantizeConfig(weights="int8")
COUNT = 24


class KeywordSpotter(nn.Module):
    """Depthwise separable: convolutions with batch norms, a mean, a linear layer, a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, (4, 4), stride=2, padding=(1, 2)), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.depth = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16), nn.ReLU())
        self.point = nn.Sequential(nn.Conv2d(16, 24, 1), nn.BatchNorm2d(24), nn.ReLU6())
        self.pool = nn.AvgPool2d((2, 2))
        self.last = nn.Linear(24 * 5 * 3, 7)

    def forward(self, x):
        x = self.pool(self.point(self.depth(self.stem(x))))
        return self.last(x.flatten(1)).softmax(dim=1)


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = [40, 64, 8, 64, 40]
        layers = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-2])

    def forward(self, x):
        return self.layers(x)


class Residual(nn.Module):
    """Strides, a shortcut, squeeze and excitation, hard swish, a global mean."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.two = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.Hardswish(), nn.Conv2d(8, 8, 1)
        )
        self.gate = nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1), nn.Hardsigmoid())
        self.last = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.one(x))
        x = x + self.two(x)
        x = x * self.gate(x.mean(dim=(2, 3), keepdim=True))
        return torch.tanh(self.last(x.mean(dim=(2, 3))))


class Mover(nn.Module):
    """Padding, reshapes and transposes between layers that care."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(2, 6, 3)
        self.two = nn.Conv2d(4, 3, 3, padding=1)
        self.last = nn.Linear(3 * 6 * 12, 5)

    def forward(self, x):
        x = torch.relu(self.one(nn.functional.pad(x, (1, 1, 2, 0))))
        x = x.permute(0, 2, 3, 1).reshape(-1, 4, 6, 12)
        x = torch.sigmoid(self.two(x)).permute(0, 1, 3, 2)
        return self.last(x.reshape(-1, 3 * 6 * 12))


MODELS = {
    "keyword-spotter": (KeywordSpotter, (1, 20, 12)),
    "autoencoder": (Autoencoder, (40,)),
    "residual": (Residual, (3, 16, 12)),
    "mover": (Mover, (2, 8, 6)),
}


def settle(model, data):
    """Give batch norms the statistics of the data, and outputs some spread."""
    with torch.no_grad():
        model.train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = None
        model(data)
        model.eval()
        if isinstance(model, KeywordSpotter):
            model.last.weight *= 6
    return model


def export(name, folder):
    torch.manual_seed(0)
    make, shape = MODELS[name]
    data = torch.randn(COUNT, *shape).cumsum(dim=-1)
    model = settle(make(), data)
    path = folder / "model.onnx"
    torch.onnx.export(model, (data[:1],), path, dynamo=False, input_names=["x"], opset_version=18)
    np.save(folder / "data.npy", data.numpy())
    return path, folder / "data.npy"


def parity_of(folder):
    return json.loads((folder / "parity.json").read_text())


def check(found, most):
    """All integer layers agree; the graph is within a share of the float model's spread."""
    backends = {row["backend"] for row in found["layers"]}
    assert backends == {"tflite", "tflite-micro", "onnx"}
    for row in found["layers"]:
        if row["backend"] != "onnx":
            assert row["mismatches"] == 0, row
    error = found["quantized_vs_float"]
    assert error["mean"] < most * error["float_spread"]
    assert found["end_to_end"]["tflite"]["largest"] == 0


@pytest.mark.parametrize("name", MODELS)
def test_models_of_torch(name, tmp_path):
    made = quantize_model(INT8, *export(name, tmp_path), tmp_path / "graph")
    check(parity_of(made.path), 0.06)
    again = quantize_model(INT8, tmp_path / "model.onnx", tmp_path / "data.npy", tmp_path / "again")
    assert (again.path / "graph.json").read_bytes() == (made.path / "graph.json").read_bytes()


def test_finetuning_of_a_foreign_model(tmp_path):
    path, data = export("autoencoder", tmp_path)
    plain = quantize_model(QuantizeConfig(qat_steps=0), path, data, tmp_path / "plain")
    tuned = quantize_model(QuantizeConfig(qat_steps=40), path, data, tmp_path / "tuned")
    check(parity_of(tuned.path), 0.2)
    errors = [parity_of(made.path)["quantized_vs_float"]["mean"] for made in (plain, tuned)]
    assert errors[1] <= errors[0]


def test_a_model_that_takes_time_mel_channel(tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(4, 2, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"], "conv", kernel_shape=[3, 3]),
        helper.make_node("Transpose", ["c"], ["y"], "back", perm=[0, 2, 3, 1]),
    ]
    shapes = [("x", [1, 9, 7, 2]), ("y", [1, 7, 5, 4])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes]
    graph = helper.make_graph(nodes, "nhwc", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
        tmp_path / "m.onnx",
    )
    np.save(tmp_path / "d.npy", rng.normal(size=(8, 9, 7, 2)).astype(np.float32))
    made = quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")
    check(parity_of(made.path), 0.03)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 39), np.float32), r"\(4, 39\), the model takes \(N, 40\)"),
        (np.zeros((0, 40), np.float32), "no examples"),
        (np.full((4, 40), np.nan, np.float32), "not finite"),
    ],
)
def test_examples_of_another_shape(tmp_path, values, message):
    path, data = export("autoencoder", tmp_path)
    np.save(data, values)
    with pytest.raises(ConfigError, match=message):
        quantize_model(INT8, path, data, tmp_path / "graph")
    assert not (tmp_path / "graph").exists()


def test_examples_that_are_no_array(tmp_path):
    path, data = export("autoencoder", tmp_path)
    data.write_bytes(b"not an array")
    with pytest.raises(ArtifactError, match=r"not a \.npy array"):
        quantize_model(INT8, path, data, tmp_path / "graph")
    with pytest.raises(ArtifactError, match="no such file"):
        quantize_model(INT8, path, tmp_path / "none.npy", tmp_path / "graph")


def test_what_is_not_supported_is_named(tmp_path):
    path, data = export("autoencoder", tmp_path)
    model = onnx.load(str(path))
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Softsign"
    onnx.save(model, str(path))
    with pytest.raises(UnsupportedError, match=r"\(Softsign\): operator Softsign, supported") as caught:
        quantize_model(INT8, path, data, tmp_path / "graph")
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("installed", [True, False])
def test_parity_says_what_tflite_micro_did(tmp_path, monkeypatch, installed):
    """It runs the whole file where that has inputs of one size."""
    if not installed:
        monkeypatch.setattr(parity, "has_micro", lambda: False)
    model = Model((6, 10))
    model.matmul(10)
    model.write(tmp_path)
    made = quantize_model(INT8, tmp_path / "m.onnx", tmp_path / "d.npy", tmp_path / "graph")
    found = json.loads(made.file("parity.json").read_text())
    micro = {"tflite-micro"} if installed else set()
    assert {row["backend"] for row in found["layers"]} == {"tflite", "onnx"} | micro
    assert set(found["end_to_end"]) == {"tflite", "onnx"} | micro
    assert all(row["largest"] < 1e-6 for row in found["end_to_end"].values())
    missing = {"tflite-micro": "the package tflite_micro is not installed"}
    assert found["not_compared"] == ({} if installed else missing)
