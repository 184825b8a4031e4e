"""The licence of a teacher, shown the first time that a user runs it."""

import os
from pathlib import Path

import click

QUIET = "Apache-2.0"
"""edgekit's own licence: a teacher under it asks for nothing that edgekit does not."""


def announce(name_or_dir: str) -> None:
    """Show name, licence and origin of a teacher on standard error, once per teacher and user.

    What was shown is noted in `$XDG_STATE_HOME/edgekit` (`~/.local/state/edgekit`); where that cannot be
    written, it is shown every time. A teacher that does not exist is none of its concern.

    Args:
        name_or_dir: What `--teacher` says.
    """
    from wavllm_teacher.listing import licence_of

    known = licence_of(name_or_dir)
    if known is None or known["licence"] == QUIET:
        return
    terms = f"; {known['terms']}" if known["terms"] else ""
    line = f"teacher {known['name']}: licence {known['licence']}{terms}; from {known['origin']}"
    if _is_new(line):
        click.echo(line, err=True)


def _is_new(line: str) -> bool:
    """Return whether a line was not noted before, and note it."""
    try:
        notes = _state_folder() / "licences-shown.txt"
        if notes.is_file() and line in notes.read_text(encoding="utf-8").splitlines():
            return False
        notes.parent.mkdir(parents=True, exist_ok=True)
        with notes.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except (OSError, RuntimeError, UnicodeDecodeError):
        # No home folder, or one that cannot be written or read: a notice too many does no harm.
        return True
    return True


def _state_folder() -> Path:
    """Return where the XDG base directory specification puts a program's state."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".local" / "state") / "edgekit"
