"""Single layers of any shape as C programs: the kernels for Helium alone, on this machine and in QEMU."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codegen.blob import blob_sections, build_blob
from codegen.columns import columns_of
from codegen.dense import rows_of
from codegen.emit import HERE as CODEGEN
from codegen.toolchain import board_source, compile_program
from edgekit.graph import TIME, Graph, Op, Tensor
from edgekit.graph.reference import evaluate
from edgekit.target import Target
from edgekit.toolchain import compile_host

SINK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
HEAD = """
#include "ek_kernels.h"
static ek_pair_t lanes[{lanes} / 4 + 1];
static int8_t output[{outputs}];
static const uint8_t *model;
static const void *at(uint32_t offset) {{ return model + offset; }}
void edgekit_trace(int layer, const void *data, size_t bytes);
void run_layers(void);
"""
HOST = """
#include <stddef.h>
typedef void (*sink_t)(int layer, const void *data, size_t bytes);
static sink_t sink;
void set_sink(sink_t new_sink);
void set_sink(sink_t new_sink) { sink = new_sink; }
void edgekit_trace(int layer, const void *data, size_t bytes);
void edgekit_trace(int layer, const void *data, size_t bytes) { sink(layer, data, bytes); }
"""
MAIN = """
#include "board.h"
void run_layers(void);
int main(void);
int main(void)
{
    static int16_t block[64];
    while (board_read_audio(block, 64) > 0) {
    }
    run_layers();
    board_exit(0);
}
"""


@dataclass(frozen=True)
class Layer:
    """One operator and its input.

    Attributes:
        graph: Of this operator alone.
        x: Its input.
    """

    graph: Graph
    x: np.ndarray

    @property
    def op(self) -> Op:
        return self.graph.ops[0]

    @property
    def expected(self) -> np.ndarray:
        """What the reference computes."""
        return evaluate(self.graph, self.op, {**self.graph.constants, "x": self.x})


def _scales(rng: np.random.Generator, outputs: int, odd: bool) -> list[np.ndarray]:
    """Bias, multiplier and shift; odd ones are legal, give many halves, and no calibration chooses them."""
    multiplier = rng.integers(1 << 30, 1 << 31, outputs)
    if not odd:
        # One in ten far beyond int8 and int16.
        shift = np.where(rng.random(outputs) < 0.9, rng.integers(-9, -6, outputs), 0)
        return [rng.integers(-3000, 3000, outputs), multiplier, shift]
    multiplier[rng.random(outputs) < 0.7] = 1 << 30
    multiplier[rng.random(outputs) < 0.1] = 0
    shift = np.where(rng.random(outputs) < 0.7, rng.integers(-4, 3, outputs), rng.integers(-31, 4, outputs))
    return [rng.integers(-100, 100, outputs), multiplier, shift]


def _weights(rng: np.random.Generator, most: int, odd: bool, shape: tuple[int, ...]) -> np.ndarray:
    most = 1 if odd else most
    return rng.integers(-most, most + 1, shape)


def _attributes(rng: np.random.Generator, odd: bool) -> dict:
    points = {name: int(rng.integers(-128, 128)) for name in ("input_zero_point", "output_zero_point")}
    low, high = (int(rng.integers(-128, -50)), int(rng.integers(50, 128))) if odd else (-128, 127)
    return {**points, "clamp": (low, high)}


def _graph(
    op: Op, x: np.ndarray, constants: dict[str, np.ndarray], shape: tuple[int, ...], dtype: str
) -> Graph:
    tensors = {"x": Tensor("x", x.shape, "int8"), "y": Tensor("y", shape, "int8")}
    dtypes = {"w": dtype, "b": "int32", "m": "int32", "s": "int8"}
    tensors |= {name: Tensor(name, value.shape, dtypes[name]) for name, value in constants.items()}
    stored = {n: v.astype("int8" if n in "ws" else "int32") for n, v in constants.items()}
    return Graph("layer", ("x",), ("y",), tensors, stored, (op,))


def conv(
    rng: np.random.Generator,
    *,
    width: int,
    channels: int,
    outputs: int,
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    rows: int = 1,
    odd: bool = False,
) -> Layer:
    """A random convolution with `width` positions and `rows` rows of results, padded left and right."""
    left = kernel[1] // 2
    wide = (width - 1) * stride[1] + kernel[1]
    x = rng.integers(-128, 128, ((rows - 1) * stride[0] + kernel[0], wide - left, channels))
    attributes = {"kernel": kernel, "stride": stride, "padding": (0, 0, left, 0), **_attributes(rng, odd)}
    op = Op("conv2d", "l", ("x", "w", "b", "m", "s"), ("y",), attributes)
    bias, multiplier, shift = _scales(rng, outputs, odd)
    weights = _weights(rng, 127, odd, (outputs, *kernel, channels))
    constants = {"w": weights, "b": bias, "m": multiplier, "s": shift}
    # A stream: its rows are computed one by one.
    return Layer(_graph(op, x, constants, (TIME, width, outputs), "int8"), x)


def depthwise(
    rng: np.random.Generator,
    *,
    width: int,
    channels: int,
    kernel: tuple[int, int],
    stride: int,
    odd: bool = False,
) -> Layer:
    """A random depthwise convolution with one row of results, padded left."""
    left = kernel[1] // 2
    x = rng.integers(-128, 128, (kernel[0], (width - 1) * stride + kernel[1] - left, channels))
    attributes = {
        "kernel": kernel,
        "stride": (1, stride),
        "padding": (0, 0, left, 0),
        **_attributes(rng, odd),
    }
    op = Op("depthwise_conv2d", "l", ("x", "w", "b", "m", "s"), ("y",), attributes)
    bias, multiplier, shift = _scales(rng, channels, odd)
    constants = {"w": _weights(rng, 127, odd, (*kernel, channels)), "b": bias, "m": multiplier, "s": shift}
    return Layer(_graph(op, x, constants, (1, width, channels), "int8"), x)


def dense(
    rng: np.random.Generator, *, inputs: int, outputs: int, bits: int = 8, rows: int = 1, odd: bool = False
) -> Layer:
    """A random fully connected layer."""
    x = rng.integers(-128, 128, (rows, inputs))
    op = Op("fully_connected", "l", ("x", "w", "b", "m", "s"), ("y",), _attributes(rng, odd))
    bias, multiplier, shift = _scales(rng, outputs, odd)
    weights = _weights(rng, 127 if bits == 8 else 7, odd, (outputs, inputs))
    constants = {"w": weights, "b": bias, "m": multiplier, "s": shift}
    return Layer(_graph(op, x, constants, (rows, outputs), f"int{bits}"), x)


def pool(
    rng: np.random.Generator, *, width: int, channels: int, kernel: tuple[int, int], stride: tuple[int, int]
) -> Layer:
    """A random maximum pooling, one row of results."""
    x = rng.integers(-128, 128, (kernel[0], (width - 1) * stride[1] + kernel[1], channels))
    op = Op("max_pool2d", "l", ("x",), ("y",), {"kernel": kernel, "stride": stride, "padding": (0, 0, 0, 0)})
    return Layer(_graph(op, x, {}, (1, width, channels), "int8"), x)


def write_layers(layers: Sequence[Layer], folder: Path) -> list[Path]:
    """Write the C that runs layers one after another and traces each row; return the sources."""
    parts = [_layer_source(index, layer) for index, layer in enumerate(layers)]
    scratch = max(_lanes_bytes(layer) for layer in layers)
    most = max(int(np.prod(layer.expected.shape[1:])) for layer in layers)
    calls = "".join(f"    layer_{index}();\n" for index in range(len(layers)))
    run = f"void run_layers(void)\n{{\n{calls}}}\n"
    (folder / "layers.c").write_text(HEAD.format(lanes=scratch, outputs=most) + "".join(parts) + run)
    kernels = [CODEGEN / "kernels" / name for name in ("ek_patches_s8.c", "ek_max_pool2d_s8.c")]
    return [folder / "layers.c", *kernels, *sorted((CODEGEN / "kernels").glob("ek_*_mve*.c"))]


def _lanes_bytes(layer: Layer) -> int:
    if layer.op.kind in ("max_pool2d", "depthwise_conv2d"):
        return layer.x[0].size
    method = columns_of if layer.op.kind == "conv2d" else rows_of
    return method(layer.graph, layer.op, "mve").lanes_bytes


def _layer_source(index: int, layer: Layer) -> str:
    op, graph = layer.op, layer.graph
    x, height = layer.x, 1
    if "kernel" in op.attributes:
        left, height = op.integers("padding")[2], op.integers("kernel")[0]
        fill = -128 if op.kind == "max_pool2d" else op.integer("input_zero_point")
        x = np.pad(x, ((0, 0), (left, 0), (0, 0)), constant_values=fill)
    values = ", ".join(map(str, x.ravel().tolist()))
    rows, size = len(x), x[0].size
    data = f"static const int8_t x_{index}[{rows} * {size}] = {{ {values} }};\n"
    step = op.integers("stride")[0] if height > 1 or "stride" in op.attributes else 1
    body = (_pool_call if op.kind == "max_pool2d" else _linear_call)(index, layer)
    out = layer.expected
    if op.kind == "max_pool2d":
        blob = ""
    else:
        words = ", ".join(f"0x{w:08x}u" for w in np.frombuffer(build_blob(graph, "mve"), "<u4"))
        blob = f"static const uint32_t model_{index}[] = {{ {words} }};\n"
        body = f"    model = (const uint8_t *)model_{index};\n" + body
    return f"""{data}{blob}
