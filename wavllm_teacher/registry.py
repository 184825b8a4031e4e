"""Teachers by name, by folder, or by the name of a repository on Hugging Face.

A teacher folder holds `teacher.json` (kind, name, licence, and what else its kind needs) and weights; or it
is a public checkpoint as Hugging Face lays it out (`config.json` and weights); or it holds two of these, in
the folders `dawn` and `msp-wavlm`, and is their fusion. Nothing in a folder is code.
"""

import contextlib
import difflib
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit import artifact
from edgekit.errors import ArtifactError, ConfigError, UnsupportedError
from wavllm_teacher import hub
from wavllm_teacher.catalogue import FUSED, TEACHERS
from wavllm_teacher.kinds import KINDS, Network

TEACHER_FILE = "teacher.json"
RESTORE = "restore the folder from its source, or name another teacher"
MODEL_TYPES = {"wav2vec2": "dawn", "ser": "msp-wavlm"}
"""The `model_type` of a public checkpoint's config to the kind of teacher."""
PERMISSIVE = ("MIT", "Apache-2.0")
"""Licences that ask for nothing that the other licences here do not ask for."""


class Teacher(Network, Protocol):
    """A model that labels speech.

    Attributes:
        name: Goes into the label table.
        licence: Of the weights.
        digest: SHA-256 over configuration and weights: equal digests give equal labels.
    """

    name: str
    licence: str
    digest: str


class LoadedTeacher:
    """The `Teacher` that was found: a network with the facts about it."""

    def __init__(self, facts: dict[str, Any], digest: str, network: Network) -> None:
        self.name: str = facts["name"]
        self.licence: str = facts["licence"]
        self.digest = digest
        self.network = network

    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) float32 arousal, dominance, valence of (N,) 16 kHz clips."""
        return self.network.predict(clips)


@dataclass(frozen=True)
class Found:
    """A teacher that is here, not loaded.

    Attributes:
        folder: Where it lies; None for a fusion whose parts lie apart.
        facts: The content of its `teacher.json`, or what stands for it: kind, name, licence.
        parts: The teachers that it is the mean of.
    """

    folder: Path | None
    facts: dict[str, Any]
    parts: tuple["Found", ...] = ()

    def files(self) -> list[Path]:
        """Return all files that decide its labels.

        Raises:
            ArtifactError: If one is missing.
        """
        if self.folder is None or self.parts:
            return [file for part in self.parts for file in part.files()]
        with _usable_entries(self.folder):
            names = list(KINDS[self.facts["kind"]].files(self.folder, self.facts))
        if (self.folder / TEACHER_FILE).is_file():
            names.insert(0, TEACHER_FILE)
        for name in names:
            if not (self.folder / name).is_file():
                raise ArtifactError(f"{self.folder}: {name} is missing", RESTORE)
        return [self.folder / name for name in names]

    def digest(self) -> str:
        """Return one SHA-256 over the content of its files.

        Raises:
            ArtifactError: If one is missing.
        """
        whole = hashlib.sha256()
        for file in self.files():
            stat = file.stat()
            whole.update(_sha256(file, stat.st_size, stat.st_mtime_ns).encode())
        return whole.hexdigest()

    def load(self) -> Network:
        """Load its network.

        Raises:
            ArtifactError: If it is damaged; names the tensor that does not fit.
            UnsupportedError: If it is a model that edgekit does not know.
        """
        if self.folder is None or self.parts:
            from wavllm_teacher.public import MeanTeacher

            return MeanTeacher([part.load() for part in self.parts])
        with _usable_entries(self.folder):
            return KINDS[self.facts["kind"]].load(self.folder, self.facts)

    def on_best_device(self) -> bool:
        """Return whether it runs on a GPU if there is one."""
        return any(KINDS[part.facts["kind"]].on_best_device for part in self.parts or (self,))

    def precision(self) -> str:
        """Return in what it computes on this machine: `float32` or `bfloat16`."""
        if not self.on_best_device():
            return "float32"
        from wavllm_teacher.device import best_device

        return best_device().precision


@functools.lru_cache
def _sha256(file: Path, _size: int, _mtime_ns: int) -> str:
    """Hash a file once a process: a gigabyte takes seconds, and a build asks several times."""
    return artifact.sha256_file(file)


@contextlib.contextmanager
def _usable_entries(folder: Path) -> Iterator[None]:
    try:
        yield
    except (TypeError, KeyError, ValueError) as error:
        raise ArtifactError(f"{folder / TEACHER_FILE}: wrong shape entry ({error})", RESTORE) from error


def built_in_folder(name: str) -> Path:
    """Return the package's own folder of a teacher (or of a part of one)."""
    return Path(str(resources.files("edgekit"))) / "data" / "teachers" / name


def find_teacher(name_or_dir: str) -> Found:
    """Find a teacher; one on Hugging Face that is not in the cache is downloaded.

    Args:
        name_or_dir: A name of `TEACHERS`, a teacher folder, or a repository (`owner/name`).

    Raises:
        ConfigError: If there is no such teacher, or it is not here and cannot be downloaded.
        ArtifactError: If its `teacher.json` or `config.json` is damaged.
        UnsupportedError: If it is a model that edgekit does not know.
    """
    name, folder = name_of(name_or_dir), Path(name_or_dir)
    if name:
        return by_name(name)
    if folder.is_dir():
        return _in_folder(folder)
    if hub.is_repository(name_or_dir):
        return Found(fetched := hub.fetch(name_or_dir), _public_facts(fetched, name_or_dir))
    near = difflib.get_close_matches(name_or_dir, TEACHERS, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"unknown teacher {name_or_dir!r}", meant + _choices())


