"""Which serial ports there are, and which of them has a device."""

from dataclasses import dataclass

from edgekit.errors import EdgekitError, PortError
from edgekit.uploader.device import Device
from edgekit.uploader.link import BAUD, Link
from edgekit.uploader.session import Session

AUTO = "auto"
PROBE_S = 0.6


@dataclass(frozen=True)
class Port:
    """One serial port.

    Attributes:
        path: What to open.
        description: What the operating system calls it.
        device: Whether a device answers there; None where it was not asked.
        problem: Why it could not be asked; empty where it could.
    """

    path: str
    description: str
    device: bool | None = None
    problem: str = ""


def list_ports() -> list[Port]:
    """Return the serial ports of this machine."""
    from serial.tools import list_ports as system

    found = ((port.device, port.description or "") for port in system.comports())
    return [Port(path, "" if text == "n/a" else text) for path, text in sorted(found)]


def probe(port: Port, baud: int = BAUD) -> Port:
    """Return a port with what an echo on it brought."""
    try:
        with Link(port.path, baud) as link:
            Device(Session(link)).echo(PROBE_S)
    except EdgekitError as error:
        return Port(port.path, port.description, device=False, problem=error.what)
    return Port(port.path, port.description, device=True)


def find_port(name: str, baud: int = BAUD) -> str:
    """Return the path of a port; for `auto`, of the one port where a device answers.

    Raises:
        PortError: If a device answers on no port, or on several.
    """
    if name != AUTO:
        return name
    ports = [probe(port, baud) for port in list_ports()]
    answering = [port.path for port in ports if port.device]
    if len(answering) == 1:
        return answering[0]
    if answering:
        raise PortError(f"devices answer on several ports: {', '.join(answering)}", "choose one by --port")
    tried = "; ".join(port.problem for port in ports)
    raise PortError(
        f"no device answers: {tried}" if ports else "this machine has no serial port",
        "connect the device, or give its path by --port",
    )
