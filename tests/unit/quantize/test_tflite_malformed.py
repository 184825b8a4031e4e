"""Files that are damaged, or that no runtime gives a meaning: each refused, with what is wrong about it."""

import math

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from unit.quantize.test_tflite_reader import HALF, written

from edgekit.errors import UnsupportedError
from edgekit.graph import Quantization
from quantize.tflite_file import TfliteFile
from quantize.tflite_reader import read_tflite

TENTH = Quantization((0.1,))
PROBABILITY = Quantization((1 / 256,), -128)
X, Y = (1, 4, 4, 2), (1, 4, 4, 3)
THREE_ZEROS = np.zeros(3, np.int32)


def convolution(
    tmp_path,
    scales=(0.1, 0.2, 0.3),
    shape=Y,
    source=X,
    result=HALF,
    kernels=(3, 1, 1, 2),
    bias=THREE_ZEROS,
    kind="CONV_2D",
    axis=0,
    **options,
):
    file = TfliteFile()
    data, output = file.tensor(source, "int8", HALF, "x"), file.tensor(shape, "int8", result, "y")
    weights = file.constant(np.ones(kernels, np.int8), quantization=Quantization(scales, 0, axis))
    inputs = [data, weights, *([] if bias is None else [file.constant(bias)])]
    values = {"strideH": 1, "strideW": 1, **options}
    name = "Conv2DOptions" if kind == "CONV_2D" else "DepthwiseConv2DOptions"
    file.operator(kind, 3, inputs, output, name, **values)
    return written(tmp_path, file, [data], output)


def depthwise(tmp_path, **changes):
    defaults = {"kernels": (1, 1, 1, 2), "axis": 3, "scales": (0.1, 0.2), "shape": X, "bias": None}
    return convolution(tmp_path, kind="DEPTHWISE_CONV_2D", **{**defaults, "depthMultiplier": 1, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": (0.1, 0.0, 0.3)}, "CONV_2D 'conv_2d_0' reads tensor 2: scale 0.0"),
        ({"scales": (0.1, math.nan, 0.3)}, "CONV_2D 'conv_2d_0' reads tensor 2: scale nan"),
        ({"scales": (0.1, -0.5, 0.3)}, "CONV_2D 'conv_2d_0' reads tensor 2: scale -0.5"),
        ({"scales": (0.1, math.inf, 0.3)}, "CONV_2D 'conv_2d_0' reads tensor 2: scale inf"),
        ({"scales": (0.1, 0.2)}, r"CONV_2D 'conv_2d_0' reads tensor 2: 2 scales on axis 0 of \(3, 1, 1, 2\)"),
        ({"scales": (0.1, 0.2), "axis": 3}, "required: one scale for all weights, or for each output"),
        ({"result": Quantization((0.0,))}, "CONV_2D 'conv_2d_0' writes tensor 1 'y': scale 0.0"),
        ({"result": Quantization((0.5,), 200)}, "required: int8 zero points"),
        ({"result": Quantization((1e-9,))}, "required: each multiplier is 0 or"),
        ({"bias": None}, "required: a bias: LiteRT runs no int8 convolution without one"),
        ({"bias": np.zeros(2, np.int32)}, "required: an int32 bias for each output"),
        ({"bias": np.zeros(3, np.int16)}, "required: an int32 bias for each output"),
        ({"strideH": 0}, "CONV_2D 'conv_2d_0': required: kernels, strides and dilations from 1"),
        ({"dilationWFactor": -1}, "required: kernels, strides and dilations from 1"),
        ({"padding": 2}, "required: SAME or VALID padding"),
        ({"dilationHFactor": 9000, "kernels": (3, 2, 1, 2)}, "required: windows of at most 4096"),
        ({"kernels": (3, 1, 1, 1)}, "required: one group"),
        ({"kernels": (3, 2)}, "required: constant weights of the operator's rank"),
        ({"shape": (1, 4, 3, 3)}, "required: an output of the shape that its inputs give"),
        ({"source": (2, 4, 4, 2)}, r"required: an input \(1, rows, columns, channels\)"),
        ({"source": (1, 9000, 9000, 1)}, "reads tensor 0 'x': shape .*, at most 2.26 values are supported"),
        ({"source": (1, 0, 4, 2)}, r"reads tensor 0 'x': shape \(1, 0, 4, 2\), sizes have to be positive"),
        ({"fusedActivationFunction": 99}, "required: a fused activation of NONE"),
    ],
)
def test_convolutions(tmp_path, changes, message):
    with pytest.raises(UnsupportedError, match=message):
        read_tflite(convolution(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depthMultiplier": 2}, "required: depth_multiplier outputs for each channel"),
        ({"kernels": (2, 1, 1, 2)}, r"required: weights \(1, rows, columns, outputs\)"),
        ({"axis": 0, "kernels": (2, 1, 1, 2)}, "required: one scale for all weights"),
    ],
)
def test_depthwise_convolutions(tmp_path, changes, message):
    with pytest.raises(UnsupportedError, match=message):
        read_tflite(depthwise(tmp_path, **changes))


