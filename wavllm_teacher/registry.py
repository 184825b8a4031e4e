"""Teachers by name or folder.

A teacher folder holds `teacher.json` (kind, name, licence, sizes) and its weights; nothing in it is code.
"""

import difflib
import hashlib
import json
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit import artifact
from edgekit.errors import ArtifactError, ConfigError

TEACHER_FILE = "teacher.json"
WEIGHT_FILES = {
    "compact": ("model.safetensors",),
    "whisper": ("head.safetensors", "encoder/config.json", "encoder/model.safetensors"),
}
BUILT_IN = {
    "compact": "1.2 M parameters, distilled from a Whisper-base teacher; comes with edgekit",
}
RESTORE = "restore the folder from its source, or name another teacher"


class Teacher(Protocol):
    """A model that labels speech.

    Attributes:
        name: Goes into the label table.
        licence: Of the weights.
        digest: SHA-256 over configuration and weights: equal digests give equal labels.
    """

    name: str
    licence: str
    digest: str

    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) float32 arousal, dominance, valence, about 0..1, of (N,) 16 kHz clips."""
        ...


class Network(Protocol):
    """What the networks of all kinds have in common."""

    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) arousal, dominance, valence of (N,) 16 kHz clips."""
        ...


class LoadedTeacher:
    """The `Teacher` in a folder: a network with the facts of its `teacher.json`."""

    def __init__(self, facts: dict[str, Any], digest: str, network: Network) -> None:
        self.name: str = facts["name"]
        self.licence: str = facts["licence"]
        self.digest = digest
        self.network = network

    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) float32 arousal, dominance, valence of (N,) 16 kHz clips."""
        return self.network.predict(clips)


def built_in_folder(name: str) -> Path:
    """Return the package's own folder of a teacher (or of a part of one)."""
    return Path(str(resources.files("edgekit"))) / "data" / "teachers" / name


def teacher_folder(name_or_dir: str) -> Path:
    """Return the folder that a built-in name or a path stands for.

    Raises:
        ConfigError: If it is neither.
    """
    if name_or_dir in BUILT_IN:
        return built_in_folder(name_or_dir)
    folder = Path(name_or_dir)
    if (folder / TEACHER_FILE).is_file():
        return folder
    if folder.is_dir():
        raise ConfigError(f"{folder}: no teacher here ({TEACHER_FILE} is missing)", _choices())
    near = difflib.get_close_matches(name_or_dir, BUILT_IN, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"unknown teacher {name_or_dir!r}", meant + _choices())


def _choices() -> str:
    return f"teachers: {', '.join(BUILT_IN)}, or a folder with {TEACHER_FILE}"


def _read_facts(folder: Path) -> dict[str, Any]:
    file = folder / TEACHER_FILE
    try:
        facts: dict[str, Any] = json.loads(file.read_text())
        missing = [key for key in ("kind", "name", "licence", "shape") if key not in facts]
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{file}: damaged ({error})", RESTORE) from error
    if missing:
        raise ArtifactError(f"{file}: {missing[0]} is missing", RESTORE)
    if facts["kind"] not in list(WEIGHT_FILES):
        raise ArtifactError(
            f"{file}: unknown kind {facts['kind']!r}", f"kinds this edgekit reads: {', '.join(WEIGHT_FILES)}"
        )
    return facts


def teacher_digest(name_or_dir: str) -> str:
    """Return a teacher's digest without loading it.

    Raises:
        ConfigError: If there is no such teacher.
        ArtifactError: If a file of it is missing or damaged.
    """
    folder = teacher_folder(name_or_dir)
    whole = hashlib.sha256()
    for name in (TEACHER_FILE, *WEIGHT_FILES[_read_facts(folder)["kind"]]):
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder}: {name} is missing", RESTORE)
        whole.update(artifact.sha256_file(folder / name).encode())
    return whole.hexdigest()


def load_teacher(name_or_dir: str) -> LoadedTeacher:
    """Load a built-in teacher or one in a folder.

    Args:
        name_or_dir: A name of `BUILT_IN`, or a folder that holds `teacher.json`.

    Raises:
        ConfigError: If there is no such teacher.
        ArtifactError: If it is damaged; names the tensor that does not fit.
    """
    folder, digest = teacher_folder(name_or_dir), teacher_digest(name_or_dir)
    facts = _read_facts(folder)
    try:
        network = LOADERS[facts["kind"]](folder, facts["shape"])
    except (TypeError, KeyError, ValueError) as error:
        raise ArtifactError(f"{folder / TEACHER_FILE}: wrong shape entry ({error})", RESTORE) from error
    return LoadedTeacher(facts, digest, network)


def _load_compact(folder: Path, shape: dict[str, Any]) -> Network:
    from wavllm_teacher import checkpoint
    from wavllm_teacher.compact import CompactShape, CompactTeacher

    network = CompactTeacher(CompactShape(**{**shape, "stem": tuple(shape["stem"])}))
    checkpoint.load_into(network, folder / "model.safetensors")
    return network.eval()


def _load_whisper(folder: Path, shape: dict[str, Any]) -> Network:
    from wavllm_teacher import checkpoint
    from wavllm_teacher.encoder import load_encoder
    from wavllm_teacher.whisper import Head, WhisperTeacher

    head = Head(shape["states"], shape["width"])
    checkpoint.load_into(head, folder / "head.safetensors")
    states = load_encoder(folder / "encoder")
    if (states.state_count, states.width) != (shape["states"], shape["width"]):
        raise ArtifactError(
            f"{folder}: the head reads {shape['states']} states of {shape['width']}, "
            f"the encoder gives {states.state_count} of {states.width}",
            "use the encoder that the head was trained with",
        )
    return WhisperTeacher(states, head)


LOADERS: dict[str, Callable[[Path, dict[str, Any]], Network]] = {
    "compact": _load_compact,
    "whisper": _load_whisper,
}


def list_teachers() -> dict[str, str]:
    """Return the built-in teachers, each with one line on what it is.

    Example:
        >>> list(list_teachers())
        ['compact']
    """
    return dict(BUILT_IN)
