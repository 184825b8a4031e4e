"""The command group, and what happens to everything that escapes from a command."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import click

from edgekit import __version__
from edgekit.cli import options
from edgekit.cli.asking import ask
from edgekit.cli.building import build, report
from edgekit.cli.device import device
from edgekit.cli.doctor import doctor
from edgekit.cli.evaluating import evaluate
from edgekit.cli.flashing import flash, ports
from edgekit.cli.images import image
from edgekit.cli.listing import students, targets, teachers
from edgekit.cli.monitoring import monitor
from edgekit.cli.operators import ops
from edgekit.cli.simulating import simulate
from edgekit.cli.stages import codegen, distill, label, quantize
from edgekit.cli.teaching import teach
from edgekit.cli.tuning import tune
from edgekit.errors import INTERRUPTED_EXIT_CODE, ConfigError, EdgekitError

# Click's own, for a pipe that breaks before the last flush.
BROKEN_PIPE_EXIT_CODE = 1
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


class _InOrder(click.Group):
    """A group that lists its commands in the order of the work, not of the alphabet."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)


# No docstring: click wants a backspace character before what it must not wrap.
_HELP = """\
Turn a large speech-emotion model into firmware for a hearing aid.

Results go to standard output, progress and errors to standard error.

\b
Exit codes:
  0  done, all budgets held          5  artifact damaged or foreign
  2  usage or configuration          6  operator or model not supported
  3  target                          7  audio or label input
  4  done, but a budget is exceeded  8  back ends disagree
  10-14  port or link  20-25  image  30-32  device  130  interrupted
"""


@click.group(cls=_InOrder, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgekit")
def cli() -> None:
    """Turn a large speech-emotion model into firmware for a hearing aid."""


for command in (
    build,
    label,
    distill,
    quantize,
    codegen,
    simulate,
    report,
    image,
    flash,
    monitor,
    device,
    teach,
    evaluate,
    ask,
    tune,
    targets,
    teachers,
    students,
    ops,
    ports,
    doctor,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: The words after `edgekit`; None takes those of the process.
    """
    with _streams_that_are_open():
        return _run(arguments)


@contextlib.contextmanager
def _streams_that_are_open() -> Iterator[None]:
    """Send to nowhere what would go to a stream that was closed from the start, as by `>&-`.

    Python has None in its place. Its file number would go to the next file that is opened, and with it what
    native code writes there.
    """
    with contextlib.ExitStack() as nowhere:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:
                setattr(sys, name, nowhere.enter_context(Path(os.devnull).open("w")))
                nowhere.callback(setattr, sys, name, None)
        yield


def _run(arguments: Sequence[str] | None) -> int:
    try:
        with _terminated_as_interrupted():
            code = cli.main(args=arguments, prog_name="edgekit", standalone_mode=False)
            sys.stdout.flush()
    except KeyboardInterrupt:
        click.echo("interrupted; run the same command again: what was finished is kept", err=True)
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        # Whoever read the output has left; the interpreter must not flush into the closed pipe at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE_EXIT_CODE
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        return _say(_usage_error(error))
    except EdgekitError as error:
        return _say(error)
    except OSError as error:
        return _say(_disk_error(error))
    return code if isinstance(code, int) else 0


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the command the way Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        # Click turns Ctrl-C into Abort, whose message says nothing about resuming.
        with _abort_as_interrupt():
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _abort_as_interrupt() -> Iterator[None]:
    try:
        yield
    except click.Abort as error:
        raise KeyboardInterrupt from error


def _say(error: EdgekitError) -> int:
    click.echo(click.style("error: ", fg="red", bold=True) + error.what, err=True, color=options.color())
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    for line in error.details:
        click.echo(line, err=True)
    return error.exit_code


def _usage_error(error: click.ClickException) -> EdgekitError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "edgekit"
    return ConfigError(error.format_message().rstrip("."), f"run {path} --help")


def _disk_error(error: OSError) -> EdgekitError:
    """Return the user's side of a failed file operation.

    Raises:
        OSError: The error itself if it is none of the user's doing.
    """
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in _DISK_FULL:
        return ConfigError(f"{place}the disk is full", "free some space, then run the same command to resume")
    if error.errno in _NOT_WRITABLE:
        return ConfigError(f"{place}{error.strerror}", "choose another --out, or change its permissions")
    raise error
