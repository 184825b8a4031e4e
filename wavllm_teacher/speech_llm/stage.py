"""The tune stage: instructions and frozen parts in, a folder that answers out."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from edgekit import artifact
from edgekit.parallel import Team, team
from edgekit.progress import NOTE, Progress, silent
from edgekit.threads import torch_threads
from wavllm_teacher.device import Device, best_device
from wavllm_teacher.speech_llm import figures, storage
from wavllm_teacher.speech_llm.curriculum import Schedule, Trainer
from wavllm_teacher.speech_llm.evaluating import evaluate_tasks
from wavllm_teacher.speech_llm.generation import Assistant
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.planning import Plan
from wavllm_teacher.speech_llm.tokens import TOKENIZER_FILE

STAGE = "tune"
METRICS_FILE, HISTORY_FILE = "metrics.json", "history.csv"
HISTORY_HEADER = ("step", "learning_rate", "loss")


def is_trained(plan: Plan, out: Path) -> bool:
    """Return whether a folder holds what this plan would make.

    Raises:
        ConfigError: If it holds anything else, or another training was begun there.
        ArtifactError: If its manifest is damaged.
    """
    artifact.require_no_other(out, STAGE, plan.inputs, plan.params)
    return artifact.is_current(out, STAGE, plan.inputs, plan.params)


def tune(plan: Plan, out: Path, progress: Progress = silent) -> None:
    """Train a stage, and write what was trained as an artifact that is also a model's folder.

    Under torchrun, all processes train together. The first one writes, and goes on alone when they are done.

    Args:
        plan: What is trained, and how.
        out: Where `speech_llm.json`, `adapters.safetensors`, `tokenizer.json`, `history.csv` and
            `metrics.json` go. An interrupted training continues when called again, and gives the same bytes
            as one that was not; one that is complete is not repeated.
        progress: Told about steps, and about instructions of split dev that are answered.

    Raises:
        ArtifactError: If weights are damaged or do not fit, or the checkpoint is damaged.
        AudioError: If a clip cannot be read.
        ConfigError: If `out` cannot be written or holds something else, or a setting is impossible.
    """
    if is_trained(plan, out):
        return
    with team() as processes, torch_threads(plan.config.threads):
        if not processes.leads:
            processes.wait()
            _learn(plan, artifact.work_folder(out), silent, processes)
            return
        with artifact.writing(out, STAGE, plan.inputs, plan.params) as work:
            processes.wait()
            _learn(plan, work, progress, processes)


def _learn(plan: Plan, work: Path, progress: Progress, processes: Team) -> None:
    progress("loading the model", 0, 1)
    device = best_device()
    model = _model(plan, device)
    trainer = Trainer(model, plan.tokenizer, plan.mixture, plan.config.schedule, work, device, processes)

    def show(what: str, done: int, total: int) -> None:
        progress(f"{what}{NOTE}loss {trainer.state.losses[-1]:.3f}", done, total)

    losses = trainer.run(show).losses
    if processes.leads:
        storage.save_adapters(model, work)
        artifact.write_bytes(work / TOKENIZER_FILE, plan.tokenizer_file.read_bytes())
        artifact.write_text(work / HISTORY_FILE, history_csv(plan.config.schedule, losses))
        artifact.write_json(work / METRICS_FILE, _metrics(plan, model, losses, progress))


def _model(plan: Plan, device: Device) -> SpeechLlm:
    """Return the model to train, on its device; fresh adapters are drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.config.schedule.seed)
        model = SpeechLlm(plan.shape, plan.stage, empty=True)
    storage.load_frozen(model, plan.sources, _decoder_type(device))
    if plan.config.start is not None:
        storage.load_adapters(model, plan.config.start)
    if plan.config.bits is not None:
        storage.keep_as_integers(model, plan.config.bits)
    model.run_on(device)
    return model


def _decoder_type(device: Device) -> torch.dtype:
    return torch.bfloat16 if device.precision == "bfloat16" else torch.float32


def _metrics(plan: Plan, model: SpeechLlm, losses: Sequence[float], progress: Progress) -> dict[str, Any]:
    def show(task: str, done: int, total: int) -> None:
        progress(f"answering dev lines of {task}", done, total)

    results = evaluate_tasks(Assistant(model, plan.tokenizer), plan.dev, progress=show)
    return {
        "stage": plan.stage,
        "trained_numbers": sum(value.numel() for _, value in model.trained()),
        "loss": {"first": losses[0], "last": losses[-1]},
        "dev": figures.to_dict(results)["tasks"],
    }


def history_csv(schedule: Schedule, losses: Sequence[float]) -> str:
    """Return rate and loss of every step as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HISTORY_HEADER)
    for step, loss in enumerate(losses):
        table.writerow([step + 1, f"{schedule.rate(step):.6g}", f"{loss:.6g}"])
    return text.getvalue()


def make_whole(plan: Plan, out: Path) -> None:
    """Write the frozen parts beside what was trained, so that the folder needs no others.

    They are no part of the artifact. A folder that has them stays as it is.

    Raises:
        ArtifactError: If a file is damaged, or the frozen parts are not those of the training.
    """
    if not all((out / part / storage.WEIGHTS_FILE).is_file() for part in plan.sources):
        model = storage.load(out, plan.sources, _decoder_type(best_device()))
        storage.save_frozen(model, out)
