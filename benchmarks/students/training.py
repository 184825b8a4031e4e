"""The students of the table: those that ship as they are, the others trained with the same recipe."""

import sys
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import edgekit
from distill.config import DistillConfig, recommended_config
from distill.registry import shipped_student, shipped_variants, variant_name
from distill.training import Relabel, distill, identity
from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.audio.logmel import Level
from edgekit.pipeline import listener
from edgekit.progress import Progress
from wavllm_teacher.labelling import LabelConfig, label
from wavllm_teacher.training import read_clips, require_permissive


def show(what: str, done: int, total: int) -> None:
    """Show progress on standard error."""
    sys.stderr.write(f"\r{what} {done}/{total}\033[K" + ("\n" if done == total else ""))


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    student: str
    level: Level = "utterance"
    hop: int = 32

    @property
    def name(self) -> str:
        """As its folder is called."""
        return variant_name(self.student, self.level, self.hop)

    @property
    def ships(self) -> bool:
        """Whether its weights come with edgekit."""
        return self.name in shipped_variants()

    @property
    def config(self) -> DistillConfig:
        """Of its training; one that ships is taken as it is."""
        if self.ships:
            return DistillConfig(self.student, self.level, self.hop, steps=0, pool=2)
        recommended = recommended_config(self.student, self.level, self.hop, from_scratch=True)
        return replace(recommended, steps=STEPS, pool=POOL, final=True)

    @property
    def recipe(self) -> str:
        """All that its weights depend on, but the audio, in words."""
        if self.ships:
            weights = shipped_student(self.student, self.level, self.hop) / "student.safetensors"
            return f"the weights that ship, SHA-256 {sha256(weights.read_bytes()).hexdigest()}"
        return f"labels of compact, {self.config}"


STEPS, POOL = 600, 6400
"""Of students that do not ship: a fifth and a quarter of the recipe's."""

VARIANTS = (
    Variant("wav2small", "causal"),
    Variant("wav2small"),
    Variant("wav2small", "causal", 64),
    Variant("wav2small", "causal", 128),
    Variant("wav2small2"),
    Variant("mobilenetv4-small"),
    Variant("mobilenetv4-medium"),
    Variant("mobilenetv3-small"),
    Variant("mobilenetv3-large"),
)


def label_everything(shared: Path, cache: Path) -> Path:
    """Return the labels, by the compact teacher, of all that the shipped students learned from.

    Raises:
        ConfigError: If a clip's licence does not allow weights to ship that learned from it.
    """
    folders = (shared / "corpus" / "free", Path(edgekit.__file__).parent / "data" / "speech")
    for folder in folders:
        require_permissive(read_clips(folder))
    return label(LabelConfig(folders), cache / "labels").path


def once(
    config: DistillConfig, labels: Path, out: Path, progress: Progress, relabel: Relabel | None = None
) -> Artifact:
    """Return `distill`'s artifact, trained only if it is not there already."""
    inputs, params = identity(config, artifact.read(labels, "label").digest, relabel)
    if artifact.is_current(out, "distill", inputs, params):
        return artifact.read(out, "distill")
    return distill(config, labels, out, progress, relabel)


def trained(variant: Variant, labels: Path, cache: Path, progress: Progress) -> Artifact:
    """Return a student as an artifact of the distill stage, trained first if it does not ship."""
    relabel = None if variant.ships else listener("compact")
    return once(variant.config, labels, cache / variant.name, progress, relabel)


def untrained(variant: Variant, labels: Path, cache: Path, progress: Progress) -> Artifact:
    """Return a student with random weights as an artifact of the distill stage."""
    config = DistillConfig(variant.student, variant.level, variant.hop, steps=0, pool=2, warm_start=False)
    return once(config, labels, cache / f"{variant.name}-untrained", progress)
