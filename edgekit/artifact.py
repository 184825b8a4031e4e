"""Stage artifacts: a folder of files and a `manifest.json` that says what they are and from what.

Stages meet only here. A manifest holds no timestamp and no absolute path, so that the same inputs give
the same bytes. Files that the manifest does not list (caches, locations) are not part of the artifact.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit import __version__
from edgekit.errors import ArtifactError, ConfigError

MANIFEST = "manifest.json"
MARKER = ".identity.json"
"""In a work folder: what is being made there."""
SCHEMA = 1


@dataclass(frozen=True)
class Manifest:
    """What an artifact is.

    Attributes:
        stage: The stage that wrote it (`label`, `distill`, `quantize`, ...).
        inputs: Input name to the digest of that input's manifest or content.
        params: Every setting that changes the output.
        files: Path relative to the folder to its SHA-256.
        version: The edgekit version that wrote it.
    """

    stage: str
    inputs: dict[str, str]
    params: dict[str, Any]
    files: dict[str, str]
    version: str = __version__
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Return the text of `manifest.json`."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Artifact:
    """A verified artifact on disk."""

    path: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest: stands for the whole content."""
        return hashlib.sha256(self.manifest.to_json().encode()).hexdigest()

    def file(self, name: str) -> Path:
        """Return the path of a listed file.

        Raises:
            ArtifactError: If the manifest does not list it.
        """
        if name not in self.manifest.files:
            raise ArtifactError(
                f"{self.path}: {self.manifest.stage} artifact without {name}", _repair(self.manifest.stage)
            )
        return self.path / name


_BUILT_ONLY = ("firmware", "simulate", "alternatives")
"""Stages that no command of their own writes."""


def _repair(stage: str) -> str:
    command = "edgekit build" if stage in _BUILT_ONLY else f"edgekit {stage} (or edgekit build)"
    return f"run {command} again to write it anew"


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all: to a temporary name in the same folder, then renamed."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: to a temporary name in the same folder, then renamed."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read(path: Path, stage: str) -> Artifact:
    """Open an artifact and verify every listed file against its checksum.

    Args:
        path: The artifact's folder.
        stage: The stage that must have written it.

    Raises:
        ArtifactError: If there is none, or it is damaged, of another stage or of another schema.
    """
    manifest = _read_manifest(path, stage)
    if manifest.stage != stage:
        raise ArtifactError(f"{path}: is a {manifest.stage} artifact, not {stage}", _repair(stage))
    for name, expected in manifest.files.items():
        file = path / name
        if not file.is_file():
            raise ArtifactError(f"{path}: {name} is missing", _repair(stage))
        if sha256_file(file) != expected:
            raise ArtifactError(f"{path}: {name} is damaged (its checksum differs)", _repair(stage))
    return Artifact(path, manifest)


def _read_manifest(path: Path, stage: str) -> Manifest:
    file = path / MANIFEST
    if not file.is_file():
        raise ArtifactError(f"{path}: no {stage} artifact here ({MANIFEST} is missing)", _repair(stage))
    try:
        values = json.loads(file.read_text())
        manifest = Manifest(**values)
        if not isinstance(manifest.files, dict):
            raise TypeError("files is not a table")
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{file}: damaged ({error})", _repair(stage)) from error
    if manifest.schema != SCHEMA:
        raise ArtifactError(f"{file}: schema {manifest.schema}, this edgekit reads {SCHEMA}", _repair(stage))
    return manifest


def is_current(path: Path, stage: str, inputs: Mapping[str, str], params: Mapping[str, Any]) -> bool:
    """Return whether the folder holds an undamaged artifact made from exactly these inputs and settings."""
    try:
        manifest = read(path, stage).manifest
    except ArtifactError:
        return False
    wanted = json.loads(json.dumps(dict(params)))
    return (manifest.inputs, manifest.params, manifest.version) == (dict(inputs), wanted, __version__)


def require_no_other(path: Path, stage: str, inputs: Mapping[str, str], params: Mapping[str, Any]) -> None:
    """Require that `writing` an artifact would drop none that is made of others, nor one that was begun.

    For what takes days to make: `writing` itself replaces an older artifact of the same stage.

    Raises:
        ConfigError: If `path` or the work folder holds another one, says by what it differs; or as `writing`
            does.
        ArtifactError: If the manifest there is damaged.
    """
    _require_replaceable(path, stage)
    wanted = json.loads(_identity(stage, inputs, params))
    for place, file, what in ((path, MANIFEST, "made"), (work_folder(path), MARKER, "begun")):
        differing = _differing(_read_identity(place / file) or wanted, wanted)
        # A work folder that nothing has come of is no loss.
        if differing and len(list(place.iterdir())) > 1:
            raise ConfigError(
                f"{path}: was {what} with other settings or inputs ({', '.join(differing)})",
                f"use those again, choose another --out, or remove {place}",
            )


def _read_identity(file: Path) -> dict[str, Any] | None:
    """Return what a manifest or a marker says; None where there is none, or a kill left it half written."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found


def _differing(there: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return the names of what differs between two identities; a manifest is one, and more."""
    names = [name for name in ("stage", "version") if there.get(name) != wanted[name]]
    for group in ("params", "inputs"):
        old, new = there.get(group, {}), wanted[group]
        names += sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return names


