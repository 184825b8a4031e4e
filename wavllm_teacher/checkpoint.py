"""Reading and writing weights as safetensors, with every tensor checked by name, shape and content."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from edgekit import artifact
from edgekit.errors import ArtifactError

REPAIR = "restore the file from its source, or train the teacher again"


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file as float32 tensors (integers keep their type).

    Raises:
        ArtifactError: If it is missing, damaged, or a tensor holds NaN or infinite values.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ArtifactError(f"{path}: no such weights file", REPAIR)
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: damaged weights file ({error})", REPAIR) from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(f"{path}: tensor {name} holds NaN or infinite values", REPAIR)
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def load_into(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into a module whose tensors it must match one to one.

    Raises:
        ArtifactError: If the file is damaged, or a tensor is missing, surplus or of another shape.
    """
    tensors, wanted = read_tensors(path), module.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise ArtifactError(f"{path}: tensor {name} is missing", REPAIR)
        if tensors[name].shape != tensor.shape:
            found, expected = tuple(tensors[name].shape), tuple(tensor.shape)
            raise ArtifactError(f"{path}: tensor {name} has shape {found}, expected {expected}", REPAIR)
    surplus = sorted(set(tensors) - set(wanted))
    if surplus:
        raise ArtifactError(f"{path}: tensor {surplus[0]} is unknown to this model", REPAIR)
    module.load_state_dict(tensors)


def save(module: nn.Module, path: Path, *, half: bool) -> None:
    """Write a module's tensors as safetensors, in float16 if `half`."""
    from safetensors.torch import save as to_bytes

    tensors = {
        name: (t.half() if half and t.is_floating_point() else t).contiguous().cpu()
        for name, t in module.state_dict().items()
    }
    artifact.write_bytes(path, to_bytes(tensors))


def digest(files: list[Path]) -> str:
    """Return one SHA-256 over the contents of files, in the order given."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(artifact.sha256_file(file).encode())
    return whole.hexdigest()
