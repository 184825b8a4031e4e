"""Random legal integer networks of every operator that needs no audio: branches, readers, all shapes."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Graph, Op, Tensor, verify
from edgekit.graph.fixedpoint import quantize_multiplier
from edgekit.graph.linear_ops import patches
from edgekit.graph.reference import OPERATORS
from edgekit.graph.tables import softmax_table

KINDS = (
    "conv2d",
    "depthwise_conv2d",
    "max_pool2d",
    "average_pool2d",
    "mean",
    "add",
    "mul",
    "lookup",
    "softmax",
    "flatten",
    "reshape",
    "transpose",
    "pad",
    "fully_connected",
)


@dataclass
class Network:
    """Grows operator by operator; results are scaled to fill the int8 range."""

    rng: np.random.Generator
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, NDArray[np.integer]] = field(default_factory=dict)
    values: dict[str, NDArray[np.integer]] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)

    def pick(self, *bounds) -> int:
        return int(self.rng.integers(*bounds))

    def add_input(self, shape: tuple[int, ...]) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs.append(name)
        self.tensors[name] = Tensor(name, shape, "int8")
        self.values[name] = self.rng.integers(-128, 128, shape).astype(np.int8)
        return name

    def constant(self, op: str, part: str, values, dtype="int8") -> str:
        name = f"{op}_{part}"
        stored = np.asarray(values).astype("int8" if dtype == "int4" else dtype)
        self.tensors[name], self.constants[name] = Tensor(name, stored.shape, dtype), stored
        return name

    def add(self, kind: str, sources, attributes, constants=()) -> str:
        name = f"{kind}_{len(self.ops)}"
        op = Op(kind, name, (*sources, *constants), (f"{name}_out",), attributes, (name,))
        known = self.values | self.constants
        result = OPERATORS[kind](op, *(known[i].astype(np.int64) for i in op.inputs)).astype(np.int8)
        self.ops.append(op)
        self.values[op.outputs[0]] = result
        self.tensors[op.outputs[0]] = Tensor(op.outputs[0], result.shape, "int8")
        return op.outputs[0]

    def grow(self, kind: str) -> None:
        """Add an operator of a kind on tensors that fit it, if there are any."""
        sources = [name for name, value in self.values.items() if self.fits(kind, value.shape)]
        if sources:
            getattr(self, kind)(sources[self.pick(len(sources))])

    @staticmethod
    def fits(kind: str, shape: tuple[int, ...]) -> bool:
        maps = ("conv2d", "depthwise_conv2d", "max_pool2d", "average_pool2d", "mean", "flatten", "pad")
        return len(shape) == 3 if kind in maps else len(shape) == 2 if kind == "fully_connected" else True

    def clamp(self) -> tuple[int, int]:
        return (-128, 127) if self.pick(2) else tuple(sorted(self.pick(-128, 128) for _ in range(2)))

    def window(self, shape, dilated: bool) -> dict:
        height, width, _ = shape
        kernel = (self.pick(1, 5), self.pick(1, 5)) if self.pick(4) else (1, 1)
        dilation = (self.pick(1, 3), self.pick(1, 3)) if dilated and self.pick(2) else (1, 1)
        reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
        padding = []
        for size, spans in zip((height, width), reach, strict=True):
            first = self.pick(0, spans)
            padding += [first, min(max(self.pick(0, spans), spans - size - first), spans - 1)]
        if any(size + sum(padding[2 * i : 2 * i + 2]) < reach[i] for i, size in enumerate((height, width))):
            kernel, dilation, padding = (1, 1), (1, 1), [0, 0, 0, 0]
        stride = (self.pick(1, 4), self.pick(1, 4)) if self.pick(2) else (1, 1)
        found = {"kernel": kernel, "stride": stride, "padding": tuple(padding)}
        return found | ({"dilation": dilation} if dilation != (1, 1) else {})

    def linear(self, kind: str, source: str, weights, dtype: str, attributes: dict, products) -> None:
        """Add a layer whose accumulators without bias are `products` of centred inputs and weights."""
        outputs = weights.shape[-1] if kind == "depthwise_conv2d" else weights.shape[0]
        name = f"{kind}_{len(self.ops)}"
        bias = self.rng.integers(-3000, 3000, outputs)
        zero_point = self.pick(-128, 128)
        spread = float(np.std(products(self.values[source].astype(np.int64) - zero_point))) + 1
        wanted = np.minimum(self.rng.uniform(20, 200, outputs) / spread, 100)
        scales = [quantize_multiplier(float(s)) for s in wanted]
        if not self.pick(4):
            scales[0] = (0, 0)
        constants = [
            self.constant(name, "weights", weights, dtype),
            self.constant(name, "bias", bias, "int32"),
            self.constant(name, "multiplier", [m for m, _ in scales], "int32"),
            self.constant(name, "shift", [s for _, s in scales], "int8"),
        ]
        points = {"input_zero_point": zero_point, "output_zero_point": self.pick(-128, 128)}
        self.add(kind, [source], {**attributes, **points, "clamp": self.clamp()}, constants)

    def conv2d(self, source: str) -> None:
        shape = self.values[source].shape
        window = self.window(shape, dilated=True)
        weights = self.rng.integers(-128, 128, (self.pick(1, 8), *window["kernel"], shape[2]))
        op = Op("conv2d", "probe", (), (), window)
        flat = weights.reshape(len(weights), -1)

        def products(x):
            windows = patches(x, op, 0)
            return windows.reshape(*windows.shape[:2], -1) @ flat.T

        self.linear("conv2d", source, weights, "int8", window, products)

    def depthwise_conv2d(self, source: str) -> None:
        shape = self.values[source].shape
        window, repeat = self.window(shape, dilated=True), self.pick(1, 3)
        weights = self.rng.integers(-128, 128, (*window["kernel"], shape[2] * repeat))
        op = Op("depthwise_conv2d", "probe", (), (), window)

        def products(x):
            return (np.repeat(patches(x, op, 0), repeat, axis=4) * weights).sum(axis=(2, 3))

        self.linear("depthwise_conv2d", source, weights, "int8", window, products)

    def fully_connected(self, source: str) -> None:
        dtype = "int4" if self.pick(2) else "int8"
        limit = 8 if dtype == "int4" else 128
        inputs = self.values[source].shape[1]
        weights = self.rng.integers(-limit, limit, (self.pick(1, 14), inputs))
        rounding = {"rounding": "single"} if not self.pick(3) else {}
        self.linear("fully_connected", source, weights, dtype, rounding, lambda x: x @ weights.T)

    def max_pool2d(self, source: str) -> None:
        self.add("max_pool2d", [source], self.window(self.values[source].shape, dilated=False))

    def average_pool2d(self, source: str) -> None:
        window = self.window(self.values[source].shape, dilated=False)
        op = Op("average_pool2d", "probe", (), (), window)
        inside = patches(np.ones((*self.values[source].shape[:2], 1), np.int64), op, 0).sum(axis=(2, 3))
        if inside.size and inside.min() > 0:
            self.add("average_pool2d", [source], {**window, "clamp": self.clamp()})

    def scale(self, real: float) -> dict:
        multiplier, shift = quantize_multiplier(real)
        return {
            "multiplier": multiplier,
            "shift": shift,
            "output_zero_point": self.pick(-128, 128),
            "clamp": self.clamp(),
        }

    def mean(self, source: str) -> None:
        height, width, _ = self.values[source].shape
        scale = self.scale(self.rng.uniform(0.5, 4) / (height * width))
        self.add("mean", [source], {**scale, "input_zero_point": self.pick(-128, 128)})

    def partner(self, source: str) -> str:
        """Return a tensor that can be added to another: of its shape, or one that repeats, or a new input."""
        shape = self.values[source].shape
        fitting = [
            name
            for name, value in self.values.items()
            if len(value.shape) <= len(shape)
            and all(a in (b, 1) for a, b in zip(value.shape[::-1], shape[::-1], strict=False))
        ]
        if len(self.inputs) < 3 and not self.pick(3):
            return self.add_input(tuple(size if self.pick(2) else 1 for size in shape))
        return fitting[self.pick(len(fitting))]

    def add_or_mul(self, source: str) -> list[str]:
        pair = [source, self.partner(source)]
        return pair if self.pick(2) else pair[::-1]

    def mul(self, source: str) -> None:
        points = {"input_zero_points": (self.pick(-128, 128), self.pick(-128, 128))}
        self.add("mul", self.add_or_mul(source), {**self.scale(self.rng.uniform(0.002, 0.02)), **points})

    def transpose(self, source: str) -> None:
        axes = self.rng.permutation(self.values[source].ndim)
        self.add("transpose", [source], {"axes": tuple(int(axis) for axis in axes)})

    def lookup(self, source: str) -> None:
        table = self.constant(f"lookup_{len(self.ops)}", "table", self.rng.integers(-128, 128, 256))
        self.add("lookup", [source], {}, [table])

    def softmax(self, source: str) -> None:
        name = f"softmax_{len(self.ops)}"
        table = self.constant(name, "table", softmax_table(float(self.rng.uniform(0.01, 0.3))), "int32")
        self.add("softmax", [source], {}, [table])

    def flatten(self, source: str) -> None:
        self.add("flatten", [source], {})

    def reshape(self, source: str) -> None:
        size = self.values[source].size
        first = next(n for n in (self.pick(1, 9), 3, 2, 1) if size % n == 0)
        shape = (first, size // first) if self.pick(2) else (1, first, size // first)
        self.add("reshape", [source], {"shape": shape})

    def pad(self, source: str) -> None:
        padding = tuple(self.pick(0, 4) for _ in range(4))
        self.add("pad", [source], {"padding": padding, "fill": self.pick(-128, 128)})

    def build(self) -> Graph:
        """Return the graph; what nobody reads is an output."""
        read = {name for op in self.ops for name in op.inputs}
        outputs = [op.outputs[0] for op in self.ops if op.outputs[0] not in read]
        # One that is read too, at times: it must stay until the end.
        extra = self.ops[self.pick(len(self.ops))].outputs[0]
        outputs += [extra] if extra not in outputs and self.pick(2) else []
        graph = Graph(
            "network", tuple(self.inputs), tuple(outputs), self.tensors, self.constants, tuple(self.ops)
        )
        verify(graph)
        return graph


def _add(network: Network, source: str) -> None:
    left_shift = network.pick(15, 21)
    halves = [quantize_multiplier(float(network.rng.uniform(0.3, 0.999))) for _ in range(2)]
    output = quantize_multiplier(float(network.rng.uniform(0.3, 1)) / (1 << left_shift) * 1.9)
    attributes = {
        "input_zero_points": (network.pick(-128, 128), network.pick(-128, 128)),
        "left_shift": left_shift,
        "multipliers": tuple(m for m, _ in halves),
        "shifts": tuple(s for _, s in halves),
        "output_multiplier": output[0],
        "output_shift": output[1],
        "output_zero_point": network.pick(-128, 128),
        "clamp": network.clamp(),
    }
    Network.add(network, "add", network.add_or_mul(source), attributes)


def random_network(seed: int, kinds: list[str]) -> Graph:
    """Return a network that tries to grow by these kinds in order."""
    network = Network(np.random.default_rng(seed))
    network.add_input(tuple(network.pick(1, 10) for _ in range(3)))
    for kind in kinds:
        if kind == "add":
            _add(network, list(network.values)[network.pick(len(network.values))])
        else:
            network.grow(kind)
    if not network.ops:
        network.lookup("x0")
    return network.build()


def random_inputs(graph: Graph, seed: int) -> dict[str, NDArray[np.int8]]:
    """Return inputs: random, or at times all at an extreme."""
    rng = np.random.default_rng(seed)
    kind = int(rng.integers(6))
    if kind < 2:
        return {name: np.full(graph.tensors[name].shape, (-128, 127)[kind], np.int8) for name in graph.inputs}
    return {name: rng.integers(-128, 128, graph.tensors[name].shape).astype(np.int8) for name in graph.inputs}
