"""What makes an integer graph legal: structure, and each operator's constraints.

A constraint is a function whose docstring is the sentence that the user reads when it fails; the list of
supported operators is generated from them.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UnsupportedError
from edgekit.graph.linear_ops import SINGLE_ROUNDING, dilation_of
from edgekit.graph.reference import OPERATORS, storage_dtype
from edgekit.graph.types import TIME, Graph, Op, Tensor

Constraint = Callable[[Graph, Op], bool]

LIMITS = {
    "int4": (-8, 7),
    **{
        name: (np.iinfo(name).min, np.iinfo(name).max)
        for name in ("int8", "uint8", "int16", "uint16", "int32", "int64")
    },
}
MAX_AVERAGED_SAMPLES = 256


def _tensors(graph: Graph, op: Op) -> tuple[Tensor, ...]:
    return tuple(graph.tensors[name] for name in op.inputs)


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


def window_is_short_power_of_two(graph: Graph, op: Op) -> bool:
    """n_fft and hop are powers of two, hop <= n_fft <= 256."""
    n_fft, hop = op.integer("n_fft"), op.integer("hop")
    return _power_of_two(n_fft) and _power_of_two(hop) and hop <= n_fft <= MAX_AVERAGED_SAMPLES


def memory_is_bounded(graph: Graph, op: Op) -> bool:
    """memory_frames is 1 to 65536 (level: or 0, for the whole utterance)."""
    low = 0 if op.kind == "frame_level" else 1
    return low <= op.integer("memory_frames") <= 1 << 16


def input_is(dtype: str) -> Constraint:
    """Return the constraint that the first input has a dtype."""

    def constraint(graph: Graph, op: Op) -> bool:
        return _tensors(graph, op)[0].dtype == dtype

    constraint.__doc__ = f"the first input is {dtype}."
    return constraint


def output_is(dtype: str) -> Constraint:
    """Return the constraint that the output has a dtype."""

    def constraint(graph: Graph, op: Op) -> bool:
        return graph.output(op).dtype == dtype

    constraint.__doc__ = f"the output is {dtype}."
    return constraint


def kernel_and_stride_are_positive(graph: Graph, op: Op) -> bool:
    """kernel and stride are two positive integers, padding four from 0 to below the kernel's reach."""
    kernel, stride, padding = (op.integers(name) for name in ("kernel", "stride", "padding"))
    if not (len(kernel) == len(stride) == 2 and min(kernel + stride) > 0):
        return False
    # A dilation that is none has a constraint of its own.
    dilation = dilation_of(op)
    sizes = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=False)] + [1]
    fits = len(padding) == 4 and min(padding) >= 0
    return fits and max(padding[:2]) < sizes[0] and max(padding[2:]) < sizes[1]


def a_stream_is_not_padded_at_its_end(graph: Graph, op: Op) -> bool:
    """the bottom of the time axis is not padded: a stream has no end."""
    return _tensors(graph, op)[0].shape[0] != TIME or op.integers("padding")[1] == 0


def weights_are_int8(graph: Graph, op: Op) -> bool:
    """weights are int8."""
    return _tensors(graph, op)[1].dtype == "int8"


def weights_are_int8_or_int4(graph: Graph, op: Op) -> bool:
    """weights are int8 or int4."""
    return _tensors(graph, op)[1].dtype in ("int8", "int4")


def accumulators_fit(graph: Graph, op: Op) -> bool:
    """accumulators stay below 2^30: (|bias| + largest |input| * sum of |weights|) * 2^shift, if shift > 0."""
    # One bit less than int32 has: kernels double them before they take the high half of a product.
    shift = graph.constant_inputs(op)[3].astype(np.int64)
    return bool((_reach(graph, op) << np.clip(shift, 0, 7) < 1 << 30).all())


def accumulators_fit_int32(graph: Graph, op: Op) -> bool:
    """no accumulator can leave int32: |bias| + largest |input| * sum of |weights| stays below 2^31."""
    return bool((_reach(graph, op) < 1 << 31).all())


def _reach(graph: Graph, op: Op) -> NDArray[np.int64]:
    """Return how large the accumulator of each output can be."""
    weights, bias = (value.astype(np.int64) for value in graph.constant_inputs(op)[:2])
    if op.kind == "depthwise_conv2d":
        weights = np.moveaxis(weights, -1, 0)
    low, high = LIMITS[_tensors(graph, op)[0].dtype]
    zero_point = op.integer("input_zero_point") if "input_zero_point" in op.attributes else 0
    largest = max(high - zero_point, zero_point - low)
    reach = np.abs(bias) + largest * np.abs(weights.reshape(len(weights), -1)).sum(axis=1)
    return np.asarray(reach, np.int64)


