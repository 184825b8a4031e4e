"""What other engines need: instructions counted in QEMU, beside the runs of this benchmark."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layer:
    """Instructions per multiply-accumulate by core."""

    cmsis_nn: Mapping[str, float]
    naive: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """One run of TFLite Micro with CMSIS-NN, by core."""

    instructions: Mapping[str, int]
    arena_bytes: Mapping[str, int]


def _layer(m4: float, m33: float, m55: float, *naive: float) -> Layer:
    return Layer({"m4": m4, "m33": m33, "m55": m55}, dict(zip(("m4", "m55"), naive, strict=False)))


LAYERS = {
    "conv 3x3 13->13, 26x100": _layer(2.70, 2.69, 0.487, 8.18, 7.41),
    "conv 3x3 1->13, 26x100": _layer(11.4, 11.3, 4.19, 36.7, 38.2),
    "conv 3x3 16->16, 26x100": _layer(2.33, 2.33, 0.387, 7.74, 6.92),
    "pointwise 64->64, 25x5": _layer(2.09, 2.08, 0.396, 7.59, 6.79),
    "pointwise 13->13, 26x100": _layer(5.23, 5.22, 1.35, 14.0, 13.9),
    "depthwise 3x3 64, 25x5": _layer(8.33, 8.25, 2.32),
    "depthwise 3x3 13, 26x100": _layer(10.2, 10.1, 4.26),
    "fully connected 169x169": _layer(2.21, 2.22, 0.572, 6.27, 5.31),
    "fully connected 64x12": _layer(2.83, 2.83, 0.878, 6.76, 5.87),
}
"""CMSIS-NN at 99f736a, gcc 12 -Ofast; naive C, gcc 12 (M4 and M55)."""

NETWORKS = {
    "kws_ref_model": Network({"m4": 7_845_000, "m55": 1_786_000}, {"m4": 22_820, "m55": 27_300}),
    "ad01_int8": Network({"m4": 582_000, "m55": 285_000}, {"m4": 2_580, "m55": 5_172}),
}
"""TFLite Micro at 90b983c (-O2) with CMSIS-NN at 99f736a (-Ofast)."""
