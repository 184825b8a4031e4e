"""Label sets and reference tables made up for a test."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet

from edgekit import artifact
from edgekit.labels import LabelSet
from edgekit.metrics import DIMENSIONS


def columns(files: Sequence[str], adv: np.ndarray, **changes: Sequence) -> dict[str, Sequence]:
    """Return the columns of a label table; every piece is its whole file of 2 s unless changed."""
    count = len(files)
    made = {"file": list(files), "start_s": [0.0] * count, "end_s": [2.0] * count}
    made |= {name: np.asarray(adv, np.float32)[:, d] for d, name in enumerate(DIMENSIONS)}
    made |= {"teacher": ["t"] * count, "split": ["test"] * count, "audio_sha256": ["0"] * count}
    return made | changes


def label_set(files: Sequence[str], adv: np.ndarray, **changes: Sequence) -> LabelSet:
    made = columns(files, adv, **changes)
    values = {name: made[name] for name in ("file", "teacher", "split", "audio_sha256")}
    times = {name: np.array(made[name]) for name in ("start_s", "end_s")}
    stacked = np.stack([made[name] for name in DIMENSIONS], axis=1)
    return LabelSet(path=Path("labels"), digest="d", adv=stacked, **values, **times)


def write_labels(out: Path, files: Sequence[str], adv: np.ndarray, **changes: Sequence) -> Path:
    with artifact.writing(out, "label", {}, {}) as work:
        parquet.write_table(pyarrow.table(columns(files, adv, **changes)), work / "labels.parquet")
    return out


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path
