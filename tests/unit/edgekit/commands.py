"""What a command that was run gave, and the two lines of an error."""

import re
from dataclasses import dataclass


@dataclass
class Ran:
    code: int
    out: str
    err: str


def error(ran: Ran) -> tuple[str, str]:
    """Return message and hint of a run that failed as users should see it: two lines and no traceback."""
    match = re.fullmatch(r"(?:.*\n)*?error: (.*)\nhint: (.*)\n", ran.err)
    assert match, ran.err
    assert ran.out == ""
    return match[1], match[2]
