"""Tiny WavLM encoders with random weights, in the two layouts of the public ones."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import WavLMConfig, WavLMModel

TINY_WAVLM: dict[str, Any] = {
    "model_type": "wavlm",
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "group",
    "do_stable_layer_norm": False,
}
"""As wavlm-base: group normalisation of the first convolution alone."""
TINY_WAVLM_LARGE = {**TINY_WAVLM, "feat_extract_norm": "layer", "do_stable_layer_norm": True}


def write_wavlm(folder: Path, config: dict[str, Any]) -> Path:
    """Write `config.json` and `model.safetensors` with all names of the public checkpoints."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = WavLMModel(WavLMConfig(**config))
    # Random weights as transformers draws them leave all biases 0 and all norms 1: a mix-up would not show.
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: t.contiguous() for name, t in model.state_dict().items()}, folder / "model.safetensors")
    return folder
