"""The MobileNets: the published sizes, the tokens they make, and what their blocks compute."""

import pytest
import torch

from distill.mobilenet import BACKBONES, Inverted, MobileNet, PlainConv, SqueezeExcite, V3Block
from edgekit.audio import FrontEnd

PUBLISHED = {
    # All parameters of the ImageNet networks, and those behind the last convolution of the backbone.
    "mobilenetv3-small": (2_542_856, 576 * 1024 + 1024 + 1024 * 1000 + 1000),
    "mobilenetv3-large": (5_483_032, 960 * 1280 + 1280 + 1280 * 1000 + 1000),
    "mobilenetv4-small": (3_774_024, 960 * 1280 + 2 * 1280 + 1280 * 1000 + 1000),
    "mobilenetv4-medium": (9_715_512, 960 * 1280 + 2 * 1280 + 1280 * 1000 + 1000),
}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(params=BACKBONES)
def name(request) -> str:
    return request.param


def test_the_backbone_has_the_published_size(name):
    network = MobileNet(FrontEnd(), BACKBONES[name])
    total, classifier = PUBLISHED[name]
    # One channel of input instead of three.
    stem = 2 * 9 * BACKBONES[name].stem
    assert count(network.backbone) == total - classifier - stem


def test_mobilenetv4_small_is_within_a_percent_of_the_paper():
    found = count(MobileNet(FrontEnd(), BACKBONES["mobilenetv4-small"]))
    assert found == pytest.approx(3.12e6, rel=0.01)


@pytest.mark.parametrize("frames", [1, 32, 33, 499, 2501])
def test_a_token_every_32_frames(name, frames):
    network = MobileNet(FrontEnd(), BACKBONES[name]).eval()
    with torch.no_grad():
        maps = network.backbone(torch.randn(1, 1, frames, 26))
        assert maps.shape == (1, BACKBONES[name].last, -(-frames // 32), 1)
        assert network.forward_logmel(torch.randn(2, frames, 26)).shape == (2, 3)


@pytest.mark.parametrize(
    ("row", "skips"),
    [
        (V3Block(3, 24, 16, True, True, 1), True),
        (V3Block(3, 24, 16, False, False, 2), False),
        (V3Block(3, 24, 8, False, False, 1), False),
        (Inverted(3, 5, 16, 4), True),
        (Inverted(3, 0, 16, 4), True),
        (Inverted(0, 0, 16, 2), True),
        (Inverted(5, 3, 16, 4, 2), False),
        (PlainConv(3, 16, 2, 4), False),
    ],
)
def test_a_block_keeps_what_came_in_where_the_shapes_allow_it(row, skips):
    block = row.build(16).eval()
    with torch.no_grad():
        last = [m for m in block.modules() if isinstance(m, torch.nn.BatchNorm2d)][-1]
        last.weight.zero_()
        last.bias.zero_()
        x = torch.randn(1, 16, 8, 8)
        found = block(x)
    torch.testing.assert_close(found, x if skips else torch.zeros_like(found))


def test_squeeze_and_excite_by_its_formula():
    torch.manual_seed(0)
    gate, x = SqueezeExcite(16).eval(), torch.randn(1, 16, 3, 5)
    w1, w2 = (conv.weight[:, :, 0, 0] for conv in (gate.reduce, gate.expand))
    with torch.no_grad():
        hidden = (w1 @ x.mean(dim=(0, 2, 3)) + gate.reduce.bias).clamp(min=0)
        scale = ((w2 @ hidden + gate.expand.bias) / 6 + 0.5).clamp(0, 1)
        torch.testing.assert_close(gate(x), x * scale[None, :, None, None])
