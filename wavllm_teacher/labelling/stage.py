"""The label stage: audio files to a table of arousal, dominance, valence."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import artifact, labels
from edgekit.artifact import Artifact
from edgekit.errors import ConfigError
from edgekit.progress import OF_AUDIO, Progress, silent
from wavllm_teacher.labelling import hashes, plan
from wavllm_teacher.labelling.engines import Engine, LocalEngine
from wavllm_teacher.labelling.journal import Journal, journal
from wavllm_teacher.labelling.plan import Plan, audio_s
from wavllm_teacher.labelling.scan import LONGEST_S, Found, ScanJob, Scanned, scan_file
from wavllm_teacher.labelling.segments import FRAMES_PER_S, SHORTEST
from wavllm_teacher.labelling.shards import ShardJob, is_whole, label_shard
from wavllm_teacher.labelling.sources import Item, LabelConfig, Sources, find_sources
from wavllm_teacher.record import teacher_record
from wavllm_teacher.registry import find_teacher, name_of, teacher_digest

if TYPE_CHECKING:
    import pyarrow

FILES_FILE = "files.parquet"
RECORD_FILE = "teacher.json"
SCAN_FILE = ".scan.jsonl"
SCRATCH = ".scratch"
Identity = tuple[dict[str, str], dict[str, Any]]


def identity(config: LabelConfig, out: Path, progress: Progress = silent) -> Identity:
    """Return the inputs and params of the artifact that `label` would write, without labelling.

    Args:
        config: Audio and teacher.
        out: Folder of the artifact: the digests of files that have not changed are remembered there.
        progress: Told about files hashed.

    Raises:
        AudioError: If a path does not exist or holds no audio, or a manifest cannot be used.
        ConfigError: If there is no such teacher, or `out` cannot be written.
        ArtifactError: If the teacher is damaged.
    """
    return _look(config, out, progress).identity


@dataclass(frozen=True)
class _Looked:
    sources: Sources
    digests: dict[str, str]
    identity: Identity


def _look(config: LabelConfig, out: Path, progress: Progress) -> _Looked:
    sources = find_sources(config)
    params = {
        "longest_s": LONGEST_S,
        "segments_from_s": SHORTEST / FRAMES_PER_S,
        "teacher": teacher_record(config.teacher),
    }
    inputs = {"teacher": teacher_digest(config.teacher)}
    names = (item.name for item in sources.items)
    digests = hashes.hash_files(sources.root, names, hashes.cache_of(out), progress)
    inputs |= {"audio": _digest(digests.items()), "rows": _digest(map(_row, sources.items))}
    return _Looked(sources, digests, (inputs, params))


def _row(item: Item) -> list[Any]:
    return [item.name, item.split, item.speaker, *((p.start_s, p.end_s, p.split) for p in item.parts)]


def _digest(rows: Iterable[object]) -> str:
    whole = hashlib.sha256()
    for row in rows:
        whole.update(json.dumps(row).encode() + b"\n")
    return whole.hexdigest()


def label(
    config: LabelConfig,
    out: Path,
    progress: Progress = silent,
    engine: Engine | None = None,
    *,
    strict: bool = False,
) -> Artifact:
    """Label audio with a teacher and write the artifact, unless it is there.

    Clips longer than 12 s are cut at pauses. Interrupted or killed, a second call with the same audio and
    teacher goes on where the first one stopped; the artifact's bytes are the same as without the
    interruption, whatever the engine. Files that cannot be used are listed in `files.parquet`.

    Args:
        config: Audio and teacher.
        out: Folder of the artifact.
        progress: Told about files hashed and read, and seconds of audio labelled.
        engine: Where the work is done; None: in this process.
        strict: Whether a file that cannot be used is an error.

    Raises:
        AudioError: If audio is missing, none of it can be used (`strict`: some cannot), or a label is not a
            number; lists the first few files.
        ConfigError: If there is no such teacher, or `out` cannot be written.
        ArtifactError: If the teacher is damaged.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is not a folder", "choose another --out")
    looked = _look(config, out, progress)
    if artifact.is_current(out, labels.STAGE, *looked.identity):
        plan.require_usable(_read_files(out), str(looked.sources.root), strict=strict)
    else:
        hashes.take_out(out)
        _make(config, out, looked, progress, engine or LocalEngine(), strict=strict)
    hashes.put_in(out)
    labels.write_audio_root(out, looked.sources.root)
    made = artifact.read(out, labels.STAGE)
    found = summarize(made)
    if found.unreadable:
        progress(f"{len(found.unreadable)} of {found.files} files cannot be used, see {FILES_FILE}", 1, 1)
    return made


def note_location(config: LabelConfig, out: Path) -> None:
    """Note where the audio of an artifact that is current lies now.

    Raises:
        AudioError: If a path does not exist or holds no audio.
    """
    labels.write_audio_root(out, find_sources(config).root)


