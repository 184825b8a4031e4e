"""The SHA-256 of every file of a corpus, computed once for as long as a file stays as it is."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from edgekit import artifact
from edgekit.errors import ConfigError
from edgekit.progress import Progress, silent
from wavllm_teacher.labelling.journal import Journal, journal

HASHES_FILE = "hashes.jsonl"
"""Beside the label table once that is finished, and not a part of the artifact."""
SETTLED_S = 2.0
"""A file that changed more recently could change again without a new time stamp: it is not remembered."""
UNREADABLE = ""
"""Stands for the digest of a file that cannot be opened."""


def hash_files(root: Path, names: Iterable[str], cache: Path, progress: Progress = silent) -> dict[str, str]:
    """Return the SHA-256 of files by name, in the order given; an empty string for what cannot be opened.

    Args:
        root: Folder that the names are relative to.
        names: Files.
        cache: Where digests are remembered by path, size and time of change; begun if it is not there.
        progress: Told how many files are done.

    Raises:
        ConfigError: If the cache cannot be written.
        ArtifactError: If the cache is damaged.
    """
    wanted = list(names)
    digests: dict[str, str] = {}
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.touch()
    except OSError as error:
        raise ConfigError(
            f"{cache.parent}: cannot write here ({error.strerror})", "choose another --out"
        ) from error
    with journal(cache) as known:
        for name in wanted:
            digests[name] = _digest(root / name, known)
            progress("hashing audio", len(digests), len(wanted))
    return digests


def _digest(path: Path, known: Journal) -> str:
    key, state = str(path), _state(path)
    if key in known:
        *then, digest = known[key]
        if then == state:
            return str(digest)
    digest = _sha256(path)
    if state and time.time_ns() - max(state[1:]) > SETTLED_S * 1e9:
        known[key] = [*state, digest]
    return digest


def _state(path: Path) -> list[int]:
    """Return size and times of change in ns: without a change of these, the content is the same."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _sha256(path: Path) -> str:
    try:
        # What is no file, a pipe for one, may have no end.
        return artifact.sha256_file(path) if path.is_file() else UNREADABLE
    except (OSError, ValueError):
        # The scan says why: this file is counted as unreadable.
        return UNREADABLE


def cache_of(out: Path) -> Path:
    """Return where digests are remembered: in the artifact, or beside it until that is there."""
    beside = out.with_name(f".{out.name}.{HASHES_FILE}")
    return out / HASHES_FILE if (out / HASHES_FILE).exists() and not beside.exists() else beside


def take_out(out: Path) -> Path:
    """Move the cache beside an artifact that is about to be replaced, and return where it is."""
    beside, cache = out.with_name(f".{out.name}.{HASHES_FILE}"), cache_of(out)
    if cache != beside:
        os.replace(cache, beside)
    return beside


def put_in(out: Path) -> None:
    """Move the cache into the finished artifact."""
    cache = cache_of(out)
    if cache.parent != out and cache.exists():
        os.replace(cache, out / HASHES_FILE)
