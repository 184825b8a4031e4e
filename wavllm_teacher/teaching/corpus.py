"""The labelled corpora that a dual-encoder teacher learns from, and what their licences allow."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import artifact
from edgekit.audio import find_audio
from edgekit.errors import AudioError
from edgekit.metrics import DIMENSIONS
from wavllm_teacher.licences import forbids_commerce, stated_licence
from wavllm_teacher.splits import find_table, located, split_from_tables

SPLITS = ("train", "dev", "test")
LEAST_CLIPS = {"train": 2, "dev": 2}
"""Concordance needs two clips."""
TABLE_HINT = f"give its clips.csv or labels.csv the columns file, split, {', '.join(DIMENSIONS)}"


@dataclass(frozen=True)
class Clip:
    """One labelled file.

    Attributes:
        file: Where it lies.
        split: train, dev or test.
        labels: Arousal, dominance, valence, each from 0 to 1.
        licence: Of its audio, as the table states it.
    """

    file: Path
    split: str
    labels: tuple[float, ...]
    licence: str


@dataclass(frozen=True)
class Corpus:
    """Labelled clips that are one task.

    Attributes:
        name: As the table's column `corpus` says; without one, that of the folder. Goes into the metrics.
        clips: Split to labelled clips, sorted by path.
        licences: Of the train and dev clips, sorted.
        digest: SHA-256 over content, split, labels and licences of every clip.
    """

    name: str
    clips: dict[str, list[Clip]]
    licences: tuple[str, ...]
    digest: str


def read_corpora(folders: Sequence[Path]) -> list[Corpus]:
    """Return the corpora in some folders, sorted, so that the order in which they are named does not matter.

    A table beside the audio (see `splits.find_table`) gives each file's split and labels; a file whose labels
    are empty is left out. Corpora of one name in different folders are told apart by a number.

    Raises:
        AudioError: If a folder does not exist or has no table of clips, the table lacks a column, lists a
            file that is not there or holds a value that is no label, a corpus has too few train or dev clips,
            or a clip lies in two of the folders.
    """
    found = [corpus for folder in folders for corpus in _read_folder(folder)]
    corpora = sorted(found, key=lambda corpus: (corpus.name, corpus.digest))
    _require_distinct([clip for corpus in corpora for clips in corpus.clips.values() for clip in clips])
    named: list[Corpus] = []
    for corpus in corpora:
        same = sum(other.name == corpus.name for other in corpora[: len(named)])
        named.append(replace(corpus, name=f"{corpus.name}-{same + 1}") if same else corpus)
    return named


def _require_distinct(clips: Sequence[Clip]) -> None:
    seen: set[Path] = set()
    for clip in clips:
        if clip.file.resolve() in seen:
            raise AudioError(f"{clip.file}: is in two of the corpora", "name each folder once")
        seen.add(clip.file.resolve())


def _read_folder(folder: Path) -> list[Corpus]:
    rows, splits = _listed(folder), split_from_tables([folder])
    named: dict[str, list[Clip]] = {}
    for file, row in rows.items():
        labels = _labels(file, row)
        if labels:
            name = row.get("corpus") or folder.resolve().name
            named.setdefault(name, []).append(Clip(file, splits[located(file)], labels, stated_licence(row)))
    if not named:
        raise AudioError(f"{folder}: none of its clips has labels", TABLE_HINT)
    return [_corpus(folder, name, clips) for name, clips in named.items()]


def _listed(folder: Path) -> dict[Path, dict[str, str]]:
    """Return the table's row of every file in a folder that it lists, sorted by path."""
    if not folder.is_dir():
        raise AudioError(f"{folder}: no such folder", "check the path of the corpus")
    table = find_table(folder)
    if not table:
        raise AudioError(f"{folder}: no clips.csv or labels.csv beside its audio", TABLE_HINT)
    missing = [file for file in table if file.is_relative_to(located(folder)) and not file.is_file()]
    if missing:
        raise AudioError(
            f"{missing[0]}: in the table, but not there; as are {len(missing) - 1} other clips",
            "restore the audio, or remove its lines from the table",
        )
    rows = {file: table[located(file)] for file in find_audio([folder]) if located(file) in table}
    if not rows:
        raise AudioError(f"{folder}: the table beside its audio lists no file of it", TABLE_HINT)
    for name in ("split", *DIMENSIONS):
        if name not in next(iter(rows.values())):
            raise AudioError(f"{folder}: the table beside its audio has no column {name}", TABLE_HINT)
    return rows


def _labels(file: Path, row: Mapping[str, str]) -> tuple[float, ...]:
    """Return arousal, dominance and valence of a row; nothing if one of them is empty."""
    if not all(row[name] for name in DIMENSIONS):
        return ()
    return tuple(_label(file, name, row[name]) for name in DIMENSIONS)


def _label(file: Path, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise AudioError(
            f"{file}: {name} is {text!r} in the table beside it, not a number from 0 to 1",
            "scale the labels to 0..1; leave those that are missing empty",
        )
    return value


def _corpus(folder: Path, name: str, found: Sequence[Clip]) -> Corpus:
    clips = {split: [clip for clip in found if clip.split == split] for split in SPLITS}
    for split, least in LEAST_CLIPS.items():
        if len(clips[split]) < least:
            raise AudioError(
                f"{folder}: {name} has {len(clips[split])} labelled {split} clips and needs at least {least}",
                f"set the split of some clips to {split} in the table beside it",
            )
    licences = tuple(sorted({clip.licence for split in LEAST_CLIPS for clip in clips[split]}))
    return Corpus(name, clips, licences, _digest(folder, found))


def _digest(folder: Path, clips: Sequence[Clip]) -> str:
    rows = [
        [c.file.relative_to(folder).as_posix(), artifact.sha256_file(c.file), c.split, c.labels, c.licence]
        for c in clips
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def is_non_commercial(corpus: Corpus) -> bool:
    """Return whether some audio that is learned from is licensed for non-commercial use or research only.

    Example:
        >>> [is_non_commercial(Corpus("", {}, (text,), "")) for text in ("CC-BY-NC-SA-4.0", "CC-BY-4.0")]
        [True, False]
    """
    return any(map(forbids_commerce, corpus.licences))
