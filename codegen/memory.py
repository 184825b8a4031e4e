"""Where every buffer of a program lies in one arena, so that buffers alive together never overlap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ALIGNMENT_BYTES = 8
SHUFFLES = 200
"""Random orders tried where no sorted one reaches the lower bound."""


@dataclass(frozen=True)
class Buffer:
    """Memory that is needed from one step of a program to another.

    Attributes:
        name: Of a tensor or of an operator's scratch memory.
        sizes: Bytes at each step at which it is alive; steps without an entry leave its place free.
    """

    name: str
    sizes: Mapping[int, int]

    @property
    def size_bytes(self) -> int:
        """The most that it needs at any step."""
        return max(self.sizes.values())


@dataclass(frozen=True)
class Layout:
    """A plan of an arena.

    Attributes:
        buffers: What lies in it.
        offsets: Place of each buffer by name, multiples of 8.
        size_bytes: The arena.
        live_bytes: What is alive at each step.
    """

    buffers: tuple[Buffer, ...]
    offsets: Mapping[str, int]
    size_bytes: int
    live_bytes: Mapping[int, int]

    @property
    def bound_bytes(self) -> int:
        """What is alive at the fullest step: no plan needs less."""
        return max(self.live_bytes.values(), default=0)


def lives_of(buffer: Buffer) -> list[dict[str, int]]:
    """Return runs of steps in which a buffer has one size.

    Example:
        >>> lives_of(Buffer("a", {0: 8, 1: 8, 3: 16}))[1]
        {'first_step': 3, 'last_step': 3, 'size_bytes': 16}
    """
    runs: list[dict[str, int]] = []
    for step, size in sorted(buffer.sizes.items()):
        if runs and runs[-1]["last_step"] == step - 1 and runs[-1]["size_bytes"] == size:
            runs[-1]["last_step"] = step
        else:
            runs.append({"first_step": step, "last_step": step, "size_bytes": size})
    return runs


def aligned(size_bytes: int) -> int:
    """Return the next multiple of 8.

    Example:
        >>> [aligned(size) for size in (0, 1, 8, 9)]
        [0, 8, 8, 16]
    """
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def plan_memory(buffers: Sequence[Buffer]) -> Layout:
    """Return a place for every buffer: the smallest arena of several orders in which they are placed.

    Each buffer in turn takes the lowest place that is free for all of its life.

    Args:
        buffers: With sizes that are multiples of 8.

    Example:
        >>> chain = [Buffer("a", {0: 8, 1: 8}), Buffer("b", {1: 8, 2: 8}), Buffer("c", {2: 8})]
        >>> plan_memory(chain).size_bytes
        16
    """
    steps = sorted({step for buffer in buffers for step in buffer.sizes})
    live = {step: sum(buffer.sizes.get(step, 0) for buffer in buffers) for step in steps}
    bound = max(live.values(), default=0)
    best: dict[str, int] = {}
    size = -1
    for order in _orders(buffers):
        offsets = _place(order)
        needed = max((offsets[b.name] + b.size_bytes for b in order), default=0)
        if size < 0 or needed < size:
            best, size = offsets, needed
        if size == bound:
            break
    return Layout(tuple(buffers), best, max(size, 0), live)


def _orders(buffers: Sequence[Buffer]) -> list[list[Buffer]]:
    orders = [
        sorted(buffers, key=lambda b: (-b.size_bytes, min(b.sizes))),
        sorted(buffers, key=lambda b: (-b.size_bytes * len(b.sizes), min(b.sizes))),
        sorted(buffers, key=lambda b: (-len(b.sizes), -b.size_bytes)),
        sorted(buffers, key=lambda b: (min(b.sizes), -b.size_bytes)),
    ]
    rng = np.random.default_rng(0)
    return orders + [[buffers[i] for i in rng.permutation(len(buffers))] for _ in range(SHUFFLES)]


def _place(order: Sequence[Buffer]) -> dict[str, int]:
    offsets: dict[str, int] = {}
    placed: list[Buffer] = []
    for buffer in order:
        others = [(other, buffer.sizes.keys() & other.sizes.keys()) for other in placed]
        together = [(other, steps) for other, steps in others if steps]
        ends = [offsets[other.name] + other.sizes[step] for other, steps in together for step in steps]
        for offset in sorted({0, *ends}):
            if not any(
                offset < offsets[other.name] + other.sizes[step]
                and offsets[other.name] < offset + buffer.sizes[step]
                for other, steps in together
                for step in steps
            ):
                offsets[buffer.name] = offset
                break
        placed.append(buffer)
    return offsets
