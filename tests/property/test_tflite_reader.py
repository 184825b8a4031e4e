"""Random operators as int8 .tflite files: the graph read from one gives the integers of TFLite's kernels."""

import contextlib
import functools
import math

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgekit.errors import UnsupportedError
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
FAST = settings(max_examples=40, derandomize=True)

seeds = st.integers(0, 2**32 - 1)
activations = st.sampled_from([NONE, RELU, RELU_N1_TO_1, RELU6])
paddings = st.sampled_from([SAME, VALID])


def quantization(rng, low=1e-3, high=0.5) -> Quantization:
    return scaled(np.exp(rng.uniform(np.log(low), np.log(high))), rng)


def scaled(scale, rng) -> Quantization:
    return Quantization((float(np.float32(scale)),), int(rng.integers(-128, 128)))


def weights_of(file, rng, shape, axis, source, sums, narrow=False):
    """Add weights, int4 where narrow, and bias; return both, and a scale whose range the results fill."""
    channels, limit = shape[axis], 7 if narrow else 127
    scales = tuple(float(np.float32(s)) for s in np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), channels)))
    weights = rng.integers(-limit, limit + 1, shape).astype(np.int8)
    bias = rng.integers(-(1 << 14), 1 << 14, channels).astype(np.int32)
    biases = Quantization(tuple(float(np.float32(source.scales[0] * s)) for s in scales), 0, 0)
    inputs = [
        file.constant(weights, "int4" if narrow else "int8", Quantization(scales, 0, axis)),
        file.constant(bias, quantization=biases),
    ]
    reach = source.scales[0] * max(scales) * 74 * 0.58 * limit * math.sqrt(sums)
    return inputs, scaled(reach / rng.uniform(20, 300), rng)


@pytest.fixture(scope="module", params=["litert", "micro"])
def runtime(request):
    """The runtime that the graph follows, in whose kernels the file is run."""
    if request.param == "micro":
        pytest.importorskip("tflite_micro", reason="TFLite Micro is compared where tflite_micro is installed")
    return request.param


def computed(path, runtime, data):
    """Return what LiteRT's reference kernels or TFLite Micro give."""
    if runtime == "micro":
        from tflite_micro.python.tflite_micro import runtime as micro

        interpreter = micro.Interpreter.from_file(str(path), arena_size=1 << 20)
        for number, values in enumerate(data):
            interpreter.set_input(values, number)
        interpreter.invoke()
        return interpreter.get_output(0)
    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), data, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def compare(tmp_path, file, inputs, output, data, runtime):
    """Check the reference's whole result against that of the runtime whose rounding it follows."""
    path = tmp_path / "model.tflite"
    path.write_bytes(file.to_bytes("test", {}, inputs, [output]))
    expected = computed(path, runtime, data)
    graph = read_tflite(path, runtime)
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
    narrow=st.booleans(),
)
def test_convolutions(tmp, runtime, seed, kernel, stride, dilation, padding, activation, depthwise, narrow):
    rng = np.random.default_rng(seed)
    stride = 1 if dilation > 1 else stride
    rows, columns, channels = (int(n) for n in rng.integers((8, 8, 1), (16, 14, 9)))
    multiplier, outputs = int(rng.integers(1, 3)), int(rng.integers(1, 9))
    file, source = TfliteFile(), quantization(rng)
    data = file.tensor((1, rows, columns, channels), "int8", source, "x")
    shape = (1, *kernel, channels * multiplier) if depthwise else (outputs, *kernel, channels)
    sums = math.prod(kernel) * (1 if depthwise else channels)
    constants, result = weights_of(file, rng, shape, 3 if depthwise else 0, source, sums, narrow)
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
        file.operator("CONV_2D", 7, [data, *constants], output, "Conv2DOptions", **options)
    compare(tmp, file, [data], output, [int8(rng, (1, rows, columns, channels))], runtime)


