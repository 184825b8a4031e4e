"""The public Wav2Small2.0 checkpoint: exactly its layout, and nothing else."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.signal import get_window
from torch.nn import functional as F  # noqa: N812

from distill.public import FRONT_END, load_public
from edgekit.audio import mel_filters
from edgekit.errors import ArtifactError

# As the model card's code names them, with the shapes of the published file.
BLOCK = {
    "conv.weight": (13, 13, 3, 3),
    "norm.weight": (13,),
    "norm.bias": (13,),
    "norm.running_mean": (13,),
    "norm.running_var": (13,),
    "norm.num_batches_tracked": (),
}
LAYOUT = {
    **{f"vgg7.l{n}.{part}": shape for n in range(1, 8) for part, shape in BLOCK.items()},
    "vgg7.l1.conv.weight": (13, 1, 3, 3),
    "vgg7.lin.weight": (13, 13, 1, 1),
    "vgg7.lin.bias": (13,),
    "vgg7.sof.weight": (13, 13, 1, 1),
    "vgg7.sof.bias": (13,),
    "vgg7.spectrogram_extractor.conv_real.weight": (33, 1, 64),
    "vgg7.spectrogram_extractor.conv_imag.weight": (33, 1, 64),
    "vgg7.logmel_extractor.melW": (33, 26),
    "vgg7.logmel_extractor.amin": (1,),
    "adv.weight": (3, 338),
    "adv.bias": (3,),
}


def random_checkpoint() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    tensors = {name: 0.3 * torch.randn(shape) for name, shape in LAYOUT.items()}
    for name in tensors:
        if name.endswith("running_var"):
            tensors[name] = torch.rand(13) + 0.5
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(7)
    tensors["vgg7.l1.norm.running_mean"] -= 30
    angle = 2 * np.pi * np.outer(np.arange(33), np.arange(64)) / 64
    window = get_window("hann", 64)
    real, imaginary = np.cos(angle) * window, -np.sin(angle) * window
    tensors["vgg7.spectrogram_extractor.conv_real.weight"] = torch.from_numpy(real).float()[:, None]
    tensors["vgg7.spectrogram_extractor.conv_imag.weight"] = torch.from_numpy(imaginary).float()[:, None]
    tensors["vgg7.logmel_extractor.melW"] = torch.from_numpy(mel_filters(FRONT_END)).float()
    tensors["vgg7.logmel_extractor.amin"] = torch.tensor([1e-10])
    return tensors


def reference(t: dict[str, torch.Tensor], wave: torch.Tensor) -> torch.Tensor:
    """What the card's code computes of a (N,) clip, written with torch's functions."""
    x = wave - wave.mean()
    x = (x / (x.square().mean() + 1e-7).sqrt())[None, None]
    parts = [
        F.conv1d(x, t[f"vgg7.spectrogram_extractor.conv_{p}.weight"], stride=32) for p in ("real", "imag")
    ]
    power = sum(part.square() for part in parts)[0].T
    x = 10 * torch.log10((power @ t["vgg7.logmel_extractor.melW"]).clamp(min=1e-10))[None, None]
    for n in range(1, 8):
        weights = {part: t[f"vgg7.l{n}.{part}"] for part in BLOCK}
        x = F.conv2d(x, weights["conv.weight"], padding=1)
        norm = (weights[f"norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = F.relu(F.batch_norm(x, *norm))
        if n == 3:
            x = F.max_pool2d(x, 3, 2, 1)
    values, scores = (
        F.conv2d(x, t[f"vgg7.{name}.weight"], t[f"vgg7.{name}.bias"]) for name in ("lin", "sof")
    )
    pooled = (values * scores.softmax(2)).sum(2)[0]
    features = torch.cat([pooled, pooled @ pooled.T], dim=1).flatten()
    return t["adv.weight"] @ features + t["adv.bias"]


def write(folder, tensors):
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_computes_what_the_card_says(tmp_path):
    tensors = random_checkpoint()
    student = load_public(write(tmp_path, tensors), end_padding=True)
    for seed in range(3):
        wave = 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            expected = reference(tensors, wave)
            np.testing.assert_allclose(student(wave[None])[0], expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("vgg7.sof.bias"), r"tensor vgg7\.sof\.bias is missing"),
        (lambda t: t.pop("vgg7.logmel_extractor.amin"), r"tensor vgg7\.logmel_extractor\.amin is missing"),
        (lambda t: t.update({"vgg7.mix.bias": torch.zeros(1)}), r"tensor vgg7\.mix\.bias is unknown"),
        (
            lambda t: t.update({"adv.weight": torch.zeros(4, 338)}),
            r"tensor adv\.weight has shape \(4, 338\), expected \(3, 338\)",
        ),
        (
            lambda t: t["vgg7.logmel_extractor.melW"].mul_(2),
            r"melW is not the front end of Wav2Small2\.0",
        ),
        (
            lambda t: t["vgg7.logmel_extractor.melW"].neg_(),
            r"melW is not the front end of Wav2Small2\.0",
        ),
        (
            lambda t: t["vgg7.spectrogram_extractor.conv_real.weight"].abs_(),
            r"conv_real\.weight is not the front end of Wav2Small2\.0",
        ),
        (
            lambda t: t["vgg7.spectrogram_extractor.conv_imag.weight"].abs_(),
            r"conv_imag\.weight is not the front end of Wav2Small2\.0",
        ),
        (
            lambda t: t["vgg7.logmel_extractor.amin"].fill_(1e-3),
            r"logmel_extractor\.amin is 0\.001, not 1e-10",
        ),
        (
            lambda t: t["vgg7.l3.conv.weight"][2, 3, 0].fill_(torch.nan),
            r"tensor vgg7\.l3\.conv\.weight holds numbers that are not finite",
        ),
        (
            lambda t: t["vgg7.l4.norm.running_var"][5:].fill_(torch.inf),
            r"tensor vgg7\.l4\.norm\.running_var holds numbers that are not finite",
        ),
        (
            lambda t: t["vgg7.logmel_extractor.melW"].fill_(torch.nan),
            r"tensor vgg7\.logmel_extractor\.melW holds numbers that are not finite",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    tensors = random_checkpoint()
    change(tensors)
    with pytest.raises(ArtifactError, match=message):
        load_public(write(tmp_path, tensors))


def test_the_sign_of_the_sine_does_not_matter(tmp_path):
    tensors, wave = random_checkpoint(), torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    expected = load_public(write(tmp_path, tensors))(wave)
    tensors["vgg7.spectrogram_extractor.conv_imag.weight"].neg_()
    torch.testing.assert_close(load_public(write(tmp_path, tensors))(wave), expected)


def test_no_weights(tmp_path):
    with pytest.raises(ArtifactError, match="no readable weights"):
        load_public(tmp_path)
