"""`edgekit build` and `edgekit report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from edgekit.cli import options
from edgekit.cli.images import key_option, warn_of_development_key
from edgekit.cli.licences import announce
from edgekit.cli.progress import showing_progress
from edgekit.errors import BudgetError, ConfigError

if TYPE_CHECKING:
    from edgekit.artifact import Artifact
    from edgekit.report import Report
    from edgekit.report.diff import Diff
    from edgekit.target import Target


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
@key_option
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
    key: Path | None,
    as_json: bool,
) -> int:
    """Build firmware for a device, from audio to a report.

    Runs every stage whose inputs have changed and shows the report. Exit code 4 means that the build is
    complete but exceeds a budget of the target or misses a deadline.
    """
    from edgekit import pipeline
    from edgekit.targets import load_target

    folder = out or Path("build") / load_target(target).name
    settings = teacher, student, weights, level, int(hop), from_scratch, seed, key
    config = pipeline.BuildConfig(target, folder, (*audio, *more_audio), *settings)
    announce(teacher)
    with showing_progress() as progress:
        finished = pipeline.build(config, progress)
    code = show_report(finished.report, as_json)
    warn_of_development_key(pipeline.signing_key(config))
    _warn_of_no_updates(finished.artifacts["firmware"], load_target(target))
    return code


def _warn_of_no_updates(firmware: "Artifact", target: "Target") -> None:
    """Say so where the target could take new models, and the firmware cannot."""
    from codegen.flash_map import built_map

    if target.takes_updates and built_map(firmware) is None:
        what = f"two models of this size do not fit the flash of {target.name} beside the firmware"
        click.echo(f"warning: {what}: it takes no updates over its serial line", err=True)


@click.command()
@click.argument("build_dir", type=options.PATH)
@click.option("--html", type=options.PATH, metavar="FILE", help="Write the report as one HTML page, too.")
@click.option(
    "--diff",
    "other",
    type=options.PATH,
    metavar="OTHER",
    help="Show what changed since another build: its folder, or its report.json.",
)
@click.option(
    "--budget",
    type=options.PATH,
    metavar="FILE",
    help="TOML file with budgets that replace those of the target.",
)
@click.option("--markdown", is_flag=True, help="Print the report as Markdown, for pull requests.")
@options.json_option
def report(
    build_dir: Path,
    html: Path | None,
    other: Path | None,
    budget: Path | None,
    markdown: bool,
    as_json: bool,
) -> int:
    """Show the report of a build.

    BUILD_DIR is a folder that edgekit build wrote. Exit code 4 means that a budget is exceeded or a deadline
    missed.
    """
    from edgekit.pipeline import built_target
    from edgekit.report import assemble
    from edgekit.report.budget import load_budget
    from edgekit.report.diff import compare_reports
    from edgekit.report.schema import read_report

    if markdown and as_json:
        raise click.UsageError("--json and --markdown exclude each other")
    limits = load_budget(budget) if budget else {}
    found = assemble(build_dir, built_target(build_dir), limits)
    diff = compare_reports(read_report(other), found.to_dict()) if other else None
    if html:
        _write_page(html, found, diff)
    return show_report(found, as_json, diff, markdown=markdown)


def _write_page(file: Path, report: "Report", diff: "Diff | None") -> None:
    from edgekit import artifact
    from edgekit.report.page import render_page

    try:
        artifact.write_text(file, render_page(report, diff))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written ({error.strerror})", "choose another --html") from error


def show_report(
    report: "Report", as_json: bool, diff: "Diff | None" = None, *, markdown: bool = False
) -> int:
    """Print a report and return the exit code that its budgets ask for."""
    if as_json:
        options.print_json(report.to_dict() | ({"diff": diff.to_dict()} if diff else {}))
    elif markdown:
        from edgekit.report.markdown import render_markdown

        click.echo(render_markdown(report, diff), nl=False)
    else:
        from rich.console import Console

        from edgekit.report.terminal import render

        Console(highlight=False).print(render(report, diff))
    return BudgetError.exit_code if report.exceeded else 0