def _choices() -> str:
    usable = [name for name, entry in TEACHERS.items() if not entry.made]
    return f"teachers: {', '.join(usable)}, or a folder with {TEACHER_FILE}; see edgekit teachers"


def name_of(name_or_dir: str) -> str:
    """Return the name of a teacher of `TEACHERS` given by it or by its repository, else an empty string.

    Example:
        >>> name_of("audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim")
        'dawn'
    """
    if name_or_dir in TEACHERS:
        return name_or_dir
    if Path(name_or_dir).is_dir():
        return ""
    return next((name for name, entry in TEACHERS.items() if entry.repository == name_or_dir), "")


def by_name(name: str) -> Found:
    """Find a teacher of `TEACHERS`; what is not in the cache is downloaded.

    Raises:
        ConfigError: If it has to be made first, or is not here and cannot be downloaded.
        ArtifactError: If it is damaged.
    """
    entry = TEACHERS[name]
    facts = {"kind": name, "name": name, "licence": entry.licence}
    if entry.parts:
        return Found(None, facts, tuple(by_name(part) for part in entry.parts))
    if entry.repository:
        return Found(hub.fetch(entry.repository), facts)
    if entry.made:
        raise ConfigError(
            f"{name}: has to be made first", f"run {entry.get[0]}, then name the folder it wrote"
        )
    folder = built_in_folder(name)
    return Found(folder, _read_facts(folder))


def _in_folder(folder: Path) -> Found:
    described, public = (folder / TEACHER_FILE).is_file(), (folder / hub.CONFIG_FILE).is_file()
    facts = _read_facts(folder) if described else None
    fused = facts["kind"] == FUSED if facts else not public
    if not fused:
        return Found(folder, facts or _public_facts(folder))
    parts = tuple(_part(folder, name, described=described) for name in TEACHERS[FUSED].parts)
    licence = _stricter(*(part.facts["licence"] for part in parts))
    return Found(folder, facts or {"kind": FUSED, "name": FUSED, "licence": licence}, parts)


def _part(folder: Path, name: str, *, described: bool) -> Found:
    if not (folder / name).is_dir():
        if described:
            raise ArtifactError(f"{folder}: folder {name} is missing", RESTORE)
        raise ConfigError(
            f"{folder}: no teacher here (neither {TEACHER_FILE} nor {hub.CONFIG_FILE})", _choices()
        )
    found = _in_folder(folder / name)
    if found.facts["kind"] != name:
        raise ArtifactError(f"{folder / name}: holds a teacher of kind {found.facts['kind']!r}", RESTORE)
    return found


def _stricter(first: str, second: str) -> str:
    """Return the licence under which two things are together.

    Example:
        >>> _stricter("CC-BY-NC-SA-4.0", "MIT")
        'CC-BY-NC-SA-4.0'
    """
    if first == second or second in PERMISSIVE:
        return first
    return second if first in PERMISSIVE else f"{first} and {second}"


def _public_facts(folder: Path, repository: str = "") -> dict[str, Any]:
    """Return what stands for the `teacher.json` of a folder as Hugging Face lays it out.

    Its card states the licence; without a card it has that of the public checkpoint of its kind, which it is
    a copy of or was trained from.
    """
    file = folder / hub.CONFIG_FILE
    model_type = hub.read_json(file).get("model_type")
    kind = MODEL_TYPES.get(str(model_type))
    if kind is None:
        known = ", ".join(MODEL_TYPES)
        raise UnsupportedError(f"{file}: model_type is {model_type!r}, not one of {known}", _choices())
    licence = hub.stated_licence(folder) or TEACHERS[kind].licence
    return {"kind": kind, "name": repository or kind, "licence": licence}


def _read_facts(folder: Path) -> dict[str, Any]:
    file = folder / TEACHER_FILE
    try:
        facts: dict[str, Any] = json.loads(file.read_text())
        missing = [key for key in ("kind", "name", "licence") if key not in facts]
        if not missing and facts["kind"] in list(KINDS):
            missing = [key for key in KINDS[facts["kind"]].needs if key not in facts]
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{file}: damaged ({error})", RESTORE) from error
    if missing:
        raise ArtifactError(f"{file}: {missing[0]} is missing", RESTORE)
    if not isinstance(facts.get("shape", {}), dict):
        raise ArtifactError(f"{file}: wrong shape entry (no JSON object)", RESTORE)
    if facts["kind"] not in [*KINDS, FUSED]:
        known = ", ".join([*KINDS, FUSED])
        raise ArtifactError(f"{file}: unknown kind {facts['kind']!r}", f"kinds this edgekit reads: {known}")
    return facts


def teacher_digest(name_or_dir: str) -> str:
    """Return a teacher's digest without loading it.

    Raises:
        ConfigError: If there is no such teacher, or it is not here and cannot be downloaded.
        ArtifactError: If a file of it is missing or damaged.
        UnsupportedError: If it is a model that edgekit does not know.
    """
    return find_teacher(name_or_dir).digest()


def load_teacher(name_or_dir: str) -> LoadedTeacher:
    """Load a teacher.

    Args:
        name_or_dir: A name of `TEACHERS`, a teacher folder, or a repository (`owner/name`).

    Raises:
        ConfigError: If there is no such teacher, or it is not here and cannot be downloaded.
        ArtifactError: If it is damaged; names the tensor that does not fit.
        UnsupportedError: If it is a model that edgekit does not know.
    """
    found = find_teacher(name_or_dir)
    return LoadedTeacher(found.facts, found.digest(), found.load())


def list_teachers() -> dict[str, str]:
    """Return the teachers that come with edgekit, each with one line on what it is.

    Example:
        >>> list(list_teachers())
        ['compact']
    """
    return {name: entry.what for name, entry in TEACHERS.items() if not entry.get}
