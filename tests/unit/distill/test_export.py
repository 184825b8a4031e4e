"""The exported graph: what a quantizer relies on, and that it computes what torch does."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from distill.export import student_onnx
from distill.registry import create_student, student_names
from distill.student import Student
from edgekit.audio import FrontEnd

OPERATORS = {
    "Unsqueeze", "Conv", "BatchNormalization", "Relu", "MaxPool", "Transpose", "Reshape", "MatMul", "Add",
    "Softmax", "Mul", "ReduceSum", "Gemm",
}  # fmt: skip


def random_student(name: str) -> Student:
    """A student with random weights and batch statistics that are not the trivial ones."""
    torch.manual_seed(5)
    network = create_student(name, FrontEnd())
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
    first = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    torch.nn.init.normal_(first.running_mean, -30)
    torch.nn.init.constant_(first.running_var, 200)
    return network.eval()


@pytest.fixture(scope="module")
def student() -> Student:
    return random_student("wav2small")


@pytest.fixture(scope="module")
def model(student) -> onnx.ModelProto:
    return student_onnx(student)


@pytest.mark.parametrize("name", student_names())
@pytest.mark.parametrize(("batch", "count"), [(1, 13), (1, 14), (3, 100), (2, 501)])
def test_onnxruntime_equals_torch(name, batch, count):
    student = random_student(name)
    model = student_onnx(student)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = torch.randn(batch, count, 26, generator=torch.Generator().manual_seed(count)) * 15 - 30
    (found,) = session.run(["adv"], {"logmel": x.numpy()})
    with torch.no_grad():
        expected = student.forward_logmel(x).numpy()
    assert found.shape == (batch, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3


def test_only_operators_that_the_quantizer_knows(model):
    assert {node.op_type for node in model.graph.node} == OPERATORS


def test_padding_is_explicit_and_ends_with_the_stream(model):
    for node in model.graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "MaxPool" or (node.op_type == "Conv" and node.name != "/mix/conv"):
            assert attributes["pads"] == [1, 1, 0, 1], node.name
        assert "auto_pad" not in attributes


def test_names_say_the_layer(model):
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert [n for n in names if n.endswith("/conv")] == [f"/l{i}/conv" for i in range(1, 8)] + ["/mix/conv"]
    assert names.index("/pool") == names.index("/l3/relu") + 1


def test_same_weights_same_bytes(student, model):
    again = student_onnx(student).SerializeToString(deterministic=True)
    assert again == model.SerializeToString(deterministic=True)
