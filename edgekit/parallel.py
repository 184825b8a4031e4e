"""Data-parallel training under torchrun: each process computes a part of a batch, all see the whole loss."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Team:
    """The processes that train together.

    Attributes:
        rank: Number of this one; 0 leads: it measures, saves and writes.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def part(self, count: int, unit: int) -> slice:
        """Return which of `count` rows this process computes: whole units, as equal in number as can be.

        Example:
            >>> [Team(rank, 2).part(20, 8) for rank in (0, 1)]
            [slice(0, 16, None), slice(16, 20, None)]
        """
        units = self.units(count, unit)
        first, last = (sum(units[:number]) * unit for number in (self.rank, self.rank + 1))
        return slice(min(first, count), min(last, count))

    def units(self, count: int, unit: int) -> list[int]:
        """Return how many units of `count` rows each process computes, see `part`.

        Example:
            >>> Team(0, 2).units(20, 8)
            [2, 1]
        """
        whole = -(-count // unit)
        ends = [-(-whole * number // self.size) for number in range(self.size + 1)]
        return [end - start for start, end in pairwise(ends)]

    def gather(self, own: Tensor, count: int, unit: int) -> Tensor:
        """Return the (count, D) rows of all processes; only those of this one have a gradient.

        The gradient of a loss over all rows with respect to the own rows is exact: summed over the processes
        (`add_gradients`), the parameters get the gradient of the whole loss.
        """
        if self.size == 1:
            return own
        parts = [Team(rank, self.size).part(count, unit) for rank in range(self.size)]
        rows = [torch.empty(part.stop - part.start, own.shape[1]) for part in parts]
        longest = max(len(part) for part in rows)
        sent = torch.zeros(longest, own.shape[1])
        sent[: len(own)] = own.detach()
        rows = [found[: len(part)] for found, part in zip(self.collect(sent), rows, strict=True)]
        rows[self.rank] = own
        return torch.cat(rows)

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradient of every parameter by the sum over all processes.

        A parameter that has none in any process keeps none: optimizers leave it alone.
        """
        if self.size == 1:
            return
        together = list(parameters)
        taught = torch.tensor([int(parameter.grad is not None) for parameter in together])
        distributed.all_reduce(taught)
        for parameter, processes in zip(together, taught.tolist(), strict=True):
            if processes:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                distributed.all_reduce(parameter.grad)

    def add(self, value: float) -> float:
        """Return the sum of a number over all processes."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(total)
        return total.item()

    def share(self, values: Iterable[Tensor]) -> None:
        """Replace every value by that of the process that leads."""
        if self.size > 1:
            for value in values:
                distributed.broadcast(value, 0)

    def collect(self, own: Tensor) -> list[Tensor]:
        """Return a value of each process, in order; all have the same shape."""
        if self.size == 1:
            return [own]
        received = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(received, own)
        return received

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Team()
"""One process."""


def first_process() -> bool:
    """Return whether this is the process that will lead, or the only one; before they are connected too."""
    return os.environ.get("RANK", "0") == "0"


def first_of_machine() -> bool:
    """Return whether this is the first process of its machine, or the only one: one of them leads."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


@contextlib.contextmanager
def team() -> Iterator[Team]:
    """Yield the processes that torchrun started, connected; without torchrun, this process alone.

    Where there are GPUs, `cuda` is from then on the one that is this process's own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("gloo")
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
