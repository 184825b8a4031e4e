"""The student as ONNX, written node by node: stable names, explicit padding, the same bytes every time."""

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from distill.wav2small import ConvBlock, Wav2Small

OPSET = 17
IR_VERSION = 8
# Time, mel before; time, mel after. Nothing after the last frame: a stream has no end.
STREAMING_PADS = [1, 1, 0, 1]


class _Graph:
    """Nodes in order, each fed by the one before unless told otherwise, and their constants."""

    def __init__(self, tensor: str) -> None:
        self.tensor = tensor
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, op: str, name: str, inputs: list[str], **attributes: int | float | list[int]) -> str:
        """Append a node named /`name` and return its output, which takes the node's name."""
        self.tensor = f"/{name}"
        node = helper.make_node(op, inputs, [self.tensor], self.tensor)
        node.attribute.extend(helper.make_attribute(key, attributes[key]) for key in sorted(attributes))
        self.nodes.append(node)
        return self.tensor

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add an initializer and return its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def student_onnx(student: Wav2Small) -> ModelProto:
    """Return the student from log-mel frames on, with streaming padding, in inference form.

    Input `logmel` (batch, frames >= 13, 26) float32 in dB; output `adv` (batch, 3) float32: arousal,
    dominance, valence. Batch normalisation is kept as a node of its own.
    """
    weights = {name: value.detach().cpu().numpy() for name, value in student.state_dict().items()}
    graph = _Graph("logmel")
    graph.add("Unsqueeze", "unsqueeze", [graph.tensor, graph.constant("axis_channel", np.array([1]))])
    for number in range(1, 8):
        _add_block(graph, f"l{number}", student.get_submodule(f"l{number}"), weights)
        if number == 3:
            shape = {"kernel_shape": [3, 3], "strides": [2, 2]}
            graph.add("MaxPool", "pool", [graph.tensor], pads=STREAMING_PADS, **shape)
    mix = [graph.constant(f"mix.{part}", weights[f"mix.{part}"]) for part in ("weight", "bias")]
    graph.add("Conv", "mix/conv", [graph.tensor, *mix], kernel_shape=[1, 1], pads=[0] * 4, strides=[1, 1])
    _add_pooling(graph, weights, student.features)
    return _model(graph, student.front_end.mel_bands)


def _add_block(graph: _Graph, name: str, block: object, weights: dict[str, NDArray[np.float32]]) -> None:
    assert isinstance(block, ConvBlock)
    kernel = graph.constant(f"{name}.conv.weight", weights[f"{name}.conv.weight"])
    shape = {"kernel_shape": [3, 3], "strides": [1, 1], "dilations": [1, 1]}
    graph.add("Conv", f"{name}/conv", [graph.tensor, kernel], pads=STREAMING_PADS, **shape)
    parts = [f"{name}.norm.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    constants = [graph.constant(part, weights[part]) for part in parts]
    graph.add("BatchNormalization", f"{name}/norm", [graph.tensor, *constants], epsilon=block.norm.eps)
    graph.add("Relu", f"{name}/relu", [graph.tensor])


def _add_pooling(graph: _Graph, weights: dict[str, NDArray[np.float32]], features: int) -> None:
    graph.add("Transpose", "tokens/transpose", [graph.tensor], perm=[0, 2, 1, 3])
    shape = graph.constant("tokens_shape", np.array([0, 0, features]))
    tokens = graph.add("Reshape", "tokens/reshape", [graph.tensor, shape])
    values = _add_linear(graph, "lin", tokens, weights)
    scores = _add_linear(graph, "sof", tokens, weights)
    attention = graph.add("Softmax", "sof/softmax", [scores], axis=1)
    graph.add("Mul", "attend/mul", [values, attention])
    axis = graph.constant("axis_time", np.array([1]))
    graph.add("ReduceSum", "attend/sum", [graph.tensor, axis], keepdims=0)
    head = [graph.constant(f"adv.{part}", weights[f"adv.{part}"]) for part in ("weight", "bias")]
    graph.nodes.append(helper.make_node("Gemm", [graph.tensor, *head], ["adv"], "/adv", transB=1))


def _add_linear(graph: _Graph, name: str, tensor: str, weights: dict[str, NDArray[np.float32]]) -> str:
    matrix = graph.constant(f"{name}.weight_t", weights[f"{name}.weight"].T)
    product = graph.add("MatMul", f"{name}/matmul", [tensor, matrix])
    bias = graph.constant(f"{name}.bias", weights[f"{name}.bias"])
    return graph.add("Add", f"{name}/add", [product, bias])


def _model(graph: _Graph, mel_bands: int) -> ModelProto:
    logmel = helper.make_tensor_value_info("logmel", TensorProto.FLOAT, ["batch", "frames", mel_bands])
    adv = helper.make_tensor_value_info("adv", TensorProto.FLOAT, ["batch", 3])
    body = helper.make_graph(graph.nodes, "wav2small", [logmel], [adv], graph.constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="edgekit")
    checker.check_model(model, full_check=True)
    return model