@FAST
@given(seed=seeds, activation=activations, weights=st.sampled_from(["int8", "per channel", "int4"]))
def test_fully_connected(tmp, runtime, seed, activation, weights):
    """Neither runtime has int4 weights with a scale for each channel."""
    rng = np.random.default_rng(seed)
    rows, inputs, outputs = (int(n) for n in rng.integers((1, 1, 1), (5, 200, 40)))
    file, source = TfliteFile(), quantization(rng)
    data = file.tensor((rows, inputs), "int8", source, "x")
    limit, channels = 7 if weights == "int4" else 127, outputs if weights == "per channel" else 1
    scales = tuple(float(np.float32(scale)) for scale in rng.uniform(1e-3, 1e-1, channels))
    values = rng.integers(-limit, limit + 1, (outputs, inputs)).astype(np.int8)
    axis = 0 if channels > 1 else None
    dtype = "int4" if weights == "int4" else "int8"
    constant = file.constant(values, dtype, Quantization(scales, 0, axis))
    bias = rng.integers(-(1 << 14), 1 << 14, outputs).astype(np.int32)
    products = tuple(float(np.float32(source.scales[0] * scale)) for scale in scales)
    biases = file.constant(bias, quantization=Quantization(products, 0, axis))
    reach = source.scales[0] * max(scales) * 74 * 0.58 * limit * math.sqrt(inputs)
    result = scaled(reach / rng.uniform(20, 300), rng)
    output = file.tensor((rows, outputs), "int8", result, "y")
    options = {"fusedActivationFunction": activation}
    file.operator("FULLY_CONNECTED", 5, [data, constant, biases], output, "FullyConnectedOptions", **options)
    compare(tmp, file, [data], output, [int8(rng, (rows, inputs))], runtime)


@FAST
@given(
    seed=seeds,
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    padding=paddings,
    kind=st.sampled_from(["AVERAGE_POOL_2D", "MAX_POOL_2D"]),
    activation=activations,
)
def test_pools(tmp, runtime, seed, window, stride, padding, kind, activation):
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
    compare(tmp, file, [data], output, [int8(rng, (1, rows, columns, channels))], runtime)


@FAST
@given(seed=seeds, kind=st.sampled_from(["ADD", "MUL"]), activation=activations, repeat=st.booleans())
def test_sums_and_products(tmp, runtime, seed, kind, activation, repeat):
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
    compare(tmp, file, tensors, output, [int8(rng, shape) for shape in shapes], runtime)


@FAST
@given(
    seed=seeds,
    kind=st.sampled_from(["RELU", "RELU6", "RELU_N1_TO_1", "HARD_SWISH", "LOGISTIC", "TANH", "QUANTIZE"]),
)
def test_functions_of_one_value(tmp, runtime, seed, kind):
    """All but one of which TFLite Micro has, and another in one scale alone."""
    assume(runtime != "micro" or kind != "RELU_N1_TO_1")
    rng = np.random.default_rng(seed)
    file, source = TfliteFile(), quantization(rng, 1e-3, 0.2)
    fixed = {
        "LOGISTIC": Quantization((1 / 256,), -128),
        "TANH": Quantization((1 / 128,), 0),
        "RELU6": source,
    }
    result = fixed.get(kind, scaled(source.scales[0] * np.exp(rng.uniform(-0.7, 1.5)), rng))
    data = file.tensor((1, 256), "int8", source, "x")
    output = file.tensor((1, 256), "int8", result, "y")
    options = {"HARD_SWISH": "HardSwishOptions", "QUANTIZE": "QuantizeOptions"}.get(kind, "")
    file.operator(kind, VERSIONS[kind], [data], output, options)
    compare(tmp, file, [data], output, [np.arange(-128, 128).astype(np.int8)[None]], runtime)


