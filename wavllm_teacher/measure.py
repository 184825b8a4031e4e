"""How well teachers agree with labels and with each other on held-out speakers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.metrics import adv_ccc
from wavllm_teacher.registry import Teacher
from wavllm_teacher.training import Clip, read_all


def rounded(values: dict[str, float]) -> dict[str, float]:
    """Return values to four decimals: the fifth changes with the processor."""
    return {name: round(value, 4) for name, value in values.items()}


def pseudo_labels(clips: Sequence[Clip]) -> NDArray[np.float32]:
    """Return the (N, 3) labels of clips that all have some."""
    return np.array([clip.labels for clip in clips], np.float32)


def against_labels(teacher: Teacher, clips: Sequence[Clip]) -> dict[str, Any]:
    """Return the CCCs of a teacher against the labels of the clips' table, on whole clips."""
    predicted = teacher.predict(read_all(clips))
    return {"clips": len(clips), "ccc": rounded(adv_ccc(predicted, pseudo_labels(clips)))}


def against_teacher(teacher: Teacher, reference: Teacher, clips: Sequence[Clip]) -> dict[str, Any]:
    """Return the CCCs of one teacher against another on the same whole clips."""
    samples = read_all(clips)
    return {
        "clips": len(clips),
        "ccc": rounded(adv_ccc(teacher.predict(samples), reference.predict(samples))),
    }