@dataclass(frozen=True)
class Summary:
    """What a label artifact holds.

    Attributes:
        files: Files that were named.
        pieces: Rows of the label table.
        hours: Audio labelled.
        duplicates: Files that hold the same audio as another.
        unreadable: The files of which all or parts cannot be used, each with its reason.
    """

    files: int
    pieces: int
    hours: float
    duplicates: int
    unreadable: dict[str, str]


def summarize(made: Artifact) -> Summary:
    """Return what a label artifact holds."""
    from pyarrow import parquet

    files = _read_files(made.path)
    status = files["status"].to_pylist()
    rows = parquet.read_table(made.path / labels.LABELS_FILE, columns=["start_s", "end_s"])
    reasons = zip(files["file"].to_pylist(), files["reason"].to_pylist(), strict=True)
    return Summary(
        files=files.num_rows,
        pieces=rows.num_rows,
        hours=audio_s(rows) / 3600,
        duplicates=status.count(plan.DUPLICATE),
        unreadable={file: reason for file, reason in reasons if reason},
    )


def _read_files(out: Path) -> "pyarrow.Table":
    from pyarrow import parquet

    return parquet.read_table(out / FILES_FILE)


def _make(
    config: LabelConfig, out: Path, looked: _Looked, progress: Progress, engine: Engine, *, strict: bool
) -> None:
    from pyarrow import parquet

    inputs, params = looked.identity
    root = looked.sources.root
    with artifact.writing(out, labels.STAGE, inputs, params) as work:
        with journal(work / SCAN_FILE) as notes:
            planned = _scan(looked, notes, engine, progress)
        plan.require_usable(planned.files, str(root), strict=strict)
        # Absolute: other machines have other working directories.
        teacher = (_absolute(config.teacher), inputs["teacher"], params["teacher"]["precision"])
        _label(planned, work.resolve(), root, teacher, engine, progress)
        parquet.write_table(planned.files, work / FILES_FILE, compression="zstd")
        artifact.write_json(work / RECORD_FILE, params["teacher"])


def _absolute(teacher: str) -> str:
    return str(Path(teacher).resolve()) if Path(teacher).is_dir() and not name_of(teacher) else teacher


def _scan(looked: _Looked, notes: Journal, engine: Engine, progress: Progress) -> Plan:
    """Look into every file that the notes do not know, and plan with what is then known."""
    items, root = looked.sources.items, looked.sources.root
    # Equal bytes hold equal pieces: of copies, only the first is decoded.
    first: dict[object, str] = {}
    decoded = {
        item.name: first.setdefault((looked.digests[item.name] or item.name, _spans(item)), item.name)
        for item in items
    }
    missing = [item for item in items if decoded[item.name] == item.name and item.name not in notes]
    jobs = (ScanJob(item.name, str(root / item.name), _spans(item)) for item in missing)
    done, total = len(first) - len(missing), len(first)
    progress("reading audio", done, total)
    for found in engine.run(scan_file, jobs):
        done += 1
        pieces = [[p.start_s, p.end_s, p.audio_sha256, p.part] for p in found.pieces]
        notes[found.name] = [found.duration_s, pieces, found.reason]
        progress("reading audio", done, total)
    return plan.make_plan(items, _Notes(notes, decoded), looked.digests)


def _spans(item: Item) -> tuple[tuple[float, float], ...]:
    return tuple((part.start_s, part.end_s) for part in item.parts)


class _Notes(Mapping[str, Scanned]):
    """What is noted about every file, copies included."""

    def __init__(self, notes: Journal, decoded: Mapping[str, str]) -> None:
        self._notes = notes
        self._decoded = decoded

    def __getitem__(self, name: str) -> Scanned:
        duration_s, pieces, reason = self._notes[self._decoded[name]]
        return Scanned(name, duration_s, tuple(Found(*piece) for piece in pieces), reason)

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded)

    def __len__(self) -> int:
        return len(self._decoded)


def _label(
    planned: Plan, work: Path, root: Path, teacher: tuple[str, str, str], engine: Engine, progress: Progress
) -> None:
    """Write every shard that is not there yet."""
    parts, scratch = (work / name for name in (labels.LABELS_FILE, SCRATCH))
    parts.mkdir(exist_ok=True)
    scratch.mkdir(exist_ok=True)
    files = [parts / f"part-{number:05d}.parquet" for number in range(planned.shards)]
    missing = [n for n, file in enumerate(files) if not is_whole(file, planned.rows(n).num_rows)]
    jobs = (
        ShardJob(n, planned.pieces_of(n), str(root), *teacher, str(files[n]), str(scratch)) for n in missing
    )
    total_s = audio_s(planned.pieces)
    done_s = total_s - sum(audio_s(planned.rows(n)) for n in missing)
    progress(f"labelling{OF_AUDIO}", round(done_s), round(total_s))
    gpus_per_job = int(find_teacher(teacher[0]).on_best_device())
    for done in engine.run(label_shard, jobs, gpus_per_job):
        done_s += done.audio_s
        progress(f"labelling{OF_AUDIO}", round(done_s), round(total_s))
