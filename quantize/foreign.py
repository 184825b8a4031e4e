"""A float ONNX model from elsewhere as an artifact of the quantize stage, calibrated on arrays."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import external_data_helper

from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.errors import ArtifactError, ConfigError, ParityError, UnsupportedError
from edgekit.progress import Progress, silent
from quantize.config import QuantizeConfig
from quantize.stage import STAGE

if TYPE_CHECKING:
    from edgekit.graph import Graph
    from quantize.network import Network

Examples = NDArray[np.float32]
LARGEST_ERROR = 0.25
"""Mean error in units of the spread of all answers."""
LARGEST_TYPICAL_ERROR = 0.5
"""Of the median example, in units of how far such examples are from the median answer."""
SMALLEST_ERROR = 1e-3
FEWEST_AXES, MOST_AXES = 2, 4
LICENCE_KEYS = ("licence", "license", "license_name")
"""What an ONNX model's own properties may call it."""
COMPARED = 20
"""Examples that the written copies are compared on."""


def quantize_model(
    config: QuantizeConfig, model: Path, calibration: Path, out: Path, progress: Progress = silent
) -> Artifact:
    """Quantize a float ONNX model that is no student: without front end, int8 in and out.

    Writes graph.json, weights.npz, graph.txt, model.onnx (real values in and out), model.tflite (int8 in and
    out) and parity.json: every layer of both copies against the graph, and how far the graph is from the
    float model on the examples.

    Args:
        config: Weights, ranges and steps of quantization-aware training; the rest is for students.
        model: The file, of one input of fixed size and one output.
        calibration: A .npy file, (N, ...) real inputs as the model takes them, one beside another.
        out: Folder to write.
        progress: Told how much is done.

    Raises:
        ArtifactError: If a file is missing or not readable.
        ConfigError: If the examples are not of the model's input shape.
        UnsupportedError: If an operator is not supported; it names the node and the constraint.
        ParityError: If a copy does not compute the graph's integers.
    """
    from edgekit.graph import save_graph, to_text
    from quantize.importer import import_onnx

    for file in (model, calibration):
        if not file.is_file():
            raise ArtifactError(f"{file}: no such file", "name a float .onnx and a .npy of real inputs")
    params = {"weights": config.weights, "ranges": config.ranges, "qat_steps": config.qat_steps}
    with TemporaryDirectory() as scratch:
        source, model = model, _simplified(model, Path(scratch))
        proto = onnx.load(str(source), load_external_data=False)
        inputs = {**_digests(source, proto), "calibration": artifact.sha256_file(calibration)}
        network = import_onnx(model)
        examples = _examples(calibration, network)
        _require_runs(model, examples[:1])
        with artifact.writing(out, STAGE, inputs, params) as work:
            graph = _graph(config, model, network, examples, progress)
            graph = replace(graph, metadata={**graph.metadata, **_facts(config, network, proto)})
            save_graph(graph, work)
            artifact.write_text(work / "graph.txt", to_text(graph) + "\n")
            parity = _parity(graph, model, network, examples, work, progress)
            artifact.write_json(work / "parity.json", parity)
    return artifact.read(out, STAGE)


def _digests(model: Path, proto: onnx.ModelProto) -> dict[str, str]:
    """Return the digest of a model, and of each file beside it that holds weights of it."""
    tensors = [item for item in proto.graph.initializer if external_data_helper.uses_external_data(item)]
    names = {external_data_helper.ExternalDataInfo(item).location for item in tensors}
    beside = {f"model: {name}": artifact.sha256_file(model.parent / name) for name in sorted(names)}
    return {"model": artifact.sha256_file(model), **beside}


def _facts(config: QuantizeConfig, network: "Network", proto: onnx.ModelProto) -> dict[str, str]:
    """Return what the written files say of themselves: licence, and where each axis was in the model."""
    stated = {item.key.lower(): item.value for item in proto.metadata_props}
    licences = [stated[key] for key in LICENCE_KEYS if stated.get(key)]
    return {
        "input": f"{network.input}, axes {' '.join(str(axis + 1) for axis in network.input_axes)}",
        "output": f"{network.output_name}, axes {' '.join(str(axis + 1) for axis in network.output_axes)}",
        "weights": config.weights,
        "licence": licences[0] if licences else "not stated by the float model",
    }


