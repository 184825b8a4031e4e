"""Every stage of the build as a command of its own."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from edgekit.cli import options
from edgekit.cli.licences import announce
from edgekit.cli.progress import showing_progress
from edgekit.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from edgekit.artifact import Artifact
    from wavllm_teacher.labelling import Summary

UNREADABLE_SHOWN = 10


@click.command()
@click.argument("audio", nargs=-1, type=options.PATH)
@options.teacher_option
@options.out_option
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="local: this machine; ray: a Ray cluster.",
)
@click.option(
    "--workers",
    type=int,
    help="Processes that share the work.  [default: 1; with ray: all that the cluster has room for]",
)
@click.option("--strict", is_flag=True, help="Make a file that cannot be used an error.")
@click.option("--audio-root", type=options.PATH, metavar="DIR", help="Where the paths in manifests begin.")
@options.json_option
def label(
    audio: tuple[Path, ...],
    teacher: str,
    out: Path,
    engine: str,
    workers: int | None,
    strict: bool,
    audio_root: Path | None,
    as_json: bool,
) -> None:
    """Label audio with a teacher.

    AUDIO are files, folders that are searched for audio, glob patterns, and manifests (csv, jsonl, parquet:
    columns file, and perhaps split, speaker, start_s, end_s). Each piece gets arousal, dominance and valence.
    """
    from wavllm_teacher import labelling

    if not audio:
        raise AudioError("no audio given", "name files or folders: edgekit label AUDIO… --out DIR")
    runs_on = labelling.make_engine(engine, workers)
    announce(teacher)
    config = labelling.LabelConfig(audio, teacher, audio_root)
    with showing_progress() as progress:
        made = labelling.label(config, out, progress, runs_on, strict=strict)
    _print_labelled(made, labelling.summarize(made), as_json)


def _print_labelled(made: "Artifact", found: "Summary", as_json: bool) -> None:
    if as_json:
        place = {"stage": made.manifest.stage, "path": str(made.path), "digest": made.digest}
        options.print_json({**place, **asdict(found)})
        return
    click.echo(f"{made.path}: {made.manifest.stage} artifact {made.digest[:12]}")
    click.echo(f"  files       {found.files:,}")
    click.echo(f"  pieces      {found.pieces:,}")
    click.echo(f"  hours       {found.hours:,.2f}")
    click.echo(f"  duplicates  {found.duplicates:,}")
    click.echo(f"  unreadable  {len(found.unreadable):,}")
    for file, reason in list(found.unreadable.items())[:UNREADABLE_SHOWN]:
        click.echo(f"    {file}: {reason}")
    if len(found.unreadable) > UNREADABLE_SHOWN:
        click.echo(f"    and {len(found.unreadable) - UNREADABLE_SHOWN} more: see files.parquet")


@click.command()
@click.argument("labels", type=options.PATH)
@options.student_option
@options.level_option
@options.hop_option
@click.option(
    "--relabel",
    metavar="NAME|DIR|none",
    multiple=True,
    help="Teacher that labels the crops anew that the student hears; of several, the mean.  "
    "[default: compact, if it made LABELS; else none]",
)
@options.from_scratch_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the training, such as steps=2000 or mixup=0; may be given again.",
)
@options.seed_option
@options.out_option
@options.json_option
def distill(
    labels: Path,
    student: str,
    level: Literal["causal", "utterance"],
    hop: str,
    relabel: tuple[str, ...],
    from_scratch: bool,
    settings: tuple[str, ...],
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Train a student on labels.

    LABELS is a folder that edgekit label wrote.
    """
    from distill import training
    from distill.config import recommended_config, with_settings
    from edgekit import artifact, pipeline

    config = recommended_config(student, level, int(hop), seed, from_scratch=from_scratch)
    config = with_settings(config, settings)
    if not relabel:
        listener = pipeline.usual_listener(artifact.read(labels, "label"))
    elif relabel == ("none",):
        listener = None
    elif "none" in relabel:
        raise ConfigError("--relabel none beside a teacher", "name teachers alone, or none alone")
    else:
        for teacher in relabel:
            announce(teacher)
        listener = pipeline.listener(*relabel)
    with showing_progress() as progress:
        made = training.distill(config, labels, out, progress, relabel=listener)
    options.print_artifact(made, as_json)