def test_convolutions_that_these_differ_from_are_read(tmp_path):
    assert read_tflite(convolution(tmp_path)).ops[0].kind == "conv2d"
    graph = read_tflite(depthwise(tmp_path))
    weights = graph.tensors[graph.ops[0].inputs[1]]
    assert (graph.ops[0].kind, weights.shape) == ("depthwise_conv2d", (1, 1, 2))
    assert weights.quantization.axis == 2, "the graph's weights have no leading axis"


def operator(
    tmp_path, kind, shape=(1, 8), result=(1, 8), source=HALF, scale=HALF, constants=(), options="", **values
):
    """Write one operator of one computed input."""
    file = TfliteFile()
    data, output = file.tensor(shape, "int8", source, "x"), file.tensor(result, "int8", scale, "y")
    inputs = [data, *(file.constant(np.array(value, np.int32)) for value in constants)]
    file.operator(kind, 1, inputs, output, options, **values)
    return written(tmp_path, file, [data], output)


SOFTMAX = {"kind": "SOFTMAX", "scale": PROBABILITY}
TRANSPOSE, PAD = {"kind": "TRANSPOSE", "shape": X}, {"kind": "PAD", "shape": X}
MEAN, MAP = {"kind": "MEAN", "shape": X, "result": (1, 2)}, {"shape": X, "result": X}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (SOFTMAX, "SOFTMAX 'softmax_0': required: beta times the input's scale above 2"),
        ({**SOFTMAX, "options": "SoftmaxOptions", "beta": math.nan}, "beta times the input's scale"),
        ({**SOFTMAX, "options": "AddOptions"}, "required: the options of its kind"),
        ({**SOFTMAX, "result": (8, 1), "options": "SoftmaxOptions", "beta": 1.0}, "output of the shape"),
        ({"kind": "HARD_SWISH", "scale": Quantization((0.001,))}, "an input scale below 128 times"),
        ({"kind": "HARD_SWISH", "source": Quantization((1e6,))}, "an input scale from 2"),
        ({"kind": "RELU", "scale": Quantization((1e-9,))}, "RELU 'relu_0': required: an input scale of at"),
        ({"kind": "RELU6", "scale": TENTH}, "RELU6 'relu6_0': required: one scale before and after"),
        ({"kind": "RELU", "result": (8,)}, "required: an output of the shape that its inputs give"),
        ({"kind": "RELU", "source": Quantization((0.1, 0.2), 0, 0), "shape": (2, 4)}, "one scale for each"),
        ({"kind": "RESHAPE", "result": (1, 9)}, "required: as many values before and after"),
        ({**TRANSPOSE, "result": X, "constants": [(0, 1, 1, 3)]}, "axes that are a permutation of"),
        ({**TRANSPOSE, "result": X}, "required: axes and amounts that are int32 or int64 constants"),
        ({**TRANSPOSE, "result": X, "constants": [3]}, "axes and amounts that are int32 or int64"),
        ({**TRANSPOSE, "result": (4, 1, 4, 2), "constants": [(1, 0, 2, 3)]}, "the batch axis stays first"),
        (
            {**TRANSPOSE, "shape": (2, 1, 3, 4), "result": (1, 2, 3, 4), "constants": [(1, 0, 2, 3)]},
            "TRANSPOSE 'transpose_0': required: the batch axis stays first",
        ),
        ({**PAD, "result": X, "constants": [((0, 0), (-1, 1), (0, 0), (0, 0))]}, "amounts from 0"),
        ({**PAD, "result": (1, 9, 4, 2), "constants": [((0, 0), (1, 1), (0, 0), (0, 0))]}, "of the shape"),
        ({**PAD, "result": X, "constants": [((0, 0), (0, 0), (0, 0), (1, 1))]}, "rows and columns alone"),
        ({**PAD, "result": X, "constants": [(0, 0, 0, 0)]}, "an amount before and after each axis"),
        ({**PAD, "source": None, "result": X, "constants": [((0, 0),) * 4]}, "one scale for each activation"),
        ({**MEAN, "constants": [(1,)]}, "MEAN 'mean_0': required: a mean over axes 1 and 2"),
        ({**MEAN, "result": (2,), "constants": [(1, 2)]}, r"an output \(1, 1, 1, channels\) or"),
        ({"kind": "AVERAGE_POOL_2D", **MAP}, "required: kernels, strides and dilations from 1"),
        ({"kind": "MAX_POOL_2D", **MAP, "scale": TENTH}, "required: one scale before and after"),
        ({"kind": "FULLY_CONNECTED"}, "required: constant weights of the operator's rank"),
    ],
)
def test_other_operators(tmp_path, changes, message):
    with pytest.raises(UnsupportedError, match=message):
        read_tflite(operator(tmp_path, **changes))


