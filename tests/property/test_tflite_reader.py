"""Random operators as int8 .tflite files: the graph read from one gives the integers of TFLite's kernels."""

import math

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.graph import Quantization, run
from quantize.tflite_file import TfliteFile
from quantize.tflite_reader import read_tflite
from quantize.trainable import TrainableGraph

SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6 = 0, 1, 2, 3
VERSIONS = {
    "RELU": 2,
    "RELU6": 2,
    "RELU_N1_TO_1": 1,
    "HARD_SWISH": 1,
    "LOGISTIC": 2,
    "TANH": 2,
    "QUANTIZE": 2,
}
FAST = settings(max_examples=40, deadline=None, derandomize=True)

seeds = st.integers(0, 2**32 - 1)
activations = st.sampled_from([NONE, RELU, RELU_N1_TO_1, RELU6])
paddings = st.sampled_from([SAME, VALID])


def quantization(rng, low=1e-3, high=0.5) -> Quantization:
    return scaled(np.exp(rng.uniform(np.log(low), np.log(high))), rng)


def scaled(scale, rng) -> Quantization:
    return Quantization((float(np.float32(scale)),), int(rng.integers(-128, 128)))


def weights_of(file, rng, shape, axis, source, sums):
    """Add weights and bias; return both, and a scale whose range the results fill."""
    channels = shape[axis]
    scales = tuple(float(np.float32(s)) for s in np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), channels)))
    weights = rng.integers(-127, 128, shape).astype(np.int8)
    bias = rng.integers(-(1 << 14), 1 << 14, channels).astype(np.int32)
    biases = Quantization(tuple(float(np.float32(source.scales[0] * s)) for s in scales), 0, 0)
    inputs = [
        file.constant(weights, quantization=Quantization(scales, 0, axis)),
        file.constant(bias, quantization=biases),
    ]
    reach = source.scales[0] * max(scales) * 74 * 74 * math.sqrt(sums)
    return inputs, scaled(reach / rng.uniform(20, 300), rng)


def compare(tmp_path, file, inputs, output, data):
    """Check the reference against LiteRT's reference kernels, and TFLite Micro where it has them."""
    path = tmp_path / "model.tflite"
    path.write_bytes(file.to_bytes("test", {}, inputs, [output]))
    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), data, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    graph = read_tflite(path, "litert")
    fed = {
        name: values.reshape(graph.tensors[name].shape)
        for name, values in zip(graph.inputs, data, strict=True)
    }
    found = run(graph, fed)[graph.outputs[0]]
    np.testing.assert_array_equal(found.ravel(), expected.ravel())
    return graph, fed, found