__attribute__((noinline)) static void layer_{index}(void)
{{
    uint32_t t;
    for (t = 0; t < {len(out)}u; t++) {{
        const int8_t *rows[{height}];
        uint32_t row;
        for (row = 0; row < {height}u; row++) {{
            rows[row] = x_{index} + ({step}u * t + row) * {size}u;
        }}
        {{
{body}
        }}
        edgekit_trace({index}, output, {out[0].size});
    }}
}}
"""


def _window(layer: Layer) -> str:
    op = layer.op
    (height, width), stride = op.integers("kernel"), op.integers("stride")[1]
    _, out_width, outputs = layer.expected.shape
    sizes = (out_width, layer.x.shape[2], outputs, height, width, stride)
    return f"static const ek_window_t window = {{ {', '.join(map(str, sizes))} }};\n"


def _pool_call(index: int, layer: Layer) -> str:
    return _window(layer) + "ek_max_pool2d_s8(rows, &window, (int8_t *)lanes, output);"


def _linear_call(index: int, layer: Layer) -> str:
    graph, op = layer.graph, layer.op
    at = {s.name: s.offset for s in blob_sections(graph, "mve")}
    parts = ", ".join(
        f"at({at['L_' + n]}u)" for n in ("WEIGHTS", "BIAS", "MULTIPLIER", "SHIFT", "QUANTIZATION")
    )
    text = f"const ek_layer_t layer = {{ {parts} }};\n"
    if op.kind == "depthwise_conv2d":
        return text + _window(layer) + "ek_depthwise_conv2d_mve_s8(rows, &window, &layer, output);"
    if op.kind == "conv2d":
        columns = columns_of(graph, op, "mve")
        sizes = f"{columns.depth}, {columns.count}, NULL"
        text = _window(layer) + f"static const ek_columns_t columns = {{ {sizes} }};\n" + text
        return text + "ek_conv2d_mve_s8(rows, &window, &columns, &layer, lanes, output);"
    rows = rows_of(graph, op, "mve")
    _, inputs = layer.x.shape
    text += f"static const ek_rows_t dense = {{ {rows.words}, {rows.pairs}, {rows.offset}, NULL, NULL }};\n"
    return (
        text + f"{rows.kernel}(rows[0], {inputs}, {layer.expected.shape[1]}, &dense, &layer, lanes, output);"
    )


def run_on_host(layers: Sequence[Layer], folder: Path) -> list[np.ndarray]:
    """Return each layer's result from the C on this machine."""
    (folder / "host.c").write_text(HOST)
    sources = [*write_layers(layers, folder), folder / "host.c"]
    library = ctypes.CDLL(str(compile_host(sources, folder / "layers.so", include=[CODEGEN / "kernels"])))
    traces: list[tuple[int, bytes]] = []
    sink = SINK(lambda layer, data, count: traces.append((layer, ctypes.string_at(data, count))))
    library.set_sink(sink)
    library.run_layers()
    return results_of(layers, traces)


def build_for(layers: Sequence[Layer], target: Target, folder: Path) -> Path:
    """Return a program of the layers for a target."""
    (folder / "main.c").write_text(MAIN)
    sources = [
        folder / "main.c",
        *write_layers(layers, folder),
        board_source(target),
    ]
    folders = [CODEGEN / "kernels"]
    return compile_program(sources, folders, target, folder / "layers.elf", {"EDGEKIT_TRACE": "1"})


def results_of(layers: Sequence[Layer], traces: Sequence[tuple[int, bytes]]) -> list[np.ndarray]:
    """Return each layer's result from traced rows."""
    joined = [b"".join(data for index, data in traces if index == place) for place in range(len(layers))]
    pairs = zip(layers, joined, strict=True)
    return [np.frombuffer(data, np.int8).reshape(layer.expected.shape) for layer, data in pairs]
