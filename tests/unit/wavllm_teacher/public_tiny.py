"""Tiny random checkpoints in exactly the public layouts, and what transformers' modules make of them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F  # noqa: N812
from transformers import Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel

Tensors = dict[str, torch.Tensor]

LABELS = {"0": "arousal", "1": "dominance", "2": "valence"}
SIZES = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "conv_dim": [8, 8, 8, 8, 8, 8, 8],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
DAWN_CONFIG = SIZES | {
    "architectures": ["Wav2Vec2ForSpeechClassification"],
    "model_type": "wav2vec2",
    "problem_type": "regression",
    "conv_bias": True,
    "final_dropout": 0.1,
    "mask_time_prob": 0.05,
    "id2label": LABELS,
}
MSP_WAVLM_CONFIG = SIZES | {
    "architectures": ["SERModel"],
    "auto_map": {"AutoConfig": "pipeline_utils.SERConfig", "AutoModel": "pipeline_utils.SERModel"},
    "model_type": "ser",
    "ssl_type": "microsoft/wavlm-large",
    "num_classes": 3,
    "classifier_hidden_layers": 1,
    "classifier_dropout_prob": 0.5,
    "mean": -0.02,
    "std": 0.085,
    "id2label": LABELS,
}
CONFIGS = {"dawn": DAWN_CONFIG, "msp-wavlm": MSP_WAVLM_CONFIG}


def _random_(module: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter, biases and gates too, a value that shows in the output."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def _backbone(kind: str, sizes: Mapping[str, object]) -> torch.nn.Module:
    config = dict(sizes) | {"conv_bias": kind == "dawn", "mask_time_prob": 0.05}
    if kind == "dawn":
        return _random_(Wav2Vec2Model(Wav2Vec2Config(**config)))
    return _random_(WavLMModel(WavLMConfig(**config)))


def _heads(kind: str, width: int) -> Tensors:
    shapes = {
        "dawn": {
            "classifier.dense.weight": (width, width),
            "classifier.dense.bias": (width,),
            "classifier.out_proj.weight": (3, width),
            "classifier.out_proj.bias": (3,),
        },
        "msp-wavlm": {
            "pool_model.sap_linear.weight": (width, width),
            "pool_model.sap_linear.bias": (width,),
            "pool_model.attention": (width, 1),
            "ser_model.fc.0.0.weight": (width, 2 * width),
            "ser_model.fc.0.0.bias": (width,),
            "ser_model.fc.0.1.weight": (width,),
            "ser_model.fc.0.1.bias": (width,),
            "ser_model.out.0.weight": (3, width),
            "ser_model.out.0.bias": (3,),
        },
    }[kind]
    return {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}


def _dawn(model: torch.nn.Module, t: Tensors, samples: torch.Tensor) -> torch.Tensor:
    x = samples - samples.mean()
    x = x / (x.square().mean() + 1e-7).sqrt()
    pooled = model(x[None]).last_hidden_state[0].mean(0)
    hidden = torch.tanh(t["classifier.dense.weight"] @ pooled + t["classifier.dense.bias"])
    return t["classifier.out_proj.weight"] @ hidden + t["classifier.out_proj.bias"]


def _msp_wavlm(model: torch.nn.Module, t: Tensors, samples: torch.Tensor) -> torch.Tensor:
    x = (samples - MSP_WAVLM_CONFIG["mean"]) / (MSP_WAVLM_CONFIG["std"] + 1e-6)
    frames = model(x[None]).last_hidden_state[0]
    hidden = torch.tanh(F.linear(frames, t["pool_model.sap_linear.weight"], t["pool_model.sap_linear.bias"]))
    weight = torch.softmax(hidden @ t["pool_model.attention"], dim=0)
    mu = (weight * frames).sum(0)
    sigma = ((weight * frames.square()).sum(0) - mu.square()).clamp(min=1e-5).sqrt()
    h = F.linear(torch.cat([mu, sigma]), t["ser_model.fc.0.0.weight"], t["ser_model.fc.0.0.bias"])
    h = F.layer_norm(h, h.shape, t["ser_model.fc.0.1.weight"], t["ser_model.fc.0.1.bias"])
    return F.linear(F.relu(h), t["ser_model.out.0.weight"], t["ser_model.out.0.bias"])


def checkpoint(
    kind: str, seed: int = 0, **sizes: object
) -> tuple[Tensors, Callable[[np.ndarray], np.ndarray]]:
    """Return the tensors of a tiny public checkpoint, and the function from a clip to its three outputs."""
    torch.manual_seed(seed)
    model = _backbone(kind, SIZES | sizes)
    heads = _heads(kind, model.config.hidden_size)
    prefix, compute = {"dawn": ("wav2vec2", _dawn), "msp-wavlm": ("ssl_model", _msp_wavlm)}[kind]
    tensors = {f"{prefix}.{name}": t.clone() for name, t in model.state_dict().items()} | heads

    def reference(samples: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return compute(model, heads, torch.from_numpy(samples)).numpy()

    return tensors, reference


def old_names(tensors: Tensors) -> Tensors:
    """Return the tensors with the names that torch gave weight-normalised ones before 2.1."""
    new = ".parametrizations.weight.original"
    renamed = {
        name.replace(f"{new}0", ".weight_g").replace(f"{new}1", ".weight_v"): t for name, t in tensors.items()
    }
    assert len(set(renamed) - set(tensors)) == 2
    return renamed


def write_folder(
    folder: Path, kind: str, tensors: Tensors, *, pickled: bool = False, **entries: object
) -> Path:
    """Write a folder as Hugging Face lays it out; an entry that is None is left out of the config."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {name: value for name, value in (CONFIGS[kind] | entries).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    if pickled:
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors")
    return folder
