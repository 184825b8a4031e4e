"""`edgekit monitor`: what a device hears, as it hears it."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edgekit.cli import options
from edgekit.cli.flashing import baud_option, port_option
from edgekit.errors import INTERRUPTED_EXIT_CODE

if TYPE_CHECKING:
    from edgekit.uploader.device import Device, Live

Q14 = 1 << 14
INTERVAL_S = 0.1
BAR = 40


@click.command()
@port_option
@baud_option
@options.json_option
def monitor(port: str, baud: int, as_json: bool) -> int:
    """Show arousal, dominance and valence live, until Ctrl-C.

    Numbers and bars on a terminal; elsewhere, and with --json, a line of JSON for each new reading.
    """
    from edgekit.uploader.device import open_device
    from edgekit.uploader.ports import find_port

    device = open_device(find_port(port, baud), baud)
    # Only Ctrl-C and errors end it.
    with contextlib.closing(device.session.link), contextlib.suppress(KeyboardInterrupt):
        if as_json or not sys.stdout.isatty():
            _as_lines(device)
        else:
            _as_bars(device)
    return INTERRUPTED_EXIT_CODE


def _readings(device: "Device") -> "Iterator[Live]":
    """Yield every new reading."""
    last: Live | None = None
    while True:
        reading = device.live()
        if reading != last:
            yield reading
        last = reading
        time.sleep(INTERVAL_S)


def _as_lines(device: "Device") -> None:
    for reading in _readings(device):
        click.echo(json.dumps({**_named(reading), "heard_samples": reading.heard}))
        sys.stdout.flush()


def _as_bars(device: "Device") -> None:
    from rich.console import Console
    from rich.live import Live as Display
    from rich.text import Text

    with Display(console=Console(highlight=False), auto_refresh=False) as display:
        for reading in _readings(device):
            display.update(Text(bars(reading)), refresh=True)


def bars(reading: "Live") -> str:
    """Return a reading as numbers and bars from 0 to 1.

    Example:
        >>> from edgekit.uploader.device import Live
        >>> print(bars(Live((8192, 16384, -100), 16000)).replace(" ", "_"))
        arousal_____0.500_####################____________________
        dominance___1.000_########################################
        valence____-0.006_________________________________________
    """
    lines = []
    for name, value in _named(reading).items():
        number = "   ..." if value is None else f"{value:6.3f}"
        filled = round(min(max(value or 0.0, 0.0), 1.0) * BAR)
        lines.append(f"{name:<11}{number} {'#' * filled:<{BAR}}")
    return "\n".join(lines)


def _named(reading: "Live") -> dict[str, float | None]:
    from edgekit.metrics import DIMENSIONS

    values = reading.adv or (None, None, None)
    return {n: None if v is None else round(v / Q14, 4) for n, v in zip(DIMENSIONS, values, strict=True)}
