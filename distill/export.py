"""Students as ONNX, written node by node: stable names, explicit padding, the same bytes every time."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper
from torch import nn

from distill.mobilenet import MobileNet, Residual, SqueezeExcite
from distill.student import Student
from distill.wav2small import Vgg7, Wav2Small, Wav2Small2

OPSET = 17
IR_VERSION = 8
# Time, mel before; time, mel after. Nothing after the last frame: a stream has no end.
STREAMING_PADS = [1, 1, 0, 1]
SIXTH = 1 / 6
"""Slope of the hard sigmoid that PyTorch and TFLite have; ONNX's own default is 0.2."""


class _Graph:
    """Nodes in order, each fed by the one before unless told otherwise, and their constants.

    Args:
        tensor: The input's name.
        weights: The student's, by name.
    """

    def __init__(self, tensor: str, weights: dict[str, NDArray[np.float32]]) -> None:
        self.tensor = tensor
        self.weights = weights
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

    def parameters(self, module: str, *parts: str) -> list[str]:
        """Add weights of a module as initializers and return their names."""
        return [self.constant(f"{module}.{part}", self.weights[f"{module}.{part}"]) for part in parts]

    def conv(self, name: str, module: str, conv: nn.Conv2d, pads: list[int] | None = None) -> str:
        """Append a convolution; its bias, if it has one, and padding as the module says."""
        parts = ("weight", "bias") if conv.bias is not None else ("weight",)
        inputs = [self.tensor, *self.parameters(module, *parts)]
        time, mel = (int(p) for p in conv.padding)
        shape = {"kernel_shape": list(conv.kernel_size), "strides": list(conv.stride), "dilations": [1, 1]}
        return self.add("Conv", name, inputs, pads=pads or [time, mel, time, mel], group=conv.groups, **shape)

    def norm(self, name: str, module: str, norm: nn.BatchNorm2d) -> str:
        """Append a batch normalisation in inference form."""
        parts = self.parameters(module, "weight", "bias", "running_mean", "running_var")
        return self.add("BatchNormalization", name, [self.tensor, *parts], epsilon=norm.eps)


def student_onnx(student: Student) -> ModelProto:
    """Return a student from log-mel frames on, in inference form; with streaming padding if it can stream.

    Input `logmel` (batch, frames, 26) float32 in dB; output `adv` (batch, 3) float32: arousal, dominance,
    valence. Batch normalisation is kept as a node of its own.
    """
    weights = {name: value.detach().cpu().numpy() for name, value in student.state_dict().items()}
    graph = _Graph("logmel", weights)
    graph.add("Unsqueeze", "unsqueeze", [graph.tensor, graph.constant("axis_channel", np.array([1]))])
    if isinstance(student, MobileNet):
        _add_mobilenet(graph, student)
    else:
        assert isinstance(student, Vgg7)
        _add_trunk(graph, student)
        _ADD_HEAD[type(student)](graph, student)
    head = graph.parameters("adv", "weight", "bias")
    graph.nodes.append(helper.make_node("Gemm", [graph.tensor, *head], ["adv"], "/adv", transB=1))
    return _model(graph, student.front_end.mel_bands)


def _add_trunk(graph: _Graph, student: Vgg7) -> None:
    for number in range(1, 8):
        name = f"l{number}"
        block: Any = student.get_submodule(name)
        graph.conv(f"{name}/conv", f"{name}.conv", block.conv, STREAMING_PADS)
        graph.norm(f"{name}/norm", f"{name}.norm", block.norm)
        graph.add("Relu", f"{name}/relu", [graph.tensor])
        if number == 3:
            graph.add(
                "MaxPool", "pool", [graph.tensor], pads=STREAMING_PADS, kernel_shape=[3, 3], strides=[2, 2]
            )


def _add_wav2small(graph: _Graph, student: Wav2Small) -> None:
    graph.conv("mix/conv", "mix", student.mix)
    graph.add("Transpose", "tokens/transpose", [graph.tensor], perm=[0, 2, 1, 3])
    shape = graph.constant("tokens_shape", np.array([0, 0, student.features]))
    tokens = graph.add("Reshape", "tokens/reshape", [graph.tensor, shape])
    _add_attention(graph, _add_linear(graph, "lin", tokens), _add_linear(graph, "sof", tokens))


