"""Reading the label artifact: what the teacher said about which piece of which file."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit import artifact
from edgekit.audio import read_piece, to_pcm16
from edgekit.errors import ArtifactError, AudioError
from edgekit.metrics import DIMENSIONS

STAGE = "label"
LABELS_FILE = "labels.parquet"
"""A folder of shards, or one file: Parquet readers take either."""
LOCATION_FILE = "location.json"
COLUMNS = ("file", "start_s", "end_s", *DIMENSIONS, "teacher", "split", "audio_sha256")
RELABEL = "run edgekit label again"


def audio_sha256(samples: NDArray[np.float32]) -> str:
    """Return the SHA-256 of a 16 kHz clip rounded to 16-bit PCM: the same audio, whatever its container."""
    return hashlib.sha256(to_pcm16(samples).astype("<i2").tobytes()).hexdigest()


def write_audio_root(labels_dir: Path, root: Path) -> None:
    """Note beside a finished artifact where its audio lies; not part of the artifact."""
    artifact.write_json(labels_dir / LOCATION_FILE, {"audio_root": str(root.resolve())})


def audio_root(labels_dir: Path) -> Path:
    """Return the folder that the `file` column is relative to.

    Raises:
        ArtifactError: If it is not known, or no longer there.
    """
    location = labels_dir / LOCATION_FILE
    try:
        root = Path(json.loads(location.read_text())["audio_root"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{labels_dir}: does not say where its audio lies ({LOCATION_FILE})", RELABEL
        ) from error
    if not root.is_dir():
        raise ArtifactError(f"{labels_dir}: its audio folder {root} is gone", f"move it back, or {RELABEL}")
    return root


@dataclass(frozen=True)
class LabelSet:
    """Labelled pieces of audio; all fields are in the order of the rows.

    Attributes:
        path: The label artifact's folder.
        digest: The artifact's digest.
        file: File of each piece, relative to the audio root.
        start_s: (N,) first second of each piece.
        end_s: (N,) end of each piece in seconds.
        adv: (N, 3) float32 arousal, dominance, valence.
        teacher: Name of the teacher of each label.
        split: `train`, `dev` or `test`.
        audio_sha256: Of the piece's samples, see `audio_sha256`.
    """

    path: Path
    digest: str
    file: list[str]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    adv: NDArray[np.float32]
    teacher: list[str]
    split: list[str]
    audio_sha256: list[str]

    def __len__(self) -> int:
        return len(self.file)

    def indices(self, split: str) -> list[int]:
        """Return the rows of a split."""
        return [i for i, name in enumerate(self.split) if name == split]

    def held_out(self) -> tuple[str, list[int]]:
        """Return the split to measure on and its rows: test where it has clips, else dev, else train."""
        split = next(name for name in ("test", "dev", "train") if name in self.split)
        return split, self.indices(split)

    def clip(self, index: int) -> NDArray[np.float32]:
        """Return the (N,) 16 kHz samples of a row.

        Raises:
            ArtifactError: If the audio folder is not known or gone.
            AudioError: If the file cannot be read, or its audio changed since it was labelled.
        """
        path = audio_root(self.path) / self.file[index]
        samples = read_piece(path, self.start_s[index], self.end_s[index])
        if audio_sha256(samples) != self.audio_sha256[index]:
            raise AudioError(f"{self.file[index]}: its audio changed since it was labelled", RELABEL)
        return samples


def read_labels(path: Path) -> LabelSet:
    """Open and verify a label artifact.

    Raises:
        ArtifactError: If it is missing, damaged, or its table has other columns.
        AudioError: If a label is NaN or infinite, or there is no row.
    """
    import pyarrow
    from pyarrow import parquet

    found = artifact.read(path, STAGE)
    if not any(Path(name).parts[0] == LABELS_FILE for name in found.manifest.files):
        raise ArtifactError(f"{path}: label artifact without {LABELS_FILE}", RELABEL)
    try:
        table = parquet.read_table(path / LABELS_FILE)
    except pyarrow.ArrowInvalid as error:
        raise ArtifactError(f"{path}: {LABELS_FILE} is not a Parquet file ({error})", RELABEL) from error
    if tuple(table.column_names) != COLUMNS:
        found_columns, expected = ", ".join(table.column_names), ", ".join(COLUMNS)
        raise ArtifactError(
            f"{path}: {LABELS_FILE} has columns {found_columns}; expected {expected}", RELABEL
        )
    column = {name: table.column(name).to_pylist() for name in COLUMNS}
    adv = np.array([column[name] for name in DIMENSIONS], np.float32).T.reshape(-1, len(DIMENSIONS))
    _check_labels(path, column["file"], adv)
    return LabelSet(
        path=path,
        digest=found.digest,
        file=column["file"],
        start_s=np.array(column["start_s"], np.float64),
        end_s=np.array(column["end_s"], np.float64),
        adv=adv,
        teacher=column["teacher"],
        split=column["split"],
        audio_sha256=column["audio_sha256"],
    )


def _check_labels(path: Path, files: list[str], adv: NDArray[np.float32]) -> None:
    if not files:
        raise AudioError(f"{path}: holds no label", RELABEL)
    bad = np.flatnonzero(~np.isfinite(adv).all(axis=1))
    if bad.size:
        raise AudioError(
            f"{path}: {bad.size} of {len(files)} labels are NaN or infinite (first: {files[bad[0]]})",
            "use another teacher, or leave that audio out",
        )