def _simplified(model: Path, folder: Path) -> Path:
    """Write a model without what exporters leave behind: constants to be worked out, identities."""
    # Imported late: it takes seconds.
    import onnxsim
    from onnx.checker import ValidationError

    try:
        # Constants are folded and nothing is fused: what is fused is told by its layers' names.
        simple, same = onnxsim.simplify(
            str(model), overwrite_input_shapes=_one_at_a_time(model), perform_optimization=False
        )
    except (RuntimeError, ValueError, ValidationError, DecodeError) as error:
        raise UnsupportedError(f"{model}: not a valid ONNX model ({error})", "export it again") from error
    if not same:
        raise UnsupportedError(f"{model}: onnxsim changes what it computes", "export it again")
    out = folder / "simplified.onnx"
    onnx.save(simple, str(out))
    return out


def _one_at_a_time(model: Path) -> dict[str, list[int]] | None:
    """Return the input's shape with a batch of one, where the model leaves the batch open."""
    proto = onnx.load(str(model), load_external_data=False)
    constants = {item.name for item in proto.graph.initializer}
    inputs = [item for item in proto.graph.input if item.name not in constants]
    if len(inputs) != 1 or not inputs[0].type.tensor_type.HasField("shape"):
        return None
    tensor = inputs[0].type.tensor_type
    if not FEWEST_AXES <= len(tensor.shape.dim) <= MOST_AXES:
        what = f"input {inputs[0].name!r} has {len(tensor.shape.dim)} axes"
        raise UnsupportedError(f"{model}: {what}", "export it with a batch and one to three axes")
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        what = f"input {inputs[0].name!r} is no float32 tensor"
        raise UnsupportedError(f"{model}: {what}", "export the model in float32")
    sizes = [size.dim_value for size in tensor.shape.dim]
    if sizes[0] > 1:
        raise UnsupportedError(f"{model}: a batch of {sizes[0]}", "export it for a batch of 1, or any")
    if min(sizes[1:]) < 1:
        what = f"input {inputs[0].name!r} has a size that the model leaves open"
        raise UnsupportedError(f"{model}: {what}", "fix the sizes of the input, all but the batch's")
    return {inputs[0].name: [1, *sizes[1:]]} if sizes[0] == 0 else None


def _require_runs(model: Path, examples: Examples) -> None:
    """Require that onnxruntime computes finite numbers from the examples.

    Raises:
        UnsupportedError: If it does not.
    """
    from quantize.runtime import one_thread_session

    try:
        session = one_thread_session(model)
        found = session.run(None, {session.get_inputs()[0].name: examples})[0]
    except Exception as error:  # onnxruntime has a class of its own for each fault, with no common base
        raise UnsupportedError(f"onnxruntime cannot run the model ({error})", "export it again") from error
    if not np.isfinite(found).all():
        raise UnsupportedError("the model's results are not finite", "check its weights")


def _examples(file: Path, network: "Network") -> Examples:
    """Return (N, ...) inputs in ONNX's order."""
    shape = network.onnx_shape
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{file}: not a .npy array ({error})", "write it with numpy.save") from error
    if not isinstance(found, np.ndarray) or found.ndim != len(shape) + 1 or found.shape[1:] != shape:
        has = getattr(found, "shape", "several arrays")
        wanted = f"(N, {', '.join(map(str, shape))})"
        raise ConfigError(f"{file}: {has}, the model takes {wanted}", "give one array of that shape")
    if found.dtype.kind not in "fiu":
        raise ConfigError(f"{file}: {found.dtype} values", "give real numbers")
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    if not len(found) or not np.isfinite(found).all():
        raise ConfigError(
            f"{file}: no examples, or values that are not finite in float32", "give real inputs"
        )
    return found


