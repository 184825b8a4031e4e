"""`edgekit teach`: train a teacher of one's own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import click

from edgekit.artifact import Artifact
from edgekit.cli import options
from edgekit.cli.progress import showing_progress


@click.command()
@click.argument("corpora", nargs=-1, type=options.PATH, metavar="CORPUS...")
@click.option("--whisper", type=options.PATH, metavar="DIR", help="Whisper encoder (config, safetensors).")
@click.option("--wavlm", type=options.PATH, metavar="DIR", help="WavLM encoder (config, safetensors).")
@click.option(
    "--size",
    type=click.Choice(["small", "paper"]),
    default="small",
    show_default=True,
    help="small: for a few hours of speech; paper: as in WavLLM.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=400,
    show_default=True,
    metavar="N",
    help="Optimiser steps; the first quarter learns one corpus and one dimension at a time.",
)
@options.seed_option
@options.out_option
@options.json_option
def teach(
    corpora: tuple[Path, ...],
    whisper: Path | None,
    wavlm: Path | None,
    size: Literal["small", "paper"],
    steps: int,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Train a dual-encoder teacher on labelled speech.

    CORPUS are folders of audio. Beside the audio, clips.csv or labels.csv gives each file's split (train,
    dev, test), its arousal, dominance and valence from 0 to 1, and its license. At least one encoder is
    needed; both stay frozen. An interrupted training continues when the same command is run again.
    """
    from wavllm_teacher.teaching import stage
    from wavllm_teacher.teaching.config import TeachConfig, stage_steps

    config = TeachConfig(corpora, whisper, wavlm, size, seed=seed, **stage_steps(steps))
    with showing_progress() as progress:
        made = stage.teach(config, out, progress)
    _print_teacher(made, as_json)


def _print_teacher(made: Artifact, as_json: bool) -> None:
    licence = json.loads(made.file("teacher.json").read_text())["licence"]
    metrics = json.loads(made.file("metrics.json").read_text())
    dev, held_out = metrics["training"]["dev_ccc"], metrics["held_out"]
    if as_json:
        found = {"path": str(made.path), "digest": made.digest, "licence": licence}
        options.print_json({**found, "dev_ccc": dev, "held_out": held_out})
        return
    options.print_artifact(made, as_json)
    click.echo(f"licence: {licence}")
    for corpus, measured in held_out.items():
        click.echo(f"{corpus}, dev clips: {_shown(dev[corpus])}")
        click.echo(f"{corpus}, {measured['clips']} test clips: {_shown(measured['ccc'])}")


def _shown(ccc: Mapping[str, float | None]) -> str:
    """Return CCCs for people.

    Example:
        >>> _shown({"arousal": 0.91234, "valence": None})
        'CCC arousal 0.912, valence undefined'
    """
    values = (f"{name} {'undefined' if value is None else f'{value:.3f}'}" for name, value in ccc.items())
    return f"CCC {', '.join(values)}"
