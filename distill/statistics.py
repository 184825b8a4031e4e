"""Running statistics of batch normalisation, when several processes see a part of every batch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgekit.parallel import Team


class RunningStatistics:
    """Those of a network, as one vector: means, variances and the numbers of passes.

    Args:
        network: Its batch normalisation has a momentum.
    """

    def __init__(self, network: nn.Module) -> None:
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        self.buffers = [buffer for norm in norms for buffer in norm.buffers()]
        kept = [
            torch.full(buffer.shape, _kept(norm, name), dtype=torch.float64)
            for norm in norms
            for name, buffer in norm.named_buffers()
        ]
        self.kept = _flat(kept)

    def read(self) -> Tensor:
        """Return a copy of what they are."""
        return _flat(self.buffers)

    @torch.no_grad()
    def join(self, before: Tensor, passes: Sequence[int], team: Team) -> None:
        """Let all processes have the statistics that one would have after the passes of all, in order.

        A pass moves a statistic by `momentum` towards that of its clips. So what a process found holds what
        it saw, and a share of `before` that follows from the number of its passes: that share is replaced by
        what the processes in front of it found.

        Args:
            before: What `read` gave in front of the passes; the same in all processes.
            passes: How many passes each process has made.
            team: The processes.
        """
        if team.size == 1:
            return
        joined = before
        for found, count in zip(team.collect(self.read()), passes, strict=True):
            joined = found + self.kept**count * (joined - before)
        parts = torch.split(joined, [buffer.numel() for buffer in self.buffers])
        for buffer, values in zip(self.buffers, parts, strict=True):
            buffer.copy_(values.view_as(buffer))


def _kept(norm: nn.BatchNorm2d, name: str) -> float:
    """Return the share of itself that a statistic keeps in a pass."""
    assert norm.momentum is not None
    return 1.0 if name == "num_batches_tracked" else 1 - norm.momentum


def _flat(values: Sequence[Tensor]) -> Tensor:
    # In double precision: numbers of passes are exact, and the order of the processes costs no rounding.
    return torch.cat([value.detach().flatten().double() for value in values])
