"""The codegen stages: an integer graph to C99 that is proved equal to it, and the C to firmware."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.errors import TargetError
from edgekit.progress import Progress, silent
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.graph import Graph
    from edgekit.uploader.keys import PrivateKey

GENERATE = "codegen"
FIRMWARE = "firmware"
Identity = tuple[dict[str, str], dict[str, Any]]


def generate_identity(graph_digest: str, target: Target) -> Identity:
    """Return the inputs and settings that decide the C."""
    return {"graph": graph_digest}, {"target": target.digest}


def generate(graph_dir: Path, target: Target, out: Path, progress: Progress = silent) -> Artifact:
    """Write the C of a graph, build it for this machine, and compare every layer with the reference.

    Writes the generated and the kernel sources, a Makefile, a self-test with its vectors, model.bin (the
    weights blob), memory.json (state by layer) and parity.json (backend `c-host`, on 20 s of the speech that
    ships with edgekit; of a model without audio, on random inputs).

    Args:
        graph_dir: Folder of a quantize artifact.
        target: The device.
        out: Folder to write.
        progress: Told how much is done.

    Raises:
        ArtifactError: If the graph is damaged.
        TargetError: If the target's audio has another sample rate than the model.
        UnsupportedError: If no engine can run the graph.
        ConfigError: If there is no C compiler for this machine.
        ParityError: If the C differs from the graph anywhere.
    """
    from codegen.blob import build_blob
    from codegen.checks import check_on_host
    from codegen.emit import emit_sources, memory_facts
    from edgekit.graph import hears_audio, load_graph

    source = artifact.read(graph_dir, "quantize")
    graph = load_graph(graph_dir)
    instructions = target.core.instructions
    sample_rate_hz = _sample_rate_hz(graph, target) if hears_audio(graph) else 0
    inputs, params = generate_identity(source.digest, target)
    with artifact.writing(out, GENERATE, inputs, params) as work:
        progress("write C", 0, 1)
        for name, text in emit_sources(graph, sample_rate_hz, instructions, target.name).items():
            artifact.write_text(work / name, text)
        artifact.write_bytes(work / "model.bin", build_blob(graph, instructions))
        artifact.write_json(work / "memory.json", memory_facts(graph, instructions))
        rows = check_on_host(graph, work, progress, target.name)
        artifact.write_json(work / "parity.json", {"layers": [row.to_dict() for row in rows]})
    return artifact.read(out, GENERATE)


def _sample_rate_hz(graph: "Graph", target: Target) -> int:
    import json

    wanted = int(json.loads(graph.metadata["front_end"])["sample_rate_hz"])
    if target.audio.sample_rate_hz != wanted:
        raise TargetError(
            f"target {target.name}: audio at {target.audio.sample_rate_hz} Hz, the model hears {wanted} Hz",
            f"set sample_rate_hz = {wanted} under [audio] of the target",
        )
    return wanted


def firmware_identity(c_digest: str, graph_digest: str, target: Target, key: "PrivateKey") -> Identity:
    """Return the inputs and settings that decide the firmware and its images."""
    from codegen.images import image_params

    params = {"target": target.digest, "images": image_params(key)}
    return {"c": c_digest, "graph": graph_digest}, params


def compile_for(c_dir: Path, graph_dir: Path, target: Target, key: "PrivateKey", out_elf: Path) -> Path:
    """Compile the C of a model for a target like the one it was generated for, and keep the ELF alone.

    Args:
        c_dir: Folder of a codegen artifact.
        graph_dir: Folder of the quantize artifact that it was generated from.
        target: The device, its policy another for example.
        key: The key that signs the model inside.
        out_elf: The file to write.

    Raises:
        ArtifactError: If an input is damaged.
        ConfigError: If there is no compiler, or the C does not compile or fit the target's memory.
    """
    from edgekit.graph import load_graph

    made = _Firmware(artifact.read(c_dir, GENERATE), load_graph(graph_dir), target, key)
    return made.compile(out_elf)


class _Firmware:
    """A firmware to compile, and the signed model in it."""

    def __init__(self, c: Artifact, graph: "Graph", target: Target, key: "PrivateKey") -> None:
        from codegen.images import build_facts, sign_model
        from codegen.updates import updates_of
        from edgekit.graph import hears_audio

        self._c, self._graph, self._target = c, graph, target
        self.weights = c.file("model.bin").read_bytes()
        facts = build_facts("model", self.weights, c, graph, target)
        self.model = sign_model(self.weights, facts, graph, key)
        hears = hears_audio(graph)
        self.updates = updates_of(target, facts, key.public, self.model) if hears else None

    def compile(self, out_elf: Path, defines: Mapping[str, str] | None = None) -> Path:
        """Compile it to an ELF file."""
        from codegen.emit import model_sources
        from codegen.toolchain import compile_firmware

        folder = self._c.path
        main = _main(self._graph)
        sources = model_sources(folder)
        return compile_firmware(sources, [folder], self._target, out_elf, defines, main, self.updates)


def _main(graph: "Graph") -> str:
    """Return the board's main loop for a graph."""
    from codegen.toolchain import NETWORK_MAIN
    from edgekit.graph import hears_audio

    return "main.c" if hears_audio(graph) else NETWORK_MAIN


def build_firmware(
    c_dir: Path, graph_dir: Path, target: Target, key: "PrivateKey", out: Path, progress: Progress = silent
) -> Artifact:
    """Compile the C for the target's core.

    Writes firmware.elf, firmware.bin (the flash image; none for this computer itself), model.bin (the weights
    blob alone), both again as signed update images (*.signed.bin), firmware_traced.elf, the same as
    firmware.elf with every layer's results reported, for parity checks, and updates.json (the regions of the
    flash, if the firmware has the update agent: the target has [update], and two models fit).

    Args:
        c_dir: Folder of a codegen artifact.
        graph_dir: Folder of the quantize artifact that it was generated from.
        target: The device.
        key: The key that signs the images.
        out: Folder to write.
        progress: Told how much is done.

    Raises:
        ArtifactError: If an input is damaged.
        ConfigError: If there is no compiler for the target, or the C does not compile or fit its memory.
    """
    from codegen.flash_map import FILE
    from codegen.images import build_facts
    from codegen.toolchain import elf_to_binary
    from edgekit.graph import load_graph
    from edgekit.uploader.image import sign

    source, graph = artifact.read(c_dir, GENERATE), artifact.read(graph_dir, "quantize")
    inputs, params = firmware_identity(source.digest, graph.digest, target, key)
    network = load_graph(graph_dir)
    made = _Firmware(source, network, target, key)
    builds: Mapping[str, dict[str, str]] = {"firmware": {}, "firmware_traced": {"EDGEKIT_TRACE": "1"}}
    with artifact.writing(out, FIRMWARE, inputs, params) as work:
        for done, (name, defines) in enumerate(builds.items()):
            progress("compile firmware", done, len(builds))
            made.compile(work / f"{name}.elf", defines)
        artifact.write_bytes(work / "model.bin", made.weights)
        artifact.write_bytes(work / "model.signed.bin", made.model)
        if target.core.simulator != "native":
            image = elf_to_binary(work / "firmware.elf", work / "firmware.bin").read_bytes()
            facts = build_facts("firmware", made.weights, source, network, target)
            artifact.write_bytes(work / "firmware.signed.bin", sign(image, facts, key))
        where = made.updates.where if made.updates else None
        artifact.write_json(work / FILE, {"flash": asdict(where) if where else None})
        progress("compile firmware", len(builds), len(builds))
    return artifact.read(out, FIRMWARE)