def multipliers_are_normalized(graph: Graph, op: Op) -> bool:
    """each multiplier is 0 or in [2^30, 2^31), each shift in [-31, 7]."""
    multiplier, shift = (value.astype(np.int64) for value in graph.constant_inputs(op)[2:4])
    normal = (multiplier == 0) | ((multiplier >= 1 << 30) & (multiplier < 1 << 31))
    return bool(normal.all() and (shift >= -31).all() and (shift <= 7).all())


def channels_agree(graph: Graph, op: Op) -> bool:
    """weights, bias, multiplier and shift have one row for each output, columns for each input channel."""
    data, weights, *rest = _tensors(graph, op)
    outputs = graph.output(op).shape[-1]
    rows = all(tensor.shape == (outputs,) for tensor in rest) and weights.shape[0] == outputs
    return rows and weights.shape[-1] == data.shape[-1]


def rounding_is_known(graph: Graph, op: Op) -> bool:
    """rounding, where it is given, is single."""
    return op.attributes.get("rounding", SINGLE_ROUNDING) == SINGLE_ROUNDING


def each_channel_has_its_kernels(graph: Graph, op: Op) -> bool:
    """weights are (kernel, kernel, N times the input's channels); bias, multiplier, shift one per output."""
    data, weights, *rest = _tensors(graph, op)
    outputs = graph.output(op).shape[-1]
    rows = all(tensor.shape == (outputs,) for tensor in rest) and weights.shape[-1] == outputs
    return rows and outputs % data.shape[-1] == 0 and weights.shape[:2] == op.integers("kernel")


def dilation_is_positive(graph: Graph, op: Op) -> bool:
    """dilation, where there is one, is two positive integers."""
    return "dilation" not in op.attributes or (
        len(op.integers("dilation")) == 2 and min(op.integers("dilation")) > 0
    )


def results_stay_in_the_clamp(graph: Graph, op: Op) -> bool:
    """clamp is two int8 values in order."""
    low, high = op.integers("clamp")
    return -128 <= low <= high <= 127


def inputs_are_two_int8(graph: Graph, op: Op) -> bool:
    """both inputs are int8, and so is the output."""
    tensors = (*_tensors(graph, op), graph.output(op))
    return len(tensors) == 3 and all(tensor.dtype == "int8" for tensor in tensors)


def shapes_agree_or_repeat(graph: Graph, op: Op) -> bool:
    """the inputs' shapes agree, or one repeats along axes of size 1."""
    one, other = (tensor.shape for tensor in _tensors(graph, op))
    pairs = list(zip(one[::-1], other[::-1], strict=False))
    return all(a == b or 1 in (a, b) for a, b in pairs)


def sums_fit_int32(graph: Graph, op: Op) -> bool:
    """all that is multiplied fits int32: left_shift is at most 20, each multiplier 0 or in [2^30, 2^31)."""
    multipliers = (*op.integers("multipliers"), op.integer("output_multiplier"))
    shifts = (*op.integers("shifts"), op.integer("output_shift"))
    normal = all(m == 0 or 1 << 30 <= m < 1 << 31 for m in multipliers)
    return normal and 0 <= op.integer("left_shift") <= 20 and all(-31 <= s <= 0 for s in shifts)


def multiplier_is_in_range(graph: Graph, op: Op) -> bool:
    """the multiplier is in [0, 2^31), the shift in [-62, 7]."""
    return 0 <= op.integer("multiplier") < 1 << 31 and -62 <= op.integer("shift") <= 7


def map_is_small_enough_to_average(graph: Graph, op: Op) -> bool:
    """the input is a map of known size, at most 2^22 values a channel."""
    shape = _tensors(graph, op)[0].shape
    return len(shape) == 3 and TIME not in shape and shape[0] * shape[1] <= 1 << 22


def table_has_256_values(graph: Graph, op: Op) -> bool:
    """the table has one int8 value for each of 256."""
    table = _tensors(graph, op)[1]
    return table.shape == (256,) and table.dtype == "int8"