def int8(rng, shape):
    return rng.integers(-128, 128, shape).astype(np.int8)


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def same(size, stride):
    return -(-size // stride)


def valid(size, reach, stride):
    return (size - reach) // stride + 1


@FAST
@given(
    seed=seeds,
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=paddings,
    activation=activations,
    depthwise=st.booleans(),
)
def test_convolutions(tmp, seed, kernel, stride, dilation, padding, activation, depthwise):
    rng = np.random.default_rng(seed)
    stride = 1 if dilation > 1 else stride
    rows, columns, channels = (int(n) for n in rng.integers((8, 8, 1), (16, 14, 9)))
    multiplier, outputs = int(rng.integers(1, 3)), int(rng.integers(1, 9))
    file, source = TfliteFile(), quantization(rng)
    data = file.tensor((1, rows, columns, channels), "int8", source, "x")
    shape = (1, *kernel, channels * multiplier) if depthwise else (outputs, *kernel, channels)
    sums = math.prod(kernel) * (1 if depthwise else channels)
    constants, result = weights_of(file, rng, shape, 3 if depthwise else 0, source, sums)
    reach = [(k - 1) * dilation + 1 for k in kernel]
    sizes = [
        same(n, stride) if padding == SAME else valid(n, r, stride)
        for n, r in zip((rows, columns), reach, strict=True)
    ]
    output = file.tensor((1, *sizes, shape[3] if depthwise else outputs), "int8", result, "y")
    options = {
        "padding": padding,
        "strideH": stride,
        "strideW": stride,
        "dilationHFactor": dilation,
        "dilationWFactor": dilation,
        "fusedActivationFunction": activation,
    }
    if depthwise:
        options["depthMultiplier"] = multiplier
        file.operator("DEPTHWISE_CONV_2D", 3, [data, *constants], output, "DepthwiseConv2DOptions", **options)
    else:
        file.operator("CONV_2D", 3, [data, *constants], output, "Conv2DOptions", **options)
    compare(tmp, file, [data], output, [int8(rng, (1, rows, columns, channels))])


@FAST
@given(seed=seeds, activation=activations)
def test_fully_connected(tmp, seed, activation):
    rng = np.random.default_rng(seed)
    rows, inputs, outputs = (int(n) for n in rng.integers((1, 1, 1), (5, 200, 40)))
    file, source = TfliteFile(), quantization(rng)
    data = file.tensor((rows, inputs), "int8", source, "x")
    scale = float(np.float32(rng.uniform(1e-3, 1e-1)))
    weights = file.constant(int8(rng, (outputs, inputs)), quantization=Quantization((scale,)))
    bias = rng.integers(-(1 << 14), 1 << 14, outputs).astype(np.int32)
    biases = file.constant(bias, quantization=Quantization((float(np.float32(source.scales[0] * scale)),)))
    reach = source.scales[0] * scale * 74 * 74 * math.sqrt(inputs)
    result = scaled(reach / rng.uniform(20, 300), rng)
    output = file.tensor((rows, outputs), "int8", result, "y")
    options = {"fusedActivationFunction": activation}
    file.operator("FULLY_CONNECTED", 4, [data, weights, biases], output, "FullyConnectedOptions", **options)
    compare(tmp, file, [data], output, [int8(rng, (rows, inputs))])


@FAST
@given(
    seed=seeds,
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    padding=paddings,
    kind=st.sampled_from(["AVERAGE_POOL_2D", "MAX_POOL_2D"]),
    activation=activations,
)
def test_pools(tmp, seed, window, stride, padding, kind, activation):
    rng = np.random.default_rng(seed)
    rows, columns, channels = (int(n) for n in rng.integers((5, 5, 1), (16, 14, 9)))
    file, scale = TfliteFile(), quantization(rng)
    data = file.tensor((1, rows, columns, channels), "int8", scale, "x")
    sizes = [
        same(n, stride) if padding == SAME else valid(n, w, stride)
        for n, w in zip((rows, columns), window, strict=True)
    ]
    output = file.tensor((1, *sizes, channels), "int8", scale, "y")
    options = {
        "padding": padding,
        "strideH": stride,
        "strideW": stride,
        "filterHeight": window[0],
        "filterWidth": window[1],
        "fusedActivationFunction": activation if kind == "AVERAGE_POOL_2D" else NONE,
    }
    file.operator(kind, 2, [data], output, "Pool2DOptions", **options)
    compare(tmp, file, [data], output, [int8(rng, (1, rows, columns, channels))])


@FAST
@given(seed=seeds, kind=st.sampled_from(["ADD", "MUL"]), activation=activations, repeat=st.booleans())
def test_sums_and_products(tmp, seed, kind, activation, repeat):
    rng = np.random.default_rng(seed)
    rows, columns, channels = (int(n) for n in rng.integers((1, 1, 1), (9, 9, 9)))
    file = TfliteFile()
    shapes = [(1, rows, columns, channels), (1, 1, 1, channels) if repeat else (1, rows, columns, channels)]
    scales = [quantization(rng), quantization(rng)]
    tensors = [file.tensor(shape, "int8", q, n) for shape, q, n in zip(shapes, scales, "xy", strict=True)]
    one, other = (q.scales[0] for q in scales)
    reach = 180 * (one + other) if kind == "ADD" else 180 * 180 * one * other
    result = scaled(reach / rng.uniform(100, 300), rng)
    output = file.tensor(shapes[0], "int8", result, "z")
    options = "AddOptions" if kind == "ADD" else "MulOptions"
    file.operator(kind, 2, tensors, output, options, fusedActivationFunction=activation)
    compare(tmp, file, tensors, output, [int8(rng, shape) for shape in shapes])


@FAST
@given(
    seed=seeds,
    kind=st.sampled_from(["RELU", "RELU6", "RELU_N1_TO_1", "HARD_SWISH", "LOGISTIC", "TANH", "QUANTIZE"]),
)
def test_functions_of_one_value(tmp, seed, kind):
    rng = np.random.default_rng(seed)
    file, source = TfliteFile(), quantization(rng, 1e-3, 0.2)
    fixed = {"LOGISTIC": Quantization((1 / 256,), -128), "TANH": Quantization((1 / 128,), 0)}
    result = fixed.get(kind, scaled(source.scales[0] * np.exp(rng.uniform(-0.7, 1.5)), rng))
    data = file.tensor((1, 256), "int8", source, "x")
    output = file.tensor((1, 256), "int8", result, "y")
    options = {"HARD_SWISH": "HardSwishOptions", "QUANTIZE": "QuantizeOptions"}.get(kind, "")
    file.operator(kind, VERSIONS[kind], [data], output, options)
    compare(tmp, file, [data], output, [np.arange(-128, 128).astype(np.int8)[None]])


@FAST
@given(seed=seeds, count=st.integers(1, 40), rows=st.integers(1, 4))
def test_softmax(tmp, seed, count, rows):
    rng = np.random.default_rng(seed)
    file, source = TfliteFile(), quantization(rng, 1e-3, 1.0)
    data = file.tensor((rows, count), "int8", source, "x")
    output = file.tensor((rows, count), "int8", Quantization((1 / 256,), -128), "y")
    file.operator("SOFTMAX", 2, [data], output, "SoftmaxOptions", beta=1.0)
    compare(tmp, file, [data], output, [int8(rng, (rows, count))])


@FAST
@given(seed=seeds, keep=st.booleans())
def test_mean(tmp, seed, keep):
    rng = np.random.default_rng(seed)
    rows, columns, channels = (int(n) for n in rng.integers((1, 1, 1), (30, 14, 9)))
    file, source = TfliteFile(), quantization(rng)
    result = scaled(source.scales[0] * rng.uniform(0.2, 1.2), rng)
    data = file.tensor((1, rows, columns, channels), "int8", source, "x")
    output = file.tensor((1, 1, 1, channels) if keep else (1, channels), "int8", result, "y")
    axes = file.constant(np.array([1, 2], np.int32))
    file.operator("MEAN", 2, [data, axes], output, "ReducerOptions", keepDims=keep)
    compare(tmp, file, [data], output, [int8(rng, (1, rows, columns, channels))])


@FAST
@given(seed=seeds)
def test_moved_values(tmp, seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 6, 3))
    file, scale = TfliteFile(), quantization(rng)
    data = file.tensor((1, *shape), "int8", scale, "x")
    amounts = np.array([[0, 0], rng.integers(0, 3, 2), rng.integers(0, 3, 2), [0, 0]], np.int32)
    padded = (1, shape[0] + amounts[1].sum(), shape[1] + amounts[2].sum(), shape[2])
    axes = np.array([0, *(1 + rng.permutation(3))], np.int32)
    turned = tuple(padded[axis] for axis in axes)
    one, other = (file.tensor(sizes, "int8", scale, name) for sizes, name in ((padded, "p"), (turned, "t")))
    output = file.tensor((turned[1] * turned[2], turned[3]), "int8", scale, "y")
    file.operator("PAD", 2, [data, file.constant(amounts)], one, "PadOptions")
    file.operator("TRANSPOSE", 2, [one, file.constant(axes)], other, "TransposeOptions")
    file.operator(
        "RESHAPE", 1, [other, file.constant(np.array([-1, turned[3]], np.int32))], output, "ReshapeOptions"
    )
    compare(tmp, file, [data], output, [int8(rng, (1, *shape))])