@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH"])
@pytest.mark.parametrize("scale", [2.0**-28, 2.0**-9, 0.0625, 1.9, 2.0, 3.9, 4.0, 7.9, 8.0, 100.0, 2.0**16])
@pytest.mark.parametrize("zero_point", [-128, 0, 57])
def test_saturating_functions_of_any_scale(tmp, runtime, kind, scale, zero_point):
    """In fixed point, TFLite Micro takes too much for infinite: from a scale of 8 on, 0 as well."""
    file, result = TfliteFile(), (1 / 256, -128) if kind == "LOGISTIC" else (1 / 128, 0)
    data = file.tensor((1, 256), "int8", Quantization((float(np.float32(scale)),), zero_point), "x")
    output = file.tensor((1, 256), "int8", Quantization((result[0],), result[1]), "y")
    file.operator(kind, 2, [data], output)
    compare(tmp, file, [data], output, [np.arange(-128, 128).astype(np.int8)[None]], runtime)


@FAST
@given(seed=seeds, count=st.integers(1, 40), rows=st.integers(1, 4), beta=st.sampled_from([1.0, 0.5, 2.0]))
def test_softmax(tmp, runtime, seed, count, rows, beta):
    rng = np.random.default_rng(seed)
    file, source = TfliteFile(), quantization(rng, 1e-3, 1.0)
    data = file.tensor((rows, count), "int8", source, "x")
    output = file.tensor((rows, count), "int8", Quantization((1 / 256,), -128), "y")
    file.operator("SOFTMAX", 2, [data], output, "SoftmaxOptions", beta=beta)
    compare(tmp, file, [data], output, [int8(rng, (rows, count))], runtime)


@FAST
@given(seed=seeds, keep=st.booleans())
def test_mean(tmp, runtime, seed, keep):
    rng = np.random.default_rng(seed)
    rows, columns, channels = (int(n) for n in rng.integers((1, 1, 1), (30, 14, 9)))
    file, source = TfliteFile(), quantization(rng)
    result = scaled(source.scales[0] * rng.uniform(0.2, 1.2), rng)
    data = file.tensor((1, rows, columns, channels), "int8", source, "x")
    output = file.tensor((1, 1, 1, channels) if keep else (1, channels), "int8", result, "y")
    axes = file.constant(np.array([1, 2], np.int32))
    file.operator("MEAN", 2, [data, axes], output, "ReducerOptions", keepDims=keep)
    compare(tmp, file, [data], output, [int8(rng, (1, rows, columns, channels))], runtime)


@FAST
@given(seed=seeds)
def test_moved_values(tmp, runtime, seed):
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
    compare(tmp, file, [data], output, [int8(rng, (1, *shape))], runtime)


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


@settings(max_examples=60, derandomize=True)
@given(
    seed=seeds,
    steps=st.lists(
        st.sampled_from(["conv", "depthwise", "residual", "gate", "hard_swish", "pool"]),
        min_size=1,
        max_size=5,
    ),
    head=st.booleans(),
)
def test_random_graphs(tmp, runtime, seed, steps, head):
    """Errors propagate: one integer that differs anywhere shows in the result."""
    rng = np.random.default_rng(seed)
    chain = Chain(rng)
    for step in [*steps, *(["head"] if head else [])]:
        getattr(chain, step)()
    graph, fed, found = compare(
        tmp, chain.file, [chain.first], chain.now, [int8(rng, chain.first_shape)], runtime
    )
    inputs = torch.from_numpy(next(iter(fed.values())).astype(np.float32))[None]
    trained = TrainableGraph(graph, {})(inputs)[graph.outputs[0]]
    np.testing.assert_array_equal(trained.detach().numpy()[0], found)


@functools.cache
def damageable() -> bytes:
    """Return a file of a convolution and a softmax."""
    chain = Chain(np.random.default_rng(0))
    chain.conv()
    chain.head()
    return chain.file.to_bytes("test", {}, [chain.first], [chain.now])


@settings(max_examples=500, derandomize=True)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_damaged_files(tmp, flips):
    """They are refused, or read: no byte makes the reader fail in any other way."""
    damaged = bytearray(damageable())
    for place, value in flips:
        damaged[8 + int(place * (len(damaged) - 8))] = value
    path = tmp / "damaged.tflite"
    path.write_bytes(damaged)
    with contextlib.suppress(UnsupportedError):
        read_tflite(path)
