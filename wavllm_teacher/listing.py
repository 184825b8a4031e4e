"""What `edgekit teachers` lists, and the licence that is shown before a teacher is used."""

from typing import Any

from edgekit.errors import EdgekitError
from wavllm_teacher import hub
from wavllm_teacher.catalogue import TEACHERS
from wavllm_teacher.registry import by_name, find_teacher, name_of

BYTES_PER_PARAMETER = 4


def teacher_table() -> dict[str, dict[str, Any]]:
    """Return every named teacher with what there is to know about it; nothing is downloaded.

    Returns:
        For each: `what`, `licence`, `terms`, `origin`, `parameters`, `bytes` (of the files here; of float32
        weights where it is not here; None if unknown), `present`, `where` in words, and `get`: the commands
        that get it.
    """
    return {name: _row(name) for name in TEACHERS}


def _row(name: str) -> dict[str, Any]:
    entry = TEACHERS[name]
    sizes = [_bytes_here(part) for part in entry.parts or (name,)]
    here = [size for size in sizes if size is not None]
    present = len(here) == len(sizes)
    where = ("in the cache" if entry.get else "built in") if present else entry.missing
    expected = entry.parameters * BYTES_PER_PARAMETER if entry.parameters else None
    return {
        "what": entry.what,
        "licence": entry.licence,
        "origin": entry.origin,
        "parameters": entry.parameters,
        "bytes": sum(here) if present else expected,
        "present": present,
        "where": where,
        "get": list(entry.get),
        "terms": entry.terms,
    }


def _bytes_here(name: str) -> int | None:
    entry = TEACHERS[name]
    if entry.made or (entry.repository and not hub.cached(entry.repository)):
        return None
    return sum(file.stat().st_size for file in by_name(name).files())


def licence_of(name_or_dir: str) -> dict[str, str] | None:
    """Return `name`, `licence`, `terms` and `origin` of a teacher; None if there is no such teacher.

    A teacher that is named is not looked for. A repository that is not named here is downloaded first, as
    nothing else says what its licence is.
    """
    name = name_of(name_or_dir)
    if name:
        entry = TEACHERS[name]
        return {"name": name, "licence": entry.licence, "terms": entry.terms, "origin": entry.origin}
    try:
        facts = find_teacher(name_or_dir).facts
    except EdgekitError:
        # Whoever loads it says what is wrong.
        return None
    named = TEACHERS.get(facts["kind"])
    terms = named.terms if named and named.licence == facts["licence"] else ""
    return {"name": facts["name"], "licence": facts["licence"], "terms": terms, "origin": name_or_dir}
