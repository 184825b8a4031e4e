"""Activation ranges from real audio: what each layer's result looks like, and the range to quantize it in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.errors import UnsupportedError
from edgekit.graph import Quantization
from edgekit.progress import Progress, silent
from quantize.network import Layer, Network
from quantize.runtime import one_thread_session

Array = NDArray[np.float32]
SAMPLED_VALUES = 200_000
"""Values kept of each layer in all: enough for the range search, little enough for any machine."""
SHRINK_STEPS = 24
TOKENS_RANK = 2
OUTLIERS = 1e-4
SMALLEST_RANGE = 2.0**-20
"""Of an activation that never moves (a single token, say)."""


@dataclass(frozen=True)
class Observation:
    """What calibration saw of one activation.

    Attributes:
        rows: (N, F) values drawn evenly over all clips: of tokens their features, of maps the channels at
            one place.
        feature_low, feature_high: (F,) ranges of each feature, over everything that was seen.
    """

    rows: Array
    feature_low: Array
    feature_high: Array

    @property
    def low(self) -> float:
        """Smallest value of all."""
        return float(self.feature_low.min())

    @property
    def high(self) -> float:
        """Largest value of all."""
        return float(self.feature_high.max())

    def divided(self, factors: NDArray[np.float64]) -> "Observation":
        """Return what would have been seen with each feature divided by its (F,) positive factor."""
        found = (self.rows, self.feature_low, self.feature_high)
        return Observation(*(np.asarray(values / factors, np.float32) for values in found))

    def clipped(self, reach: float) -> "Observation":
        """Return what would have been seen of values that end at +-reach."""
        found = (self.rows, self.feature_low, self.feature_high)
        return Observation(*(np.clip(values, -reach, reach) for values in found))


def observe(
    model: Path, network: Network, features: Sequence[Array], progress: Progress = silent
) -> dict[str, Observation]:
    """Run the float model on real log-mels and observe its input and each layer's result.

    Args:
        model: The float ONNX file.
        network: What `import_onnx` made of it.
        features: (T, M) log-mels of each clip.
        progress: Told how many clips are done.

    Returns:
        ONNX tensor name to what was seen.

    Raises:
        UnsupportedError: If a layer gives what is not finite; it names the layer and the input.
    """
    computed = {name for node in onnx.load(str(model)).graph.node for name in node.output}
    # Tokens that ONNX leaves as maps have no tensor of their own there; their map has been seen.
    made = {layer.output: layer for layer in network.layers if layer.output in computed}
    names = list(made)
    session = _session_with_outputs(model, names)
    seen: dict[str, list[Array]] = {name: [] for name in (network.input, *names)}
    for done, log_mel in enumerate(features):
        progress("calibrate", done, len(features))
        results = session.run(names, {network.input: log_mel[None]})
        for name, value in zip(seen, [log_mel[None], *results], strict=True):
            if not np.isfinite(value).all():
                raise UnsupportedError(
                    f"{_described(made.get(name))} are not finite on input {done} of {len(features)}",
                    "check that input and the model's weights",
                )
            seen[name].append(np.asarray(value[0], np.float32))
    progress("calibrate", len(features), len(features))
    last = {name for name, layer in made.items() if layer.channels_last}
    if network.input_axes == (0, 1, 2):
        last.add(network.input)
    return {name: _observation(values, name in last) for name, values in seen.items()}


def float_layers(model: Path, network: Network, log_mel: Array) -> dict[str, Array]:
    """Return each layer's float result on one input, by ONNX tensor name, without the batch."""
    computed = {name for node in onnx.load(str(model)).graph.node for name in node.output}
    names = [layer.output for layer in network.layers if layer.output in computed]
    results = _session_with_outputs(model, names).run(names, {network.input: log_mel[None]})
    return {name: np.asarray(value[0], np.float32) for name, value in zip(names, results, strict=True)}


def _described(layer: Layer | None) -> str:
    return "the model's inputs" if layer is None else f"results of layer {layer.name!r}"


def _session_with_outputs(model: Path, names: list[str]) -> Any:
    proto = onnx.load(str(model))
    known = {item.name for item in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return one_thread_session(proto.SerializeToString())


def _observation(values: list[Array], channels_last: bool) -> Observation:
    features = [_by_feature(value, channels_last) for value in values]
    per_clip = max(1, SAMPLED_VALUES // len(values))
    rows = np.concatenate([rows[:: max(1, rows.size // per_clip)] for rows in features])
    lows, highs = (np.stack([f(rows, axis=0) for rows in features]) for f in (np.min, np.max))
    return Observation(rows, lows.min(axis=0), highs.max(axis=0))


def _by_feature(value: Array, channels_last: bool) -> Array:
    """Return (N, F) rows of a (C, T, W) or (T, W, C) map, of (N, F) tokens or of one (F,) row."""
    if value.ndim <= TOKENS_RANK:
        return np.atleast_2d(value)
    ordered = value if channels_last else np.moveaxis(value, 0, -1)
    return ordered.reshape(-1, ordered.shape[-1])


def affine_quantization(low: float, high: float) -> Quantization:
    """Return the int8 scale and zero point that cover [low, high] and represent 0 exactly.

    Example:
        >>> affine_quantization(0.0, 25.5)
        Quantization(scales=(0.10000000149011612,), zero_point=-128, axis=None)
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32(max(high - low, SMALLEST_RANGE) / 255))
    return Quantization((scale,), int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def best_range(observation: Observation) -> Quantization:
    """Return the int8 quantization of least mean square error over the observed values.

    Ranges from the full one down to a quarter are tried, both ends shrunk alike.
    """
    fractions = np.linspace(1.0, 0.25, SHRINK_STEPS)
    candidates = [affine_quantization(observation.low * f, observation.high * f) for f in fractions]
    errors = [quantization_error(observation.rows, candidate) for candidate in candidates]
    return candidates[int(np.argmin(errors))]


def full_range(observation: Observation) -> Quantization:
    """Return the int8 quantization that covers everything that was seen."""
    return affine_quantization(observation.low, observation.high)


def percentile_range(observation: Observation) -> Quantization:
    """Return the int8 quantization that covers all but the outermost 1 in 10,000 values at either end."""
    low, high = np.quantile(observation.rows, (OUTLIERS, 1 - OUTLIERS))
    return affine_quantization(float(low), float(high))


RANGES: Mapping[str, Callable[[Observation], Quantization]] = {
    "mse": best_range,
    "minmax": full_range,
    "percentile": percentile_range,
}
"""How the range of an activation can be chosen."""


def quantization_error(values: Array, quantization: Quantization) -> float:
    """Return the mean square error of storing values as int8."""
    scale, zero_point = quantization.scales[0], quantization.zero_point
    stored = np.clip(np.rint(values / scale) + zero_point, -128, 127)
    return float(np.mean((scale * (stored - zero_point) - values) ** 2))
