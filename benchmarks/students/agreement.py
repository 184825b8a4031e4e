"""How well a student agrees with the teachers, on speakers that no student was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import edgekit
from distill.student import Student
from distill.trainer import predict
from edgekit.audio import log_mel
from edgekit.audio.augment import babble, room
from edgekit.metrics import adv_ccc
from wavllm_teacher.assembly import assemble_full
from wavllm_teacher.registry import TEACHER_FILE, built_in_folder, find_teacher, load_teacher
from wavllm_teacher.training import cached, labelled, read_all, read_clips

EMODB, RAVDESS, SYNTHETIC = "emodb", "ravdess", "synthetic"
NOISY = f"{EMODB}_babble_5db_room_0.5s"
NOISY_HEARD = f"{NOISY}_heard"
TITLES = {
    EMODB: "EmoDB test speakers",
    NOISY: "the same in babble at 5 dB and a 0.5 s room",
    NOISY_HEARD: "the same, the teachers hearing the noise too",
    RAVDESS: "RAVDESS test speakers",
    SYNTHETIC: "synthetic test voices",
}
SNR_DB = 5.0
RT60_S = 0.5
VOICES = 40

Samples = NDArray[np.float32]
Ccc = dict[str, float]
"""Dimension to agreement."""
Agreement = dict[str, dict[str, Ccc]]
"""Set, then teacher."""


@dataclass(frozen=True)
class TestSets:
    """The clips to measure on, and what each teacher says of them, kept on disk.

    Attributes:
        shared: Folder with the corpora.
        teachers: Name to what `find_teacher` takes.
        cache: Where the labels are kept.
    """

    shared: Path
    teachers: dict[str, str]
    cache: Path

    @classmethod
    def of_both_teachers(cls, shared: Path, cache: Path) -> "TestSets":
        """Return the sets with the compact and the full teacher, which is put together in the cache."""
        return cls(shared, {"compact": "compact", "full": str(full_teacher(shared, cache))}, cache / "tests")

    @cached_property
    def clips(self) -> dict[str, list[Samples]]:
        """Name of a set to its clips."""
        corpus = self.shared / "corpus"
        emodb = read_all(labelled(corpus / "free", "test"))
        ravdess = [clip for clip in labelled(corpus, "test") if "ravdess" in clip.file.parts]
        speech = read_clips(Path(edgekit.__file__).parent / "data" / "speech")
        return {
            EMODB: emodb,
            NOISY: in_a_crowd(emodb, self._voices()),
            RAVDESS: read_all(ravdess),
            SYNTHETIC: read_all([clip for clip in speech if clip.split == "test"]),
        }

    def _voices(self) -> list[Samples]:
        unlabelled = [clip for clip in read_clips(self.shared / "corpus" / "free") if clip.labels is None]
        return read_all(unlabelled[:VOICES])

    def labels(self, name: str, teacher: str) -> NDArray[np.float32]:
        """Return the (clips, 3) arousal, dominance, valence that a teacher hears in a set."""
        self.cache.mkdir(parents=True, exist_ok=True)
        which = self.teachers[teacher]

        def make() -> NDArray[np.float32]:
            return load_teacher(which).predict(self.clips[name])

        return cached(self.cache / f"{name}-{find_teacher(which).digest()[:12]}.npy", make)

    def agreement(self, student: Student) -> Agreement:
        """Return name of a set, then teacher, to the CCC of each dimension.

        Under `NOISY`, the teachers are asked about the clean clips; under `NOISY_HEARD`, about what the
        student hears.
        """
        found: Agreement = {}
        for name, clips in self.clips.items():
            said = predict(student, [log_mel(clip, student.front_end) for clip in clips])
            truth = EMODB if name == NOISY else name
            found[name] = {t: adv_ccc(said, self.labels(truth, t)) for t in self.teachers}
            if name == NOISY:
                found[NOISY_HEARD] = {t: adv_ccc(said, self.labels(name, t)) for t in self.teachers}
        return found


def in_a_crowd(clips: Sequence[Samples], voices: Sequence[Samples]) -> list[Samples]:
    """Return clips with the voices behind them at 5 dB, all of it in a room that decays in 0.5 s."""
    heard = []
    for number, clip in enumerate(clips):
        rng = np.random.default_rng(number)
        heard.append(room(babble(clip, rng, SNR_DB, voices), rng, RT60_S))
    return heard


def full_teacher(shared: Path, cache: Path) -> Path:
    """Return the folder of the full teacher: the head that ships on the shared encoder."""
    folder = cache / "full"
    if not (folder / TEACHER_FILE).is_file():
        assemble_full(built_in_folder("whisper-base"), shared / "weights" / "whisper-base-encoder", folder)
    return folder