def test_softmax_is_sharpened_by_beta(tmp_path):
    path = operator(tmp_path, **SOFTMAX, options="SoftmaxOptions", beta=0.5)
    assert read_tflite(path).ops[0].kind == "softmax"


@pytest.mark.parametrize(
    ("shape", "result", "message"),
    [
        ((1, 4, 4, 3), X, "ADD 'add_0': required: shapes that agree, or repeat along axes of size 1"),
        ((1, 1, 1, 2), (1, 1, 1, 2), "required: an output of the shape that its inputs give"),
    ],
)
def test_sums_of_shapes_that_do_not_agree(tmp_path, shape, result, message):
    file = TfliteFile()
    inputs = [file.tensor(sizes, "int8", HALF, name) for sizes, name in ((X, "a"), (shape, "b"))]
    output = file.operator("ADD", 2, inputs, file.tensor(result, "int8", HALF, "y"), "AddOptions")
    with pytest.raises(UnsupportedError, match=message):
        read_tflite(written(tmp_path, file, inputs, output))


def changed(path, change):
    """Rewrite a file with the schema's objects changed."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def setting(attribute, value, *items):
    """Return a change of one attribute of the model's part, or of something in it."""

    def change(model):
        part = model.subgraphs[0]
        for item in items:
            part = getattr(part, item) if isinstance(item, str) else getattr(part, item[0])[item[1]]
        setattr(part, attribute, value)

    return change


def indices(*values):
    return np.array(values, np.int32)


def of_two_parts(model):
    model.subgraphs.append(model.subgraphs[0])


OPERATOR, RESULT, KERNELS = ("operators", 0), ("tensors", 1), ("tensors", 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("opcodeIndex", 5, OPERATOR), r"damaged \.tflite \(operator 0 is of kind 5 of 1\)"),
        (setting("inputs", indices(0, 77, 3), OPERATOR), r"damaged .*inputs of CONV_2D 0: tensor 77 of 4"),
        (setting("outputs", indices(-1), OPERATOR), r"damaged .*outputs of CONV_2D 0: tensor -1 of 4"),
        (setting("outputs", indices(), OPERATOR), "CONV_2D 'conv_2d_0': required: one output"),
        (setting("outputs", indices(0), OPERATOR), "required: an output that nothing else computes"),
        (setting("inputs", indices(1, 2, 3), OPERATOR), "required: inputs that the model is given or"),
        (setting("outputs", indices(2)), "reads tensor 2: an output of the model that nothing computes"),
        (setting("inputs", indices(0, 0)), "reads tensor 0 'x': listed twice among the model's inputs"),
        (setting("inputs", None), r"damaged .* no inputs, outputs or operators"),
        (setting("operators", None), r"damaged .* no inputs, outputs or operators"),
        (setting("tensors", None), r"damaged .*its inputs: tensor 0 of 0"),
        (setting("shape", indices(1, 4, -4, 3), RESULT), "writes tensor 1 'y': shape .*have to be positive"),
        (setting("type", 99, RESULT), "writes tensor 1 'y': 99, only int8 models"),
        (setting("buffer", 44, KERNELS), "reads tensor 2: buffer 44 of"),
        (setting("shape", indices(3, 1, 1, 9), KERNELS), "reads tensor 2: 6 bytes of data, 27 expected"),
        (lambda model: model.buffers.clear(), "reads tensor 2: buffer 1 of 0"),
        (lambda model: model.subgraphs.clear(), r"damaged \.tflite \(it holds no operators\)"),
        (lambda model: model.operatorCodes.clear(), r"damaged \.tflite \(operator 0 is of kind 0 of 0\)"),
        (of_two_parts, "2 subgraphs, one is supported"),
    ],
)
def test_damaged_files(tmp_path, change, message):
    path = changed(convolution(tmp_path), change)
    with pytest.raises(UnsupportedError, match=message):
        read_tflite(path)


