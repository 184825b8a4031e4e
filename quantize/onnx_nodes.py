"""A growing list of ONNX nodes, with short names and every constant stored once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgekit.graph.fixedpoint import pack_int4

OPSET = 21
"""The first with int4 initializers."""
IR_VERSION = 10


class Nodes:
    """Collects nodes and initializers of one graph; names are _ and a number in base 36 unless given."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._names: dict[tuple[int, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def _name(self) -> str:
        self._count += 1
        return f"_{np.base_repr(self._count, 36).lower()}"

    def constant(self, value: NDArray[Any] | np.generic, int4: bool = False) -> str:
        """Return the name of a constant, stored packed if it holds int4; equal constants share one."""
        array = np.asarray(value)
        kind = TensorProto.INT4 if int4 else helper.np_dtype_to_tensor_dtype(array.dtype)
        raw = (pack_int4(array) if int4 else array).tobytes()
        key = (int(kind), array.shape, raw)
        if key not in self._names:
            self._names[key] = self._name()
            self.initializers.append(helper.make_tensor(self._names[key], kind, array.shape, raw, raw=True))
        return self._names[key]

    def integers(self, *values: int) -> str:
        """Return the name of a constant vector of int64."""
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        """Return the name of a constant float32 scalar."""
        return self.constant(np.float32(value))

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node of one output and return that output's name."""
        name = output or self._name()
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def scan(self, body: onnx.GraphProto, states: Sequence[str], sequence: str) -> str:
        """Append a Scan over the first axis of one sequence and return the name of its scan output."""
        outputs = [self._name() for _ in range(len(states) + 1)]
        self.nodes.append(
            helper.make_node("Scan", [*states, sequence], outputs, body=body, num_scan_inputs=1)
        )
        return outputs[-1]

    def model(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
    ) -> onnx.ModelProto:
        """Return the checked model.

        Raises:
            onnx.checker.ValidationError: If the nodes do not make a valid graph (a bug of the writer).
        """
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.initializers)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        onnx.checker.check_model(model, full_check=True)
        return model
