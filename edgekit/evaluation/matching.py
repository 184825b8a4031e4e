"""Which row of a reference speaks of which labelled file."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgekit.audio.reading import SUFFIXES
from edgekit.errors import AudioError
from edgekit.evaluation.reference import LABELS, Reference
from edgekit.labels import LabelSet

SHOWN = 4


@dataclass(frozen=True)
class Files:
    """Labels by file; all fields are in sorted order of the files.

    Attributes:
        path: The label artifact's folder.
        file: (N,) names, relative to the audio root.
        adv: (N, 3) float64 arousal, dominance, valence.
        split: Of each file.
    """

    path: Path
    file: list[str]
    adv: NDArray[np.float64]
    split: list[str]


def average_files(labels: LabelSet) -> Files:
    """Return one label per file: the mean over its pieces, each weighted by its duration.

    Raises:
        AudioError: If a file's pieces last no time at all, or lie in several splits.
    """
    names, first, index = np.unique(labels.file, return_index=True, return_inverse=True)
    duration_s = labels.end_s - labels.start_s
    total_s = np.bincount(index, duration_s)
    if (total_s <= 0).any():
        raise AudioError(f"{labels.path}: {names[total_s <= 0][0]} lasts 0 s", "run edgekit label again")
    splits = np.array(labels.split)
    divided = splits != splits[first][index]
    if divided.any():
        raise AudioError(
            f"{labels.path}: {names[index[divided][0]]} is in two splits", "run edgekit label again"
        )
    sums = [np.bincount(index, duration_s * values) for values in labels.adv.T.astype(np.float64)]
    return Files(labels.path, names.tolist(), (np.array(sums) / total_s).T, splits[first].tolist())


def as_reference(labels: LabelSet) -> Reference:
    """Return the labels of another teacher as what to compare with, one value per file.

    Raises:
        AudioError: As `average_files` does.
    """
    files = average_files(labels)
    teachers = ", ".join(sorted(set(labels.teacher)))
    places = [f"label {number}" for number in range(1, len(files.file) + 1)]
    return Reference(labels.path, f"{LABELS}{teachers}", files.file, places, files.adv, {}, 0)


def match(files: Files, reference: Reference) -> list[tuple[int, int]]:
    """Return pairs of a file's index and its reference row's, in the order of the files.

    A name matches if it is the same; else if one name ends in the whole of the other (`emodb/a.wav` and
    `a.wav`); else if it does so without the suffix of an audio file (`emodb/a.wav` and `a`). What one of
    these steps pairs is out of the next.

    Raises:
        AudioError: If several rows speak of one file, or a row of several files: names them; or if no row
            and no file have anything in common.
    """
    theirs = [_parts(name) for name in reference.file]
    ours = [_parts(name) for name in files.file]
    pairs: dict[int, int] = {}
    for key, candidates in ((_whole, _same), (_whole, _ending), (_stem, _ending)):
        left = {i: key(ours[i]) for i in range(len(ours)) if i not in pairs}
        used = set(pairs.values())
        found = candidates(left, {i: key(parts) for i, parts in enumerate(theirs) if i not in used})
        pairs |= _require_unique(files, reference, found)
    if not pairs:
        raise AudioError(
            f"{reference.path}: none of its {len(reference):,} labelled rows (first: "
            f"{reference.file[0] if len(reference) else 'none'}) speaks of one of the {len(files.file):,} "
            f"files in {files.path} (first: {files.file[0]})",
            "name the files of the reference as in the label table: relative to the audio's folder",
        )
    return sorted(pairs.items())


Parts = tuple[str, ...]
Candidates = Iterable[tuple[int, int]]
"""Pairs of a file's index and a row's that may belong together."""


def _parts(name: str) -> Parts:
    found = tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part != ".")
    # A name that names nothing matches nothing.
    return found or (name,)


def _whole(parts: Parts) -> Parts:
    return parts


def _stem(parts: Parts) -> Parts:
    last = PurePosixPath(parts[-1])
    return (*parts[:-1], last.stem if last.suffix.lower() in SUFFIXES else last.name)


def _same(ours: Mapping[int, Parts], theirs: Mapping[int, Parts]) -> Candidates:
    index = _index(ours, lambda parts: [parts])
    return [(i, j) for j, parts in theirs.items() for i in index.get(parts, ())]


def _ending(ours: Mapping[int, Parts], theirs: Mapping[int, Parts]) -> Candidates:
    whole, endings = _index(ours, lambda parts: [parts]), _index(ours, _endings)
    return {
        (i, j)
        for j, parts in theirs.items()
        for i in (*endings.get(parts, ()), *(i for ending in _endings(parts) for i in whole.get(ending, ())))
    }


def _endings(parts: Parts) -> list[Parts]:
    return [parts[start:] for start in range(len(parts))]


def _index(names: Mapping[int, Parts], keys: Callable[[Parts], list[Parts]]) -> Mapping[Parts, list[int]]:
    index: defaultdict[Parts, list[int]] = defaultdict(list)
    for i, parts in names.items():
        for key in keys(parts):
            index[key].append(i)
    return index


def _require_unique(files: Files, reference: Reference, found: Candidates) -> dict[int, int]:
    rows, labelled = defaultdict(list), defaultdict(list)
    for i, j in sorted(found):
        rows[i].append(j)
        labelled[j].append(i)
    for i, several in rows.items():
        if len(several) > 1:
            said = _listed([f"{reference.place[j]} ({reference.file[j]})" for j in several])
            raise AudioError(
                f"{reference.path}: {files.file[i]} could be {said}",
                "give each file one row (the mean of its ratings) and enough of its path",
            )
    for j, several in labelled.items():
        if len(several) > 1:
            raise AudioError(
                f"{reference.path}: {reference.place[j]} ({reference.file[j]}) could be "
                f"{_listed([files.file[i] for i in several])}",
                "name the files of the reference as in the label table: relative to the audio's folder",
            )
    return {i: several[0] for i, several in rows.items()}


def _listed(names: Sequence[str]) -> str:
    more = f" or {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return " or ".join(names[:SHOWN]) + more
