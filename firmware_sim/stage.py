"""The simulate stage: the firmware on the simulated core, on held-out audio, compared with the graph."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.audio import SAMPLE_RATE_HZ, to_pcm16
from edgekit.errors import ParityError
from edgekit.labels import LabelSet, read_labels
from edgekit.metrics import defined_adv_ccc
from edgekit.progress import Progress, silent
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.graph import Graph
    from edgekit.graph.parity import LayerParity
    from firmware_sim.result import SimResult

STAGE = "simulate"
BACKENDS = {"unicorn": "simulated-core", "qemu": "simulated-core", "native": "native-program"}
"""What parity rows call the firmware, by what runs it."""


@dataclass(frozen=True)
class SimulateConfig:
    """What to simulate.

    Attributes:
        profile_s: Audio of the run that is profiled.
        parity_clips: Clips that every layer is compared on, at most.
        parity_s: Audio of them in all.
    """

    profile_s: float = 2.0
    parity_clips: int = 4
    parity_s: float = 2.0


def identity(
    config: SimulateConfig, firmware_digest: str, graph_digest: str, labels_digest: str, target: Target
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the inputs and settings that decide the artifact."""
    inputs = {"firmware": firmware_digest, "graph": graph_digest, "labels": labels_digest}
    return inputs, {**asdict(config), "target": target.digest}


def simulate_build(
    config: SimulateConfig,
    firmware: Path,
    graph_dir: Path,
    labels: Path,
    target: Target,
    out: Path,
    progress: Progress = silent,
) -> Artifact:
    """Profile a firmware and compare every layer of it with the graph.

    Writes profile.json: instructions (measured) and cycles (estimated) by layer, memory, energy, parity
    rows, and the A/D/V of each compared clip. On this computer itself, instead of the former, the processor
    time of all layers together (measured).

    Args:
        config: What to simulate.
        firmware: Folder of a firmware artifact.
        graph_dir: Folder of the quantize artifact that it was made from.
        labels: Folder of the label artifact, for held-out audio.
        target: The device.
        out: Folder to write.
        progress: Told how many runs are done.

    Raises:
        ArtifactError: If an input is damaged.
        ConfigError: If the simulator's core is not installed.
        SimulationError: If the firmware faults or hangs.
        ParityError: If the firmware differs from the graph anywhere.
    """
    from edgekit.graph import heard_pieces, load_graph, run, window_samples
    from edgekit.graph.cost import macs
    from firmware_sim.simulator import run_in_time, simulate

    source, graph_artifact = artifact.read(firmware, "firmware"), artifact.read(graph_dir, "quantize")
    label_set, graph = read_labels(labels), load_graph(graph_dir)
    inputs, params = identity(config, source.digest, graph_artifact.digest, label_set.digest, target)
    window = window_samples(graph)
    clips = heard_pieces(graph, held_out_pcm(label_set, config.parity_clips))
    clips = clips[: config.parity_clips if window is None else 1]
    with artifact.writing(out, STAGE, inputs, params) as work:
        progress("profile", 0, len(clips) + 1)
        length = window or target.window_blocks * target.audio.block_samples
        audio = np.concatenate(clips)[: length or round(config.profile_s * SAMPLE_RATE_HZ)]
        elf = source.file("firmware.elf")
        result = run_in_time(simulate(elf, target, audio), elf, audio)
        counts = macs(graph, run(graph, {"pcm": audio}), len(result.results))
        # Fewer clips give more of each: 2 s in all, wherever there is so much held-out audio.
        short = heard_pieces(graph, clips, round(config.parity_s * SAMPLE_RATE_HZ / len(clips)))
        checked = check_layers(source.file("firmware_traced.elf"), target, graph, short, progress)
        artifact.write_json(work / "profile.json", _profile(result, counts, checked))
        progress("profile", len(clips) + 1, len(clips) + 1)
    return artifact.read(out, STAGE)


def held_out_pcm(labels: LabelSet, count: int) -> list[NDArray[np.int16]]:
    """Return clips as PCM, from the held-out split where there is one."""
    return [to_pcm16(labels.clip(i)) for i in labels.held_out()[1][:count]]


@dataclass(frozen=True)
class Checked:
    """Layers of a traced firmware against the graph.

    Attributes:
        rows: One for each layer, all clips together.
        device: (clips, 3) A/D/V of the simulated device, Q14.
        graph: (clips, 3) of the reference, Q14.
        samples: Audio compared, in samples.
    """

    rows: "list[LayerParity]"
    device: NDArray[np.int16]
    graph: NDArray[np.int16]
    samples: int


def check_layers(
    elf: Path, target: Target, graph: "Graph", clips: Sequence[NDArray[np.int16]], progress: Progress = silent
) -> Checked:
    """Run a traced firmware on clips and require every layer to equal the reference.

    Raises:
        ParityError: Naming the first layer that differs.
        SimulationError: If the firmware faults or hangs.
    """
    from edgekit.graph import run
    from edgekit.graph.parity import compare_traces, merge, require_parity
    from edgekit.graph.traces import collect
    from firmware_sim.simulator import simulate

    rows: list[LayerParity] = []
    device, reference = [], []
    backend = BACKENDS[target.core.simulator]
    for done, clip in enumerate(clips, 1):
        progress("compare the core with the graph", done, len(clips) + 1)
        result = simulate(elf, target, clip, trace=True)
        expected = run(graph, {"pcm": clip})
        rows += compare_traces(backend, graph, expected, collect(graph, result.traces))
        if result.adv is None:
            raise ParityError(f"{backend}: no A/D/V after {len(clip)} samples", "re-run edgekit build")
        device.append(result.adv)
        reference.append(expected[graph.outputs[0]])
    rows = merge(rows)
    require_parity(rows)
    samples = sum(map(len, clips))
    return Checked(rows, np.array(device, np.int16), np.array(reference, np.int16), samples)


def _profile(result: "SimResult", macs: dict[str, int], checked: Checked) -> dict[str, Any]:
    from firmware_sim.result import ALL_LAYERS

    profile = result.to_profile()
    for layer in profile["layers"]:
        if layer["name"] in macs:
            layer["macs"] = macs[layer["name"]]
        elif layer["name"] == ALL_LAYERS:
            layer["macs"] = sum(macs.values())
    profile["parity"] = [row.to_dict() for row in checked.rows]
    profile["parity_samples"] = checked.samples
    agreement = defined_adv_ccc(checked.device.astype(np.float64), checked.graph.astype(np.float64))
    profile["accuracy"] = {"device_vs_graph": agreement, "clips": len(checked.device)}
    return profile
