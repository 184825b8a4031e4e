"""The command `simulate`: a build's firmware on the simulated core."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import options
from edgekit.errors import SimulationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.target import Target
    from firmware_sim.flips import Flip
    from firmware_sim.places import Row
    from firmware_sim.simulator import Profile

Q14 = 1 << 14
LINES_SHOWN = 20
FLIPS_SHOWN = 10


@click.command()
@click.argument("build_dir", type=options.PATH)
@click.option(
    "--audio", type=options.PATH, metavar="FILE", help="Audio to run.  [default: a clip that ships]"
)
@click.option(
    "--lines",
    type=click.IntRange(1),
    is_flag=False,
    flag_value=LINES_SHOWN,
    metavar="[N]",
    help=f"Show the N source lines that take the most cycles; {LINES_SHOWN} if no N is given.",
)
@click.option(
    "--flip",
    "flips",
    multiple=True,
    metavar="PLACE:BYTE.BIT[@SAMPLE]",
    help="Also run with that bit of weights or state inverted, state before that sample, and show what it "
    "changes; random*COUNT for BYTE.BIT; may be given again.",
)
@options.seed_option
@options.json_option
def simulate(
    build_dir: Path, audio: Path | None, lines: int | None, flips: tuple[str, ...], seed: int, as_json: bool
) -> None:
    """Run the firmware of a build on the simulated core.

    BUILD_DIR is a folder that edgekit build wrote. Shows the result, and what it costs by layer and by
    function. A build for this computer itself (target host) runs here, and shows the time that it took.
    """
    from edgekit import artifact, pipeline
    from edgekit.audio import DEFAULT_AUDIO, find_audio, read_audio, to_pcm16
    from edgekit.report import STAGES
    from firmware_sim import simulate as run
    from firmware_sim.native import refuse_counting

    target = pipeline.built_target(build_dir)
    for option, wanted in (("--lines", lines is not None), ("--flip", bool(flips))):
        if wanted:
            refuse_counting(target, option)
    elf = artifact.read(build_dir / STAGES["firmware"], "firmware").file("firmware.elf")
    pcm = to_pcm16(read_audio(audio or find_audio([DEFAULT_AUDIO])[0]))
    if target.core.simulator == "native":
        shown, fault = run(elf, target, pcm).to_profile(), None
    else:
        shown, fault = _counted(elf, target, pcm, lines, flips, seed)
    if as_json:
        options.print_json(shown)
    else:
        _print_profile(shown)
    if fault is not None:
        raise fault


def _counted(
    elf: Path,
    target: "Target",
    pcm: "NDArray[np.int16]",
    lines: int | None,
    flips: Sequence[str],
    seed: int,
) -> tuple[dict[str, Any], SimulationError | None]:
    """Run on a simulated core; return what was counted, and the fault where flips end in one."""
    from firmware_sim.flips import read_flips
    from firmware_sim.program import read_program
    from firmware_sim.simulator import profile, run_in_time

    chosen = read_flips(flips, read_program(elf), target, len(pcm), seed)
    made = profile(elf, target, pcm)
    made = replace(made, result=run_in_time(made.result, elf, pcm))
    shown, fault = _described(made, lines), None
    if chosen:
        shown["flips"], fault = _flipped(made, elf, target, pcm, chosen)
    return shown, fault


def _described(made: "Profile", lines: int | None) -> dict[str, Any]:
    """Return the profile of a run with its functions, and its lines where they are wanted."""
    from firmware_sim.places import by_function, by_line

    program = made.result.program
    shown = made.result.to_profile()
    shown["functions"] = [_counts(row) for row in by_function(made.places, program)]
    if lines is not None:
        rows = by_line(made.places, program, made.info)[:lines]
        shown["lines"] = [{**_counts(row), "function": row.function} for row in rows]
    return shown


def _counts(row: "Row") -> dict[str, Any]:
    return {"name": row.name, "instructions": row.instructions, "cycles": row.cycles}


def _flipped(
    made: "Profile", elf: Path, target: "Target", pcm: "NDArray[np.int16]", flips: Sequence["Flip"]
) -> tuple[dict[str, Any], SimulationError | None]:
    """Run again with flips; return what they change, and the fault where they end in one."""
    from firmware_sim.simulator import profile

    without = made.result.adv
    shown: dict[str, Any] = {
        "flipped": [asdict(flip) for flip in flips],
        "without": _adv(without),
        "with": None,
        "difference": None,
        "fault": None,
    }
    try:
        result = profile(elf, target, pcm, flips=flips).result
    except SimulationError as error:
        shown["fault"] = {"what": error.what, "details": list(error.details)}
        return shown, SimulationError(f"with the bits flipped: {error.what}", error.hint, error.details)
    shown["exit_code"] = result.exit_code
    shown["with"] = _adv(result.adv)
    if without is not None and result.adv is not None:
        shown["difference"] = _adv([b - a for a, b in zip(without, result.adv, strict=True)])
    return shown, None


def _adv(values: Sequence[int] | None) -> dict[str, float] | None:
    """Return A/D/V, or differences of them, in Q14 and as numbers."""
    from edgekit.metrics import DIMENSIONS

    if values is None:
        return None

    named = dict(zip(DIMENSIONS, values, strict=True))
    return {f"{name}_q14": q14 for name, q14 in named.items()} | {
        name: q14 / Q14 for name, q14 in named.items()
    }


def _print_profile(shown: Mapping[str, Any]) -> None:
    from edgekit.metrics import DIMENSIONS

    last = shown["results"][-1] if shown["results"] else {}
    for dimension in DIMENSIONS:
        value = last.get(f"{dimension}_q14")
        click.echo(f"{dimension:<12}{'none yet' if value is None else f'{value / Q14:.4f}'}")
    latency, memory = shown["latency"], shown["memory"]
    click.echo(f"{'audio':<12}{shown['audio']['duration_s']:.3f} s")
    basis = shown["timing"]["basis"]["cycles"]
    about = "~" if basis == "estimated" else ""
    click.echo(f"{'core load':<12}{about}{latency['core_load_percent']:.2f} % ({basis})")
    click.echo(f"{'RAM':<12}{memory['total_ram_bytes']:,} bytes")
    ran = shown["schedule"]["in_time"]
    if ran:
        click.echo(f"{'in time':<12}{ran['lost_blocks']:,} of {ran['blocks']:,} blocks of audio lost")
    cycles = f"{about}cycles"
    _print_counts("layer", cycles, [(row["name"], row) for row in shown["layers"]])
    if "functions" in shown:
        _print_counts("function", cycles, [(row["name"], row) for row in shown["functions"]])
    if "lines" in shown:
        rows = [(f"{row['name']} in {row['function']}", row) for row in shown["lines"]]
        _print_counts("line", cycles, rows)
    if "flips" in shown:
        _print_flips(shown["flips"])


def _print_counts(head: str, cycles: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    width = 2 + max(14, *(len(name) for name, _ in rows))
    click.echo(f"\n{head:<{width}}{'instructions':>14}{cycles:>14}")
    for name, row in rows:
        instructions = "n/a" if row["instructions"] is None else f"{row['instructions']:,}"
        click.echo(f"{name:<{width}}{instructions:>14}{row['cycles']:>14,}")


def _print_flips(shown: Mapping[str, Any]) -> None:
    from edgekit.metrics import DIMENSIONS

    flipped = shown["flipped"]
    names = ", ".join(_flip_name(flip) for flip in flipped[:FLIPS_SHOWN])
    more = f" and {len(flipped) - FLIPS_SHOWN} more" if len(flipped) > FLIPS_SHOWN else ""
    click.echo(f"\nflipped: {names}{more}")
    if shown["fault"] is not None:
        click.echo(f"with them: {shown['fault']['what']}")
        return
    if shown["exit_code"] != 0:
        click.echo(f"with them: the firmware ends with {shown['exit_code']}")
    click.echo(f"{'':<12}{'without':>10}{'with':>10}{'difference':>12}{'in Q14':>10}")
    for name in DIMENSIONS:
        before, after = (_number(shown[key], name) for key in ("without", "with"))
        line = f"{name:<12}{before:>10}{after:>10}"
        if shown["difference"] is not None:
            difference = shown["difference"]
            line += f"{difference[name]:>+12.4f}{difference[f'{name}_q14']:>+10}"
        click.echo(line)


def _number(adv: Mapping[str, float] | None, name: str) -> str:
    return "none" if adv is None else f"{adv[name]:.4f}"


def _flip_name(flip: Mapping[str, Any]) -> str:
    when = "" if flip["sample"] is None else f"@{flip['sample']}"
    return f"{flip['place']}:{flip['byte']}.{flip['bit']}{when}"
