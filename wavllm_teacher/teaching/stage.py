"""The teach stage: corpora with labels and frozen encoders to a dual-encoder teacher."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.audio import read_audio
from edgekit.errors import ArtifactError
from edgekit.progress import Progress, silent
from edgekit.threads import torch_threads
from wavllm_teacher import hub
from wavllm_teacher.teaching.config import TeachConfig
from wavllm_teacher.teaching.corpus import Corpus, read_corpora

if TYPE_CHECKING:
    from wavllm_teacher.dual_encoder import DualEncoder, Encoder
    from wavllm_teacher.teaching.states import Heard

STAGE = "teach"
STATES_FOLDER = ".states"


def identity(
    config: TeachConfig, corpora: list[Corpus] | None = None
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return inputs and params of the manifest: what the trained teacher depends on.

    Args:
        config: The settings.
        corpora: Those of the config, where they have been read already.

    Raises:
        AudioError: If a corpus cannot be used.
        ArtifactError: If a file of an encoder is missing.
    """
    inputs = {f"corpus {c.name}": c.digest for c in corpora or read_corpora(config.corpora)}
    for name, folder in config.encoders.items():
        if not (folder / hub.CONFIG_FILE).is_file():
            raise ArtifactError(
                f"{folder}: no {name} encoder here ({hub.CONFIG_FILE} is missing)",
                f"give --{name} a folder with {hub.CONFIG_FILE} and {hub.SAFETENSORS[0]}",
            )
        for file in (hub.CONFIG_FILE, *hub.weight_files(folder)):
            inputs[f"{name}/{file}"] = artifact.sha256_file(folder / file)
    return inputs, config.params()


def teach(config: TeachConfig, out: Path, progress: Progress = silent) -> Artifact:
    """Train a dual-encoder teacher and write it as an artifact that is also a teacher folder.

    Its licence follows from what it learned from; see `folder.licence`.

    Args:
        config: The settings.
        out: Where `teacher.json`, `adapters.safetensors`, the encoders, `metrics.json`, `history.csv` and a
            model card go. An interrupted training continues when called again with the same arguments, and
            gives the same bytes as one that was not; one that is complete is not repeated.
        progress: Told about clips encoded and steps done.

    Raises:
        AudioError: If a corpus has no table, too few labelled clips, or audio that cannot be read.
        ArtifactError: If an encoder is missing, damaged or of another kind.
        UnsupportedError: If an encoder's hidden states are too large for float16.
        ConfigError: If `out` cannot be written, or holds something else.
    """
    corpora = read_corpora(config.corpora)
    inputs, params = identity(config, corpora)
    if not artifact.is_current(out, STAGE, inputs, params):
        with artifact.writing(out, STAGE, inputs, params) as work, torch_threads(config.threads):
            _make(config, corpora, work, progress)
    return artifact.read(out, STAGE)


def _make(config: TeachConfig, corpora: list[Corpus], work: Path, progress: Progress) -> None:
    from wavllm_teacher.dual_encoder import load_encoders
    from wavllm_teacher.teaching.folder import Outcome, write_folder
    from wavllm_teacher.teaching.states import hear
    from wavllm_teacher.teaching.trainer import Trainer, history_csv

    encoders = load_encoders(config.encoders)
    _require_readable(corpora, progress)
    train, dev = (
        {c.name: hear(c, split, encoders, config, work / STATES_FOLDER, progress) for c in corpora}
        for split in ("train", "dev")
    )
    network = initial_network(config, encoders, train)
    state = Trainer(network, train, dev, config, work).run(progress)
    assert state.best is not None
    artifact.write_text(work / "history.csv", history_csv(state.history))
    outcome = Outcome(network, encoders, state.best.step, state.best.dev_ccc)
    write_folder(config, corpora, outcome, work)


def _require_readable(corpora: list[Corpus], progress: Progress) -> None:
    """Read all audio once: a test clip that cannot be read must not be found out after the training."""
    clips = [clip for corpus in corpora for part in corpus.clips.values() for clip in part]
    for done, clip in enumerate(clips, 1):
        read_audio(clip.file)
        progress("reading audio", done, len(clips))


def initial_network(
    config: TeachConfig, encoders: "Mapping[str, Encoder]", train: "Mapping[str, Heard]"
) -> "DualEncoder":
    """Return a network with random weights from the seed, standardised by the unaugmented training clips."""
    import torch

    from wavllm_teacher.adapters import Branch
    from wavllm_teacher.dual_encoder import SIZES, DualEncoder, state_sizes
    from wavllm_teacher.teaching.states import standardise

    shape = SIZES[config.size]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = DualEncoder(shape, state_sizes(encoders, shape), config.dropout)
    for name, branch in network.branches.items():
        assert isinstance(branch, Branch)
        standardise(branch, name, list(train.values()), config.copies)
    return network
