"""Reference tables: what people, or a rule, say of each clip."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import AudioError, ConfigError
from edgekit.metrics import DIMENSIONS

ALIASES: Mapping[str, Sequence[str]] = {
    "file": ("file", "path", "filename"),
    "speaker": ("speaker", "speaker_id", "spkrid"),
    "split": ("split", "split_set"),
}
"""What a column means to the names that it may have, in lower case; MSP-Podcast's are among them."""
MSP_ALIASES: Mapping[str, Sequence[str]] = {
    "arousal": ("emoact",),
    "dominance": ("emodom",),
    "valence": ("emoval",),
}
MSP_REQUIRED = ("filename", "emoact", "emodom", "emoval")
MSP_RANGE = (1.0, 7.0)
TABLE, MSP_PODCAST = "table", "MSP-Podcast consensus table"
LABELS = "labels of "
"""What the kind of a reference begins with that another teacher made; its name follows."""
COLUMNS_HINT = (
    f"give it a column file or path, and {', '.join(DIMENSIONS)} from 0 to 1; "
    "or name the MSP-Podcast consensus table"
)
Row = tuple[str, dict[str, Any]]
"""Where a row stands (`line 7`), and its values by column."""


@dataclass(frozen=True)
class Reference:
    """Labelled clips of a reference table; all fields are in the order of the rows.

    Attributes:
        path: The table.
        kind: `TABLE`, `MSP_PODCAST`, or `LABELS` and a teacher's name.
        file: Name of each clip's file.
        place: Where each row stands, such as `line 7`.
        adv: (N, 3) float64 arousal, dominance, valence from 0 to 1.
        columns: Every other column as text, by its name in lower case; empty where a row has no value.
            `speaker`, `gender`, `corpus` and `split` mean what they say.
        unlabelled: How many more rows there are, with none of the three values.
    """

    path: Path
    kind: str
    file: list[str]
    place: list[str]
    adv: NDArray[np.float64]
    columns: dict[str, list[str]]
    unlabelled: int

    def __len__(self) -> int:
        return len(self.file)


def read_reference(path: Path) -> Reference:
    """Read a reference table: CSV, JSON lines or Parquet.

    A table names its files in a column `file` (or `path`, `filename`) and has arousal, dominance and valence
    from 0 to 1. The consensus table of MSP-Podcast is known by its columns FileName, EmoAct, EmoDom and
    EmoVal; its values x of 1 to 7 become (x - 1) / 6, as in the corpus's own code (MSP-Podcast Challenge).
    Names of columns are read in any case. Rows that hold none of the three values are left out and counted.

    Args:
        path: A file that ends in .csv, .jsonl, .ndjson or .parquet.

    Raises:
        ConfigError: If the file has another ending.
        AudioError: If it is missing or damaged, lacks a column, or a value of it is missing, NaN, infinite or
            out of range; names the line.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: not a table that can be read", f"give a file in {', '.join(READERS)}")
    if not path.is_file():
        raise AudioError(f"{path}: no such file", "check the path given with --reference")
    try:
        rows = list(reader(path))
    except UnicodeDecodeError as error:
        raise AudioError(f"{path}: not UTF-8 text ({error.reason})", "save it as UTF-8") from error
    if not rows:
        raise AudioError(f"{path}: holds no row", COLUMNS_HINT)
    return _to_reference(path, rows)


def _csv_rows(path: Path) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8-sig")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    _require_distinct(path, [name.strip().lower() for name in reader.fieldnames or ()])
    try:
        for row in reader:
            if None in row or None in row.values():
                raise AudioError(
                    f"{path}: line {reader.line_num} has not as many fields as the first", "mend that line"
                )
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        raise AudioError(f"{path}: line {reader.reader.line_num}: {error}", "mend that line") from error


def _json_rows(path: Path) -> Iterator[Row]:
    # Not splitlines(): JSON strings may hold other line separators than a line feed.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise AudioError(f"{path}: line {number} is not JSON ({error})", "mend that line") from error
        if not isinstance(row, dict):
            raise AudioError(f"{path}: line {number} is not a JSON object", "give one object a line")
        yield f"line {number}", row


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise AudioError(f"{path}: is not a Parquet file ({error})", "write it again") from error
    for number, row in enumerate(rows, 1):
        yield f"row {number}", row


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".parquet": _parquet_rows,
}


def _require_distinct(path: Path, names: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise AudioError(f"{path}: has several columns {twice[0]}", "keep the one that counts")


def _to_reference(path: Path, rows: Sequence[Row]) -> Reference:
    # In JSON lines, a row may leave a column out.
    spelled = dict.fromkeys(name for _, row in rows for name in row)
    names = {name.strip().lower(): name for name in spelled}
    _require_distinct(path, [name.strip().lower() for name in spelled])
    kind = MSP_PODCAST if all(name in names for name in MSP_REQUIRED) else TABLE
    columns = _meanings(names, {**ALIASES, **(MSP_ALIASES if kind == MSP_PODCAST else {})})
    missing = [name for name in ("file", *DIMENSIONS) if name not in columns]
    if missing:
        there = ", ".join(names.values())
        if any(name in names for name in MSP_REQUIRED[1:]):
            lacks = [name for name in MSP_REQUIRED if name not in names]
            raise AudioError(
                f"{path}: has no column {', '.join(lacks)} (it has {there})",
                "the MSP-Podcast consensus table has FileName, EmoAct, EmoDom and EmoVal",
            )
        raise AudioError(f"{path}: has no column {', '.join(missing)} (it has {there})", COLUMNS_HINT)
    labels = [_adv(path, place, kind, [row.get(columns[name]) for name in DIMENSIONS]) for place, row in rows]
    kept = [(place, row) for (place, row), adv in zip(rows, labels, strict=True) if adv is not None]
    others = {key: name for key, name in columns.items() if key not in ("file", *DIMENSIONS)}
    return Reference(
        path,
        kind,
        [_file(path, place, row.get(columns["file"])) for place, row in kept],
        [place for place, _ in kept],
        np.array([adv for adv in labels if adv is not None], np.float64).reshape(-1, len(DIMENSIONS)),
        {key: [_text(row.get(name)) for _, row in kept] for key, name in others.items()},
        len(rows) - len(kept),
    )


def _meanings(names: Mapping[str, str], aliases: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the column of every meaning, and every other column by its own name."""
    columns = dict(names)
    for meaning, known in aliases.items():
        found = next((name for name in known if name in columns), None)
        if found:
            columns[meaning] = columns.pop(found)
    return columns


def _file(path: Path, place: str, value: object) -> str:
    if not _text(value):
        raise AudioError(f"{path}: {place} names no file", "complete or remove that line")
    return _text(value)


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _adv(path: Path, place: str, kind: str, values: Sequence[object]) -> list[float] | None:
    """Return the labels of a row from 0 to 1, or None if it holds none of them."""
    if not any(map(_text, values)):
        return None
    low, high = MSP_RANGE if kind == MSP_PODCAST else (0.0, 1.0)
    named = zip(DIMENSIONS, values, strict=True)
    return [(_number(path, place, name, value, low, high) - low) / (high - low) for name, value in named]


def _number(path: Path, place: str, name: str, value: object, low: float, high: float) -> float:
    try:
        number = float(_text(value))
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise AudioError(
            f"{path}: {place}: {name} is {_text(value)!r}, not a number from {low:g} to {high:g}",
            "mend that line; leave all three empty where a clip has no label, and scale values of 1 to 7 as "
            "(x - 1) / 6",
        )
    return number
