"""The integer graph's data: tensors, operators, constants; nothing but integers decides the arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

TIME = -1
"""The length of a streaming axis (samples, frames or tokens): known only when audio arrives."""

FRONT_END_KINDS = ("frame", "frame_level", "power_spectrum", "mel_filter", "log2", "level_normalize")
"""The operators from PCM to int8 log-mels, in their order."""

VIEWS = ("flatten", "reshape")
"""Operators that compute nothing: the same values under another shape."""

Attribute = int | str | tuple[int, ...]


@dataclass(frozen=True)
class Quantization:
    """What a tensor's integers mean: real = scale * (integer - zero_point).

    For people, reports and file formats; no operator computes with it.

    Attributes:
        scales: One scale for the tensor, or one for each index of `axis`.
        axis: The axis of per-channel scales; None for one scale.
    """

    scales: tuple[float, ...]
    zero_point: int = 0
    axis: int | None = None

    def dequantize(self, values: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the real values of integers.

        Example:
            >>> Quantization((0.5,), 10).dequantize(np.array([10, 12], np.int8)).tolist()
            [0.0, 1.0]
        """
        scales = np.asarray(self.scales)
        if self.axis is not None:
            scales = scales.reshape([-1 if i == self.axis else 1 for i in range(values.ndim)])
        return np.asarray(scales * (values.astype(np.float64) - self.zero_point))


@dataclass(frozen=True)
class Tensor:
    """A named edge of the graph.

    Attributes:
        shape: Sizes; a leading `TIME` marks a stream.
        dtype: `int4` (held in int8 arrays), `int8`, `uint8`, `int16`, `uint16`, `int32` or `int64`.
        quantization: Its meaning in real numbers; None where the integers are the meaning.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None


@dataclass(frozen=True)
class Op:
    """One operator.

    Attributes:
        kind: A key of `edgekit.graph.spec.CONSTRAINTS`.
        name: Unique in the graph; a C identifier.
        inputs: Tensor names, activations first, then constants.
        outputs: Tensor names.
        attributes: Integers, tuples of integers, or words.
        origin: The layers of the source model that it stands for.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    origin: tuple[str, ...] = ()

    def integer(self, name: str) -> int:
        """Return an integer attribute; TypeError if it is something else, KeyError if there is none."""
        value = self.attributes[name]
        if not isinstance(value, int):
            raise TypeError(f"{self.name}: attribute {name} is {value!r}, not an integer")
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a tuple attribute; TypeError if it is something else, KeyError if there is none."""
        value = self.attributes[name]
        if not isinstance(value, tuple):
            raise TypeError(f"{self.name}: attribute {name} is {value!r}, not a tuple of integers")
        return value


@dataclass(frozen=True)
class Graph:
    """A whole model: operators in execution order.

    Attributes:
        name: A C identifier.
        inputs: Names of the tensors fed from outside.
        outputs: Names of the results.
        tensors: Every tensor by name, constants too.
        constants: The values of the constant tensors.
        ops: Operators; each reads only inputs, constants and outputs of operators before it.
        metadata: Words for people and file formats (front-end settings, licence), never numerics.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    constants: Mapping[str, NDArray[np.integer]]
    ops: tuple[Op, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def op(self, name: str) -> Op:
        """Return the operator of that name; KeyError if there is none."""
        for op in self.ops:
            if op.name == name:
                return op
        raise KeyError(name)

    def activations(self, op: Op) -> tuple[Tensor, ...]:
        """Return the operator's inputs that are not constants."""
        return tuple(self.tensors[name] for name in op.inputs if name not in self.constants)

    def constant_inputs(self, op: Op) -> tuple[NDArray[np.integer], ...]:
        """Return the values of the operator's constant inputs, in order."""
        return tuple(self.constants[name] for name in op.inputs if name in self.constants)

    def output(self, op: Op) -> Tensor:
        """Return the operator's first output."""
        return self.tensors[op.outputs[0]]