def exponentials_fall(graph: Graph, op: Op) -> bool:
    """the table has 256 int32 values from 2^31 - 1 (1.0 in Q31), never rising, none negative."""
    (table,) = (value.astype(np.int64) for value in graph.constant_inputs(op))
    falling = table.shape == (256,) and int(table[0]) == (1 << 31) - 1 and bool((np.diff(table) <= 0).all())
    return falling and int(table[-1]) >= 0


def sums_of_exponentials_fit(graph: Graph, op: Op) -> bool:
    """the last axis has 1 to 4095 values."""
    return 1 <= _tensors(graph, op)[0].shape[-1] <= 4095


def size_stays(graph: Graph, op: Op) -> bool:
    """the output has as many values as the input, and its size is known."""
    one, other = _tensors(graph, op)[0].shape, graph.output(op).shape
    return TIME not in (*one, *other) and int(np.prod(one)) == int(np.prod(other))


def axes_are_a_permutation(graph: Graph, op: Op) -> bool:
    """axes are a permutation of the input's."""
    return sorted(op.integers("axes")) == list(range(len(_tensors(graph, op)[0].shape)))


def padding_is_not_negative(graph: Graph, op: Op) -> bool:
    """padding is four numbers from 0, fill an int8 value."""
    padding = op.integers("padding")
    return len(padding) == 4 and min(padding) >= 0 and -128 <= op.integer("fill") <= 127


def products_fit(graph: Graph, op: Op) -> bool:
    """channels divide the input's M * C values, at most 2^15 rows; the output has C * C more."""
    (size,), channels = _tensors(graph, op)[0].shape, op.integer("channels")
    fits = channels > 0 and size % channels == 0 and size // channels <= 1 << 15
    return fits and graph.output(op).shape == (size + channels**2,)


def both_multipliers_are_in_range(graph: Graph, op: Op) -> bool:
    """each multiplier is in [0, 2^31), each shift in [-31, 14]."""
    multipliers, shifts = op.integers("multipliers"), op.integers("shifts")
    sizes = len(multipliers) == len(shifts) == 2
    return sizes and all(0 <= m < 1 << 31 for m in multipliers) and all(-31 <= s <= 14 for s in shifts)


def clamp_is_int8(graph: Graph, op: Op) -> bool:
    """clamp is two int8 values in order, and the zero points are int8."""
    points = [op.integer(name) for name in ("input_zero_point", "output_zero_point")]
    return results_stay_in_the_clamp(graph, op) and all(-128 <= point <= 127 for point in points)


def scores_are_as_many_as_values(graph: Graph, op: Op) -> bool:
    """values and scores have one shape."""
    value, score, *_ = _tensors(graph, op)
    return value.shape == score.shape


def table_is_falling(graph: Graph, op: Op) -> bool:
    """the exponential table has 256 entries from 32768 (1.0 in Q15), never rising."""
    (table,) = graph.constant_inputs(op)
    values = table.astype(np.int64)
    return values.shape == (256,) and int(values[0]) == 1 << 15 and bool((np.diff(values) <= 0).all())


def bands_are_in_the_spectrum(graph: Graph, op: Op) -> bool:
    """each mel band's bins lie in the spectrum, and no sum of weights exceeds 2^12."""
    first, count, weights = (value.astype(np.int64) for value in graph.constant_inputs(op))
    bins = _tensors(graph, op)[0].shape[1]
    ends = np.cumsum(count)
    sums = [int(weights[end - n : end].sum()) for n, end in zip(count.tolist(), ends.tolist(), strict=True)]
    inside = bool((first >= 0).all() and (first + count <= bins).all()) and weights.size == count.sum()
    return inside and max(sums) <= 1 << 12


def spectrum_fits_51_bits(graph: Graph, op: Op) -> bool:
    """re^2 + im^2 of full-scale input stays below 2^51 (the mel sums then fit 63 bits)."""
    (basis,) = graph.constant_inputs(op)
    reach = (np.abs(basis.astype(np.int64)).sum(axis=2) * 32768) >> op.integer("shift_bits")
    return bool((reach**2).sum(axis=0).max() < 1 << 51)


INT8 = (input_is("int8"), output_is("int8"))
CONVOLUTION = (channels_agree, multipliers_are_normalized, accumulators_fit)
WINDOW = (
    kernel_and_stride_are_positive,
    a_stream_is_not_padded_at_its_end,
    *INT8,
)

