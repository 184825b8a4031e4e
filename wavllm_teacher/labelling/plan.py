"""From what was found in every file to the rows of the label table, and the shards that they lie in."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import AudioError
from wavllm_teacher.labelling.scan import Scanned
from wavllm_teacher.labelling.shards import Piece
from wavllm_teacher.labelling.sources import Item
from wavllm_teacher.splits import fill_empty_splits, most_held_out, split_by_content

if TYPE_CHECKING:
    import pyarrow

LABELLED, PARTLY, DUPLICATE, UNREADABLE = "labelled", "partly labelled", "duplicate", "unreadable"
FILE_COLUMNS = ("file", "status", "reason", "duplicate_of", "duration_s", "pieces", "sha256")
ERRORS_SHOWN = 3
SMALLEST_SHARD, USUAL_SHARD = 8, 64
FEWEST_SHARDS, MOST_SHARDS = 8, 1000
CHUNK = 10_000


@dataclass(frozen=True)
class Plan:
    """What is labelled.

    Attributes:
        pieces: Table of the fields of `Piece`, by file and first second; compact, whatever their number.
        files: Table of `FILE_COLUMNS`, by file.
        shard_pieces: Rows of every shard but the last.
    """

    pieces: "pyarrow.Table"
    files: "pyarrow.Table"
    shard_pieces: int

    @property
    def shards(self) -> int:
        """Return the number of shards."""
        rows: int = self.pieces.num_rows
        return -(-rows // self.shard_pieces)

    def rows(self, shard: int) -> "pyarrow.Table":
        """Return the rows of a shard."""
        return self.pieces.slice(shard * self.shard_pieces, self.shard_pieces)

    def pieces_of(self, shard: int) -> tuple[Piece, ...]:
        """Return the pieces of a shard."""
        return tuple(Piece(**row) for row in self.rows(shard).to_pylist())


def audio_s(pieces: "pyarrow.Table") -> float:
    """Return the length of all pieces of a table in seconds."""
    return float((pieces["end_s"].to_numpy() - pieces["start_s"].to_numpy()).sum())


def shard_size(pieces: int) -> int:
    """Return how many pieces a shard holds.

    Enough shards to go on from after an interruption, few enough to open; from the number of pieces alone,
    so that the same audio gives the same shards whoever labels it.

    Example:
        >>> [shard_size(n) for n in (1, 237, 5000, 1_000_000)]
        [8, 30, 64, 1000]
    """
    usual = min(USUAL_SHARD, -(-pieces // FEWEST_SHARDS))
    return max(SMALLEST_SHARD, usual, -(-pieces // MOST_SHARDS))


def make_plan(items: Sequence[Item], scanned: Mapping[str, Scanned], digests: Mapping[str, str]) -> Plan:
    """Leave out duplicates and unreadable files, and place every piece in a split.

    Args:
        items: The files, sorted by name.
        scanned: What was found in each, by name; asked for in that order, twice.
        digests: SHA-256 of each, by name.
    """
    originals = _Originals()
    for item in items:
        originals.add(item, scanned[item.name])
    splits = _Splits(originals)
    for item in items:
        if originals.is_first(item.name):
            splits.add(item, scanned[item.name])
    splits.fill()
    pieces = _table(_pieces(items, scanned, originals, splits), _piece_schema())
    files = _table((_file_row(item, scanned, originals, digests) for item in items), _file_schema())
    return Plan(pieces, files, shard_size(pieces.num_rows))


class _Originals:
    """Which files are copies of which: equal samples in equal pieces, whatever the container."""

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}
        self._copy_of: dict[str, str] = {}
        self._unreadable: set[str] = set()
        self._splits_of_copies: dict[tuple[str, int], list[str]] = {}

    def add(self, item: Item, found: Scanned) -> None:
        if not found.pieces:
            self._unreadable.add(item.name)
            return
        content = hashlib.sha256()
        for piece in found.pieces:
            content.update(f"{piece.start_s} {piece.audio_sha256}\n".encode())
        first = self._first.setdefault(content.digest(), item.name)
        if first != item.name:
            self._copy_of[item.name] = first
            for part in range(max(1, len(item.parts))):
                self._splits_of_copies.setdefault((first, part), []).append(_own_split(item, part))

    def is_first(self, name: str) -> bool:
        return name not in self._copy_of and name not in self._unreadable

    def original(self, name: str) -> str:
        return self._copy_of.get(name, "")

    def declared(self, item: Item, part: int) -> str:
        """Return the split that somebody gave a part of a file or a copy of it; empty if nobody did.

        A clip that is held out anywhere must not be trained on because of its copy.
        """
        copies = self._splits_of_copies.get((item.name, part), [])
        return most_held_out([_own_split(item, part), *copies])


def _own_split(item: Item, part: int) -> str:
    return item.parts[part].split if item.parts else item.split


class _Splits:
    """The split of every part: what is said of it, else by speaker, else by the content of the file."""

    def __init__(self, originals: _Originals) -> None:
        self._originals = originals
        self._by_group: dict[str, str] = {}

    def add(self, item: Item, found: Scanned) -> None:
        for part in {piece.part for piece in found.pieces}:
            split = self._originals.declared(item, part)
            content = found.pieces[0].audio_sha256
            if not split and item.speaker:
                content = hashlib.sha256(item.speaker.encode()).hexdigest()
            self._by_group[self._group(item, part)] = split or split_by_content(content)

    def _group(self, item: Item, part: int) -> str:
        if self._originals.declared(item, part):
            return f"{item.name}#{part}" if part else item.name
        return f"speaker {item.speaker}" if item.speaker else item.name

    def fill(self) -> None:
        """Let neither train nor test be empty."""
        self._by_group = fill_empty_splits(self._by_group)

    def of(self, item: Item, part: int) -> str:
        return self._by_group[self._group(item, part)]


def _pieces(
    items: Sequence[Item], scanned: Mapping[str, Scanned], originals: _Originals, splits: _Splits
) -> Iterator[dict[str, Any]]:
    for item in items:
        if originals.is_first(item.name):
            for piece in scanned[item.name].pieces:
                yield {
                    "file": item.name,
                    "start_s": piece.start_s,
                    "end_s": piece.end_s,
                    "split": splits.of(item, piece.part),
                    "audio_sha256": piece.audio_sha256,
                }


def _file_row(
    item: Item, scanned: Mapping[str, Scanned], originals: _Originals, digests: Mapping[str, str]
) -> dict[str, Any]:
    found, original = scanned[item.name], originals.original(item.name)
    usable = PARTLY if found.reason else LABELLED
    return {
        "file": item.name,
        "status": (DUPLICATE if original else usable) if found.pieces else UNREADABLE,
        "reason": found.reason,
        "duplicate_of": original,
        "duration_s": found.duration_s,
        "pieces": 0 if original else len(found.pieces),
        "sha256": digests[item.name],
    }


def _table(rows: Iterator[dict[str, Any]], schema: "pyarrow.Schema") -> "pyarrow.Table":
    """Return rows as a table, turning them into columns a few thousand at a time."""
    import pyarrow

    chunks = []
    while chunk := list(itertools.islice(rows, CHUNK)):
        chunks.append(pyarrow.Table.from_pylist(chunk, schema))
    return pyarrow.concat_tables(chunks) if chunks else schema.empty_table()


def _piece_schema() -> "pyarrow.Schema":
    import pyarrow

    text, seconds = pyarrow.string(), pyarrow.float64()
    return pyarrow.schema(
        {"file": text, "start_s": seconds, "end_s": seconds, "split": text, "audio_sha256": text}
    )


def _file_schema() -> "pyarrow.Schema":
    import pyarrow

    text = pyarrow.string()
    kinds = {"duration_s": pyarrow.float64(), "pieces": pyarrow.int64()}
    return pyarrow.schema({name: kinds.get(name, text) for name in FILE_COLUMNS})


def require_usable(files: "pyarrow.Table", root: str, *, strict: bool) -> None:
    """Require that some file, and if strict every file, can be labelled.

    Raises:
        AudioError: If not; says how many, and why for the first few.
    """
    import pyarrow.compute

    bad = files.filter(pyarrow.compute.not_equal(files["reason"], ""))
    useless = pyarrow.compute.sum(pyarrow.compute.equal(files["status"], UNREADABLE)).as_py()
    if bad.num_rows == 0 or (useless < files.num_rows and not strict):
        return
    first = bad.slice(0, ERRORS_SHOWN).to_pylist()
    shown = "; ".join(f"{row['file']}: {row['reason']}" for row in first)
    more = f"; and {bad.num_rows - ERRORS_SHOWN} more" if bad.num_rows > ERRORS_SHOWN else ""
    raise AudioError(
        f"{root}: {bad.num_rows} of {files.num_rows} audio files cannot be used: {shown}{more}",
        "mend those files or leave them out",
    )
