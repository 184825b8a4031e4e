"""What the public teachers share: a transformers encoder, batches of clips, a device, and their fusion.

Letters: B clips, N samples, T hidden frames (50 a second), D width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.audio import SAMPLE_RATE_HZ
from edgekit.errors import ArtifactError
from edgekit.metrics import DIMENSIONS
from wavllm_teacher import checkpoint, hub
from wavllm_teacher.device import Device, best_device
from wavllm_teacher.encoder import pad_to_least
from wavllm_teacher.kinds import Network
from wavllm_teacher.pooling import length_mask

ENCODER_ENTRIES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("conv_dim", "conv_kernel", "conv_stride", "conv_bias", "feat_extract_norm", "feat_extract_activation"),
    *("hidden_act", "layer_norm_eps", "do_stable_layer_norm"),
    *("num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "num_buckets", "max_bucket_distance"),
)
"""Entries of a `config.json` that shape a wav2vec2 or WavLM encoder."""
MASK_EMBEDDING = "masked_spec_embed"
"""Stands in for masked frames in training; public checkpoints hold it, and nothing reads it here."""
MOST_SAMPLES = 60 * SAMPLE_RATE_HZ
"""What is computed together, padding included: 1.4 GB for WavLM-large in float32, beside its weights."""


class Regressor(nn.Module):
    """An encoder and a head whose modules are named as in the public checkpoint.

    Attributes:
        encoder: The name of the encoder's module.
        settings: The encoder's transformers configuration.
    """

    encoder: str
    settings: Any

    @property
    def unused(self) -> dict[str, tuple[int, ...]]:
        """Name to shape of tensors that a public checkpoint holds and prediction does not need."""
        return {f"{self.encoder}.{MASK_EMBEDDING}": (self.settings.hidden_size,)}

    def normalise(self, samples: torch.Tensor) -> torch.Tensor:
        """Return one (N,) clip as the encoder expects it."""
        raise NotImplementedError

    def regress(self, frames: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return the (B, 3) outputs of (B, T, D) frames, of which `valid` (B, T) are speech."""
        raise NotImplementedError

    def frames(self, samples: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return the last hidden state, (B, T, D), of (B, N) samples, of which `valid` (B, N) are speech."""
        found = getattr(self, self.encoder)(samples, attention_mask=valid.long())
        states: torch.Tensor = found.last_hidden_state
        return states

    def frame_counts(self, lengths: torch.Tensor) -> torch.Tensor:
        """Return how many hidden frames the convolutions make of (B,) lengths in samples."""
        for kernel, stride in zip(self.settings.conv_kernel, self.settings.conv_stride, strict=True):
            lengths = (lengths - kernel) // stride + 1
        return lengths


class PublicTeacher:
    """A regressor on a device.

    Args:
        network: Its weights are on the device already.
        order: Where arousal, dominance and valence are among its outputs.
        device: Where it computes, and how exactly.
    """

    def __init__(self, network: Regressor, order: Sequence[int], device: Device) -> None:
        self.network = network
        self.order = list(order)
        self.device = device

    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) arousal, dominance, valence of (N,) 16 kHz clips.

        Neighbours of similar length are computed together fastest. Each clip is normalised by itself, then
        padded; masks keep the padding out of the attention and of the pooling, so the other clips change a
        value by rounding only. A clip shorter than a tenth of a second ends in silence.
        """
        rows = [self._predict(batch) for batch in self._batches([pad_to_least(clip) for clip in clips])]
        return np.concatenate([np.empty((0, len(DIMENSIONS)), np.float32), *rows])

    def _batches(self, clips: Sequence[NDArray[np.float32]]) -> Iterator[Sequence[NDArray[np.float32]]]:
        """Yield neighbours that make at most `MOST_SAMPLES` when padded; a longer clip stands alone."""
        # A group norm in the first convolution is over all of time, and no mask keeps padding out of it.
        most = MOST_SAMPLES if self.network.settings.feat_extract_norm == "layer" else 0
        batch: list[NDArray[np.float32]] = []
        for clip in clips:
            if batch and (len(batch) + 1) * max(x.size for x in (*batch, clip)) > most:
                yield batch
                batch = []
            batch.append(clip)
        if batch:
            yield batch

    def _predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the rows of clips that are computed together; at least one."""
        audio = [torch.from_numpy(clip).to(self.device.name) for clip in clips]
        lengths = torch.tensor([samples.numel() for samples in audio])
        with self.device.inference():
            samples = nn.utils.rnn.pad_sequence([self.network.normalise(x) for x in audio], batch_first=True)
            frames = self.network.frames(samples, length_mask(lengths).to(self.device.name))
            valid = length_mask(self.network.frame_counts(lengths)).to(self.device.name)
            # The head costs nothing, and bfloat16 would round its outputs to two digits.
            with torch.autocast(self.device.name, enabled=False):
                adv = self.network.regress(frames.float(), valid)[:, self.order]
        rows: NDArray[np.float32] = adv.cpu().numpy()
        return rows


class MeanTeacher:
    """The mean of several teachers, each with the same weight.

    For `msp-fused` (arXiv 2408.13920) the two models are published and how they are combined is not: equal
    weights are assumed. The published CCC on MSP-Podcast Test-1 tells whether that is so.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self.networks = networks

    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) arousal, dominance, valence of (N,) 16 kHz clips."""
        mean: NDArray[np.float32] = np.mean([network.predict(clips) for network in self.networks], axis=0)
        return mean


def encoder_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a transformers configuration takes from a `config.json`.

    Only the sizes are taken over: other entries (`attn_implementation`) can make transformers fetch code. An
    entry that is not there has transformers' default, as its own writer leaves defaults out.
    """
    sizes = {name: config[name] for name in ENCODER_ENTRIES if name in config}
    # Without masking, the network has no mask embedding.
    return sizes | {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}


