"""Training by several processes: the losses, statistics and weights of one, computed by all."""

import copy
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from unit.distill.test_training import SCRATCH, write_labels

from distill.statistics import RunningStatistics
from distill.trainer import require_clips_for_all
from distill.training import distill
from edgekit.parallel import Team
from edgekit.progress import silent

CONFIG = replace(
    SCRATCH, hop=128, steps=8, pool=64, batch=62, evaluate_every=1, learning_rate=1e-3, final=True
)
CHILD = """
import json, sys
from pathlib import Path
from distill.config import DistillConfig
from distill.training import distill
from edgekit.errors import EdgekitError
config = DistillConfig(**json.loads(sys.argv[1]))
try:
    distill(config, Path(sys.argv[2]), Path(sys.argv[3]), lambda *_: None)
except EdgekitError as error:
    sys.exit(f"{error}: {error.hint}")
"""


def together(config, labels, out):
    """Train by three processes."""
    child = out.with_suffix(".py")
    child.write_text(CHILD)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    settings = json.dumps({name: getattr(config, name) for name in config.__dataclass_fields__})
    words += [str(child), settings, str(labels), str(out)]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)


@pytest.fixture
def labels(tmp_path):
    return write_labels(tmp_path, ["train"] * 8 + ["dev"] * 4 + ["test"] * 4)


def curve(folder) -> torch.Tensor:
    """Return losses and agreement, step by step."""
    rows = [row.split(",") for row in (folder / "history.csv").read_text().splitlines()[2:]]
    return torch.tensor([[float(value) for value in row[2:5]] for row in rows], dtype=torch.float64)


def test_three_processes_train_the_student_of_one(labels, tmp_path):
    """Later losses tell that the gradients were those of the whole batch, too."""
    distill(CONFIG, labels, tmp_path / "one", silent)
    ran = together(CONFIG, labels, tmp_path / "three")
    assert ran.returncode == 0, ran.stderr
    one, three = curve(tmp_path / "one"), curve(tmp_path / "three")
    assert len(one) == len(three) == CONFIG.steps
    torch.testing.assert_close(three, one, rtol=0, atol=1e-5)
    ones, threes = (load_file(tmp_path / name / "student.safetensors") for name in ("one", "three"))
    # A bias of scores changes no softmax: its gradient is rounding, which AdamW makes steps of one size of.
    for name in ones.keys() - {"sof.bias"}:
        torch.testing.assert_close(threes[name], ones[name], rtol=1e-5, atol=1e-5, msg=name)
    assert ones["l1.norm.num_batches_tracked"] == 8 * 16


def test_every_process_needs_a_part_of_the_batch(labels, tmp_path):
    ran = together(replace(CONFIG, batch=8), labels, tmp_path / "three")
    assert "3 processes for batches of 8: each computes at least one of 4 clips" in ran.stderr
    require_clips_for_all(Team(0, 3), replace(CONFIG, batch=9))


@pytest.mark.parametrize("split", [[5], [2, 3], [1, 1, 3]])
def test_statistics_are_those_of_all_passes_in_order(split):
    """Processes are pretended: each makes its passes, then all are told what the others found."""
    start, passes = net(), torch.randn(5, 4, 3, 2, 2, generator=torch.Generator().manual_seed(1)) * 9 + 4
    whole = copy.deepcopy(start)
    for clips in passes:
        whole(clips)
    nets = [copy.deepcopy(start) for _ in split]
    for one, part in zip(nets, passes.split(split), strict=True):
        for clips in part:
            one(clips)
    found = [RunningStatistics(one).read() for one in nets]
    for rank, one in enumerate(nets):
        RunningStatistics(one).join(RunningStatistics(start).read(), split, Told(rank, len(split), found))
        for name, value in whole.named_buffers():
            torch.testing.assert_close(one.get_buffer(name), value, rtol=1e-6, atol=1e-6)


@dataclass(frozen=True)
class Told(Team):
    """A process that is told what all have found."""

    found: Sequence[torch.Tensor] = ()

    def collect(self, own):
        return self.found


def net():
    """Two norms of momenta of their own, that have seen something before."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.BatchNorm2d(3, momentum=0.1), nn.BatchNorm2d(3, momentum=0.01))
    made(torch.randn(4, 3, 2, 2))
    return made
