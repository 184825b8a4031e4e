"""The students that edgekit can train, and the trained ones that ship with it."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import edgekit
from edgekit.audio import FrontEnd
from edgekit.audio.logmel import Level
from edgekit.errors import ConfigError

if TYPE_CHECKING:
    from distill.wav2small import Wav2Small

SHIPPED = Path(edgekit.__file__).parent / "data" / "students"


def _wav2small(front_end: FrontEnd) -> "Wav2Small":
    # Imported late: the pipeline asks for names and folders on every build, and torch takes seconds.
    from distill.wav2small import Wav2Small

    return Wav2Small(front_end, end_padding=False)


_STUDENTS: dict[str, Callable[[FrontEnd], "Wav2Small"]] = {"wav2small": _wav2small}


def student_names() -> list[str]:
    """Return the names of all students."""
    return sorted(_STUDENTS)


def require_student(name: str) -> None:
    """Check that a student exists.

    Raises:
        ConfigError: If it does not; the message names the closest one.
    """
    if name in _STUDENTS:
        return
    close = difflib.get_close_matches(name, _STUDENTS, n=1)
    suggestion = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigError(
        f"unknown student {name!r}{suggestion}", f"choose one of {', '.join(student_names())} with --student"
    )


def create_student(name: str, front_end: FrontEnd) -> "Wav2Small":
    """Return a new student with random weights, in the form that streams (no padding after the end).

    Raises:
        ConfigError: If there is no student of that name.
    """
    require_student(name)
    return _STUDENTS[name](front_end)


def shipped_student(name: str, level: Level) -> Path:
    """Return the folder of the trained student that ships with edgekit.

    Raises:
        ConfigError: If there is no such student, or none was trained for that level normalisation.
    """
    require_student(name)
    folder = SHIPPED / f"{name}-{level}"
    if not (folder / "student.safetensors").is_file():
        raise ConfigError(f"no trained {name} with {level} level ships with edgekit", "use --from-scratch")
    return folder
