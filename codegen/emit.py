"""The C of one model: the generated engine and weights, and the kernels that they use, as text."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import jinja2
import numpy as np
from numpy.typing import NDArray

from codegen.arena import Program, plan_program
from codegen.blob import HEADER_BYTES, blob_sections, pack_blob
from codegen.dense import Rows4
from codegen.plan import POOL_PADDING, Plan, plan_stream, state_bytes
from codegen.taps import Taps, in_vectors, taps_of
from codegen.tiles import tile_set, tiles_of
from edgekit import __version__
from edgekit.graph import TIME, Graph, Op, graph_digest
from edgekit.target import InstructionSet

HERE = Path(__file__).parent
DEFAULT_WINDOW_FRAMES = 1000
WORDS_PER_LINE = 8
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
DECLARATION = re.compile(r"^\w[^;{]*\);$", re.MULTILINE)
KERNEL_NAME = re.compile(r"\bek_\w+\b")


def emit_sources(
    graph: Graph, sample_rate_hz: int = 0, instructions: InstructionSet = "portable", target: str = ""
) -> dict[str, str]:
    """Return file name to text of everything that compiles to the model, kernels included.

    Args:
        graph: A verified graph.
        sample_rate_hz: What the front end was made for; a graph without one needs none.
        instructions: What the target's core has; without them the same C computes the same, slower.
        target: Its name, for the comments that open the files.

    Raises:
        UnsupportedError: If no engine can run the graph; it names the operator.
    """
    plan, sections = plan_graph(graph, instructions), blob_sections(graph, instructions)
    blob, opening = pack_blob(graph, sections, instructions), banner(graph, target)
    values: dict[str, object] = {
        **_common_values(plan, sample_rate_hz),
        "banner": opening,
        "sections": sections,
        "blob_bytes": len(blob),
        "header": [f"0x{word:08x}u" for word in np.frombuffer(blob[:HEADER_BYTES], "<u4")],
    }
    if isinstance(plan, Plan):
        engine, header, values = "stream.c", "edgekit_model.h", values | _stream_values(plan)
    else:
        engine, header = ("window.c", "edgekit_model.h") if plan.front_end else ("network.c", "network.h")
    files = {
        "edgekit_model.h": render(f"{header}.j2", values),
        "edgekit_engine.c": render(f"{engine}.j2", values),
        "edgekit_products.h": render("edgekit_products.h.j2", values),
        "edgekit_products.c": render("edgekit_products.c.j2", values),
        "edgekit_tiles.c": render("edgekit_tiles.c.j2", values),
        "edgekit_model.c": _blob_source(opening, blob),
    }
    if values["depthwise"]:
        for name in ("edgekit_depthwise.h", "edgekit_depthwise.c"):
            files[name] = render(f"{name}.j2", values)
    return files | _kernels_of(files.values())


def plan_graph(graph: Graph, instructions: InstructionSet = "portable") -> Plan | Program:
    """Return how a graph runs: as a stream where its features have no fixed number of frames, else whole.

    Raises:
        UnsupportedError: If it cannot run so; the operator is named.
    """
    streams = any(op.kind == "level_normalize" and graph.output(op).shape[0] == TIME for op in graph.ops)
    return plan_stream(graph, instructions) if streams else plan_program(graph, instructions)


def memory_facts(graph: Graph, instructions: InstructionSet = "portable") -> dict[str, object]:
    """Return what memory.json says: the state that each layer needs; of an arena, what lies where and when.

    Raises:
        UnsupportedError: As `plan_graph`.
    """
    plan = plan_graph(graph, instructions)
    if isinstance(plan, Plan):
        return {"state_bytes_by_layer": state_bytes(plan, DEFAULT_WINDOW_FRAMES)}
    sizes = {"size_bytes": plan.layout.size_bytes, "bound_bytes": plan.layout.bound_bytes}
    places = {"steps": plan.steps(), "buffers": plan.places()}
    return {"state_bytes_by_layer": plan.live_bytes(), "arena": {**sizes, **places}}


def _kernels_of(texts: Iterable[str]) -> dict[str, str]:
    """Return the headers, and the kernels that these C files need, themselves or through other kernels."""
    folder = HERE / "kernels"
    found = {path.name: path.read_text() for path in sorted(folder.glob("ek_*.h"))}
    # Headers declare every kernel, but only their inline functions call some.
    queue = [*texts, *(DECLARATION.sub("", text) for text in found.values())]
    while queue:
        for name in sorted(set(KERNEL_NAME.findall(COMMENT.sub("", queue.pop())))):
            path = folder / f"{name}.c"
            if path.is_file() and path.name not in found:
                found[path.name] = path.read_text()
                queue.append(found[path.name])
    return found


def _common_values(plan: Plan | Program, sample_rate_hz: int) -> dict[str, object]:
    """Return what all engines' templates need."""
    graph, front_end = plan.graph, plan.front_end
    values: dict[str, object] = {
        "plan": plan,
        "f": front_end,
        "digest": graph_digest(graph),
        "pool_padding": POOL_PADDING,
        "describe": _describe,
        "meaning": lambda name: _meaning(graph, name),
        "depthwise": _depthwise_shapes(plan),
        "shapes": _product_shapes(plan),
        "tiles": tiles_of((columns, *_channels(graph, name)) for name, columns in plan.columns.items()),
        "tile_set": lambda op, some: tile_set(plan.columns[op.name], *_channels(graph, op.name), some).name,
        "dense": _dense_shapes(plan.dense.values()),
    }
    if front_end:
        frame = front_end["frame"]
        values |= {name: frame.integer(name) for name in ("n_fft", "hop", "memory_frames")}
        values["bands"] = graph.output(front_end["log2"]).shape[1]
        values["sample_rate_hz"] = sample_rate_hz
    return values


