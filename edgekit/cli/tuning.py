"""`edgekit tune`: train the adapters of a speech language model."""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from edgekit.cli import options
from edgekit.cli.progress import showing_progress
from edgekit.errors import INTERRUPTED_EXIT_CODE, EdgekitError
from edgekit.progress import Progress, silent


def _weights(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, float] | None:
    """Return task to weight.

    Raises:
        click.BadParameter: If a word is no weight, or a task has two.
    """
    found: dict[str, float] = {}
    for word in given:
        task, _, number = word.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not task or task in found or not 0 <= weight < math.inf:
            raise click.BadParameter(f"{word!r} is no TASK=NUMBER, 0 or more, one for a task")
        found[task] = weight
    return found or None


@click.command()
@click.argument("tasks", type=options.PATH)
@click.option(
    "--from",
    "start",
    type=options.PATH,
    metavar="DIR",
    help="Stage two: train the adapters of this folder on, prompt-aware.  [default: stage one, fresh ones]",
)
@click.option(
    "--size",
    metavar="NAME|FILE",
    help="Sizes of stage one: wavllm-7b, tiny, or a JSON file.  [default: wavllm-7b]",
)
@click.option(
    "--decoder", type=options.PATH, metavar="DIR", help="The frozen LLaMA, tokenizer.json beside it."
)
@click.option("--whisper", type=options.PATH, metavar="DIR", help="The frozen Whisper encoder.")
@click.option("--wavlm", type=options.PATH, metavar="DIR", help="The frozen WavLM encoder.")
@click.option(
    "--weight",
    "weights",
    multiple=True,
    callback=_weights,
    metavar="TASK=NUMBER",
    help="How often a task is drawn, relative to others; may be repeated. A task "
    "without one is left out then.  [default: as often as it has lines]",
)
@click.option("--steps", type=click.IntRange(1), required=True, metavar="N", help="Optimiser steps.")
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="N",
    help="Instructions in each step, of all processes together.",
)
@click.option(
    "--learning-rate", type=float, default=1e-3, show_default=True, metavar="RATE", help="The largest."
)
@click.option("--recompute", is_flag=True, help="Gradient checkpointing: less memory, more time.")
@click.option(
    "--bits",
    type=click.Choice(["8", "4"]),
    help="Keep the decoder's weights as integers of so many bits while training.",
)
@click.option("--whole", is_flag=True, help="Write the frozen parts into the folder too.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of everything random.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Threads on the processor; their number changes the last bits.",
)
@options.out_option
@options.json_option
def tune(
    tasks: Path,
    start: Path | None,
    size: str | None,
    decoder: Path | None,
    whisper: Path | None,
    wavlm: Path | None,
    weights: Mapping[str, float] | None,
    steps: int,
    batch: int,
    learning_rate: float,
    recompute: bool,
    bits: str | None,
    whole: bool,
    seed: int,
    threads: int,
    out: Path,
    as_json: bool,
) -> None:
    """Train a speech language model on tasks.

    TASKS is a manifest of prompts and answers (jsonl). Encoders and LLaMA stay frozen. Without --from, stage
    one of WavLLM's curriculum makes adapters; with it, stage two goes on from a folder. Lines of split dev
    are answered at the end. An interrupted training continues when the same command is run again.
    """
    from wavllm_teacher.speech_llm.curriculum import Schedule
    from wavllm_teacher.speech_llm.planning import TuneConfig

    parts = {"decoder": decoder, "whisper": whisper, "wavlm": wavlm}
    sources = {name: path for name, path in parts.items() if path is not None}
    with _said_once(EdgekitError):
        schedule = Schedule(steps, batch, learning_rate, seed=seed, recompute=recompute)
    config = TuneConfig(
        tasks, schedule, sources, size, start, weights, None if bits is None else int(bits), threads
    )
    _run(config, out, whole, as_json)


def _run(config: Any, out: Path, whole: bool, as_json: bool) -> None:
    from edgekit.parallel import first_process
    from wavllm_teacher.speech_llm import planning, stage

    with _said_once(KeyboardInterrupt), _progress_of_the_first() as progress:
        with _said_once(EdgekitError):
            plan = planning.prepare(config, progress)
            trained = stage.is_trained(plan, out)
        stage.tune(plan, out, progress)
        if whole and first_process():
            progress("writing the frozen parts", 0, 1)
            stage.make_whole(plan, out)
    if first_process():
        if trained:
            click.echo(f"{out}: was trained before; nothing is to do", err=True)
        _print(out, as_json)


@contextlib.contextmanager
def _said_once(kind: type[BaseException]) -> Iterator[None]:
    """Leave it to the first process of each machine to say what ends all of them there alike.

    What one machine lacks ends no process of another.
    """
    from edgekit.parallel import first_of_machine

    try:
        yield
    except kind as error:
        if first_of_machine():
            raise
        code = error.exit_code if isinstance(error, EdgekitError) else INTERRUPTED_EXIT_CODE
        raise click.exceptions.Exit(code) from error


@contextlib.contextmanager
def _progress_of_the_first() -> Iterator[Progress]:
    from edgekit.parallel import first_process

    if first_process():
        with showing_progress() as progress:
            yield progress
    else:
        yield silent


def _print(out: Path, as_json: bool) -> None:
    from edgekit import artifact
    from wavllm_teacher.speech_llm.stage import METRICS_FILE, STAGE

    made = artifact.read(out, STAGE)
    metrics = json.loads(made.file(METRICS_FILE).read_text())
    if as_json:
        options.print_json({"path": str(out), "digest": made.digest, **metrics})
        return
    options.print_artifact(made, as_json)
    first, last = metrics["loss"]["first"], metrics["loss"]["last"]
    trained = f"{metrics['trained_numbers']:,} numbers trained"
    click.echo(
        f"stage {metrics['stage']}: {trained}, loss {first:.3f} in the first step, {last:.3f} in the last"
    )
    for task, found in metrics["dev"].items():
        left_out = f", {len(found['left_out'])} left out" if found["left_out"] else ""
        shown = f": {_shown(found['figures'])}" if found["figures"] else ""
        click.echo(f"{task}, {found['items']} dev lines{left_out}{shown}")


def _shown(measured: Mapping[str, Mapping[str, Any]]) -> str:
    from wavllm_teacher.speech_llm.evaluating import Figure
    from wavllm_teacher.speech_llm.figures import TITLES, shown

    return ", ".join(
        f"{TITLES[name]} {shown(Figure(name, found['value'], found['how']))}"
        for name, found in measured.items()
    )
