"""Quantization-aware training: the integers of a graph, moved until it answers as the float network does."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.graph import Graph
from edgekit.progress import Progress, silent
from quantize.network import Network
from quantize.trainable import TrainableGraph

BATCH = 8
LEARNING_RATE = 0.003
"""In steps of int8 weights: what flips is what lies near a rounding's edge."""
INT4_STEPS = 16
"""A step of int4 is as wide as so many of int8: such weights move by so much less of one."""
BIAS_RATE = 0.002
"""In steps of the results."""
HELD_BACK = 0.2


@dataclass(frozen=True)
class Examples:
    """What to learn from.

    Attributes:
        inputs: (N, ...) int8 inputs of the network, all of one length.
        wanted: (N, D) the float network's answers.
    """

    inputs: NDArray[np.int8]
    wanted: NDArray[np.float32]

    def some(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs and answers of some examples."""
        return torch.from_numpy(self.inputs[rows].astype(np.float32)), torch.from_numpy(self.wanted[rows])


def finetune(
    graph: Graph, network: Network, examples: Examples, steps: int, seed: int = 0, progress: Progress = silent
) -> Graph:
    """Return the graph with weights and biases learned from the float network's answers.

    A fifth of the examples judges: where the graph was better as it came, it is returned unchanged.

    Args:
        graph: A quantized network.
        network: The float network that it was made of.
        examples: Real inputs.
        steps: Optimiser steps of 8 examples.
        seed: Of the order of the examples.
        progress: Told how many steps are done.
    """
    order = np.random.default_rng(seed).permutation(len(examples.inputs))
    judging = max(1, round(HELD_BACK * len(order)))
    judges, learning = order[:judging], order[judging:] if len(order) > 1 else order
    spread = torch.from_numpy(examples.wanted.std(axis=0) + np.float32(1e-4))
    trainable = TrainableGraph(graph, {layer.name: layer.weights for layer in network.layers})
    if not trainable.weights:
        return graph
    before = _error(trainable, examples, judges, spread)
    groups = [
        *(
            {"params": [weights], "lr": _weight_rate(graph, name)}
            for name, weights in trainable.weights.items()
        ),
        {"params": list(trainable.biases.parameters()), "lr": BIAS_RATE},
    ]
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    draws = np.random.default_rng([seed, 1])
    for step in range(steps):
        progress("fine-tune", step, steps)
        inputs, wanted = examples.some(draws.choice(learning, min(BATCH, len(learning)), replace=False))
        optimizer.zero_grad()
        for row in range(len(inputs)):
            # One by one: the maps of a clip fit the processor's caches.
            found = trainable.outputs(inputs[row : row + 1])
            loss = ((found - wanted[row : row + 1]) / spread).square().mean() / len(inputs)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        optimizer.step()
        schedule.step()
    progress("fine-tune", steps, steps)
    after = _error(trainable, examples, judges, spread)
    return trainable.integer_graph() if after < before else graph


def _weight_rate(graph: Graph, name: str) -> float:
    int4 = graph.tensors[graph.op(name).inputs[1]].dtype == "int4"
    return LEARNING_RATE / INT4_STEPS if int4 else LEARNING_RATE


@torch.no_grad()
def _error(
    trainable: TrainableGraph, examples: Examples, rows: NDArray[np.int64], spread: torch.Tensor
) -> float:
    """Return the mean square error of some examples, in squares of the answers' spread."""
    inputs, wanted = examples.some(rows)
    found = torch.cat([trainable.outputs(inputs[row : row + 1]) for row in range(len(inputs))])
    return float(((found - wanted) / spread).square().mean())
