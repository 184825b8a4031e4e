"""The update images of a build: its firmware, and its model alone, signed."""

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import __version__
from edgekit.artifact import Artifact
from edgekit.target import Target
from edgekit.uploader.container import Version
from edgekit.uploader.facts import Abi, Facts, Kind, Needs, class_uuid, kernel_set, vendor_uuid

if TYPE_CHECKING:
    from edgekit.graph import Graph
    from edgekit.uploader.keys import PrivateKey

ABI_MAJOR, ABI_MINOR = 1, 0
"""How firmware and weights meet, beside graph and layout: the blob's header and the C interface."""
COUNTER = 0
"""Security counter of images of a build; a release raises it, see `edgekit image sign --counter`."""
ALIGN_BYTES = 4
DIGEST = slice(16, 48)
"""Where a weights blob has the digest of its graph."""


def image_params(key: "PrivateKey") -> dict[str, str | int]:
    """Return the settings that decide the images of a build, beside its files."""
    return {"key": key.public.hash.hex(), "counter": COUNTER, "abi": f"{ABI_MAJOR}.{ABI_MINOR}"}


def sign_model(weights: bytes, facts: Facts, graph: "Graph", key: "PrivateKey") -> bytes:
    """Return the signed image of a model alone: its weights and, if it hears audio, its golden vector.

    Args:
        weights: The weights blob.
        facts: What the image says about itself.
        graph: The integer graph.
        key: The key that signs.
    """
    from codegen.golden import golden_vector
    from edgekit.graph import hears_audio
    from edgekit.uploader.image import sign

    return sign(weights + (golden_vector(graph) if hears_audio(graph) else b""), facts, key)


def build_facts(kind: Kind, weights: bytes, c: Artifact, graph: "Graph", target: Target) -> Facts:
    """Return what an image of a build says about itself."""
    version = edgekit_version()
    return Facts(
        kind=kind,
        version=version,
        counter=COUNTER,
        vendor=vendor_uuid(),
        device_class=class_uuid(target.name),
        abi=Abi(ABI_MAJOR, ABI_MINOR, kernel_set(weights, target.core.instructions)),
        graph=weights[DIGEST],
        needs=Needs(ram_bytes(c.file("memory.json")), len(weights), ALIGN_BYTES, _outputs(graph)),
        provenance=bytes.fromhex(c.digest),
        firmware=version if kind == "model" else None,
    )


def edgekit_version() -> Version:
    """Return the version of edgekit as images have it: without what follows the three numbers."""
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", __version__)
    assert match, __version__
    return Version(*map(int, match.groups()))


def ram_bytes(memory: Path) -> int:
    """Return what a model needs of RAM, from memory.json: its arena, or the state of its layers."""
    facts = json.loads(memory.read_text())
    if "arena" in facts:
        return int(facts["arena"]["size_bytes"])
    return int(sum(facts["state_bytes_by_layer"].values()))


def _outputs(graph: "Graph") -> int:
    shape = graph.tensors[graph.outputs[0]].shape
    return math.prod(size for size in shape if size > 0)
