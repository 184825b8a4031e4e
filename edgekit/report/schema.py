"""`report.json` on disk: written and read only as `report.schema.json` says."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import artifact
from edgekit.errors import ArtifactError
from edgekit.report.model import SCHEMA

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

PLACE = Path("report") / "report.json"
"""Of a build directory."""
SCHEMA_FILE = Path(__file__).parent / "report.schema.json"


@cache
def validator() -> "Draft202012Validator":
    """Return what checks reports against the schema that ships."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def defects_of(values: dict[str, Any]) -> "Iterator[ValidationError]":
    """Yield what the schema forbids, and intervals that end before they begin: no schema can say that."""
    from jsonschema import ValidationError

    yield from validator().iter_errors(values)
    for path, interval in _intervals(values, ()):
        if interval[0] > interval[1]:
            yield ValidationError(f"{interval} ends before it begins", path=path)


def _intervals(value: object, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        if key in ("interval", "cycles_interval") and _is_interval(inner):
            yield (*path, key), inner
        else:
            yield from _intervals(inner, (*path, key))


def _is_interval(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(end, int | float) for end in value)


def write_report(file: Path, values: dict[str, Any]) -> None:
    """Write a report as JSON.

    Raises:
        jsonschema.ValidationError: If it is not what the schema says: a defect of edgekit.
    """
    for wrong in defects_of(values):
        raise wrong
    artifact.write_json(file, values)


def read_report(path: Path) -> dict[str, Any]:
    """Return the report of a build directory, or of a file that was its `report.json`.

    Raises:
        ArtifactError: If there is none, it is damaged, or an older edgekit wrote it.
    """
    file = path / PLACE if path.is_dir() else path
    again = "run edgekit build again to write it anew"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        schema = values["schema"]
    except OSError as error:
        raise ArtifactError(f"{file}: no report here ({error.strerror})", "run edgekit build") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{file}: not a report", again) from error
    if schema != SCHEMA:
        raise ArtifactError(f"{file}: schema {schema}, this edgekit reads {SCHEMA}", again)
    wrong = min(defects_of(values), key=lambda each: each.json_path, default=None)
    if wrong is not None:
        raise ArtifactError(f"{file}: damaged ({wrong.json_path}: {wrong.message:.100})", again)
    return dict(values)
