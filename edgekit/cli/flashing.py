"""`edgekit flash` and `ports`: images onto devices, and what devices say."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import options
from edgekit.cli.images import image_of
from edgekit.errors import DeviceError, VerifyError, WrongTargetError

if TYPE_CHECKING:
    from edgekit.progress import Progress
    from edgekit.uploader.device import Device, Info, Slot
    from edgekit.uploader.facts import Kind
    from edgekit.uploader.image import Image
    from edgekit.uploader.install import Outcome

AUTO = "auto"
BAUD = 115_200
IMAGES = ("firmware", "model")
UPLOAD = "upload"

port_option = click.option(
    "--port",
    default=AUTO,
    show_default=True,
    metavar="auto|PATH",
    help="Serial port; auto: the one where a device answers. edgekit ports lists them.",
)
baud_option = click.option(
    "--baud", type=click.IntRange(1), default=BAUD, show_default=True, help="Bits per second."
)
image_option = click.option(
    "--image",
    "kind",
    type=click.Choice(IMAGES),
    default="model",
    show_default=True,
    help="Which image it is about.",
)


# No docstring: click wants a backspace character before what it must not wrap.
_HELP = """\
Put an image on a device, and ask what it has.

\b
  edgekit flash IMAGE|BUILD_DIR [--port auto|PATH] [--baud N]
                [--image model|firmware] [--test|--confirm] [--json]

is edgekit flash upload. The old image stays whole and active until the new one has been read back, has
started and has passed its self-test. An upload that was interrupted goes on where it was.

\b
Exit codes:
  10  no port, or several        22  image for another device
  11  no permission              23  model does not fit the firmware
  12  port in use                24  too big
  13  no answer                  25  security counter too low
  14  link lost: resumes         30  the device holds something else
  20  image damaged or unsigned  31  flash error, or refused
  21  wrong key                  32  back to the old image
"""


class _Flash(click.Group):
    """A group whose command is `upload` where the words begin with none."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Put in the command where there is none."""
        if args and args[0] not in self.commands and args[0] not in context.help_option_names:
            args = [UPLOAD, *args]
        return super().parse_args(context, args)


@click.group(cls=_Flash, help=_HELP)
def flash() -> None:
    """Put an image on a device, and ask what it has."""


@flash.command()
@click.argument("image", type=options.PATH, metavar="IMAGE|BUILD_DIR")
@port_option
@baud_option
@click.option(
    "--image",
    "kind",
    type=click.Choice(IMAGES),
    help="Which image of BUILD_DIR.  [default: model]",
)
@click.option(
    "--confirm/--test",
    default=True,
    help="Keep the image once it has passed its self-test (default), or leave it on trial.",
)
@options.json_option
def upload(image: Path, port: str, baud: int, kind: "Kind | None", confirm: bool, as_json: bool) -> None:
    """Install an image, and keep it if it passes its test.

    Steps: check, erase, write, read back, restart, test, confirm. IMAGE is a signed image, BUILD_DIR a
    folder that edgekit build wrote.
    """
    from edgekit.uploader.container import read_image
    from edgekit.uploader.image import check_digest, parse
    from edgekit.uploader.install import install
    from edgekit.uploader.preflight import check

    file = image_of(image, kind or "model")
    made = parse(read_image(file), str(file))
    check_digest(made)
    if kind is not None and made.facts.kind != kind:
        raise WrongTargetError(f"{image}: not a {kind} image", f"give --image {made.facts.kind}")
    with _connected(port, baud) as (device, progress):
        outcome = install(device, made, lambda info: check(made, info), confirm, progress)
    if as_json:
        options.print_json(_outcome(outcome, made))
    else:
        click.echo(_sentence(outcome, made))


def _outcome(outcome: "Outcome", image: "Image") -> dict[str, Any]:
    version = str(image.facts.version)
    named = {"image": image.facts.kind, "version": version, "digest": image.digest.hex()}
    return {**named, **asdict(outcome)}


def _sentence(outcome: "Outcome", image: "Image") -> str:
    name = f"{image.facts.kind} {image.facts.version} ({image.digest.hex()[:12]})"
    if outcome.result == "already active":
        return f"{name} is already active, nothing to do"
    sent = f"{outcome.sent_bytes:,} of {outcome.image_bytes:,} bytes sent in {outcome.duration_s:.1f} s"
    head = f"{name} is {outcome.result} in slot {outcome.slot}: {sent}, {outcome.retries} retries"
    if outcome.result == "on trial":
        return f"{head}\nit goes back by itself unless it is confirmed: run edgekit flash confirm"
    return head


@contextlib.contextmanager
def _connected(port: str, baud: int) -> "Iterator[tuple[Device, Progress]]":
    """Yield the device on a port and what shows progress; the port is given back in the end."""
    from edgekit.cli.progress import showing_progress
    from edgekit.uploader.device import open_device
    from edgekit.uploader.ports import find_port

    with showing_progress() as progress:
        progress("connecting", 0, 1)
        device = open_device(find_port(port, baud), baud)
        with contextlib.closing(device.session.link):
            yield device, progress


