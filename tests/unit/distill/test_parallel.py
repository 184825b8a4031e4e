"""Training by several processes: the loss of one, computed by all."""

import json
import subprocess
import sys
from dataclasses import replace

import torch
from unit.distill.test_training import SCRATCH, write_labels

from distill.training import distill
from edgekit.progress import silent

CONFIG = replace(SCRATCH, steps=3, batch=10, evaluate_every=1)
CHILD = """
import json, sys
from pathlib import Path
from distill.config import DistillConfig
from distill.training import distill
config = DistillConfig(**json.loads(sys.argv[1]))
distill(config, Path(sys.argv[2]), Path(sys.argv[3]), lambda *_: None)
"""


def losses(folder) -> torch.Tensor:
    rows = (folder / "history.csv").read_text().splitlines()[2:]
    return torch.tensor([float(row.split(",")[2]) for row in rows], dtype=torch.float64)


def test_two_processes_have_the_loss_of_one(tmp_path):
    labels = write_labels(tmp_path, ["train"] * 8 + ["dev"] * 4 + ["test"] * 4)
    distill(CONFIG, labels, tmp_path / "one", silent)
    (tmp_path / "child.py").write_text(CHILD)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    settings = json.dumps({name: getattr(CONFIG, name) for name in CONFIG.__dataclass_fields__})
    words += [str(tmp_path / "child.py"), settings, str(labels), str(tmp_path / "two")]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 3
    # Later losses tell that the gradients were those of the whole batch, too.
    torch.testing.assert_close(two, one, rtol=0, atol=1e-5)
