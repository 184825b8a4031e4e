"""What is to be labelled: the files that paths, globs and manifests name, and what is known of each."""

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.audio import find_audio
from edgekit.errors import AudioError, ConfigError
from wavllm_teacher.labelling import manifests
from wavllm_teacher.splits import located, most_held_out, split_from_tables


@dataclass(frozen=True)
class LabelConfig:
    """What to label with what.

    Attributes:
        audio: Files, folders searched recursively, glob patterns, and manifests (csv, jsonl, parquet).
        teacher: A built-in name, a teacher folder or a repository.
        audio_root: Folder that the paths in manifests are relative to; None: each manifest's own folder.
    """

    audio: tuple[Path, ...]
    teacher: str = "compact"
    audio_root: Path | None = None


@dataclass(frozen=True)
class Part:
    """A part of a file that a manifest asks for, and its split (empty: not said)."""

    start_s: float
    end_s: float
    split: str


@dataclass(frozen=True)
class Item:
    """A file to label.

    Attributes:
        name: Relative to the audio root.
        split: train, dev or test; empty if nobody says.
        speaker: Empty if not known, or if it has several.
        parts: The parts to label, in order; empty: all of it.
    """

    name: str
    split: str = ""
    speaker: str = ""
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Sources:
    """The files of a config, sorted by name, and the folder that they all lie under."""

    root: Path
    items: tuple[Item, ...]


def find_sources(config: LabelConfig) -> Sources:
    """Find the audio, without opening it.

    Files that a manifest lists need not exist: what is missing counts as unreadable later.

    Raises:
        AudioError: If a path does not exist, a pattern matches nothing, no audio is found, or a manifest or a
            table beside the audio cannot be used.
        ConfigError: If the audio root is no folder.
    """
    if config.audio_root is not None and not config.audio_root.is_dir():
        raise ConfigError(f"{config.audio_root}: no such folder", "check the path given with --audio-root")
    given = [located(path) for path in _expand(config.audio)]
    lists = [path for path in given if path.suffix.lower() in manifests.SUFFIXES and path.is_file()]
    others = [path for path in given if path not in set(lists)]
    rows = _by_file(row for path in lists for row in manifests.read_manifest(path, config.audio_root))
    files = {located(file) for file in find_audio(others)} if others or not rows else set()
    folders = {path if path.is_dir() else path.parent for path in others}
    # Names in the label table are those in the manifest, where that names its files from its own folder.
    bases = {located(config.audio_root or path.parent) for path in lists}
    used = {base for base in bases if any(file.is_relative_to(base) for file in rows)}
    root = Path(os.path.commonpath([*folders, *used, *{file.parent for file in {*files, *rows}}]))
    tables = split_from_tables(sorted(folders))
    items = (
        _item(_spelled(file.relative_to(root)), rows.get(file, []), tables.get(file, ""))
        for file in {*files, *rows}
    )
    return Sources(root, tuple(sorted(items, key=lambda item: item.name)))


def _spelled(path: Path) -> str:
    """Return a path as text that any table takes; bytes of a name that are not UTF-8 are written out."""
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _expand(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.exists() or not glob.has_magic(str(path)):
            yield path
            continue
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 -- of absolute patterns too
        if not matches:
            raise AudioError(f"{path}: no file matches", "check the pattern")
        yield from map(Path, matches)


def _by_file(rows: Iterable[manifests.Row]) -> dict[Path, list[manifests.Row]]:
    files: dict[Path, list[manifests.Row]] = {}
    for row in rows:
        files.setdefault(row.path, []).append(row)
    return files


def _item(name: str, rows: list[manifests.Row], table_split: str) -> Item:
    """Put together what several rows say of a file; what is held out in one of them is held out."""
    split = most_held_out([row.split for row in rows] or [""]) or table_split
    speakers = {row.speaker for row in rows}
    spans: dict[tuple[float, float], list[str]] = {}
    for row in rows:
        if row.span is not None:
            spans.setdefault(row.span, []).append(row.split)
    if spans and any(row.span is None for row in rows):
        raise AudioError(f"{name}: listed both whole and in parts", "remove one of these rows")
    parts = tuple(Part(*span, most_held_out(words)) for span, words in sorted(spans.items()))
    return Item(name, split, speakers.pop() if len(speakers) == 1 else "", parts)