CONSTRAINTS: Mapping[str, tuple[Constraint, ...]] = {
    "frame": (input_is("int16"), window_is_short_power_of_two, memory_is_bounded),
    "frame_level": (input_is("int16"), window_is_short_power_of_two, memory_is_bounded, output_is("int16")),
    "power_spectrum": (input_is("int16"), spectrum_fits_51_bits, output_is("int64")),
    "mel_filter": (input_is("int64"), bands_are_in_the_spectrum, output_is("int64")),
    "log2": (input_is("int64"), output_is("int16")),
    "level_normalize": (input_is("int16"), output_is("int8")),
    "conv2d": (*WINDOW, dilation_is_positive, weights_are_int8, *CONVOLUTION, clamp_is_int8),
    "depthwise_conv2d": (
        *WINDOW,
        dilation_is_positive,
        weights_are_int8,
        each_channel_has_its_kernels,
        multipliers_are_normalized,
        accumulators_fit,
        clamp_is_int8,
    ),
    "max_pool2d": WINDOW,
    "average_pool2d": (*WINDOW, results_stay_in_the_clamp),
    "mean": (*INT8, map_is_small_enough_to_average, multiplier_is_in_range, results_stay_in_the_clamp),
    "add": (inputs_are_two_int8, shapes_agree_or_repeat, sums_fit_int32, results_stay_in_the_clamp),
    "mul": (inputs_are_two_int8, shapes_agree_or_repeat, multiplier_is_in_range, results_stay_in_the_clamp),
    "lookup": (*INT8, table_has_256_values),
    "softmax": (*INT8, exponentials_fall, sums_of_exponentials_fit),
    "flatten": INT8,
    "reshape": (*INT8, size_stays),
    "transpose": (*INT8, axes_are_a_permutation),
    "pad": (*INT8, padding_is_not_negative),
    "fully_connected": (
        input_is("int8"),
        output_is("int8"),
        weights_are_int8_or_int4,
        *CONVOLUTION,
        clamp_is_int8,
        rounding_is_known,
    ),
    "attention_pool": (
        input_is("int8"),
        output_is("int16"),
        scores_are_as_many_as_values,
        table_is_falling,
    ),
    "second_order": (
        input_is("int16"),
        output_is("int16"),
        products_fit,
        both_multipliers_are_in_range,
    ),
    "fully_connected_int16": (
        input_is("int16"),
        output_is("int16"),
        weights_are_int8,
        channels_agree,
        multipliers_are_normalized,
        accumulators_fit_int32,
    ),
}


def verify(graph: Graph) -> None:
    """Check that the graph is legal.

    Raises:
        UnsupportedError: Naming the first operator or tensor at fault and the constraint it breaks.
    """
    for problem in _structure_problems(graph):
        raise UnsupportedError(f"graph {graph.name}: {problem}", "re-run edgekit quantize")
    for op in graph.ops:
        for constraint in CONSTRAINTS[op.kind]:
            if not constraint(graph, op):
                raise UnsupportedError(
                    f"graph {graph.name}: {op.kind} {op.name!r} (from {', '.join(op.origin) or 'no layer'}): "
                    f"required: {constraint.__doc__}",
                    "change the model at that layer, or build the student wav2small",
                )


def _structure_problems(graph: Graph) -> Iterator[str]:
    known = set(graph.inputs) | set(graph.constants)
    for name, value in graph.constants.items():
        yield from _constant_problems(graph.tensors[name], value)
    names = [op.name for op in graph.ops]
    if len(set(names)) < len(names):
        yield "two operators share a name"
    for op in graph.ops:
        if op.kind not in OPERATORS:
            yield f"operator {op.name!r} is of unknown kind {op.kind!r}"
        missing = [name for name in op.inputs if name not in known]
        if missing:
            yield f"operator {op.name!r} reads {missing[0]!r} before anything computes it"
        known.update(op.outputs)
    for name in graph.outputs:
        if name not in known:
            yield f"output {name!r} is computed by nothing"


def _constant_problems(tensor: Tensor, value: NDArray[np.integer]) -> Iterator[str]:
    low, high = LIMITS[tensor.dtype]
    if value.shape != tensor.shape or value.dtype != storage_dtype(tensor.dtype):
        yield f"constant {tensor.name!r} is {value.dtype} {value.shape}, not {tensor.dtype} {tensor.shape}"
    elif value.size and (int(value.min()) < low or int(value.max()) > high):
        yield f"constant {tensor.name!r} leaves {tensor.dtype}"
