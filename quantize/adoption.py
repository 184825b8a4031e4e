"""An int8 .tflite from elsewhere as an artifact of the quantize stage: the same integers, and the proof."""

from pathlib import Path
from typing import Literal

from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.errors import ArtifactError
from edgekit.progress import Progress, silent
from quantize.stage import STAGE


def adopt(
    model: Path, out: Path, runtime: Literal["litert", "micro"] = "litert", progress: Progress = silent
) -> Artifact:
    """Import an int8 .tflite, integer for integer.

    Writes graph.json, weights.npz, graph.txt, model.tflite as it was, and parity.json: the graph against
    LiteRT's reference kernels and, where it is installed, TFLite Micro, on random inputs (see
    `runtime_parity.check_runtimes`).

    Args:
        model: The file.
        out: Folder to write.
        runtime: Whose integers the graph has where the two differ (see `tflite_reader.read_tflite`).
        progress: Told how many inputs were compared.

    Raises:
        ArtifactError: If there is no such file.
        UnsupportedError: If an operator cannot be imported, or LiteRT cannot run the file.
        ParityError: If the graph computes other integers than the runtime that it follows, or others than
            the other one where both round alike.
    """
    from edgekit.graph import save_graph, to_text
    from edgekit.graph.parity import require_parity
    from quantize.runtime_parity import check_runtimes
    from quantize.tflite_reader import read_tflite

    if not model.is_file():
        raise ArtifactError(f"{model}: no such file", "name an int8 .tflite")
    inputs, params = {"model": artifact.sha256_file(model)}, {"runtime": runtime}
    with artifact.writing(out, STAGE, inputs, params) as work:
        graph = read_tflite(model, runtime)
        save_graph(graph, work)
        artifact.write_text(work / "graph.txt", to_text(graph) + "\n")
        artifact.write_bytes(work / "model.tflite", model.read_bytes())
        parity = check_runtimes(model, graph, runtime, progress)
        require_parity(parity.layers, work)
        artifact.write_json(work / "parity.json", parity.to_dict())
    return artifact.read(out, STAGE)
