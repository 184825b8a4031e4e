"""Reading and writing weights, with every tensor checked by name, shape and content."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit import artifact
from edgekit.errors import ArtifactError

REPAIR = "restore the file from its source, or train the teacher again"
PICKLED = ".bin"
RENAMED = {
    ".weight_g": ".parametrizations.weight.original0",
    ".weight_v": ".parametrizations.weight.original1",
}
"""Endings of weight-normalised tensors: torch's names before 2.1, and since."""

UNPICKLING = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)
"""What unpickling a damaged file can raise."""


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a weights file as float32 tensors (integers keep their type).

    Args:
        path: Safetensors, or (`.bin`) what `torch.save` wrote; a pickle that holds anything but tensors is
            refused, so no code of it runs.

    Raises:
        ArtifactError: If it is missing, damaged, or a tensor holds NaN or infinite values.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: no such weights file", REPAIR)
    tensors = _read_pickled(path) if path.suffix == PICKLED else _read_safetensors(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(f"{path}: tensor {name} holds NaN or infinite values", REPAIR)
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: damaged weights file ({error})", REPAIR) from error
    return tensors


def _read_pickled(path: Path) -> dict[str, torch.Tensor]:
    try:
        # Mapped, the file is the memory; only the format of torch before 1.6, no zip file, cannot be.
        found: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UNPICKLING as error:
        reason = str(error).split("\n")[0]
        raise ArtifactError(f"{path}: damaged weights file ({reason})", REPAIR) from error
    if not isinstance(found, Mapping) or not all(isinstance(t, torch.Tensor) for t in found.values()):
        raise ArtifactError(f"{path}: does not hold tensors by name alone", REPAIR)
    return dict(found)


def load_into(module: nn.Module, *files: Path, unused: Mapping[str, tuple[int, ...]] | None = None) -> None:
    """Load weights into a module whose tensors they must match one to one.

    The tensors that are read become the module's own, so that large weights are in memory once; the module
    may be on the meta device before.

    Args:
        module: What to load into.
        files: Weights files; more than one where a large checkpoint is split.
        unused: Name to shape of tensors that the files may hold and the module has no use for.

    Raises:
        ArtifactError: If a file is damaged, or a tensor is missing, surplus or of another shape or type.
    """
    where = files[0] if len(files) == 1 else files[0].parent
    (tensors, spelled), wanted = _read_all(files), module.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise ArtifactError(f"{where}: tensor {name} is missing", REPAIR)
        _require_fit(where, spelled[name], tensors[name], tuple(tensor.shape))
        if tensors[name].is_floating_point() != tensor.is_floating_point():
            raise ArtifactError(f"{where}: tensor {name} has type {tensors[name].dtype}", REPAIR)
    for name, shape in (unused or {}).items():
        if name in tensors:
            _require_fit(where, name, tensors.pop(name), shape)
    surplus = sorted(set(tensors) - set(wanted))
    if surplus:
        raise ArtifactError(f"{where}: tensor {surplus[0]} is unknown to this model", REPAIR)
    module.load_state_dict(tensors, assign=True)


def _read_all(files: tuple[Path, ...]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return tensors by their current names, and what each is called in its file."""
    tensors: dict[str, torch.Tensor] = {}
    spelled: dict[str, str] = {}
    for file in files:
        for name, tensor in read_tensors(file).items():
            current = _current_name(name)
            if current in tensors:
                raise ArtifactError(f"{file}: tensor {name} is there twice", REPAIR)
            tensors[current], spelled[current] = tensor, name
    return tensors, spelled


def _current_name(name: str) -> str:
    for old, new in RENAMED.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _require_fit(where: Path, name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ArtifactError(
            f"{where}: tensor {name} has shape {tuple(tensor.shape)}, expected {shape}", REPAIR
        )


def save(module: nn.Module, path: Path, *, half: bool) -> None:
    """Write a module's tensors as safetensors, in float16 if `half`."""
    from safetensors.torch import save as to_bytes

    tensors = {
        name: (t.half() if half and t.is_floating_point() else t).contiguous().cpu()
        for name, t in module.state_dict().items()
    }
    artifact.write_bytes(path, to_bytes(tensors))
