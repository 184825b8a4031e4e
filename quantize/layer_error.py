"""How far each layer of an integer graph is from the same layer of the float student, on real audio."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.audio import SAMPLE_RATE_HZ, FrontEnd, log_mel, to_pcm16
from edgekit.graph import Graph, run
from edgekit.graph.types import VIEWS
from quantize.calibration import float_layers
from quantize.equalization import CONVOLUTIONS, PASSES
from quantize.importer import import_onnx
from quantize.layers import network_input, network_ops
from quantize.network import Layer, Network

Array = NDArray[np.float64]
CLIPS = 4
"""Clips compared, at most: each has a hundred thousand values of a layer."""
MAP_AXES = 3


@dataclass
class Sums:
    """Products of a layer's integer and float values, summed over all places of each channel.

    Attributes:
        scaled: Whether equalisation gave the channels other scales than the float student's.
        centred: Whether a softmax over time follows, to which a channel's mean does not matter.
        elements: Values seen.
        both, integer, real: (C,) sums of integer x float, integer x integer, float x float.
    """

    scaled: bool = False
    centred: bool = False
    elements: int = 0
    both: Array = field(default_factory=lambda: np.zeros(1))
    integer: Array = field(default_factory=lambda: np.zeros(1))
    real: Array = field(default_factory=lambda: np.zeros(1))

    def add(self, found: Array, wanted: Array) -> None:
        """Take in the values of a clip, channels last."""
        places = tuple(range(found.ndim - 1))
        if self.centred:
            found, wanted = (values - values.mean(axis=places) for values in (found, wanted))
        self.elements += found.size
        self.both = self.both + (found * wanted).sum(axis=places)
        self.integer = self.integer + (found * found).sum(axis=places)
        self.real = self.real + (wanted * wanted).sum(axis=places)

    def to_dict(self, layer: str) -> dict[str, Any]:
        """Return the row of a layer as JSON values."""
        # Of channels with scales of their own, what is left after the scale that fits best.
        gain = self.both / np.where(self.real > 0, self.real, 1) if self.scaled else np.ones_like(self.real)
        signal = float((gain**2 * self.real).sum())
        error = float((self.integer - 2 * gain * self.both + gain**2 * self.real).clip(0).sum())
        ratio = error / (signal or error or 1)
        return {
            "layer": layer,
            "error_percent": 100 * ratio**0.5,
            "signal_to_noise_db": -10 * float(np.log10(ratio)) if ratio else None,
            "elements": self.elements,
        }


def layer_errors(
    graph: Graph,
    model: Path,
    front_end: FrontEnd,
    clips: Sequence[NDArray[np.float32]],
    split: str,
    *,
    equalized: bool,
) -> dict[str, Any]:
    """Return what parity.json says of each layer's error, that of all layers before included.

    The first row is the front end: integer log-mels against `edgekit.audio.log_mel`.

    Args:
        graph: The integer graph.
        model: The float student that it was made from, log-mel in.
        front_end: Of its log-mels.
        clips: Held-out audio; the first `CLIPS` are compared.
        split: Where the clips are from.
        equalized: Whether channels were made alike before quantizing. Their scale is then free.
    """
    network, heard = import_onnx(model), clips[:CLIPS]
    maker = next(op.name for op in graph.ops if network_input(graph).name in op.outputs)
    sums = {maker: Sums()} | {name: Sums(*free) for name, free in _freedom(graph, equalized)}
    for clip in heard:
        values, mels = run(graph, {"pcm": to_pcm16(clip)}), log_mel(clip, front_end)
        wanted = {maker: mels[..., None]} | _in_graph_order(network, float_layers(model, network, mels))
        for op in graph.ops:
            if op.name in wanted and op.kind not in VIEWS:
                found = _real(graph, op.outputs[0], values)
                sums[op.name].add(found, wanted[op.name].reshape(found.shape).astype(np.float64))
    return {
        "how": _how(heard, split, equalized=equalized),
        "layers": [found.to_dict(name) for name, found in sums.items() if found.elements],
    }


def _how(heard: Sequence[NDArray[np.float32]], split: str, *, equalized: bool) -> str:
    clips = f"{len(heard)} {split} clip{'' if len(heard) == 1 else 's'}"
    scaled = "; channels that equalisation scales are compared at the scale that fits best"
    return f"{clips}, {sum(map(len, heard)) / SAMPLE_RATE_HZ:.1f} s{scaled if equalized else ''}"


def _freedom(graph: Graph, equalized: bool) -> Iterator[tuple[str, tuple[bool, bool]]]:
    """Yield each layer, and whether the scale and the mean of its channels are free."""
    scores = {op.inputs[1] for op in graph.ops if op.kind == "attention_pool"}
    for op in network_ops(graph):
        yield op.name, (equalized and op.kind in (*CONVOLUTIONS, *PASSES), op.outputs[0] in scores)


def _real(graph: Graph, name: str, values: Mapping[str, NDArray[np.integer]]) -> Array:
    quantization = graph.tensors[name].quantization
    assert quantization is not None, f"{name} has no scale"
    return quantization.dequantize(values[name])


def _in_graph_order(
    network: Network, made: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """Return the results by layer name, in the graph's order of channels."""
    return {
        layer.name: _reordered(network, layer, made[layer.output])
        for layer in network.layers
        if layer.output in made
    }


def _reordered(network: Network, layer: Layer, value: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what ONNX has as (channel, time, mel) or (channel, mel) with its channels last."""
    if value.ndim == MAP_AXES:
        return value if layer.channels_last else np.moveaxis(value, 0, -1)
    if layer.kind == "attention_pool":
        return value.T.ravel()
    # The linear layer that reads a row knows where ONNX has each of its columns.
    readers = (other.columns for other in network.layers if layer.output in other.inputs)
    columns = next((found for found in readers if found.size == value.size), None)
    return value if columns is None else value.ravel()[columns]