def _add_wav2small2(graph: _Graph, student: Wav2Small2) -> None:
    maps, found = graph.tensor, []
    for name in ("lin", "sof"):
        graph.tensor = maps
        graph.conv(f"{name}/conv", name, student.get_submodule(name))  # type: ignore[arg-type] # both are
        found.append(graph.add("Transpose", f"{name}/transpose", [graph.tensor], perm=[0, 2, 1, 3]))
    pooled = _add_attention(graph, *found)
    turned = graph.add("Transpose", "second/transpose", [pooled], perm=[0, 2, 1])
    products = graph.add("MatMul", "second/matmul", [pooled, turned])
    graph.add("Concat", "second/concat", [pooled, products], axis=2)
    graph.add("Flatten", "second/flatten", [graph.tensor], axis=1)


_ADD_HEAD: dict[type[Student], Callable[[_Graph, Any], None]] = {
    Wav2Small: _add_wav2small,
    Wav2Small2: _add_wav2small2,
}


def _add_mobilenet(graph: _Graph, student: MobileNet) -> None:
    _add_module(graph, "backbone", student.backbone)
    graph.add("Squeeze", "tokens/squeeze", [graph.tensor, graph.constant("axis_mel", np.array([3]))])
    tokens = graph.add("Transpose", "tokens/transpose", [graph.tensor], perm=[0, 2, 1])
    _add_attention(graph, _add_linear(graph, "lin", tokens), _add_linear(graph, "sof", tokens))


def _add_module(graph: _Graph, module: str, layer: nn.Module) -> None:
    """Append a layer of a MobileNet, whose weights are called after `module`."""
    name, source = module.replace(".", "/"), graph.tensor
    match layer:
        case Residual():
            _add_module(graph, f"{module}.layers", layer.layers)
            if layer.skip:
                graph.add("Add", f"{name}/add", [source, graph.tensor])
        case SqueezeExcite():
            graph.add("ReduceMean", f"{name}/mean", [source], axes=[2, 3], keepdims=1)
            graph.conv(f"{name}/reduce", f"{module}.reduce", layer.reduce)
            graph.add("Relu", f"{name}/relu", [graph.tensor])
            graph.conv(f"{name}/expand", f"{module}.expand", layer.expand)
            graph.add("HardSigmoid", f"{name}/gate", [graph.tensor], alpha=SIXTH, beta=0.5)
            graph.add("Mul", f"{name}/scale", [source, graph.tensor])
        case nn.Sequential():
            for child, part in layer.named_children():
                _add_module(graph, f"{module}.{child}", part)
        case nn.Conv2d():
            graph.conv(name, module, layer)
        case nn.BatchNorm2d():
            graph.norm(name, module, layer)
        case nn.ReLU():
            graph.add("Relu", name, [source])
        case nn.Hardswish():
            graph.add("HardSwish", name, [source])
        case _:
            raise TypeError(f"{module}: {type(layer).__name__} has no ONNX form here")


def _add_attention(graph: _Graph, values: str, scores: str) -> str:
    attention = graph.add("Softmax", "sof/softmax", [scores], axis=1)
    graph.add("Mul", "attend/mul", [values, attention])
    axis = graph.constant("axis_time", np.array([1]))
    return graph.add("ReduceSum", "attend/sum", [graph.tensor, axis], keepdims=0)


def _add_linear(graph: _Graph, name: str, tensor: str) -> str:
    matrix = graph.constant(f"{name}.weight_t", graph.weights[f"{name}.weight"].T)
    product = graph.add("MatMul", f"{name}/matmul", [tensor, matrix])
    return graph.add("Add", f"{name}/add", [product, *graph.parameters(name, "bias")])


def _model(graph: _Graph, mel_bands: int) -> ModelProto:
    logmel = helper.make_tensor_value_info("logmel", TensorProto.FLOAT, ["batch", "frames", mel_bands])
    adv = helper.make_tensor_value_info("adv", TensorProto.FLOAT, ["batch", 3])
    body = helper.make_graph(graph.nodes, "student", [logmel], [adv], graph.constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="edgekit")
    checker.check_model(model, full_check=True)
    return model
