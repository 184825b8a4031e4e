"""The label stage: audio files to a table of arousal, dominance, valence."""

import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit import artifact, labels
from edgekit.artifact import Artifact
from edgekit.audio import SAMPLE_RATE_HZ, FrontEnd, find_audio, read_audio
from edgekit.errors import ArtifactError, AudioError
from edgekit.progress import Progress, silent
from wavllm_teacher.record import teacher_record
from wavllm_teacher.registry import Teacher, load_teacher, teacher_digest
from wavllm_teacher.splits import fill_empty_splits, split_by_content, split_from_tables

LONGEST_S = 12.0
BATCH = 16
ERRORS_SHOWN = 3
DONE_FILE = ".done.jsonl"
RECORD_FILE = "teacher.json"


@dataclass(frozen=True)
class LabelConfig:
    """What to label with what.

    Attributes:
        audio: Files, and folders searched recursively.
        teacher: A built-in name or a teacher folder.
    """

    audio: tuple[Path, ...]
    teacher: str = "compact"


@dataclass(frozen=True)
class Source:
    """The audio of a config, found and hashed.

    Attributes:
        root: Folder that all files lie under.
        sha256: File, relative to the root, to the digest of its bytes; in sorted order.
        splits: File to split, for those that a table beside the audio lists.
    """

    root: Path
    sha256: dict[str, str]
    splits: dict[str, str]


@dataclass(frozen=True)
class Piece:
    """A part of a file that gets one label."""

    file: str
    start_s: float
    end_s: float
    audio_sha256: str


def find_source(config: LabelConfig) -> Source:
    """Find and hash the audio.

    Raises:
        AudioError: If a path does not exist or holds no audio.
    """
    given = [path.resolve() for path in config.audio]
    files = [file.resolve() for file in find_audio(given)]
    folders = {path if path.is_dir() else path.parent for path in given}
    root = Path(os.path.commonpath([*folders, *(file.parent for file in files)]))
    listed = split_from_tables(sorted(folders))
    names = {file.relative_to(root).as_posix(): file for file in files}
    return Source(
        root,
        {name: artifact.sha256_file(names[name]) for name in sorted(names)},
        {name: listed[names[name]] for name in sorted(names) if names[name] in listed},
    )