def work_folder(path: Path) -> Path:
    """Return where the artifact that `path` will be is made, see `writing`."""
    return path.with_name(f".{path.name}.partial")


@contextlib.contextmanager
def writing(path: Path, stage: str, inputs: Mapping[str, str], params: Mapping[str, Any]) -> Iterator[Path]:
    """Write an artifact: yield a work folder, and put it in place whole once the block ends.

    The work folder `.NAME.partial` lies beside `path`. When the block is left by an exception (Ctrl-C
    too) it stays, unless it is empty, and the next call with the same stage, inputs and params yields it
    again with its content, so that a stage can resume; with any other, it starts empty. Files and folders in
    it whose name starts with a dot are the stage's own and are dropped at the end.

    Args:
        path: The artifact's final folder; an older artifact of the same stage there is replaced. Any other
            folder that is not empty is refused.
        stage: The stage's name.
        inputs: Input name to digest.
        params: Settings; JSON values.

    Raises:
        ConfigError: If the folder cannot be written, another process is writing it, or `path` holds something
            else than such an artifact.
        ArtifactError: If the manifest there is damaged, so that nobody knows what would be lost.
    """
    with exclusive(path.with_name(f".{path.name}.lock")):
        yield from _writing(path, stage, inputs, params)


def _writing(path: Path, stage: str, inputs: Mapping[str, str], params: Mapping[str, Any]) -> Iterator[Path]:
    _require_replaceable(path, stage)
    work = work_folder(path)
    with _writable(work.parent):
        _open_work_folder(work, _identity(stage, inputs, params))
    try:
        yield work
    except BaseException:
        _drop_if_empty(work)
        raise
    _drop_private_files(work)
    files = {p.relative_to(work).as_posix(): sha256_file(p) for p in sorted(work.rglob("*")) if p.is_file()}
    manifest = Manifest(stage, dict(inputs), json.loads(json.dumps(dict(params))), files)
    (work / MANIFEST).write_text(manifest.to_json())
    _replace_folder(work, path)


@contextlib.contextmanager
def _writable(folder: Path, option: str = "--out") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot write here ({error.strerror})", f"choose another {option}"
        ) from error


@contextlib.contextmanager
def exclusive(lock: Path, option: str = "--out") -> Iterator[None]:
    """Keep other processes out of the block; the kernel ends it with the process, so no lock goes stale.

    Args:
        lock: `.NAME.lock` beside what is written, which is NAME.
        option: What names another place.

    Raises:
        ConfigError: If another process is in it, or the folder cannot be written.
    """
    with _writable(lock.parent, option):
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it before has removed the file by now, and a third process may have made it anew.
        if not lock.exists() or lock.stat().st_ino != os.fstat(descriptor).st_ino:
            raise BlockingIOError
    except BlockingIOError as error:
        os.close(descriptor)
        folder = lock.with_name(lock.name.removeprefix(".").removesuffix(".lock"))
        raise ConfigError(
            f"{folder}: another edgekit is writing it", f"wait for it, or choose another {option}"
        ) from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _require_replaceable(path: Path, stage: str) -> None:
    """Refuse to replace anything but an artifact of the same stage: what is there may be somebody's work."""
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path}: is a file, not replaced by a folder", "choose another --out")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not (path / MANIFEST).exists():
        raise ConfigError(f"{path}: holds files that edgekit did not write", "choose another --out")
    try:
        there = _read_manifest(path, stage).stage
    except ArtifactError as error:
        hint = f"remove {path} if nothing in it is wanted, or choose another --out"
        raise ArtifactError(f"{error}; not replaced", hint) from error
    if there != stage:
        what = f"{path}: is a {there} artifact, not replaced by one of {stage}"
        raise ConfigError(what, "choose another --out")


def _identity(stage: str, inputs: Mapping[str, str], params: Mapping[str, Any]) -> str:
    identity = {"stage": stage, "inputs": dict(inputs), "params": dict(params), "version": __version__}
    return json.dumps(identity, sort_keys=True)


def _open_work_folder(work: Path, identity: str) -> None:
    marker = work / MARKER
    if work.exists() and (not marker.exists() or marker.read_text() != identity):
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    marker.write_text(identity)


def _drop_if_empty(work: Path) -> None:
    # What ended the stage is to be told, not that its folder is gone.
    with contextlib.suppress(OSError):
        if [entry.name for entry in work.iterdir()] == [MARKER]:
            shutil.rmtree(work)


def _drop_private_files(work: Path) -> None:
    for entry in work.iterdir():
        if entry.name.startswith("."):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _replace_folder(work: Path, path: Path) -> None:
    # A folder cannot be renamed over a full one: the old one steps aside first and goes last.
    old = path.with_name(f".{path.name}.old")
    if old.exists():
        shutil.rmtree(old)
    if path.exists():
        os.replace(path, old)
    os.replace(work, path)
    if old.exists():
        shutil.rmtree(old)
