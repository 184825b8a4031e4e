"""What a label set records about its teacher, for the manifest and the report."""

import json
from typing import Any

from edgekit.errors import ArtifactError
from edgekit.metrics import DIMENSIONS
from wavllm_teacher.registry import RESTORE, Found, find_teacher

METRICS_FILE = "metrics.json"
COMPARISONS = {
    "compact": ("compact_vs_pseudo_labels", "EmoDB clips, pseudo-labels"),
    "whisper": ("full_vs_pseudo_labels", "EmoDB clips, pseudo-labels"),
    "dual-encoder": ("dual_vs_labels", "test clips of its corpora"),
}
"""Kinds of teachers that come with a metrics file: their entry in it, and on what it was measured."""


def teacher_record(name_or_dir: str) -> dict[str, Any]:
    """Return name, licence, precision and held-out accuracy of a teacher.

    Returns:
        `name`; `licence`; `precision` of its arithmetic on this machine; `teacher_vs_reference`, one CCC per
        dimension as its metrics file states it, None where the folder has none; and `measured_on`, in words.

    Raises:
        ConfigError: If there is no such teacher, or it is not here and cannot be downloaded.
        ArtifactError: If a file of it is damaged.
        UnsupportedError: If it is a model that edgekit does not know.
    """
    found = find_teacher(name_or_dir)
    known = {"name": found.facts["name"], "licence": found.facts["licence"], "precision": found.precision()}
    return known | _held_out_accuracy(found)


def _held_out_accuracy(found: Found) -> dict[str, Any]:
    kind = found.facts["kind"]
    if found.folder is None or kind not in COMPARISONS or not (found.folder / METRICS_FILE).is_file():
        return {"teacher_vs_reference": None, "measured_on": f"no {METRICS_FILE}"}
    entry, clips = COMPARISONS[kind]
    try:
        metrics = json.loads((found.folder / METRICS_FILE).read_text())
        stated = metrics["held_out_speakers"][entry]
        return {
            "teacher_vs_reference": {name: stated["ccc"][name] for name in DIMENSIONS},
            "measured_on": f"its card: {stated['clips']} {clips}",
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{found.folder}: damaged ({error!r})", RESTORE) from error
