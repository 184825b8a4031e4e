"""Tables of clips beside the audio, and who trains and who tests."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from edgekit.errors import AudioError

TABLE_NAMES = ("clips.csv", "labels.csv")
PATH_COLUMNS = ("file", "path")
SPLIT_WORDS = {
    "train": ("train", "training", "unlabelled", "unlabeled", ""),
    "dev": ("dev", "development", "val", "valid", "validation"),
    "test": ("test", "testing", "eval", "evaluation", "test1", "test2", "test3"),
}
"""Split to the words for it in tables, from the least to the most held out; test1 to test3: MSP-Podcast."""


def located(path: Path) -> Path:
    """Return the one spelling of a path by which files are told apart: absolute, with links kept.

    What a link is called is what tables and users call the clip; where it leads is nobody's business.
    """
    return Path(os.path.abspath(path))  # noqa: PTH100 -- resolve() would follow links


def find_table(folder: Path) -> dict[Path, dict[str, str]]:
    """Return the rows of the clip table of a folder, by `located` audio file; columns in small letters.

    The table is `clips.csv` or `labels.csv` in the folder or its parent, with a `file` or `path` column
    relative to the table, in any case. Without one, the result is empty.
    """
    folder = located(folder)
    for place in (folder, folder.parent):
        for name in TABLE_NAMES:
            if (place / name).is_file():
                rows = _read_table(place / name)
                if rows:
                    return rows
    return {}


def _read_table(table: Path) -> dict[Path, dict[str, str]]:
    try:
        # Spreadsheets put a byte order mark before the first column's name.
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AudioError(
            f"{table}: not UTF-8 text ({error.reason})", "save it as UTF-8, or rename it"
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    column = next((c for c in PATH_COLUMNS if c in reader.fieldnames), None)
    if column is None:
        return {}
    rows = list(reader)
    for number, row in enumerate(rows, 2):
        if None in row.values():
            raise AudioError(f"{table}: line {number} has too few fields", "complete or remove that line")
    return {located(table.parent / row[column]): row for row in rows}


def split_from_tables(folders: Iterable[Path]) -> dict[Path, str]:
    """Return train, dev or test per audio file, for every table beside the folders with a `split` column.

    Raises:
        AudioError: If a table is not UTF-8, a line of it is cut short, or a split has an unknown name: a
            held-out clip must not end up in training because of a spelling.
    """
    splits: dict[Path, str] = {}
    for folder in folders:
        for file, row in find_table(folder).items():
            if "split" in row:
                splits[file] = split_of(row["split"], f"{file}: in the table beside it")
    return splits


def split_of(word: str, where: str) -> str:
    """Return train, dev or test for a word of a table.

    Raises:
        AudioError: If the word is unknown.

    Example:
        >>> split_of("Development", "clips.csv"), split_of("Test2", "clips.csv")
        ('dev', 'test')
    """
    for split, words in SPLIT_WORDS.items():
        if word.strip().lower() in words:
            return split
    known = ", ".join(w for words in SPLIT_WORDS.values() for w in words if w)
    raise AudioError(f"{where}: unknown split {word!r}", f"use one of {known}")


def most_held_out(splits: Iterable[str]) -> str:
    """Return the split of audio that several rows place differently: what is held out anywhere stays so.

    Example:
        >>> most_held_out(["train", "test", "dev"]), most_held_out(["", "train"])
        ('test', 'train')
    """
    return max(splits, key=["", *SPLIT_WORDS].index)


TEST_FRACTION = 0.2


def split_by_content(audio_sha256: str) -> str:
    """Return train or test from the clip's own content, so that the same clip always falls the same way.

    Example:
        >>> split_by_content("00" * 32), split_by_content("ff" * 32)
        ('test', 'train')
    """
    return "test" if int(audio_sha256[:8], 16) < TEST_FRACTION * 2**32 else "train"


def fill_empty_splits(splits: dict[str, str]) -> dict[str, str]:
    """Return the splits with one clip moved where train or test would be empty; a single clip trains.

    Args:
        splits: Clip key to split; of equal candidates, the first key in sorted order moves;
            a split keeps its last clip unless that is dev.

    Example:
        >>> fill_empty_splits({"a": "train", "b": "train"})
        {'a': 'test', 'b': 'train'}
        >>> fill_empty_splits({"a": "test"})
        {'a': 'train'}
        >>> fill_empty_splits({"a": "train", "b": "dev"})
        {'a': 'train', 'b': 'test'}
    """
    if len(splits) == 1:
        return dict.fromkeys(splits, "train")
    filled = dict(splits)
    for wanted, donor in (("train", "test"), ("test", "train")):
        if wanted not in filled.values():
            givers = [key for key, split in filled.items() if split == donor]
            if len(givers) < 2:
                givers = [key for key, split in filled.items() if split == "dev"]
            if givers:
                filled[min(givers)] = wanted
    return filled
