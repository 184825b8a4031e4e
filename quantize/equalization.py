"""Cross-layer equalisation: scales moved between layers until the channels of an activation are alike.

Where a channel passes through nothing but ReLU and pooling to the next layer, dividing it by a factor and
multiplying that layer's weights by it changes nothing, but one scale for all channels then fits each better
(Nagel et al., arXiv 1906.04721; here by what calibration saw of each channel, as weights have a scale for
each output anyway).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from quantize.calibration import Observation
from quantize.network import Array, Layer, Network

CONVOLUTIONS = ("conv2d", "depthwise_conv2d")
PASSES = ("max_pool2d", "average_pool2d", "flatten")
"""Layers that a positive factor of a channel goes through unchanged."""
LARGEST_FACTOR = 8.0
SMALLEST = 1e-6


def equalize(network: Network, seen: Mapping[str, Observation]) -> tuple[Network, Mapping[str, Observation]]:
    """Return the network and what calibration would have seen of it, with channels made alike.

    Args:
        network: What `import_onnx` read.
        seen: What `observe` saw of it.
    """
    layers, observed = {layer.output: layer for layer in network.layers}, dict(seen)
    for first in network.layers:
        chain = _chain(network, first)
        if not chain:
            continue
        *between, second = chain
        one, other = layers[first.output], layers[second.output]
        factors = _factors(observed[first.output], _by_input(other, len(one.bias)))
        layers[first.output] = _divided(one, factors)
        layers[second.output] = _multiplied(other, factors)
        for passed in (first, *between):
            if passed.output in observed:
                observed[passed.output] = _divided_seen(observed[passed.output], factors, other)
    return dataclasses.replace(network, layers=tuple(layers.values())), observed


def _chain(network: Network, first: Layer) -> list[Layer]:
    """Return what follows a convolution up to the next linear layer; nothing if a factor cannot pass."""
    homogeneous = first.low in (0.0, -np.inf) and first.high == np.inf
    if first.kind not in CONVOLUTIONS or not homogeneous:
        return []
    chain = [first]
    while True:
        readers = [layer for layer in network.layers if chain[-1].output in layer.inputs]
        if len(readers) != 1 or chain[-1].output == network.output:
            return []
        chain.append(readers[0])
        if readers[0].kind in (*CONVOLUTIONS, "fully_connected"):
            return chain[1:] if _reads_each_alike(readers[0], len(first.bias)) else []
        if readers[0].kind not in PASSES:
            return []


def _reads_each_alike(layer: Layer, channels: int) -> bool:
    """Return whether the last axis of a layer's weights runs over the channels that it reads."""
    # A depthwise convolution may have several outputs a channel.
    return layer.kind != "depthwise_conv2d" or len(layer.bias) == channels


def _by_input(layer: Layer, channels: int) -> Array:
    """Return (outputs x places, C) weights; the columns of a linear layer are (mel, channel)."""
    return np.abs(layer.weights.reshape(-1, channels))


def _factors(seen: Observation, weights: Array) -> Array:
    """Return (C,) factors that bring reach and weights of each channel together, 1 where nothing is seen."""
    reach = np.maximum(-seen.feature_low, seen.feature_high).astype(np.float64)
    largest = weights.max(axis=0)
    usable = (reach > SMALLEST) & (largest > SMALLEST)
    factors = np.sqrt(np.where(usable, reach, 1) / np.where(usable, largest, 1))
    middle = np.exp(np.log(factors[usable]).mean()) if usable.any() else 1.0
    return np.where(usable, np.clip(factors / middle, 1 / LARGEST_FACTOR, LARGEST_FACTOR), 1.0)


def _divided(layer: Layer, factors: Array) -> Layer:
    by_output = factors if layer.kind == "depthwise_conv2d" else factors[:, None, None, None]
    return dataclasses.replace(layer, weights=layer.weights / by_output, bias=layer.bias / factors)


def _multiplied(layer: Layer, factors: Array) -> Layer:
    by_input = layer.weights.reshape(-1, len(factors)) * factors
    return dataclasses.replace(layer, weights=by_input.reshape(layer.weights.shape))


def _divided_seen(seen: Observation, factors: Array, reader: Layer) -> Observation:
    if seen.feature_low.size == len(factors):
        return seen.divided(factors)
    # Tokens: the layer that reads them knows where ONNX has each of its columns.
    by_feature = np.ones(seen.feature_low.size)
    by_feature[reader.columns] = np.resize(factors, len(reader.columns))
    return seen.divided(by_feature)