@flash.command()
@port_option
@baud_option
@options.json_option
def info(port: str, baud: int, as_json: bool) -> None:
    """Show what a device is, and which images it has."""
    with _connected(port, baud) as (device, _):
        told, slots = device.info(), device.slots()
    if as_json:
        options.print_json({"device": _plain(told), "slots": [_plain(slot) for slot in slots]})
        return
    for name, value in (_plain(told) or {}).items():
        click.echo(f"{name:<14}{_shown(name, value)}")
    for slot in slots:
        click.echo(f"{IMAGES[slot.image]:<14}{slot} {slot.digest.hex()[:12]}")


def _plain(value: "Info | Slot | None") -> dict[str, Any] | None:
    """Return a device's words as JSON can hold them."""
    if value is None:
        return None
    return {key: v.hex() if isinstance(v, bytes) else v for key, v in asdict(value).items()}


def _shown(name: str, value: Any) -> str:
    if name == "abi":
        return f"{value[0]}.{value[1]}, kernels {value[2]:08x}"
    if value is None:
        return "not measured" if name == "battery_mv" else "not told"
    return f"{value:,}" if isinstance(value, int) else str(value)


@flash.command()
@port_option
@baud_option
@options.json_option
def inspect(port: str, baud: int, as_json: bool) -> None:
    """Show how far each slot for models is written, block by block."""
    from edgekit.uploader.device import SLOTS

    with _connected(port, baud) as (device, _):
        slots = {slot.number: slot for slot in device.slots() if IMAGES[slot.image] == "model"}
        found = [(n, slots.get(n), *device.written_blocks(n)) for n in range(SLOTS)]
    rows = [
        {"slot": number, "image": _plain(slot), "block_bytes": size, "written": written}
        for number, slot, size, written in found
    ]
    if as_json:
        options.print_json(rows)
        return
    for number, slot, size, written in found:
        drawn = "".join("#" if block else "." for block in written)
        click.echo(f"{slot or f'slot {number}: no image'}")
        click.echo(f"  {drawn}  {sum(written)} of {len(written)} blocks of {size:,} bytes are written")


@flash.command()
@port_option
@baud_option
@image_option
@options.json_option
def confirm(port: str, baud: int, kind: str, as_json: bool) -> None:
    """Keep the image that is on trial."""
    with _connected(port, baud) as (device, _):
        slot = _active(device, kind)
        if not slot.confirmed:
            device.mark(slot.digest, confirm=True)
            slot = _active(device, kind)
    if not slot.confirmed:
        raise VerifyError(f"{slot} did not stay", "run edgekit flash info")
    _say(f"confirmed: {slot}", slot, as_json)


@flash.command()
@port_option
@baud_option
@image_option
@options.json_option
def revert(port: str, baud: int, kind: str, as_json: bool) -> None:
    """Go back from the image on trial to the one before."""
    with _connected(port, baud) as (device, progress):
        before = _active(device, kind)
        pending = any(slot.pending for slot in device.slots())
        if before.confirmed and not pending:
            raise DeviceError(f"{before}: nothing is on trial", "flash the image that you want back")
        device.revert()
        progress("restarting", 0, 1)
        device.restart()
        slot = _active(device, kind)
    _say(f"reverted: {slot}", slot, as_json)


@flash.command()
@port_option
@baud_option
@image_option
@options.json_option
def erase(port: str, baud: int, kind: str, as_json: bool) -> None:
    """Erase the slot that is not active."""
    from edgekit.uploader.device import other_slot

    with _connected(port, baud) as (device, progress):
        slot = _active(device, kind)
        progress("erasing", 0, 1)
        device.erase(other_slot(slot.number))
    _say(f"erased slot {other_slot(slot.number)}; active: {slot}", slot, as_json)


def _active(device: "Device", kind: str) -> "Slot":
    for slot in device.slots():
        if slot.active and IMAGES[slot.image] == kind:
            return slot
    raise DeviceError(f"no {kind} is active", "run edgekit flash IMAGE")


def _say(sentence: str, slot: "Slot", as_json: bool) -> None:
    if as_json:
        options.print_json({"active": _plain(slot)})
    else:
        click.echo(sentence)


@click.command()
@baud_option
@options.json_option
def ports(baud: int, as_json: bool) -> None:
    """List the serial ports, and where a device answers."""
    from edgekit.uploader.ports import list_ports, probe

    found = [probe(port, baud) for port in list_ports()]
    if as_json:
        options.print_json([asdict(port) for port in found])
        return
    if not found:
        click.echo("no serial port")
    for port in found:
        click.echo(f"{port.path}  {'device' if port.device else port.problem}  {port.description}".rstrip())