def required(config: Mapping[str, Any], name: str) -> Any:
    """Return an entry of a `config.json`.

    Raises:
        ValueError: If it is not there.
    """
    if name not in config:
        raise ValueError(f"{name} is missing")
    return config[name]


def output_order(config: Mapping[str, Any]) -> list[int]:
    """Return the output indices of arousal, dominance and valence.

    Raises:
        ValueError: If `id2label` does not name exactly these three.

    Example:
        >>> output_order({"id2label": {"0": "valence", "1": "arousal", "2": "dominance"}})
        [1, 2, 0]
    """
    named = required(config, "id2label")
    labels = {str(name).lower(): int(index) for index, name in named.items()}
    order = [labels.get(name, -1) for name in DIMENSIONS]
    if len(labels) != len(DIMENSIONS) or sorted(order) != list(range(len(DIMENSIONS))):
        raise ValueError(f"id2label is {named}, expected {', '.join(DIMENSIONS)}")
    return order


def load_public(folder: Path, build: Callable[[Mapping[str, Any]], Regressor]) -> PublicTeacher:
    """Load a folder as Hugging Face lays it out onto the best device.

    Args:
        folder: Holds `config.json` and weights.
        build: Makes the network from the content of `config.json`.

    Raises:
        ArtifactError: If a file is missing or damaged, the config is wrong, or a tensor does not fit.
        UnsupportedError: If the config asks for another model.
    """
    file = folder / hub.CONFIG_FILE
    config, device = hub.read_json(file), best_device()
    try:
        order = output_order(config)
        # Without memory at first: the tensors of the checkpoint become the network's.
        with torch.device("meta"):
            network = build(config)
    except hub.wrong_entries() as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"{file}: wrong entry: {reason}", checkpoint.REPAIR) from error
    weights = [folder / name for name in hub.weight_files(folder) if not name.endswith(hub.INDEX_ENDING)]
    checkpoint.load_into(network, *weights, unused=network.unused)
    network.requires_grad_(False).train(mode=False)
    return PublicTeacher(network.to(device.name), order, device)
