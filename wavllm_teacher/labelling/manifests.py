"""Lists of audio as CSV, JSON lines or Parquet: a file, and perhaps its split, its speaker, a part of it."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import AudioError
from wavllm_teacher.splits import located, split_of

SUFFIXES = (".csv", ".jsonl", ".parquet")
COLUMNS = {
    "file": ("file", "path", "filename"),
    "split": ("split", "split_set"),
    "speaker": ("speaker", "speaker_id", "spkrid"),
    "start_s": ("start_s", "start", "start_time"),
    "end_s": ("end_s", "end", "end_time"),
}
"""What a column means to the names that it may have, in any case; MSP-Podcast's are among them."""
NOBODY = ("", "unknown")
"""Speakers that are none."""


@dataclass(frozen=True)
class Row:
    """One line of a manifest.

    Attributes:
        path: The audio, absolute.
        split: train, dev or test; empty where the manifest has no such column.
        speaker: Empty if not known.
        span: First second and end of a part; None for the whole file.
    """

    path: Path
    split: str = ""
    speaker: str = ""
    span: tuple[float, float] | None = None


def read_manifest(manifest: Path, audio_root: Path | None) -> Iterator[Row]:
    """Yield the rows of a manifest.

    Args:
        manifest: A `.csv`, `.jsonl` or `.parquet` file.
        audio_root: Folder that its paths are relative to; None: the manifest's own.

    Raises:
        AudioError: If it cannot be read, has no column for the file, or a value of it makes no sense; names
            the line.
    """
    folder = located(audio_root or manifest.parent)
    read = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}[manifest.suffix.lower()]
    empty = True
    for number, values in read(manifest):
        empty = False
        yield _row(values, folder, f"{manifest}: line {number}")
    if empty:
        raise AudioError(f"{manifest}: lists no file", "add rows to it, or name another manifest")


def _csv(manifest: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _require_file_column(reader.fieldnames or (), manifest)
            for row in reader:
                if None in row.values():
                    what = f"{manifest}: line {reader.line_num} has too few fields"
                    raise AudioError(what, "complete or remove that line")
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise AudioError(f"{manifest}: not CSV in UTF-8 ({error})", "save it as such") from error


def _json_lines(manifest: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 1
    try:
        with manifest.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("not an object")
                    _require_file_column(row, manifest)
                    yield number, row
    except ValueError as error:
        what = f"{manifest}: line {number} is not a JSON object in UTF-8 ({error})"
        raise AudioError(what, "write one object a line") from error


def _parquet(manifest: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(manifest)
        _require_file_column(table.schema_arrow.names, manifest)
        wanted = [name for name in table.schema_arrow.names if name.lower() in sum(COLUMNS.values(), ())]
        number = 0
        for batch in table.iter_batches(columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except pyarrow.ArrowInvalid as error:
        raise AudioError(f"{manifest}: not a Parquet file ({error})", "name another manifest") from error


def _require_file_column(columns: Any, manifest: Path) -> None:
    if not {name.lower() for name in columns if name} & set(COLUMNS["file"]):
        there = ", ".join(str(name) for name in columns) or "none"
        names = ", ".join(COLUMNS["file"])
        raise AudioError(
            f"{manifest}: no column for the file (columns: {there})", f"name that column one of {names}"
        )


def _row(values: Mapping[str, Any], folder: Path, where: str) -> Row:
    by_name = {str(name).lower(): value for name, value in values.items()}
    found = {
        meaning: next((by_name[name] for name in names if name in by_name), None)
        for meaning, names in COLUMNS.items()
    }
    if not found["file"] or not isinstance(found["file"], str):
        raise AudioError(f"{where}: no file", "complete or remove that line")
    split = "" if found["split"] is None else split_of(str(found["split"]), where)
    speaker = "" if found["speaker"] is None else str(found["speaker"]).strip()
    return Row(
        path=located(folder / found["file"]),
        split=split,
        speaker="" if speaker.lower() in NOBODY else speaker,
        span=_span(found["start_s"], found["end_s"], where),
    )


def _span(start: Any, end: Any, where: str) -> tuple[float, float] | None:
    if start in (None, "") and end in (None, ""):
        return None
    try:
        start_s, end_s = float(start), float(end)
    except (TypeError, ValueError):
        start_s = end_s = math.nan
    if not 0 <= start_s < end_s < math.inf:
        raise AudioError(
            f"{where}: a part from {start!r} to {end!r} s", "give start and end in seconds, or neither"
        )
    return start_s, end_s
