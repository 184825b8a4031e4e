"""An image for people: every field decoded, in the layout of `imgtool dumpinfo`."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, is_dataclass
from typing import Any

from edgekit.uploader.container import (
    HEADER_BYTES,
    MAGIC,
    NON_BOOTABLE,
    PROTECTED_MAGIC,
    UNPROTECTED_MAGIC,
    Container,
    Tlv,
    area_bytes,
)
from edgekit.uploader.facts import FIELDS


def describe(container: Container) -> dict[str, Any]:
    """Return what an image consists of: as `imgtool dumpinfo -f json`, and each known TLV's value decoded."""
    version = container.version
    return {
        "filename": container.name,
        "header": {
            "magic": MAGIC,
            "load_addr": 0,
            "hdr_size": HEADER_BYTES,
            "protected_tlv_size": container.protected_bytes,
            "img_size": len(container.payload),
            "flags": container.flags,
            "version": f"{version.major}.{version.minor}.{version.revision}+{version.build}",
        },
        "tlv_area": {
            "tlv_hdr_prot": _area(container.protected, PROTECTED_MAGIC),
            "tlvs_prot": [_tlv(entry) for entry in container.protected],
            "tlv_hdr": _area(container.unprotected, UNPROTECTED_MAGIC),
            "tlvs": [_tlv(entry) for entry in container.unprotected],
        },
        "trailer": {},
    }


def _area(entries: tuple[Tlv, ...], magic: int) -> dict[str, int]:
    return {"magic": magic, "tlv_tot": area_bytes(entries)} if entries else {}


def _tlv(entry: Tlv) -> dict[str, Any]:
    field = FIELDS.get(entry.type)
    shown = {"type": entry.type, "len": len(entry.data), "data": entry.data.hex(), "offset": entry.offset}
    if field is None or field.length != len(entry.data):
        return {"type_name": "UNKNOWN" if field is None else field.name, **shown}
    return {"type_name": field.name, **shown, "value": _plain(entry.type, entry.data)}


def _plain(kind: int, data: bytes) -> Any:
    value = FIELDS[kind].decode(data)
    if isinstance(value, tuple):
        image, version = value
        return {"image": image, "version": str(version)}
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value if isinstance(value, int) else str(value)


def describe_text(container: Container) -> Iterator[str]:
    """Yield the lines that show an image on a terminal."""
    shown = describe(container)
    header = shown["header"]
    kind = "model" if header["flags"] & NON_BOOTABLE else "firmware"
    yield f"{container.name}: {kind} image, {len(container.data):,} bytes"
    yield f"  version     {container.version}"
    yield f"  payload     {header['img_size']:,} bytes at offset {HEADER_BYTES:#x}"
    area = shown["tlv_area"]
    for title, entries in (("protected", area["tlvs_prot"]), ("not protected", area["tlvs"])):
        yield f"\n{title}"
        yield from _rows(entries)


def _rows(entries: Iterable[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        value = entry.get("value", entry["data"])
        if isinstance(value, dict):
            value = ", ".join(f"{name} {number}" for name, number in value.items())
        yield f"  {entry['offset']:#08x}  {entry['type']:#06x}  {entry['type_name']:<10}  {value}"
