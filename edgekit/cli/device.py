"""The command `device`: the simulated hearing aid of a build, alive on a pseudo-terminal."""

from pathlib import Path

import click

from edgekit.cli import options
from edgekit.errors import ConfigError, DeviceError

POWER_CUT_EXIT_CODE = 9


@click.command()
@click.argument("build_dir", type=options.PATH)
@click.option("--link", type=options.PATH, metavar="PATH", help="Make PATH a link to the terminal.")
@click.option(
    "--audio", type=options.PATH, metavar="FILE", help="What it hears, again and again.  [default: a clip]"
)
@click.option(
    "--flash",
    "flash_file",
    type=options.PATH,
    metavar="FILE",
    help="Keep its flash in FILE, and begin with what is there.  [default: that of the build]",
)
@click.option("--baud", type=click.IntRange(1), help="Speed of its serial line.  [default: the target's]")
@click.option("--fast", is_flag=True, help="Run as fast as this computer can, not in real time.")
@click.option(
    "--cut", type=click.IntRange(0), metavar="N", help="Take its power away at flash operation N, from 0."
)
@click.option("--torn", is_flag=True, help="Half of that operation happens.")
@options.json_option
def device(
    build_dir: Path,
    link: Path | None,
    audio: Path | None,
    flash_file: Path | None,
    baud: int | None,
    fast: bool,
    cut: int | None,
    torn: bool,
    as_json: bool,
) -> int:
    """Run the simulated hearing aid of a build, until Ctrl-C.

    BUILD_DIR is a folder that edgekit build wrote. Prints the path of a terminal on which the device answers
    like one on a serial line: edgekit flash, monitor and others find it there. It runs in real time, or
    slower where this computer is too slow. With --cut it ends with exit code 9 when its power is gone.
    """
    from codegen.flash_map import built_map
    from edgekit import artifact, pipeline
    from edgekit.audio import DEFAULT_AUDIO, find_audio, read_audio, to_pcm16
    from edgekit.report import STAGES
    from firmware_sim.flash_file import keeping, read_flash
    from firmware_sim.live import LiveDevice, serial_line

    if torn and cut is None:
        raise ConfigError("--torn tears the flash operation at which the power goes", "add --cut N")
    target = pipeline.built_target(build_dir)
    firmware = artifact.read(build_dir / STAGES["firmware"], "firmware")
    where = built_map(firmware)
    if where is None:
        raise ConfigError(
            f"{build_dir}: its firmware takes no updates, so it has no serial line",
            "build for a target with [update], and with flash for two models",
        )
    pcm = to_pcm16(read_audio(audio or find_audio([DEFAULT_AUDIO])[0]))
    programmed = firmware.file("firmware.bin").read_bytes()[: where.firmware_bytes]
    with keeping(flash_file) as save, serial_line(target, baud, link) as line:
        before = read_flash(flash_file, target.memory.flash_bytes, programmed)
        alive = LiveDevice(firmware.file("firmware.elf"), target, pcm, line, before, save, fast=fast)
        save(alive.flash)
        alive.nor.cut_at, alive.nor.torn = cut, torn
        if as_json:
            options.print_json({"port": line.path})
        else:
            click.echo(line.path)
        alive.live()
    if alive.nor.is_dead:
        return POWER_CUT_EXIT_CODE
    raise DeviceError(
        f"the firmware ended with {alive.device.exit_code}", "run edgekit simulate on the build"
    )
