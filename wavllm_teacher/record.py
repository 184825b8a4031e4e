"""What a teacher's own folder says about how good it is, for the report."""

import json
from typing import Any

from edgekit.errors import ArtifactError
from edgekit.metrics import DIMENSIONS
from wavllm_teacher.registry import RESTORE, TEACHER_FILE, teacher_folder

METRICS_FILE = "metrics.json"
COMPARISONS = {"compact": "compact_vs_pseudo_labels", "whisper": "full_vs_pseudo_labels"}
"""Kind of teacher to its entry in the metrics file."""


def teacher_record(name_or_dir: str) -> dict[str, Any]:
    """Return name and held-out accuracy of a teacher, as its metrics file states it.

    Returns:
        `name`; `teacher_vs_reference`, one CCC per dimension, None where the folder has no metrics; and
        `measured_on`, in words.

    Raises:
        ConfigError: If there is no such teacher.
        ArtifactError: If a file of it is damaged.
    """
    folder = teacher_folder(name_or_dir)
    try:
        facts = json.loads((folder / TEACHER_FILE).read_text())
        record = {"name": facts["name"], "teacher_vs_reference": None, "measured_on": f"no {METRICS_FILE}"}
        if (folder / METRICS_FILE).is_file():
            metrics = json.loads((folder / METRICS_FILE).read_text())
            found = metrics["held_out_speakers"][COMPARISONS[facts["kind"]]]
            record["teacher_vs_reference"] = {name: found["ccc"][name] for name in DIMENSIONS}
            record["measured_on"] = f"its card: {found['clips']} EmoDB clips, pseudo-labels"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder}: damaged ({error!r})", RESTORE) from error
    return record
