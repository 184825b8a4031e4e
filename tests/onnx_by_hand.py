"""A small ONNX model, written node by node, and examples of its input."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COUNT = 12


class Model:
    """An ONNX model in the making: each node reads the one before unless told otherwise."""

    def __init__(self, shape, opset=18):
        self.shape, self.opset, self.last = shape, opset, "x"
        self.rng = np.random.default_rng(0)
        self.nodes, self.constants = [], []

    def constant(self, values):
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def weights(self, *shape, spread=0.4):
        return self.constant((self.rng.normal(size=shape) * spread).astype(np.float32))

    def node(self, kind, *inputs, **attributes):
        output = f"t{len(self.nodes)}"
        read = list(inputs) or [self.last]
        self.nodes.append(helper.make_node(kind, read, [output], f"{kind}{len(self.nodes)}", **attributes))
        self.last = output
        return output

    def conv(self, channels=4, inputs=2, kernel=3, source=None, **attributes):
        group = attributes.get("group", 1)
        w, b = self.weights(channels, inputs // group, kernel, kernel), self.weights(channels)
        return self.node("Conv", source or self.last, w, b, **attributes)

    def gemm(self, inputs, outputs=5, **attributes):
        return self.node(
            "Gemm", self.last, self.weights(inputs, outputs), self.weights(outputs), **attributes
        )

    def matmul(self, inputs, outputs=3):
        return self.node("MatMul", self.last, self.weights(inputs, outputs))

    def turn(self, *perm):
        return self.node("Transpose", perm=list(perm))

    def reshape(self, *shape):
        return self.node("Reshape", self.last, self.constant(np.array(shape, np.int64)))

    def write(self, folder):
        ends = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *self.shape]),
            onnx.ValueInfoProto(name=self.last),
        ]
        ends[1].type.tensor_type.elem_type = TensorProto.FLOAT
        graph = helper.make_graph(self.nodes, "m", ends[:1], ends[1:], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.save(onnx.shape_inference.infer_shapes(model), folder / "m.onnx")
        np.save(folder / "d.npy", self.rng.normal(size=(COUNT, *self.shape)).astype(np.float32))
