"""What moves the weights: AdamW, or Muon for the matrices and AdamW for the rest."""

from typing import Any

import torch
from torch import Tensor, nn

from distill.config import DistillConfig
from distill.student import Student

MATRIX_RATE = 10.0
"""Rate of the matrices for one of the rest: their steps have one size in every direction, AdamW's do not."""


class Optimizer:
    """One optimizer of all weights of a student that can be trained.

    Muon (Jordan et al. 2024, as torch.optim.Muon) replaces each step of a weight matrix by the nearest one of
    orthogonal directions; a convolution's matrix is (outputs, inputs x kernel). Biases, norms, depthwise
    kernels, the first layer and the last are not of that kind: AdamW moves them.

    Args:
        student: Its gradients are read, its weights moved.
        config: The settings.
    """

    def __init__(self, student: Student, config: DistillConfig) -> None:
        self.sources = _matrices(student) if config.optimizer == "muon" else []
        matrices = {id(weight) for weight in self.sources}
        rest = [p for p in student.parameters() if p.requires_grad and id(p) not in matrices]
        decay = config.weight_decay
        self.adamw = torch.optim.AdamW(rest, weight_decay=decay)
        # Views: torch's Muon takes nothing but matrices, and a convolution's weights are none.
        self.views = [_matrix(weight.detach(), weight) for weight in self.sources]
        self.muon = torch.optim.Muon(self.views, weight_decay=decay) if self.views else None

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.adamw.zero_grad()
        for weight in self.sources:
            weight.grad = None

    def step(self, rate: float) -> None:
        """Move the weights against their gradients at a rate."""
        _set_rate(self.adamw, rate)
        self.adamw.step()
        if self.muon is None:
            return
        for view, weight in zip(self.views, self.sources, strict=True):
            view.grad = None if weight.grad is None else _matrix(weight.grad, weight)
        _set_rate(self.muon, MATRIX_RATE * rate)
        self.muon.step()  # type: ignore[no-untyped-call]  # torch leaves it without annotations

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on."""
        return {"adamw": self.adamw.state_dict(), "muon": self.muon and self.muon.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.adamw.load_state_dict(state["adamw"])
        if self.muon is not None:
            self.muon.load_state_dict(state["muon"])


def _matrix(values: Tensor, weight: Tensor) -> Tensor:
    """Return values of a weight's shape as (outputs, inputs x kernel), columns as they lie in its memory."""
    return (values if weight.is_contiguous() else values.permute(0, 2, 3, 1)).flatten(1)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _matrices(student: Student) -> list[Tensor]:
    found: list[Tensor] = []
    for module in student.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear) or module is student.adv:
            continue
        inner = isinstance(module, nn.Linear) or (module.groups == 1 and module.in_channels > 1)
        if inner and module.weight.requires_grad:
            found.append(module.weight)
    return found
