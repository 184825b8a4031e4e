"""What long trainings gave, kept beside the page that shows it: a page can be written without all of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import artifact


@dataclass(frozen=True)
class Measured:
    """Results by name, each with what it was measured of.

    Attributes:
        path: Of the JSON file; it need not exist yet.

    """

    path: Path

    def get(self, name: str, of: str) -> Any:
        """Return a result, or None if there is none of exactly this."""
        found = self._read().get(name)
        return found["result"] if found and found["of"] == of else None

    def put(self, name: str, of: str, result: Any) -> None:
        """Keep a result instead of the one of that name."""
        everything = self._read() | {name: {"of": of, "result": result}}
        artifact.write_text(self.path, json.dumps(everything, indent=1, sort_keys=True) + "\n")

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return found