def test_zero_points_of_channels_that_differ(tmp_path):
    def change(model):
        model.subgraphs[0].tensors[2].quantization.zeroPoint = np.array([0, 1, 0], np.int64)

    with pytest.raises(UnsupportedError, match=r"reads tensor 2: zero points \[0, 1\], one is supported"):
        read_tflite(changed(convolution(tmp_path), change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("zeroPoint", np.array([1, 1, 1]), KERNELS, "quantization"), "weights with zero point 0"),
        (setting("quantization", None, KERNELS), "int8 or int4 weights with scales"),
    ],
)
def test_scales_of_weights(tmp_path, change, message):
    with pytest.raises(UnsupportedError, match=f"CONV_2D 'conv_2d_0': required: {message}"):
        read_tflite(changed(convolution(tmp_path), change))


@pytest.mark.parametrize(
    ("shapes", "dtype", "options", "message"),
    [
        (((2, 8), (3, 8), (2, 3)), np.int8, {"weightsFormat": 1}, "weights in the default format"),
        (((2, 8), (3, 7), (2, 3)), np.int8, {}, "rows as long as the weights'"),
        (((2, 8), (3, 8), (1, 2, 3)), np.int8, {}, r"an output \(rows, features\)"),
        (((2, 8), (3, 8), (2, 3)), np.int16, {}, "int8 or int4 weights with scales"),
    ],
)
def test_fully_connected_layers(tmp_path, shapes, dtype, options, message):
    file, (source, kernels, result) = TfliteFile(), shapes
    data, output = file.tensor(source, "int8", HALF, "x"), file.tensor(result, "int8", HALF, "y")
    weights = file.constant(np.ones(kernels, dtype), quantization=TENTH)
    file.operator("FULLY_CONNECTED", 5, [data, weights, -1], output, "FullyConnectedOptions", **options)
    with pytest.raises(UnsupportedError, match=f"FULLY_CONNECTED 'fully_connected_0': required: {message}"):
        read_tflite(written(tmp_path, file, [data], output))


def test_activations_of_16_bits(tmp_path):
    file = TfliteFile()
    data = file.tensor((1, 8), "int8", HALF, "x")
    wide = file.operator("QUANTIZE", 1, [data], file.tensor((1, 8), "int16", HALF), "QuantizeOptions")
    output = file.operator("RELU", 2, [wide], file.tensor((1, 8), "int8", HALF, "y"))
    with pytest.raises(UnsupportedError, match="RELU 'relu_1': required: int8 activations"):
        read_tflite(written(tmp_path, file, [data], output))


def test_a_tensor_that_no_operator_names(tmp_path):
    file = TfliteFile()
    data, other = (file.tensor((1, 8), kind, HALF) for kind in ("int8", "int16"))
    output = file.operator("RELU", 2, [data], file.tensor((1, 8), "int8", HALF, "y"))
    path = written(tmp_path, file, [data, other], output)
    with pytest.raises(UnsupportedError, match="tensor 1, which no operator reads or writes: int16"):
        read_tflite(path)