def _graph(
    config: QuantizeConfig, model: Path, network: "Network", examples: Examples, progress: Progress
) -> "Graph":
    from edgekit.threads import torch_threads
    from quantize.calibration import RANGES, observe
    from quantize.equalization import equalize
    from quantize.quantizer import quantize_plain

    network, seen = equalize(network, observe(model, network, list(examples), progress))
    graph = quantize_plain(network, seen, config.weights == "mixed4", RANGES[config.ranges])
    if not config.qat_steps:
        return graph
    # Imported late: torch takes seconds.
    from quantize import finetuning

    wanted = _float_answers(model, network, examples)
    learned = finetuning.Examples(_integers(graph, network, examples), wanted.reshape(len(wanted), -1))
    with torch_threads(1):
        return finetuning.finetune(graph, network, learned, config.qat_steps, progress=progress)


def _float_answers(model: Path, network: "Network", examples: Examples) -> Examples:
    """Return (N, ...) results in the graph's order."""
    from quantize.runtime import one_thread_session

    session = one_thread_session(model)
    name = session.get_inputs()[0].name
    found = np.concatenate([session.run(None, {name: example[None]})[0] for example in examples])
    return np.transpose(found, (0, *(1 + axis for axis in network.output_axes)))


def _integers(graph: "Graph", network: "Network", examples: Examples) -> NDArray[np.int8]:
    """Return (N, ...) int8 inputs in the graph's order."""
    tensor = graph.tensors[graph.inputs[0]]
    assert tensor.quantization is not None, "the input stands for real values"
    real = _in_graph_order(graph, network, examples)
    steps = np.rint(real / np.float32(tensor.quantization.scales[0])) + tensor.quantization.zero_point
    return np.asarray(np.clip(steps, -128, 127), np.int8)


def _in_graph_order(graph: "Graph", network: "Network", examples: Examples) -> Examples:
    ordered = np.transpose(examples, (0, *(1 + axis for axis in network.input_axes)))
    return ordered.reshape(len(examples), *graph.tensors[graph.inputs[0]].shape)


def _parity(
    graph: "Graph", model: Path, network: "Network", examples: Examples, work: Path, progress: Progress
) -> dict[str, Any]:
    from edgekit.graph import run
    from quantize.onnx_writer import write_onnx
    from quantize.parity import Feed, check_copies, in_onnx_order
    from quantize.tflite_writer import write_tflite

    write_onnx(graph, work / "model.onnx")
    write_tflite(graph, work / "model.tflite")
    integers, source = _integers(graph, network, examples), graph.inputs[0]
    real = _in_graph_order(graph, network, examples)
    feeds = [Feed(integers[row], in_onnx_order(real[row])) for row in range(min(COMPARED, len(examples)))]
    copies = check_copies(graph, work, feeds, progress)
    copies.require(work)
    result = graph.tensors[graph.outputs[0]]
    assert result.quantization is not None, "the output stands for real values"
    found = np.stack(
        [result.quantization.dequantize(run(graph, {source: one})[result.name]) for one in integers]
    )
    wanted = _float_answers(model, network, examples).reshape(found.shape)
    error = np.abs(found - wanted)
    _require_likeness(error, wanted)
    return {
        **copies.to_dict(),
        "quantized_vs_float": {
            "largest": float(error.max()),
            "mean": float(error.mean()),
            "float_spread": float(wanted.std()),
            "examples": len(examples),
        },
    }


def _require_likeness(error: NDArray[np.float64], wanted: Examples) -> None:
    """Require that the graph answers as the float model does, roughly: anything else is no quantization.

    On average, and on the median example: one far off may spread the average answers as far as it likes.
    """
    # Where all answers are the same, their size stands for their spread.
    spread = float(wanted.std()) or float(np.abs(wanted).mean())
    _require_small(float(error.mean()), LARGEST_ERROR, spread, "a mean error")
    typical = _by_example(np.abs(wanted - np.median(wanted, axis=0))) or spread
    _require_small(_by_example(error), LARGEST_TYPICAL_ERROR, typical, "a median error")


def _by_example(values: NDArray[np.floating]) -> float:
    """Return the median of the (N, ...) examples' means."""
    return float(np.median(values.reshape(len(values), -1).mean(axis=1)))


def _require_small(error: float, largest: float, spread: float, what: str) -> None:
    if error > largest * spread and error > SMALLEST_ERROR:
        raise ParityError(
            f"the integer graph answers otherwise than the float model: {what} of {error:.3g} "
            f"where its answers spread by {spread:.3g}",
            "calibrate on inputs as the model will see them, outliers left out; try --weights int8",
        )
