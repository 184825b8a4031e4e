"""`edgekit build` and `edgekit report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from edgekit.cli import options
from edgekit.cli.licences import announce
from edgekit.cli.progress import showing_progress
from edgekit.errors import BudgetError

if TYPE_CHECKING:
    from edgekit.report import Report


@click.command()
@options.target_option
@click.option(
    "--audio",
    type=options.PATH,
    multiple=True,
    metavar="PATH...",
    help="Files and folders to learn from.  [default: the clips that ship]",
)
# What a shell makes of --audio clips/*.wav: one value and many words.
@click.argument("more_audio", nargs=-1, type=options.PATH, metavar="")
@options.teacher_option
@options.student_option
@options.weights_option
@options.level_option
@options.hop_option
@click.option(
    "--out",
    type=options.PATH,
    callback=options.named_folder,
    help="Build directory.  [default: build/TARGET]",
)
@options.from_scratch_option
@options.seed_option
@options.json_option
def build(
    target: str,
    audio: tuple[Path, ...],
    more_audio: tuple[Path, ...],
    teacher: str,
    student: str,
    weights: Literal["mixed4", "int8"],
    level: Literal["causal", "utterance"],
    hop: str,
    out: Path | None,
    from_scratch: bool,
    seed: int,
    as_json: bool,
) -> int:
    """Build firmware for a device, from audio to a report.

    Runs every stage whose inputs have changed and shows the report. Exit code 4 means that the build is
    complete but exceeds a budget of the target.
    """
    from edgekit import pipeline
    from edgekit.target import load_target

    folder = out or Path("build") / load_target(target).name
    config = pipeline.BuildConfig(
        target, folder, (*audio, *more_audio), teacher, student, weights, level, int(hop), from_scratch, seed
    )
    announce(teacher)
    with showing_progress() as progress:
        finished = pipeline.build(config, progress)
    return show_report(finished.report, as_json)


@click.command()
@click.argument("build_dir", type=options.PATH)
@options.json_option
def report(build_dir: Path, as_json: bool) -> int:
    """Show the report of a build.

    BUILD_DIR is a folder that edgekit build wrote. Exit code 4 means that a budget is exceeded.
    """
    from edgekit.pipeline import built_target
    from edgekit.report import assemble

    return show_report(assemble(build_dir, built_target(build_dir)), as_json)


def show_report(report: "Report", as_json: bool) -> int:
    """Print a report and return the exit code that its budgets ask for."""
    if as_json:
        options.print_json(report.to_dict())
    else:
        from rich.console import Console

        from edgekit.report.terminal import render

        Console(highlight=False).print(render(report))
    return BudgetError.exit_code if report.exceeded else 0
