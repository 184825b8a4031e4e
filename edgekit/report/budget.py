"""Budgets: those of a target, and those of a file that replace them."""

import dataclasses
import difflib
import tomllib
import typing
from pathlib import Path

from edgekit.errors import ConfigError
from edgekit.report.figures import Limit
from edgekit.target import Budget, Target

SOURCE = "source"
MISSED = "missed_deadlines"
"""The verdict that no target and no file can move."""
NO_DEADLINE_MISSED = Limit(0, "every target")


def target_limits(target: Target) -> dict[str, Limit]:
    """Return every budget that a target has."""
    origin = f"target {target.name}"
    limits = {name: getattr(target.budget, name) for name in _kinds()}
    return {name: Limit(value, origin) for name, value in limits.items() if value is not None}


def load_budget(file: Path) -> dict[str, Limit]:
    """Return the budgets of a TOML file, which has any of the keys of a target's `[budget]`.

    Raises:
        ConfigError: If it cannot be read, or has an unknown key or an impossible value.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: not readable as TOML ({error})", "mend the file") from error
    return {key: _limit(file, key, value) for key, value in values.items() if key != SOURCE}


def _limit(file: Path, key: str, value: object) -> Limit:
    kinds = _kinds()
    if key not in kinds:
        close = difflib.get_close_matches(key, kinds, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{file}: unknown key {key}{meant}", f"the keys are {', '.join([*kinds, SOURCE])}")
    number = "a positive whole number" if kinds[key] is int else "a positive number"
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ConfigError(f"{file}: {key} = {value!r} is not {number}", f"give {key} {number}")
    if kinds[key] is int and not isinstance(value, int):
        raise ConfigError(f"{file}: {key} = {value!r} is not {number}", f"give {key} {number}")
    return Limit(value, file.name)


def _kinds() -> dict[str, type]:
    """Return the type of each budget; of one that may be absent, what it is if it is there."""
    hints = typing.get_type_hints(Budget)
    kinds = {field.name: hints[field.name] for field in dataclasses.fields(Budget) if field.name != SOURCE}
    return {name: (typing.get_args(kind) or (kind,))[0] for name, kind in kinds.items()}
