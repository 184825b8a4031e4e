"""Options that several commands share, and how results are printed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import click

from edgekit.artifact import Artifact
from edgekit.errors import ConfigError

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
target_option = click.option(
    "--target", required=True, metavar="NAME|FILE", help="Device to build for; edgekit targets lists them."
)
seed_option = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of everything random."
)
teacher_option = click.option(
    "--teacher", default="compact", show_default=True, metavar="NAME|DIR", help="Model that labels the audio."
)
student_option = click.option(
    "--student",
    default="wav2small",
    show_default=True,
    metavar="NAME",
    help="Network that learns.",
)
weights_option = click.option(
    "--weights",
    type=click.Choice(["mixed4", "int8"]),
    default="mixed4",
    show_default=True,
    help="mixed4: the two large linear layers in int4, everything else int8.",
)
level_option = click.option(
    "--level",
    type=click.Choice(["causal", "utterance"]),
    default="causal",
    show_default=True,
    help="Level normalisation: a running estimate that streams, or over the whole utterance.",
)
hop_option = click.option(
    "--hop",
    type=click.Choice(["32", "64", "128"]),
    default="32",
    show_default=True,
    help="Samples from one frame to the next: 64 and 128 need half and a quarter of the operations.",
)
from_scratch_option = click.option(
    "--from-scratch", is_flag=True, help="Train from random weights, not from the shipped checkpoint."
)
# Not click.Path(exists=True): a missing path is an AudioError or ArtifactError with its own exit code.
PATH = click.Path(path_type=Path)


def named_folder(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    """Return the folder of an --out under its own name: what is written lies beside it at first.

    Raises:
        ConfigError: If it has none: the root of the file system.
    """
    if value is None or value.name not in ("", ".."):
        return value
    if not (full := value.resolve()).name:
        raise ConfigError(f"{full}: not a folder to write", "choose another --out")
    return full


out_option = click.option(
    "--out", type=PATH, required=True, metavar="DIR", callback=named_folder, help="Folder to write."
)


_MODEL_OPTIONS = (
    click.option("--model", type=PATH, metavar="DIR", help="Folder of a speech language model."),
    click.option("--decoder", type=PATH, metavar="DIR", help="Its LLaMA, if that lies elsewhere."),
    click.option("--whisper", type=PATH, metavar="DIR", help="Its Whisper encoder, if that lies elsewhere."),
    click.option("--wavlm", type=PATH, metavar="DIR", help="Its WavLM encoder, if that lies elsewhere."),
    click.option(
        "--bits",
        type=click.Choice(["8", "4"]),
        help="Keep the decoder's weights as integers of so many bits.",
    ),
)


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name a speech language model, see `asking.load_model`."""
    for option in reversed(_MODEL_OPTIONS):
        command = option(command)
    return command


def color() -> bool | None:
    """Return what `click.echo` must know: False where the user wants no color, None where it may find out."""
    return False if os.environ.get("NO_COLOR") else None


def print_json(value: object) -> None:
    """Print a result as JSON on standard output."""
    click.echo(json.dumps(value, indent=2, sort_keys=True))


def print_artifact(made: Artifact, as_json: bool) -> None:
    """Print what a stage wrote."""
    manifest = made.manifest
    if as_json:
        files = sorted(manifest.files)
        print_json({"stage": manifest.stage, "path": str(made.path), "digest": made.digest, "files": files})
        return
    click.echo(f"{made.path}: {manifest.stage} artifact {made.digest[:12]}")
    for name in sorted(manifest.files):
        click.echo(f"  {name}  {(made.path / name).stat().st_size:,} bytes")
