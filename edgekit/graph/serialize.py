"""The graph on disk: `graph.json` (structure) and `weights.npz` (constants); same graph, same bytes."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import write_bytes, write_text
from edgekit.errors import ArtifactError
from edgekit.graph.spec import verify
from edgekit.graph.types import Graph, Op, Quantization, Tensor

GRAPH_FILE = "graph.json"
WEIGHTS_FILE = "weights.npz"
SCHEMA = 1
STRUCTURAL = frozenset(
    {
        *("n_fft", "hop", "memory_frames", "shift_bits"),
        *("kernel", "stride", "padding", "dilation", "left_shift", "rounding"),
        *("shape", "axes", "channels"),
    }
)


def save_graph(graph: Graph, folder: Path) -> None:
    """Write `graph.json` and `weights.npz` into a folder."""
    write_text(folder / GRAPH_FILE, json.dumps(_structure(graph), indent=1) + "\n")
    write_bytes(folder / WEIGHTS_FILE, _constants_bytes(graph))


def load_graph(folder: Path) -> Graph:
    """Read and verify what `save_graph` wrote.

    Raises:
        ArtifactError: If a file is missing or damaged, or of another schema.
        UnsupportedError: If the graph is not legal.
    """
    try:
        values = json.loads((folder / GRAPH_FILE).read_text())
        if values["schema"] != SCHEMA:
            raise ValueError(f"schema {values['schema']}, this edgekit reads {SCHEMA}")
        with np.load(folder / WEIGHTS_FILE) as arrays:
            constants = {name: arrays[name] for name in arrays.files}
        graph = _graph(values, constants)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{folder}: not a readable integer graph ({error})", "re-run edgekit quantize"
        ) from error
    verify(graph)
    return graph


def graph_digest(graph: Graph) -> str:
    """Return SHA-256 of what makes firmware: inputs, outputs, operators, shapes, types, structure.

    Two graphs of one digest run on the same firmware with another weights blob: weights, biases,
    multipliers, shifts, zero points and tables may differ.
    """
    shapes = {name: [tensor.dtype, *tensor.shape] for name, tensor in graph.tensors.items()}
    ops = [
        [op.kind, op.name, op.inputs, op.outputs, {k: v for k, v in op.attributes.items() if k in STRUCTURAL}]
        for op in graph.ops
    ]
    structure = [graph.inputs, graph.outputs, shapes, ops]
    return hashlib.sha256(json.dumps(structure, sort_keys=True).encode()).hexdigest()


def _structure(graph: Graph) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": graph.name,
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "tensors": [_tensor_values(tensor) for tensor in graph.tensors.values()],
        "constants": sorted(graph.constants),
        "ops": [_op_values(op) for op in graph.ops],
        "metadata": dict(sorted(graph.metadata.items())),
    }


def _tensor_values(tensor: Tensor) -> dict[str, Any]:
    values: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
    if tensor.quantization is not None:
        q = tensor.quantization
        values["quantization"] = {"scales": list(q.scales), "zero_point": q.zero_point, "axis": q.axis}
    return values


def _op_values(op: Op) -> dict[str, Any]:
    return {
        "kind": op.kind,
        "name": op.name,
        "inputs": list(op.inputs),
        "outputs": list(op.outputs),
        "attributes": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in sorted(op.attributes.items())
        },
        "origin": list(op.origin),
    }


def _graph(values: dict[str, Any], constants: dict[str, NDArray[np.integer]]) -> Graph:
    tensors = {item["name"]: _tensor(item) for item in values["tensors"]}
    if sorted(constants) != values["constants"]:
        raise ValueError("the constants are not those of the graph")
    return Graph(
        name=values["name"],
        inputs=tuple(values["inputs"]),
        outputs=tuple(values["outputs"]),
        tensors=tensors,
        constants=constants,
        ops=tuple(_op(item) for item in values["ops"]),
        metadata=values["metadata"],
    )


def _tensor(item: dict[str, Any]) -> Tensor:
    q = item.get("quantization")
    quantization = q and Quantization(tuple(q["scales"]), q["zero_point"], q["axis"])
    return Tensor(item["name"], tuple(item["shape"]), item["dtype"], quantization)


def _op(item: dict[str, Any]) -> Op:
    attributes = {
        name: tuple(value) if isinstance(value, list) else value for name, value in item["attributes"].items()
    }
    inputs, outputs, origin = (tuple(item[key]) for key in ("inputs", "outputs", "origin"))
    return Op(item["kind"], item["name"], inputs, outputs, attributes, origin)


def _constants_bytes(graph: Graph) -> bytes:
    # zipfile stamps each member with the time unless it is given a ZipInfo: fixed dates, same bytes.
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(graph.constants):
            member = io.BytesIO()
            np.lib.format.write_array(member, graph.constants[name], allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