def _stream_values(plan: Plan) -> dict[str, object]:
    return {
        "features_rows": plan.rows[plan.front_end["level_normalize"].outputs[0]],
        "features": plan.graph.tensors[plan.pool.inputs[0]].shape[-1],
        "window_frames": DEFAULT_WINDOW_FRAMES,
    }


def _channels(graph: Graph, name: str) -> tuple[int, int]:
    op = graph.op(name)
    return graph.tensors[op.inputs[0]].shape[-1], graph.output(op).shape[-1]


def _product_shapes(plan: Plan | Program) -> list[dict[str, object]]:
    """Return the shapes of rows that the direct convolutions need, each once."""
    found: dict[str, dict[str, object]] = {}
    for name, columns in plan.columns.items():
        outputs = _channels(plan.graph, name)[1]
        if columns.near(outputs):
            function = columns.function(outputs)
            found[function] = {
                "function": function,
                "count": columns.count,
                "fours": columns.fours,
                "depth": columns.depth,
                "outputs": outputs,
            }
    return list(found.values())


def _dense_shapes(layers: Iterable[Rows4]) -> list[Rows4]:
    """Return the shapes of rows that need a function of their own, each once."""
    return sorted({rows for rows in layers if rows.method == "pairs"}, key=lambda rows: rows.function)


def _depthwise_shapes(plan: Plan | Program) -> list[Taps]:
    """Return the shapes of depthwise convolutions, each once."""
    graph = plan.graph
    by_channel = (op for op in graph.ops if op.kind == "depthwise_conv2d")
    found = [taps_of(graph, op) for op in by_channel if not in_vectors(graph, op, plan.instructions)]
    return list({taps.function: taps for taps in found}.values())


def banner(graph: Graph, target: str = "", mark: str = "/* ") -> str:
    """Return the comment that opens each generated file: tool, command and graph.

    Args:
        graph: What the file is generated from.
        target: Name of the target, where there is one.
        mark: What begins a comment: of C, or of make and CMake.
    """
    command = f"edgekit codegen GRAPH --target {target}" if target else "edgekit codegen"
    next_line, end = (" * ", " */") if mark == "/* " else (mark, "")
    return (
        f"{mark}Generated by edgekit {__version__}: {command}. Do not edit.\n"
        f"{next_line}Graph {graph_digest(graph)}{end}"
    )


def _describe(op: Op) -> str:
    return f"{op.name}: {op.kind} from {', '.join(op.origin) or 'no layer'}."


def _meaning(graph: Graph, name: str) -> str:
    """Return what a tensor's integers mean, for a comment."""
    quantization = graph.tensors[name].quantization
    if quantization is None or len(quantization.scales) != 1:
        return ""
    return f", real value {quantization.scales[0]:.9g} * (integer - {quantization.zero_point})"


def render(template: str, values: Mapping[str, object]) -> str:
    """Return a template of codegen/templates filled in."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  (C, not HTML)
    )
    environment.filters["product"] = math.prod
    return environment.get_template(template).render(**values)


def _blob_source(opening: str, blob: bytes) -> str:
    words: NDArray[np.uint32] = np.frombuffer(blob, "<u4")
    lines = [
        "    " + ", ".join(f"0x{word:08x}u" for word in words[i : i + WORDS_PER_LINE]) + ","
        for i in range(0, words.size, WORDS_PER_LINE)
    ]
    text = "\n".join(lines)
    return (
        f'{opening}\n#include "edgekit_model.h"\n\n'
        "/* The weights blob, little-endian; sections in edgekit_engine.c. */\n"
        f"const uint32_t edgekit_model_data[EDGEKIT_MODEL_BYTES / 4u] = {{\n{text}\n}};\n"
    )


def model_sources(c_dir: Path) -> list[Path]:
    """Return the C files that make up the model: engine, weights and kernels."""
    generated = ("engine", "model", "products", "tiles", "depthwise")
    found = [path for name in generated if (path := c_dir / f"edgekit_{name}.c").is_file()]
    return sorted([*c_dir.glob("ek_*.c"), *found])
