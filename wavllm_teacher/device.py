"""Where a large teacher runs: the first GPU in bfloat16 if there is one, else the processor in float32."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Device:
    """A processor and the precision of the matrix products on it.

    Attributes:
        name: As PyTorch spells it: `cpu`, `cuda`.
        precision: `float32` or `bfloat16`; part of what a label set is made from.
    """

    name: str
    precision: str

    @contextlib.contextmanager
    def inference(self) -> Iterator[None]:
        """Compute without gradients, in this device's precision."""
        with torch.inference_mode(), self.autocast():
            yield

    def autocast(self) -> torch.autocast:
        """Return the context in which matrix products have this device's precision."""
        return torch.autocast(self.name, torch.bfloat16, enabled=self.precision == "bfloat16")


CPU = Device("cpu", "float32")


def best_device() -> Device:
    """Return the first GPU, in bfloat16 if it computes that itself; without a GPU, the processor."""
    if not torch.cuda.is_available():
        return CPU
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return Device("cuda", "bfloat16" if native else "float32")
