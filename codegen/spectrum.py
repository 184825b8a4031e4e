"""How the power spectrum is computed: with half of the basis where it is symmetric."""

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Graph
from edgekit.target import InstructionSet

FOLDED_MULTIPLE = 32
"""Frames of folded bases are multiples of it: eight pairs of even samples between two counts of the loop."""


def folds(basis: NDArray[np.integer]) -> bool:
    """Whether bins k and N / 2 - k of a (2, N / 2 + 1, N) basis differ in signs alone.

    Those of odd samples in the cosines, of even samples in the sines: so it is under any window, and rounding
    keeps it as it is symmetric.
    """
    _, _, samples = basis.shape
    signs = np.where(np.arange(samples) % 2 == 0, 1, -1)
    mirrored = basis[:, ::-1].astype(np.int64) * signs
    return samples % FOLDED_MULTIPLE == 0 and bool(
        np.all(basis == mirrored * np.array([1, -1])[:, None, None])
    )


def half_of_basis(graph: Graph, instructions: InstructionSet) -> bool:
    """Whether half of the power spectrum's basis is enough; vectors take the whole one."""
    spectra = [op for op in graph.ops if op.kind == "power_spectrum"]
    return instructions != "mve" and any(folds(graph.constants[op.inputs[1]]) for op in spectra)


def stored_basis(basis: NDArray[np.integer]) -> NDArray[np.int16]:
    """Return a basis as the kernels for pairs read it.

    Folded: (bins to N / 4, pairs, 4, 2) int16; the 4 are cosines of two even samples and two odd ones, then
    sines. Otherwise the basis itself.
    """
    if not folds(basis):
        return np.asarray(basis, np.int16)
    samples = basis.shape[2]
    half = basis[:, : samples // 4 + 1].reshape(2, -1, samples // 4, 2, 2)
    return np.ascontiguousarray(np.transpose(half, (1, 2, 0, 4, 3)).reshape(-1, samples // 4, 4, 2), np.int16)
