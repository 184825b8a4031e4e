"""MobileNetV3 (Howard et al., arXiv 1905.02244) and MobileNetV4 (Qin et al., arXiv 2404.10518) as students.

The backbones are the published ones up to the convolution before global pooling, with a stem of one channel.
They read log-mel frames as an image, time by mel band. After five halvings 26 bands are one and time is a
32nd: each column is a token. Wav2Small's attention pooling stands in place of the classifier.

Letters: B clips, T frames, M mel bands, S tokens (T / 32), D features of a token.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill.student import Student, softmax_pool
from edgekit.audio import FrontEnd
from edgekit.metrics import DIMENSIONS

NORM_EPSILON = 1e-3
NORM_MOMENTUM = 0.01
DIVISOR = 8
SQUEEZE = 4
"""How much narrower the middle of a squeeze-and-excitation is than what it scales."""


def round_width(width: float) -> int:
    """Return the multiple of eight nearest to a width, not more than a tenth below it (both papers' rule).

    Example:
        >>> round_width(18), round_width(72 / 4), round_width(200 * 0.9)
        (24, 24, 184)
    """
    rounded = max(DIVISOR, int(width + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * width else rounded


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation, and an activation if one is given."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = None,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=NORM_EPSILON, momentum=NORM_MOMENTUM),
        ]
        super().__init__(*layers, *([activation()] if activation else []))


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate computed from the means of all channels (arXiv 1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = round_width(channels / SQUEEZE)
        self.reduce = nn.Conv2d(channels, middle, 1)
        self.expand = nn.Conv2d(middle, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, T, M) with scaled channels."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        gate = nn.functional.hardsigmoid(self.expand(torch.relu(self.reduce(mean))))
        return x * gate


class Residual(nn.Module):
    """A chain of layers, added to its input where the shapes allow it."""

    def __init__(self, layers: Iterable[nn.Module], *, skip: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, T, M) to (B, outputs, T', M')."""
        y: Tensor = self.layers(x)
        return x + y if self.skip else y


@dataclass(frozen=True)
class V3Block:
    """A row of MobileNetV3's tables; `inside` is the expanded width."""

    kernel: int
    inside: int
    outputs: int
    squeeze: bool
    swish: bool
    stride: int

    def build(self, inputs: int) -> Residual:
        """Return the block for so many input channels."""
        activation = nn.Hardswish if self.swish else nn.ReLU
        layers: list[nn.Module] = []
        if self.inside != inputs:
            layers.append(ConvNorm(inputs, self.inside, 1, activation=activation))
        layers.append(ConvNorm(self.inside, self.inside, self.kernel, self.stride, self.inside, activation))
        if self.squeeze:
            layers.append(SqueezeExcite(self.inside))
        layers.append(ConvNorm(self.inside, self.outputs, 1))
        return Residual(layers, skip=self.stride == 1 and inputs == self.outputs)


@dataclass(frozen=True)
class PlainConv:
    """A convolution of MobileNetV4: kernel, outputs, stride; `expansion` makes it a fused bottleneck."""

    kernel: int
    outputs: int
    stride: int = 1
    expansion: int = 0

    def build(self, inputs: int) -> nn.Module:
        """Return the layers for so many input channels."""
        if not self.expansion:
            return ConvNorm(inputs, self.outputs, self.kernel, self.stride, activation=nn.ReLU)
        inside = round_width(inputs * self.expansion)
        wide = ConvNorm(inputs, inside, self.kernel, self.stride, activation=nn.ReLU)
        return Residual([wide, ConvNorm(inside, self.outputs, 1)], skip=False)


@dataclass(frozen=True)
class Inverted:
    """MobileNetV4's universal inverted bottleneck: a depthwise kernel before, one inside, or 0 for none."""

    before: int
    inside: int
    outputs: int
    expansion: int
    stride: int = 1

    def build(self, inputs: int) -> Residual:
        """Return the block for so many input channels."""
        wide = round_width(inputs * self.expansion)
        layers: list[nn.Module] = []
        if self.before:
            stride = 1 if self.inside else self.stride
            layers.append(ConvNorm(inputs, inputs, self.before, stride, inputs))
        layers.append(ConvNorm(inputs, wide, 1, activation=nn.ReLU))
        if self.inside:
            layers.append(ConvNorm(wide, wide, self.inside, self.stride, wide, nn.ReLU))
        layers.append(ConvNorm(wide, self.outputs, 1))
        return Residual(layers, skip=self.stride == 1 and inputs == self.outputs)


Row = V3Block | PlainConv | Inverted


@dataclass(frozen=True)
class Backbone:
    """A published network: channels of the stem, its rows, features of the last convolution."""

    stem: int
    rows: tuple[Row, ...]
    last: int
    activation: type[nn.Module]


_V3_SMALL: tuple[Row, ...] = (
    V3Block(3, 16, 16, True, False, 2),
    V3Block(3, 72, 24, False, False, 2),
    V3Block(3, 88, 24, False, False, 1),
    V3Block(5, 96, 40, True, True, 2),
    *[V3Block(5, 240, 40, True, True, 1)] * 2,
    V3Block(5, 120, 48, True, True, 1),
    V3Block(5, 144, 48, True, True, 1),
    V3Block(5, 288, 96, True, True, 2),
    *[V3Block(5, 576, 96, True, True, 1)] * 2,
)
_V3_LARGE: tuple[Row, ...] = (
    V3Block(3, 16, 16, False, False, 1),
    V3Block(3, 64, 24, False, False, 2),
    V3Block(3, 72, 24, False, False, 1),
    V3Block(5, 72, 40, True, False, 2),
    *[V3Block(5, 120, 40, True, False, 1)] * 2,
    V3Block(3, 240, 80, False, True, 2),
    V3Block(3, 200, 80, False, True, 1),
    *[V3Block(3, 184, 80, False, True, 1)] * 2,
    V3Block(3, 480, 112, True, True, 1),
    V3Block(3, 672, 112, True, True, 1),
    V3Block(5, 672, 160, True, True, 2),
    *[V3Block(5, 960, 160, True, True, 1)] * 2,
)
_V4_SMALL: tuple[Row, ...] = (
    PlainConv(3, 32, 2),
    PlainConv(1, 32),
    PlainConv(3, 96, 2),
    PlainConv(1, 64),
    Inverted(5, 5, 96, 3, 2),
    *[Inverted(0, 3, 96, 2)] * 4,
    Inverted(3, 0, 96, 4),
    Inverted(3, 3, 128, 6, 2),
    Inverted(5, 5, 128, 4),
    Inverted(0, 5, 128, 4),
    Inverted(0, 5, 128, 3),
    *[Inverted(0, 3, 128, 4)] * 2,
)
_V4_MEDIUM: tuple[Row, ...] = (
    PlainConv(3, 48, 2, 4),
    Inverted(3, 5, 80, 4, 2),
    Inverted(3, 3, 80, 2),
    Inverted(3, 5, 160, 6, 2),
    *[Inverted(3, 3, 160, 4)] * 2,
    Inverted(3, 5, 160, 4),
    Inverted(3, 3, 160, 4),
    Inverted(3, 0, 160, 4),
    Inverted(0, 0, 160, 2),
    Inverted(3, 0, 160, 4),
    Inverted(5, 5, 256, 6, 2),
    Inverted(5, 5, 256, 4),
    *[Inverted(3, 5, 256, 4)] * 2,
    Inverted(0, 0, 256, 4),
    Inverted(3, 0, 256, 4),
    Inverted(3, 5, 256, 2),
    Inverted(5, 5, 256, 4),
    *[Inverted(0, 0, 256, 4)] * 2,
    Inverted(5, 0, 256, 2),
)
BACKBONES = {
    "mobilenetv3-small": Backbone(16, _V3_SMALL, 576, nn.Hardswish),
    "mobilenetv3-large": Backbone(16, _V3_LARGE, 960, nn.Hardswish),
    "mobilenetv4-small": Backbone(32, _V4_SMALL, 960, nn.ReLU),
    "mobilenetv4-medium": Backbone(32, _V4_MEDIUM, 960, nn.ReLU),
}


class MobileNet(Student):
    """A MobileNet with attention pooling over the columns of its last map.

    Args:
        front_end: The features that the network is made for; `forward` needs level `utterance`.
        backbone: One of `BACKBONES`.
    """

    token_frames = 32

    def __init__(self, front_end: FrontEnd, backbone: Backbone) -> None:
        super().__init__(front_end)
        layers: list[nn.Module] = [ConvNorm(1, backbone.stem, 3, 2, activation=backbone.activation)]
        channels = backbone.stem
        for row in backbone.rows:
            layers.append(row.build(channels))
            channels = row.outputs
        layers.append(ConvNorm(channels, backbone.last, 1, activation=backbone.activation))
        # Channels last: depthwise convolutions train in less than half the time.
        self.backbone = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.lin = nn.Linear(backbone.last, backbone.last)
        self.sof = nn.Linear(backbone.last, backbone.last)
        self.adv = nn.Linear(backbone.last, len(DIMENSIONS))

    def embed(self, logmel: Tensor) -> Tensor:
        """Return the (B, D) pooled features of (B, T, M) log-mel frames."""
        maps: Tensor = self.backbone(logmel.unsqueeze(1))
        tokens = maps.squeeze(3).transpose(1, 2)
        return softmax_pool(self.lin(tokens), self.sof(tokens))
