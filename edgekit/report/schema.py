"""`report.json` on disk: written and read only as `report.schema.json` says."""

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import artifact
from edgekit.errors import ArtifactError
from edgekit.report.model import SCHEMA

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

PLACE = Path("report") / "report.json"
"""Of a build directory."""
SCHEMA_FILE = Path(__file__).parent / "report.schema.json"


@cache
def validator() -> "Draft202012Validator":
    """Return what checks reports against the schema that ships."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def write_report(file: Path, values: dict[str, Any]) -> None:
    """Write a report as JSON.

    Raises:
        jsonschema.ValidationError: If it is not what the schema says: a defect of edgekit.
    """
    validator().validate(values)
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
    wrong = min(validator().iter_errors(values), key=lambda each: each.json_path, default=None)
    if wrong is not None:
        raise ArtifactError(f"{file}: damaged ({wrong.json_path}: {wrong.message:.100})", again)
    return dict(values)