@click.command()
@click.argument("model", type=options.PATH, metavar="STUDENT|FILE.onnx|FILE.tflite")
@click.option("--labels", type=options.PATH, help="Labelled audio to calibrate with; STUDENT needs it.")
@click.option(
    "--calibration",
    type=options.PATH,
    metavar="FILE.npy",
    help="Real inputs (N, ...) to calibrate with; FILE.onnx needs them.",
)
@options.weights_option
@click.option(
    "--ranges",
    type=click.Choice(["minmax", "mse", "percentile"]),
    default="minmax",
    show_default=True,
    help="Ranges of activations: of all that was seen, of least square error, or without the outermost.",
)
@click.option(
    "--qat-steps",
    type=click.IntRange(0),
    help="Steps of quantization-aware training; 0: none.  [default: 50 with mixed4, 0 with int8]",
)
@click.option(
    "--runtime",
    type=click.Choice(["litert", "micro"]),
    default="litert",
    show_default=True,
    help="Whose integers an imported .tflite keeps: those of LiteRT, or TFLite Micro's.",
)
@options.out_option
@options.json_option
def quantize(
    model: Path,
    labels: Path | None,
    calibration: Path | None,
    weights: Literal["mixed4", "int8"],
    ranges: Literal["mse", "minmax", "percentile"],
    qat_steps: int | None,
    runtime: Literal["micro", "litert"],
    out: Path,
    as_json: bool,
) -> None:
    """Make the integer graph of a student, .onnx or int8 .tflite.

    STUDENT is a folder that edgekit distill wrote; its integers are also written as ONNX and TFLite.
    FILE.onnx is any float model of one input and one output whose operators `edgekit ops` lists.
    FILE.tflite is any fully quantized model; it is imported integer for integer.
    """
    from quantize import adoption, foreign, stage
    from quantize.config import QuantizeConfig

    _require_options_apply(model)
    with showing_progress() as progress:
        config = QuantizeConfig(weights=weights, ranges=ranges, qat_steps=qat_steps)
        if model.suffix.lower() == ".tflite":
            made = adoption.adopt(model, out, runtime, progress)
        elif model.suffix.lower() == ".onnx":
            if calibration is None:
                raise ConfigError("no inputs to calibrate with", "add --calibration, a .npy of real inputs")
            made = foreign.quantize_model(config, model, calibration, out, progress)
        elif labels is None:
            raise ConfigError("no labels to calibrate with", "add --labels, a folder of edgekit label")
        else:
            made = stage.quantize(config, model, labels, out, progress)
    options.print_artifact(made, as_json)


OPTIONS_OF = {
    ".tflite": ("runtime",),
    ".onnx": ("calibration", "weights", "ranges", "qat_steps"),
    "": ("labels", "weights", "ranges", "qat_steps"),
}
"""What `edgekit quantize` can be told about each kind of model."""


def _require_options_apply(model: Path) -> None:
    context = click.get_current_context()
    applying = OPTIONS_OF.get(model.suffix.lower(), OPTIONS_OF[""])
    for name in sorted({name for names in OPTIONS_OF.values() for name in names}):
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and name not in applying:
            what = f"--{name.replace('_', '-')} does not apply to {model}"
            raise ConfigError(what, f"leave it out; {_flags(applying)} apply")


def _flags(names: tuple[str, ...]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


@click.command()
@click.argument("graph", type=options.PATH)
@options.target_option
@options.out_option
@options.json_option
def codegen(graph: Path, target: str, out: Path, as_json: bool) -> None:
    """Write an integer graph as C99.

    GRAPH is a folder that edgekit quantize wrote.
    """
    from codegen import stage
    from edgekit.targets import load_target

    with showing_progress() as progress:
        made = stage.generate(graph, load_target(target), out, progress)
    options.print_artifact(made, as_json)
