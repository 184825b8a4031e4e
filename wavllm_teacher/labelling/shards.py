"""One shard of the label table: a job that any process on any machine can run, any number of times."""

import functools
import os
import platform
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit import labels
from edgekit.audio import read_piece
from edgekit.errors import ArtifactError, AudioError, ConfigError
from edgekit.threads import torch_threads
from wavllm_teacher.registry import LoadedTeacher, find_teacher, load_teacher

BATCH = 16
"""Pieces that a teacher hears together."""


@dataclass(frozen=True)
class Piece:
    """A part of a file that gets one label.

    Attributes:
        file: Relative to the audio root.
        start_s: Its first second.
        end_s: Its end.
        split: train, dev or test.
        audio_sha256: Of its samples, see `labels.audio_sha256`.
    """

    file: str
    start_s: float
    end_s: float
    split: str
    audio_sha256: str

    @property
    def duration_s(self) -> float:
        """Return its length in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class ShardJob:
    """All that is needed to write one shard; small, and picklable.

    Attributes:
        shard: Its number.
        pieces: Its rows, in the order of the table.
        audio_root: Folder that the files of the pieces lie under.
        teacher: A built-in name, a teacher folder or a repository.
        teacher_digest: Of that teacher: another one under the same name must not be used.
        precision: Of its arithmetic, see `Found.precision`.
        part: The Parquet file to write.
        scratch: Folder for what is not whole yet, on the same file system as `part`.
    """

    shard: int
    pieces: tuple[Piece, ...]
    audio_root: str
    teacher: str
    teacher_digest: str
    precision: str
    part: str
    scratch: str


@dataclass(frozen=True)
class ShardDone:
    """What a finished job says: its shard's number, and how much it labelled."""

    shard: int
    pieces: int
    audio_s: float


def label_shard(job: ShardJob) -> ShardDone:
    """Write the shard of a job, unless it is there.

    Whichever process runs the job, and however often, the shard's bytes are the same; what is under its
    final name is whole.

    Raises:
        AudioError: If a piece cannot be read, changed since it was planned, or its label is not a number.
        ConfigError: If there is no such teacher here, or it computes in another precision on this machine.
        ArtifactError: If the teacher is damaged, or another one than planned.
    """
    if not is_whole(Path(job.part), len(job.pieces)):
        teacher = _teacher(job.teacher, job.teacher_digest, job.precision)
        # With more threads the last bits of a label would depend on the machine.
        with torch_threads(1):
            adv = predict(job, teacher)
        _write_part(job, teacher.name, adv)
    return ShardDone(job.shard, len(job.pieces), sum(piece.duration_s for piece in job.pieces))


@functools.lru_cache(maxsize=1)
def _teacher(name_or_dir: str, digest: str, precision: str) -> LoadedTeacher:
    """Load a teacher once a process."""
    # oneDNN keeps what it compiled for 1024 shapes, and every length is one: 700 MB, for nothing. It reads
    # this when torch first computes.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
    teacher = load_teacher(name_or_dir)
    if teacher.digest != digest:
        raise ArtifactError(
            f"{name_or_dir}: is another teacher than the one that this label set was begun with",
            "run edgekit label again; on several machines, give all of them the same teacher",
        )
    if (here := find_teacher(name_or_dir).precision()) != precision:
        raise ConfigError(
            f"{platform.node()} computes {teacher.name} in {here}; this label set was begun in {precision}",
            "label on machines with GPUs of one kind, or without, and start the command on one of these",
        )
    return teacher


def is_whole(part: Path, rows: int) -> bool:
    """Return whether a shard is there with all of its rows."""
    import pyarrow
    from pyarrow import parquet

    try:
        return bool(parquet.read_metadata(part).num_rows == rows)
    except (FileNotFoundError, pyarrow.ArrowInvalid):
        # Renamed whole, but cut when the power failed: it is written again.
        return False


def predict(job: ShardJob, teacher: LoadedTeacher) -> NDArray[np.float32]:
    """Return the (len(job.pieces), 3) labels of a job's pieces.

    Batches hold pieces of similar length, and which ones depends on the job alone.

    Raises:
        AudioError: As `label_shard` does.
    """
    adv = np.empty((len(job.pieces), 3), np.float32)
    order = sorted(range(len(job.pieces)), key=lambda i: (job.pieces[i].duration_s, i))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        adv[rows] = teacher.predict([_read(job, job.pieces[i]) for i in rows])
    bad = np.flatnonzero(~np.isfinite(adv).all(axis=1))
    if bad.size:
        raise AudioError(f"{job.pieces[bad[0]].file}: the teacher's label is not a number", "leave it out")
    return adv


def _read(job: ShardJob, piece: Piece) -> NDArray[np.float32]:
    samples = read_piece(Path(job.audio_root) / piece.file, piece.start_s, piece.end_s)
    if labels.audio_sha256(samples) != piece.audio_sha256:
        raise AudioError(f"{piece.file}: its audio changed while it was labelled", labels.RELABEL)
    return samples


def _write_part(job: ShardJob, teacher: str, adv: NDArray[np.float32]) -> None:
    import pyarrow
    from pyarrow import parquet

    # Two processes may write the same shard at once, where a lost machine was not lost after all.
    temporary = Path(job.scratch) / f"{Path(job.part).name}.{uuid.uuid4().hex}"
    columns = label_columns(job.pieces, teacher, adv)
    try:
        parquet.write_table(pyarrow.table(columns), temporary, compression="zstd")
        os.replace(temporary, job.part)
    finally:
        temporary.unlink(missing_ok=True)


def label_columns(pieces: Sequence[Piece], teacher: str, adv: NDArray[np.float32]) -> dict[str, object]:
    """Return the columns of the label table, see `labels.COLUMNS`."""
    values: dict[str, object] = {
        "file": [piece.file for piece in pieces],
        "start_s": [piece.start_s for piece in pieces],
        "end_s": [piece.end_s for piece in pieces],
        "arousal": adv[:, 0],
        "dominance": adv[:, 1],
        "valence": adv[:, 2],
        "teacher": [teacher] * len(pieces),
        "split": [piece.split for piece in pieces],
        "audio_sha256": [piece.audio_sha256 for piece in pieces],
    }
    return {name: values[name] for name in labels.COLUMNS}
