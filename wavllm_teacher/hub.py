"""Folders as Hugging Face lays them out: which files count, and where the cache keeps a repository.

The rules are those of transformers: `HF_HOME`, `HF_HUB_CACHE` and `HF_HUB_OFFLINE` apply, safetensors come
before pickles, and a checkpoint may be split with an index beside it. What is cached is used as it is; what
is not is fetched where there is a network. Nothing in a folder is run.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError, ConfigError

CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
INDEX_ENDING = ".index.json"
SAFETENSORS = ("model.safetensors", f"model.safetensors{INDEX_ENDING}")
PICKLED = ("pytorch_model.bin", f"pytorch_model.bin{INDEX_ENDING}")
SPLIT = {SAFETENSORS: "model-*.safetensors", PICKLED: "pytorch_model-*.bin"}
"""The names of a checkpoint, whole or its index, to the names of its parts."""
REPAIR = "fetch it again: hf download OWNER/NAME --local-dir DIR"

_REPOSITORY = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)


def is_repository(name: str) -> bool:
    """Return whether a word has the form of a repository's name, `owner/name`.

    Example:
        >>> is_repository("audeering/wav2small"), is_repository("compact"), is_repository("a/b/c")
        (True, False, False)
    """
    return _REPOSITORY.fullmatch(name) is not None


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ArtifactError: If it is missing, damaged, or no object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file}: damaged ({error})", REPAIR) from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{file}: damaged (no JSON object)", REPAIR)
    return found


def wrong_entries() -> tuple[type[Exception], ...]:
    """Return what making a network of a `config.json` with impossible entries raises."""
    from huggingface_hub.errors import StrictDataclassError

    builtin = (TypeError, KeyError, ValueError, AttributeError, ArithmeticError, RuntimeError)
    return (*builtin, StrictDataclassError)


def weight_files(folder: Path) -> list[str]:
    """Return the names of the files that hold a folder's weights, an index of parts first.

    Raises:
        ArtifactError: If there are none, or a part is missing.
    """
    for name in (*SAFETENSORS, *PICKLED):
        if (folder / name).is_file():
            return [name, *_parts(folder, name)] if name.endswith(INDEX_ENDING) else [name]
    raise ArtifactError(f"{folder}: no weights here ({SAFETENSORS[0]} or {PICKLED[0]})", REPAIR)


def _parts(folder: Path, index: str) -> list[str]:
    table = read_json(folder / index).get("weight_map")
    if not isinstance(table, Mapping) or not table:
        raise ArtifactError(f"{folder / index}: damaged (no weight_map)", REPAIR)
    parts = sorted({str(part) for part in table.values()})
    for part in parts:
        if Path(part).name != part:
            raise ArtifactError(f"{folder / index}: {part} is not a file beside it", REPAIR)
        if not (folder / part).is_file():
            raise ArtifactError(f"{folder}: {part} is missing", REPAIR)
    return parts


def stated_licence(folder: Path) -> str | None:
    """Return the licence that the card of a folder states, None without one.

    Raises:
        ArtifactError: If the card cannot be read.
    """
    from huggingface_hub import metadata_load
    from yaml import YAMLError  # type: ignore[import-untyped] # what huggingface_hub reads cards with

    file = folder / CARD_FILE
    if not file.is_file():
        return None
    try:
        stated = (metadata_load(file) or {}).get("license")
    except (OSError, ValueError, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"{file}: damaged ({reason})", REPAIR) from error
    names = stated if isinstance(stated, list) else [stated]
    return " and ".join(_spelled(str(name)) for name in names if name) or None


def _spelled(licence: str) -> str:
    return "Apache-2.0" if licence == "apache-2.0" else licence.upper()


def cached(repository: str) -> Path | None:
    """Return the folder of a repository's main revision in the cache; None unless it is whole.

    Raises:
        ConfigError: If the name is none that a repository can have.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(repository, CONFIG_FILE)
    except HFValidationError as error:
        raise ConfigError(f"unknown teacher {repository!r}: {error}", "run edgekit teachers") from error
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    try:
        weight_files(folder)
    except ArtifactError:
        return None
    return folder


def fetch(repository: str) -> Path:
    """Return the folder of a repository in the cache, after downloading what is missing of it.

    Raises:
        ConfigError: If it is not there and cannot be downloaded.
        ArtifactError: If the repository holds no weights.
    """
    from huggingface_hub import is_offline_mode, snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # of its own HTTP library

    folder = cached(repository)
    if folder:
        return folder
    if is_offline_mode():
        raise _cannot_fetch(repository, "HF_HUB_OFFLINE is set")
    try:
        for names, parts in SPLIT.items():
            folder = Path(
                snapshot_download(repository, allow_patterns=[CONFIG_FILE, CARD_FILE, *names, parts])
            )
            if any((folder / name).is_file() for name in names):
                break
    except (OSError, HTTPError) as error:
        raise _cannot_fetch(repository, str(error).split("\n")[0].removeprefix("Got: ")) from error
    assert folder is not None
    weight_files(folder)
    return folder


def _cannot_fetch(repository: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{repository}: no such folder, not in the Hugging Face cache, and not downloaded ({reason})",
        f"with a network, run hf download {repository}; or name a folder that holds the model",
    )
