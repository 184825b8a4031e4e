"""`edgekit evaluate`: how well labels agree with a reference, and how well a speech model answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import options
from edgekit.cli.asking import load_model
from edgekit.cli.progress import showing_progress
from edgekit.errors import ConfigError

if TYPE_CHECKING:
    from wavllm_teacher.speech_llm.instructions import Instruction

LEAST_RESAMPLES = 100
OF_LABELS = ("reference", "by", "seed", "resamples")
OF_TASKS = ("decoder", "whisper", "wavlm", "bits")
TEST = "test"


@click.command()
@click.argument("given", type=options.PATH, metavar="LABELS|TASKS")
@click.option(
    "--reference",
    type=options.PATH,
    metavar="FILE|LABELS",
    help="Table (csv, jsonl, parquet) of files with arousal, dominance and valence from 0 to 1, the "
    "consensus table of MSP-Podcast, or what edgekit label wrote with another teacher.",
)
@click.option(
    "--by", multiple=True, metavar="COLUMN", help="Column of the reference to group by; may be repeated."
)
@click.option(
    "--split", metavar="NAME", help="Only this split, such as test or Test1.  [default: all; of TASKS test]"
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the resampling.")
@click.option(
    "--resamples",
    type=click.IntRange(LEAST_RESAMPLES),
    default=2000,
    show_default=True,
    metavar="N",
    help="How often the speakers are drawn again for the intervals.",
)
@options.model_options
@options.json_option
def evaluate(
    given: Path,
    reference: Path | None,
    by: tuple[str, ...],
    split: str | None,
    seed: int,
    resamples: int,
    model: Path | None,
    as_json: bool,
    **parts: Any,
) -> None:
    """Compare labels with a reference, or a model's answers.

    LABELS is a folder that edgekit label wrote; its audio need not be there. Shows CCC, Pearson and RMSE per
    dimension with 95 % intervals: overall, per corpus, split and gender, and per COLUMN. If --reference is
    what another teacher said, shows how far they are apart.

    TASKS is a manifest of prompts and answers (jsonl). With --model, a speech language model answers them,
    and each task is judged by its own figures.
    """
    _require_options_apply(OF_LABELS if model else OF_TASKS, "with" if model else "without")
    if model is not None:
        _evaluate_tasks(given, split or TEST, model, parts, as_json)
    elif reference is not None:
        _evaluate_labels(given, reference, (by, split, resamples, seed), as_json)
    else:
        raise ConfigError("nothing to compare with", "add --reference to LABELS, or --model to TASKS")


def _require_options_apply(others: tuple[str, ...], how: str) -> None:
    context = click.get_current_context()
    for name in others:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise ConfigError(f"--{name} does not apply {how} --model", "leave it out")


def _evaluate_labels(labels: Path, reference: Path, how: tuple[Any, ...], as_json: bool) -> None:
    from edgekit import evaluation
    from edgekit.evaluation import presenting
    from edgekit.labels import read_labels

    if reference.is_dir():
        table = evaluation.as_reference(read_labels(reference))
    else:
        table = evaluation.read_reference(reference)
    found = evaluation.evaluate(read_labels(labels), table, *how)
    _print(presenting.to_dict(found) if as_json else presenting.render(found), as_json)


def _evaluate_tasks(manifest: Path, split: str, model: Path, parts: dict[str, Any], as_json: bool) -> None:
    from wavllm_teacher.speech_llm import figures
    from wavllm_teacher.speech_llm.evaluating import evaluate_tasks

    instructions = _in_split(manifest, split)
    assistant = load_model(model, **parts)
    with showing_progress() as progress:
        results = evaluate_tasks(assistant, instructions, progress=progress)
    _print(figures.to_dict(results) if as_json else figures.render(results), as_json)


def _in_split(manifest: Path, split: str) -> "list[Instruction]":
    from wavllm_teacher.speech_llm.instructions import read_manifest

    everything = read_manifest(manifest)
    found = [instruction for instruction in everything if instruction.split == split]
    if not found:
        known = ", ".join(sorted({instruction.split for instruction in everything}))
        raise ConfigError(f"{manifest}: no instruction is in split {split}", f"use one of {known}")
    return found


def _print(found: Any, as_json: bool) -> None:
    if as_json:
        options.print_json(found)
        return
    from rich.console import Console

    Console(highlight=False).print(found)
