"""The targets that ship with edgekit, one TOML file each and no code.

A path to a file of one's own works everywhere a name does.
"""

import dataclasses
import difflib
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from edgekit.errors import TargetError
from edgekit.target import Target

TARGETS = Path(__file__).parent
_LIST_HINT = "run edgekit targets for the list"
_WHOLE = ("timing", "policy")
"""Sections that a file gives or inherits as a whole: an error belongs to its table, a window to its mode."""
_T = TypeVar("_T")


def list_targets() -> list[str]:
    """Return the names of the targets that ship with edgekit, sorted.

    Example:
        >>> "hearing-aid" in list_targets()
        True
    """
    return sorted(file.stem for file in TARGETS.glob("*.toml"))


def load_target(name_or_path: str) -> Target:
    """Return a target by name, or from a TOML file by path.

    Args:
        name_or_path: A name of `list_targets()`, or a path (recognised by `.toml` or a path separator).

    Raises:
        TargetError: If there is no such target, or its file has an unknown, missing, mistyped or impossible
            value.

    Example:
        >>> load_target("hearing-aid").core.cpu
        'cortex-m33'
    """
    file = _locate(name_or_path, Path())
    values = _read(file, ())
    try:
        target = _build(Target, values, "")
    except TargetError as error:
        raise TargetError(f"{file.name}: {error.what}", error.hint) from error
    if target.name != file.stem:
        what = f"{file.name}: name = {target.name!r} differs from the file's name"
        raise TargetError(what, f'set name = "{file.stem}" or rename the file')
    return target


def _locate(name_or_path: str, folder: Path) -> Path:
    if name_or_path.endswith(".toml") or len(Path(name_or_path).parts) > 1:
        file = folder / name_or_path
        if not file.is_file():
            raise TargetError(f"{name_or_path}: no such target file", _LIST_HINT)
        return file
    names = list_targets()
    if name_or_path not in names:
        what = f"unknown target {name_or_path!r}{_did_you_mean(name_or_path, names)}"
        raise TargetError(f"{what} (there are {', '.join(names)})", _LIST_HINT)
    return TARGETS / f"{name_or_path}.toml"


def _did_you_mean(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _read(file: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    """Return the file's values over those that it inherits, section by section."""
    if file.resolve() in children:
        raise TargetError(f"{file.name}: inherits from itself", "remove an inherits line")
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TargetError(f"{file.name}: not readable as TOML ({error})", "mend the file") from error
    parent = values.pop("inherits", None)
    if parent is None:
        return values
    if not isinstance(parent, str):
        raise TargetError(f"{file.name}: inherits is not a string", 'write inherits = "NAME"')
    merged = _read(_locate(parent, file.parent), (*children, file.resolve()))
    for key, value in values.items():
        section = merged.get(key)
        both = isinstance(section, dict) and isinstance(value, dict) and key not in _WHOLE
        merged[key] = section | value if both else value
    return merged


def _build(cls: type[_T], values: dict[str, Any], path: str) -> _T:
    """Return a (nested) dataclass from a TOML table that has exactly its fields."""
    kinds = typing.get_type_hints(cls)
    for key in values:
        if key not in kinds:
            what = f"unknown key {path}{key}{_did_you_mean(key, list(kinds))}"
            raise TargetError(what, f"the keys are {', '.join(kinds)}")
    arguments = {}
    for key, kind in kinds.items():
        if key not in values:
            if hasattr(cls, key):  # a default
                continue
            raise TargetError(f"missing key {path}{key}", f"add {path}{key} ({kind.__name__})")
        arguments[key] = _convert(values[key], kind, f"{path}{key}")
    return cls(**arguments)


def _convert(value: object, kind: type, path: str) -> object:
    if isinstance(kind, types.UnionType):  # what may be absent, but is here
        kind = typing.get_args(kind)[0]
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _build(kind, value, f"{path}.")
    if kind is float and type(value) is int:
        return float(value)
    # Exact type: to Python, true is also an int.
    if type(value) is not kind:
        wanted = "table" if dataclasses.is_dataclass(kind) else kind.__name__
        raise TargetError(f"{path} = {value!r} is not a {wanted}", f"give {path} a {wanted}")
    return value
