"""ONNX in: what is supported becomes layers that compute the same; everything else is named."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from support import OnnxStudent

from edgekit.errors import UnsupportedError
from quantize.importer import import_onnx


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return OnnxStudent().write(tmp_path_factory.mktemp("onnx") / "student.onnx")


def layer(network, name):
    return next(layer for layer in network.layers if layer.name == name)


def test_layers_in_order_with_their_sources(path):
    network = import_onnx(path)
    kinds = [(layer.name, layer.kind) for layer in network.layers]
    assert kinds == [
        ("l1", "conv2d"),
        ("pool", "max_pool2d"),
        ("l2", "conv2d"),
        ("mix", "conv2d"),
        ("tokens", "flatten"),
        ("lin", "fully_connected"),
        ("sof", "fully_connected"),
        ("attend", "attention_pool"),
        ("adv", "fully_connected"),
    ]
    assert layer(network, "l1").origin == ("/l1/conv", "/l1/norm", "/l1/relu")
    assert layer(network, "attend").inputs == ("/lin/add", "/sof/add")
    assert [layer(network, name).low for name in ("l1", "l2", "mix", "lin")] == [0, 0, -math.inf, -math.inf]
    assert not network.needs_whole_clip
    assert layer(network, "pool").stride == (2, 2)
    assert layer(network, "l1").padding == (1, 0, 1, 1)


def intermediate(path, names, log_mel):
    model = onnx.load(str(path))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names, {"logmel": log_mel})


def test_batch_norm_folds_into_the_convolution(path):
    log_mel = np.random.default_rng(0).normal(size=(1, 12, 8)).astype(np.float32)
    (expected,) = intermediate(path, ["/l1/relu"], log_mel)
    conv = layer(import_onnx(path), "l1")
    padded = np.pad(log_mel[0], ((1, 0), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    found = np.maximum(
        np.einsum("tmij,oij->otm", windows, conv.weights[..., 0]) + conv.bias[:, None, None], 0
    )
    assert np.abs(found - expected[0]).max() < 1e-5


def test_linear_columns_follow_the_graphs_token_order(path):
    log_mel = np.random.default_rng(0).normal(size=(1, 12, 8)).astype(np.float32)
    mix, expected = intermediate(path, ["/mix/conv", "/lin/add"], log_mel)
    lin = layer(import_onnx(path), "lin")
    tokens = mix[0].transpose(1, 2, 0).reshape(mix.shape[2], -1)
    assert np.abs(tokens @ lin.weights.T + lin.bias - expected[0]).max() < 1e-4


def changed(path, tmp_path, change):
    model = onnx.load(str(path))
    change(model.graph)
    out = tmp_path / "changed.onnx"
    onnx.save(model, str(out))
    return out


def node(graph, name):
    return next(item for item in graph.node if item.name == name)


def set_attribute(name, attribute, value):
    def change(graph):
        target = node(graph, name)
        kept = [item for item in target.attribute if item.name != attribute]
        del target.attribute[:]
        target.attribute.extend([*kept, helper.make_attribute(attribute, value)])

    return change


def set_kind(name, kind):
    def change(graph):
        node(graph, name).op_type = kind

    return change


def add_output(graph):
    graph.output.extend([onnx.ValueInfoProto(name="/lin/add")])
    graph.output[-1].type.CopyFrom(graph.output[0].type)


BROKEN = {
    "'/l2/relu' \\(Erf\\): operator Erf": set_kind("/l2/relu", "Erf"),
    "'/mix/conv' \\(Conv\\): required: group 1": set_attribute("/mix/conv", "group", 2),
    "'/l1/conv' \\(Conv\\): required: explicit pads": set_attribute("/l1/conv", "auto_pad", "VALID"),
    "'/pool' \\(MaxPool\\): required: ceil_mode": set_attribute("/pool", "ceil_mode", 1),
    "'/attend/sum' \\(ReduceSum\\): required: it sums the attended": set_attribute("/sof/softmax", "axis", 2),
    "'/tokens/reshape' \\(Reshape\\): required: sizes that are known": set_attribute(
        "/tokens/transpose", "perm", [0, 2, 3, 1]
    ),
    "'/attend/sum' \\(ReduceSum\\): required: keepdims 0": set_attribute("/attend/sum", "keepdims", 1),
    "'/adv' \\(Gemm\\): required: alpha 1": set_attribute("/adv", "alpha", 2.0),
    "2 outputs": add_output,
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_is_not_supported_is_named(path, tmp_path, message):
    with pytest.raises(UnsupportedError, match=message) as caught:
        import_onnx(changed(path, tmp_path, BROKEN[message]))
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("content", [b"", b"not onnx at all", b"\x08\x07"])
def test_a_file_that_is_not_onnx(tmp_path, content):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(UnsupportedError, match="not a valid ONNX model"):
        import_onnx(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(UnsupportedError, match=r"none\.onnx"):
        import_onnx(tmp_path / "none.onnx")
