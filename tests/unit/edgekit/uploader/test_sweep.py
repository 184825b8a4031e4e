"""Uploads under faults drawn by a seed: none wrong, none that hangs."""

import random

import pytest
from images import model_image
from lines import line_faults, no_longer_than, rate

from edgekit.uploader.device import open_device
from edgekit.uploader.image import parse
from edgekit.uploader.install import install
from edgekit.uploader.preflight import check

SEEDS = 200
IN_CI = 20
LIMIT_S = 180


def faults(seed):
    """Return the configuration of the server, and the size of the image."""
    rng = random.Random(seed)
    size = rng.choice([500, 5_000, 20_000, 61_440])

    line = line_faults(rng, size) | {
        "corrupt_at": lambda: rng.randrange(32, size),
        "erase_s": lambda: rate(rng, 0.01, 0.2),
        "gaps": lambda: False,
        "plain": lambda: True,
        "buf_size": lambda: rng.choice([128, 384, 2048]),
    }
    chosen = rng.sample(sorted(line), rng.randint(1, 6))
    return {name: line[name]() for name in chosen} | {"seed": seed}, size


@pytest.mark.parametrize(
    "seed", [seed if seed < IN_CI else pytest.param(seed, marks=pytest.mark.slow) for seed in range(SEEDS)]
)
def test_an_update_under_faults(serve, tmp_path, seed):
    config, size = faults(seed)
    new = parse(model_image(size, seed=seed))
    old = tmp_path / "spare.bin"
    old.write_bytes(model_image(25_000, seed=7))
    served = serve(**config, spare=str(old) if seed % 2 else "")
    with no_longer_than(LIMIT_S):
        device = open_device(served.port, 921_600)
        with device.session.link:
            outcome = install(device, new, lambda info: check(new, info))
    stats = served.stop()
    assert outcome.result == "installed"
    assert (stats["active"], stats["confirmed"], stats["violations"]) == (1, True, 0)
    assert stats["digests"][1] == new.digest.hex()
