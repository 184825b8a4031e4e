"""Weights files as they are published, read lazily, and fitted to a model by name, shape and content."""

import argparse
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.errors import ArtifactError, UnsupportedError
from wavllm_teacher import checkpoint, hub

NESTS = ("model", "model_state_dict", "state_dict")
"""Under which of these names training programs keep the tensors, beside what else they save."""
NAMED_AT_MOST = 4
"""Tensors of each problem that an error names."""
MODEL_PARALLEL = "consolidated.*.pth"
IGNORED = ""
"""Where a layout puts tensors that nothing here needs."""


@dataclass(frozen=True)
class Place:
    """Where a tensor of a file belongs.

    Attributes:
        name: The model's own name; `IGNORED` for a tensor that is not needed.
        turned: Along which axis its channels are in LLaMA's own rotary order; None where they are not.
    """

    name: str
    turned: int | None = None


Layout = Callable[[str], Place | None]
"""From a name in a file to its place; None for a name that the layout does not have."""


def files_of(path: Path) -> list[Path]:
    """Return the weights files of a file or folder.

    Raises:
        ArtifactError: If there are none.
        UnsupportedError: If the weights are split across model-parallel processes.
    """
    if path.is_file():
        return [path]
    if not path.exists():
        raise ArtifactError(f"{path}: no such file or folder", hub.REPAIR)
    split = sorted(path.glob(MODEL_PARALLEL))
    if len(split) > 1:
        raise UnsupportedError(
            f"{path}: weights in {len(split)} model-parallel parts",
            "name the same model in the layout of Hugging Face",
        )
    names = hub.weight_files(path) if not split else [split[0].name]
    return [path / name for name in names if not name.endswith(hub.INDEX_ENDING)]


def read(files: Iterable[Path]) -> dict[str, torch.Tensor]:
    """Return the tensors of weights files by name, as they are typed there, mapped and not yet in memory.

    Args:
        files: Safetensors, or what `torch.save` wrote; a pickle that holds anything but tensors, plain values
            and command-line arguments is refused, so no code of it runs.

    Raises:
        ArtifactError: If a file is damaged, or a tensor is there twice.
    """
    found: dict[str, torch.Tensor] = {}
    for file in files:
        tensors = _safetensors(file) if file.suffix == ".safetensors" else _pickled(file)
        for name, tensor in tensors.items():
            if name in found:
                raise ArtifactError(f"{file}: tensor {name} is there twice", checkpoint.REPAIR)
            found[name] = tensor
    return found


def _safetensors(file: Path) -> Mapping[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{file}: damaged weights file ({error})", checkpoint.REPAIR) from error
    return tensors


def _pickled(file: Path) -> Mapping[str, torch.Tensor]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            found: Any = torch.load(
                file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
            )
    except checkpoint.UNPICKLING as error:
        reason = str(error).split("\n")[0]
        raise ArtifactError(f"{file}: damaged weights file ({reason})", checkpoint.REPAIR) from error
    nested = [found[name] for name in NESTS if isinstance(found, Mapping) and name in found]
    tensors = nested[0] if nested and isinstance(nested[0], Mapping) else found
    if not isinstance(tensors, Mapping) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise ArtifactError(f"{file}: does not hold tensors by name", checkpoint.REPAIR)
    return tensors


class Fitting:
    """Tensors on their way into a model; all problems are collected and named together.

    Args:
        model: What they are for; its tensors may be on the meta device.
        order: (width,) of `lora.rotary_order`, for tensors whose channels are to be turned.
    """

    def __init__(self, model: nn.Module, order: torch.Tensor) -> None:
        self.model = model
        self.order = order
        self.own = dict(model.state_dict())
        self.placed: dict[str, torch.Tensor] = {}
        self.problems: dict[str, list[str]] = {}

    def place(self, tensors: Mapping[str, torch.Tensor], layout: Layout) -> None:
        """Take tensors by their names in a file; a name that the layout or the model lacks is a problem."""
        for name, tensor in tensors.items():
            place = layout(name)
            if place is None or (place.name != IGNORED and place.name not in self.own):
                self._note("unknown to this model", name)
            elif place.name in self.placed:
                self._note("there twice", name)
            elif place.name != IGNORED:
                # Also where it does not fit: what is there is not missing as well.
                self.placed[place.name] = self._turned(tensor, place.turned)
                self._check(name, tensor, self.own[place.name])

    def _turned(self, tensor: torch.Tensor, axis: int | None) -> torch.Tensor:
        fits = axis is not None and tensor.ndim > axis and tensor.shape[axis] == len(self.order)
        return tensor.index_select(axis or 0, self.order) if fits else tensor

    def _check(self, name: str, tensor: torch.Tensor, own: torch.Tensor) -> None:
        if tensor.shape != own.shape:
            self._note("of another shape", f"{name} {tuple(tensor.shape)}, expected {tuple(own.shape)}")
        elif tensor.is_floating_point() != own.is_floating_point():
            self._note("of another type", f"{name} {tensor.dtype}")
        elif not bool(torch.isfinite(tensor).all()):
            self._note("NaN or infinite", name)

    def _note(self, problem: str, what: str) -> None:
        self.problems.setdefault(problem, []).append(what)

    def finish(self, where: Path, wanted: Iterable[str], type_of: Callable[[str], torch.dtype]) -> None:
        """Put the tensors into the model, whose memory they become.

        Args:
            where: The file or folder that an error names.
            wanted: Names that must have been placed.
            type_of: The type in which the model keeps a tensor of some name.

        Raises:
            ArtifactError: If tensors are missing, surplus, misshapen or not finite; names them.
        """
        for name in wanted:
            if name not in self.placed:
                self._note("missing", name)
        if self.problems:
            raise ArtifactError(f"{where}: {'; '.join(map(_told, self.problems.items()))}", checkpoint.REPAIR)
        tensors = {name: tensor.to(type_of(name)) for name, tensor in self.placed.items()}
        self.model.load_state_dict(tensors, strict=False, assign=True)


def _told(problem: tuple[str, list[str]]) -> str:
    what, names = problem
    shown = ", ".join(names[:NAMED_AT_MOST])
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return f"{len(names)} {'tensor' if len(names) == 1 else 'tensors'} {what} ({shown}{more})"
