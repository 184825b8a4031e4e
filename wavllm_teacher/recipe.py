"""The compact teacher's training from folders of audio to a teacher folder with its metrics."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from edgekit import artifact
from edgekit.audio import SAMPLE_RATE_HZ
from edgekit.progress import Progress, silent
from wavllm_teacher.assembly import write_compact
from wavllm_teacher.compact import CompactShape, CompactTeacher
from wavllm_teacher.imitation import Group, ImitationConfig, hear, imitate
from wavllm_teacher.measure import against_labels, against_teacher, rounded
from wavllm_teacher.registry import LoadedTeacher, Teacher, load_teacher
from wavllm_teacher.training import labelled, read_all, read_clips, require_permissive
from wavllm_teacher.whisper import WhisperTeacher


@dataclass(frozen=True)
class CompactConfig:
    """What the compact teacher learns from.

    Attributes:
        corpus: Folder that the full teacher learned from: clips with labels, and clips without.
        speech: Folder of further speech with a train/test split.
        full: Folder of the full teacher.
        copies: Versions of every clip that the full teacher hears: of acted, further and read speech.
    """

    corpus: Path
    speech: Path
    full: Path
    copies: tuple[int, int, int] = (4, 2, 2)
    shape: CompactShape = field(default_factory=CompactShape)
    training: ImitationConfig = field(default_factory=ImitationConfig)


def training_groups(config: CompactConfig) -> list[Group]:
    """Return what is drawn from: acted speech most often, for only it spans the whole A/D/V range."""
    corpus, speech = read_clips(config.corpus), read_clips(config.speech)
    # Nothing is chosen on dev speakers here: they teach, too. Test speakers never do.
    acted = tuple(clip for split in ("train", "dev") for clip in labelled(config.corpus, split))
    read = tuple(clip for clip in corpus if clip.labels is None)
    more = tuple(clip for clip in speech if clip.split == "train")
    return [
        Group("acted", acted, config.copies[0], share=0.6),
        Group("speech", more, config.copies[1], share=0.2),
        Group("read", read, config.copies[2], share=0.2),
    ]


def train_compact(config: CompactConfig, out: Path, progress: Progress = silent) -> dict[str, Any]:
    """Train the compact teacher, write its folder, and return its metrics.

    What the full teacher heard is kept in `out/.cache`, so that a rerun goes on where it was.

    Raises:
        AudioError: If audio or its table is missing.
        ConfigError: If the licence of a clip does not allow that of the teacher.
        ArtifactError: If the full teacher is damaged.
    """
    full = load_teacher(str(config.full))
    network = cast(WhisperTeacher, full.network)
    front, cache, seed = CompactTeacher(config.shape), out / ".cache", config.training.seed
    groups = training_groups(config)
    require_permissive([clip for group in groups for clip in group.clips])
    heard = [(group, hear(group, network, front, seed, cache, progress)) for group in groups]
    compact, history = imitate(
        heard, network, config.shape, config.training, cache / "checkpoint.pt", progress
    )
    write_compact(compact, config.shape, out)
    metrics = {
        "training": {
            **config.training.params(),
            "copies": list(config.copies),
            "losses": list(map(rounded, history)),
        },
        **measure_both(load_teacher(str(out)), full, config),
    }
    artifact.write_json(out / "metrics.json", metrics)
    return metrics


def measure_both(compact: LoadedTeacher, full: LoadedTeacher, config: CompactConfig) -> dict[str, Any]:
    """Return held-out CCCs of both teachers and the compact one's speed."""
    test = labelled(config.corpus, "test")
    speech = [clip for clip in read_clips(config.speech) if clip.split == "test"]
    return {
        "how": "one prediction per whole clip, one CCC per dimension over all clips of the split; "
        "weights as stored (float16) computed in float32",
        "held_out_speakers": {
            "full_vs_pseudo_labels": against_labels(full, test),
            "compact_vs_pseudo_labels": against_labels(compact, test),
            "compact_vs_full": against_teacher(compact, full, test),
        },
        "speech_test_voices": {"compact_vs_full": against_teacher(compact, full, speech)},
        "parameters": sum(p.numel() for p in cast(CompactTeacher, compact.network).parameters()),
        "times_faster_than_real_time": round(speed(compact, read_all(test))),
    }


def speed(teacher: Teacher, clips: list[Any]) -> float:
    """Return seconds of audio labelled per second, measured here and now."""
    start = time.perf_counter()
    teacher.predict(clips)
    return float(sum(clip.size for clip in clips) / SAMPLE_RATE_HZ / (time.perf_counter() - start))