def identity(config: LabelConfig) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the inputs and params of the artifact that `label` would write, without labelling.

    Raises:
        AudioError: If a path does not exist or holds no audio.
        ConfigError: If there is no such teacher.
        ArtifactError: If the teacher is damaged.
    """
    return _identity(config, find_source(config))


def _identity(config: LabelConfig, source: Source) -> tuple[dict[str, str], dict[str, Any]]:
    inputs = {
        "audio": _digest(source.sha256),
        "splits": _digest(source.splits),
        "teacher": teacher_digest(config.teacher),
    }
    return inputs, {"longest_s": LONGEST_S, "teacher": teacher_record(config.teacher)}


def _digest(table: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(table.items())).encode()).hexdigest()


def label(config: LabelConfig, out: Path, progress: Progress = silent) -> Artifact:
    """Label audio with a teacher and write the artifact.

    Clips longer than 12 s are cut into equal pieces. Interrupted, a second call with the same audio and
    teacher goes on where the first one stopped.

    Args:
        config: Audio and teacher.
        out: Folder of the artifact.
        progress: Told about files read and clips labelled.

    Raises:
        AudioError: If audio is missing, unreadable or shorter than one frame; lists the first few files.
        ConfigError: If there is no such teacher, or `out` cannot be written.
        ArtifactError: If the teacher is damaged.
    """
    source = find_source(config)
    inputs, params = _identity(config, source)
    with artifact.writing(out, labels.STAGE, inputs, params) as work:
        pieces = cut_files(source, progress)
        teacher = load_teacher(config.teacher)
        adv = _predict(source.root, pieces, teacher, work / DONE_FILE, progress)
        artifact.write_json(work / RECORD_FILE, params["teacher"])
        _write_table(work / labels.LABELS_FILE, pieces, adv, teacher.name, assign_splits(source, pieces))
    note_location(config, out)
    return artifact.read(out, labels.STAGE)


def note_location(config: LabelConfig, out: Path) -> None:
    """Note where the audio of an artifact that is current lies now.

    Raises:
        AudioError: If a path does not exist or holds no audio.
    """
    labels.write_audio_root(out, find_source(config).root)


def cut_files(source: Source, progress: Progress = silent) -> list[Piece]:
    """Read every file and cut it into pieces of at most 12 s, in the order of the files.

    Raises:
        AudioError: If any file cannot be used; says how many, and why for the first few.
    """
    pieces: list[Piece] = []
    errors: list[AudioError] = []
    for done, name in enumerate(source.sha256, 1):
        try:
            pieces += _cut_file(name, read_audio(source.root / name))
        except AudioError as error:
            errors.append(error)
        progress("reading audio", done, len(source.sha256))
    if errors:
        shown = "; ".join(str(error).replace(f"{source.root}{os.sep}", "") for error in errors[:ERRORS_SHOWN])
        more = f"; and {len(errors) - ERRORS_SHOWN} more" if len(errors) > ERRORS_SHOWN else ""
        raise AudioError(
            f"{source.root}: {len(errors)} of {len(source.sha256)} audio files cannot be used: {shown}{more}",
            errors[0].hint if len(errors) == 1 else "mend those files or leave them out",
        )
    return pieces


def _cut_file(name: str, samples: NDArray[np.float32]) -> list[Piece]:
    shortest = FrontEnd().n_fft
    if samples.size < shortest:
        raise AudioError(
            f"{name}: {samples.size} samples at 16 kHz, shorter than one frame of {shortest}", "leave it out"
        )
    count = -(-samples.size // int(LONGEST_S * SAMPLE_RATE_HZ))
    edges_s = [samples.size * i // count / SAMPLE_RATE_HZ for i in range(count + 1)]
    return [
        Piece(name, start, end, labels.audio_sha256(labels.cut(samples, start, end)))
        for start, end in itertools.pairwise(edges_s)
    ]


def assign_splits(source: Source, pieces: Sequence[Piece]) -> list[str]:
    """Return the split of every piece: that of the table, else by content; a file is never divided."""
    content = {piece.file: piece.audio_sha256 for piece in reversed(pieces)}
    by_file = {name: source.splits.get(name) or split_by_content(content[name]) for name in content}
    filled = fill_empty_splits(by_file)
    return [filled[piece.file] for piece in pieces]


def _predict(
    root: Path, pieces: Sequence[Piece], teacher: Teacher, done_file: Path, progress: Progress
) -> NDArray[np.float32]:
    """Return (len(pieces), 3) labels; every finished batch is noted in `done_file` and not done again."""
    known = _read_done(done_file)
    missing = {piece.audio_sha256: piece for piece in pieces if piece.audio_sha256 not in known}
    order = sorted(missing.values(), key=lambda p: (p.end_s - p.start_s, p.file, p.start_s))
    with done_file.open("a", encoding="utf-8") as log:
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            for piece, adv in zip(batch, _predict_batch(root, batch, teacher), strict=True):
                known[piece.audio_sha256] = adv
                log.write(json.dumps([piece.audio_sha256, adv]) + "\n")
            log.flush()
            progress("labelling", len(known), len({piece.audio_sha256 for piece in pieces}))
    return np.array([known[piece.audio_sha256] for piece in pieces], np.float32)


def _predict_batch(root: Path, batch: Sequence[Piece], teacher: Teacher) -> list[list[float]]:
    audio = {name: read_audio(root / name) for name in {piece.file for piece in batch}}
    adv = teacher.predict([labels.cut(audio[p.file], p.start_s, p.end_s) for p in batch])
    for piece, row in zip(batch, adv, strict=True):
        if not np.isfinite(row).all():
            raise AudioError(f"{piece.file}: the teacher's label is not a number", "leave it out")
    rows: list[list[float]] = adv.tolist()
    return rows


def _read_done(done_file: Path) -> dict[str, list[float]]:
    if not done_file.is_file():
        return {}
    lines = done_file.read_text(encoding="utf-8").splitlines(keepends=True)
    # A line without its end was cut off while it was written: that clip is labelled again.
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        artifact.write_text(done_file, "".join(whole))
    try:
        return dict(map(json.loads, whole))
    except (ValueError, TypeError) as error:
        raise ArtifactError(
            f"{done_file}: damaged ({error})", f"remove {done_file.parent}, then run again"
        ) from error


def _write_table(
    path: Path, pieces: Sequence[Piece], adv: NDArray[np.float32], teacher: str, splits: Sequence[str]
) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = {
        "file": [piece.file for piece in pieces],
        "start_s": [piece.start_s for piece in pieces],
        "end_s": [piece.end_s for piece in pieces],
        "arousal": adv[:, 0],
        "dominance": adv[:, 1],
        "valence": adv[:, 2],
        "teacher": [teacher] * len(pieces),
        "split": list(splits),
        "audio_sha256": [piece.audio_sha256 for piece in pieces],
    }
    parquet.write_table(pyarrow.table(columns), path, compression="zstd")
