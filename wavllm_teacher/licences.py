"""What the licences of audio allow to be done with what was learned from it."""

import re
from collections.abc import Mapping

LICENCE_COLUMNS = ("license", "licence")
NOT_STATED = "not stated"
NON_COMMERCIAL = re.compile(
    r"(?<![a-z])(by-?)?nc(?![a-z])|non[-_ ]?commercial|research|academic|education|evaluation", re.IGNORECASE
)
PERMISSIVE = re.compile(
    r"(cc[-_ ]?by([-_ ]\d(\.\d)?)?|cc[-_ ]?0([-_ ]1\.0)?|public domain|unlicense|mit|apache([-_ ]2\.0)?|pddl"
    r"|odc[-_ ]by|bsd.*|0bsd|isc|zlib)([-_ ]\d(\.\d)?)?",
    re.IGNORECASE,
)
"""Licences that let everybody use what was learned from the audio, for everything."""


def stated_licence(row: Mapping[str, str]) -> str:
    """Return the licence that a row of a clip table states.

    Example:
        >>> stated_licence({"file": "a.wav", "license": "CC0-1.0"}), stated_licence({"file": "a.wav"})
        ('CC0-1.0', 'not stated')
    """
    return next((row[name] for name in LICENCE_COLUMNS if row.get(name)), NOT_STATED)


def forbids_commerce(licence: str) -> bool:
    """Return whether a licence is for non-commercial use, or for research or the like only.

    Example:
        >>> licences = ("CC-BY-NC-SA-4.0", "cc_by_nc_sa_4.0", "CC-BYNC", "academic use only", "CC-BY-4.0")
        >>> [forbids_commerce(licence) for licence in licences]
        [True, True, True, True, False]
    """
    return NON_COMMERCIAL.search(licence) is not None


def is_permissive(licence: str) -> bool:
    """Return whether a licence is known to allow every use of what is learned from the audio.

    Example:
        >>> [is_permissive(text) for text in ("CC-BY-4.0", "CC0-1.0", "CC-BY-SA-4.0", "all rights reserved")]
        [True, True, False, False]
    """
    return PERMISSIVE.fullmatch(licence.strip()) is not None