class Chain:
    """A random model, operator by operator: what is there, and its real spread as far as it is known."""

    def __init__(self, rng):
        self.rng = rng
        self.file = TfliteFile()
        self.shape = (1, *(int(n) for n in rng.integers((4, 4, 1), (14, 12, 6))))
        self.scale = quantization(rng, 1e-2, 0.1)
        self.now = self.first = self.file.tensor(self.shape, "int8", self.scale, "x")
        self.first_shape = self.shape

    def add(self, kind, version, inputs, shape, scale, options="", **values):
        output = self.file.tensor(shape, "int8", scale, f"t{len(self.file.tensors)}")
        self.file.operator(kind, version, inputs, output, options, **values)
        self.now, self.shape, self.scale = output, shape, scale

    def conv(self, depthwise=False):
        channels, outputs = self.shape[3], int(self.rng.integers(1, 7))
        kernel = tuple(int(n) for n in self.rng.integers(1, 4, 2))
        sizes = (1, *kernel, channels) if depthwise else (outputs, *kernel, channels)
        sums = math.prod(kernel) * (1 if depthwise else channels)
        constants, result = weights_of(self.file, self.rng, sizes, 3 if depthwise else 0, self.scale, sums)
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        options = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        values = {"padding": SAME, "strideH": 1, "strideW": 1}
        values["fusedActivationFunction"] = int(self.rng.choice([NONE, RELU, RELU6]))
        if depthwise:
            values["depthMultiplier"] = 1
        shape = (*self.shape[:3], channels if depthwise else outputs)
        self.add(kind, 3, [self.now, *constants], shape, result, options, **values)

    def depthwise(self):
        self.conv(depthwise=True)

    def residual(self):
        before, scale = self.now, self.scale
        self.hard_swish()
        reach = 128 * (scale.scales[0] + self.scale.scales[0])
        result = scaled(reach / self.rng.uniform(90, 200), self.rng)
        self.add("ADD", 2, [before, self.now], self.shape, result, "AddOptions")

    def gate(self):
        before, shape, scale = self.now, self.shape, self.scale
        axes = self.file.constant(np.array([1, 2], np.int32))
        point = (1, 1, 1, shape[3])
        self.add(
            "MEAN",
            2,
            [before, axes],
            point,
            scaled(scale.scales[0], self.rng),
            "ReducerOptions",
            keepDims=True,
        )
        self.add("LOGISTIC", 2, [self.now], point, Quantization((1 / 256,), -128))
        self.add("MUL", 2, [before, self.now], shape, scaled(scale.scales[0], self.rng), "MulOptions")

    def hard_swish(self):
        result = scaled(self.scale.scales[0] * self.rng.uniform(0.8, 2), self.rng)
        self.add("HARD_SWISH", 1, [self.now], self.shape, result, "HardSwishOptions")

    def pool(self):
        kind = str(self.rng.choice(["MAX_POOL_2D", "AVERAGE_POOL_2D"]))
        shape = (1, same(self.shape[1], 2), same(self.shape[2], 2), self.shape[3])
        values = {"padding": SAME, "strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 3}
        self.add(kind, 2, [self.now], shape, self.scale, "Pool2DOptions", **values)

    def head(self):
        size = math.prod(self.shape)
        rows = self.file.constant(np.array([1, size], np.int32))
        self.add("RESHAPE", 1, [self.now, rows], (1, size), self.scale, "ReshapeOptions")
        outputs = int(self.rng.integers(2, 12))
        scale = float(np.float32(self.rng.uniform(1e-3, 1e-2)))
        weights = self.file.constant(int8(self.rng, (outputs, size)), quantization=Quantization((scale,)))
        result = scaled(self.scale.scales[0] * scale * 74 * 74 * math.sqrt(size) / 100, self.rng)
        self.add("FULLY_CONNECTED", 4, [self.now, weights, -1], (1, outputs), result, "FullyConnectedOptions")
        self.add(
            "SOFTMAX", 2, [self.now], (1, outputs), Quantization((1 / 256,), -128), "SoftmaxOptions", beta=1.0
        )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=seeds,
    steps=st.lists(
        st.sampled_from(["conv", "depthwise", "residual", "gate", "hard_swish", "pool"]),
        min_size=1,
        max_size=5,
    ),
    head=st.booleans(),
)
def test_random_graphs(tmp, seed, steps, head):
    """Errors propagate: one integer that differs anywhere shows in the result."""
    rng = np.random.default_rng(seed)
    chain = Chain(rng)
    for step in [*steps, *(["head"] if head else [])]:
        getattr(chain, step)()
    graph, fed, found = compare(tmp, chain.file, [chain.first], chain.now, [int8(rng, chain.first_shape)])
    inputs = torch.from_numpy(next(iter(fed.values())).astype(np.float32))[None]
    trained = TrainableGraph(graph, {})(inputs)[graph.outputs[0]]
    np.testing.assert_array_equal(trained.detach().numpy()[0], found)
