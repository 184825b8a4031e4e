"""Results that outlive their process: a file of JSON lines that is only ever appended to."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError


class Journal:
    """Keys to JSON values on disk; in memory is only where each lies.

    A line that was cut off while it was written (kill -9) does not count and is removed. Of equal keys the
    last one counts.

    Args:
        path: The file; opened when it is there, else begun.

    Raises:
        ArtifactError: If a whole line is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets: dict[str, int] = {}
        self._end = 0
        path.touch()
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offsets[self._parse(line)[0]] = self._end
                self._end += len(line)
        self._file = path.open("a+b")
        self._file.truncate(self._end)

    def _parse(self, line: bytes) -> tuple[str, Any]:
        try:
            key, value = json.loads(line)
        except (ValueError, TypeError) as error:
            hint = f"remove {self.path}, then run the same command again"
            raise ArtifactError(f"{self.path}: damaged ({error})", hint) from error
        return str(key), value

    def __contains__(self, key: str) -> bool:
        return key in self._offsets

    def __getitem__(self, key: str) -> Any:
        self._file.seek(self._offsets[key])
        return self._parse(self._file.readline())[1]

    def __setitem__(self, key: str, value: Any) -> None:
        line = json.dumps([key, value], separators=(",", ":")).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._offsets[key] = self._end
        self._end += len(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextlib.contextmanager
def journal(path: Path) -> Iterator[Journal]:
    """Open a `Journal` and close it in the end."""
    opened = Journal(path)
    try:
        yield opened
    finally:
        opened.close()
