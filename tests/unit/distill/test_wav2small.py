"""The network: its size, its front end, its order of tokens and its streaming padding."""

import numpy as np
import pytest
import torch

from distill.wav2small import Wav2Small, Wav2Small2
from edgekit.audio import FrontEnd, log_mel

UTTERANCE = FrontEnd(level="utterance")

PARAMETERS = {
    "conv_real": 33 * 64,
    "conv_imag": 33 * 64,
    "mel": 858,
    "l1": 143,
    **{f"l{n}": 1547 for n in range(2, 8)},
    "mix": 182,
    "lin": 28730,
    "sof": 28730,
    "adv": 510,
}


@pytest.fixture
def student() -> Wav2Small:
    """A student with random weights and batch statistics that are not the trivial ones."""
    torch.manual_seed(3)
    network = Wav2Small(UTTERANCE, end_padding=False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
    return network.eval()


def speech_like(seed: int, samples: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    envelope = 0.2 + np.abs(np.sin(np.arange(samples) / 700))
    return (0.1 * envelope * np.cumsum(rng.standard_normal(samples)) / 10 + 0.05).astype(np.float32)


def frames(count: int, seed: int = 0, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, count, 26, generator=generator) * 15 - 30


def test_parameters_layer_by_layer(student):
    found = dict.fromkeys(PARAMETERS, 0)
    for name, parameter in student.named_parameters():
        found[name.split(".")[0]] += parameter.numel()
    assert found == PARAMETERS
    assert sum(found.values()) == 72_659
    assert sum(p.numel() for p in student.parameters() if p.requires_grad) == 67_577


@pytest.mark.parametrize("samples", [64, 95, 96, 4000])
def test_own_front_end_is_the_projects(student, samples):
    wave = speech_like(1, samples)
    expected = log_mel(wave, UTTERANCE)
    found = student.log_mel(torch.from_numpy(wave)[None])[0].numpy()
    assert found.shape == expected.shape
    # Near the floor float32 leaves little of a power that is the difference of large numbers.
    audible = expected > -60
    assert audible[:, 1:].mean() > 0.9
    np.testing.assert_allclose(found[audible], expected[audible], atol=1e-3)


def test_wave_in_is_features_in(student):
    wave = torch.from_numpy(np.stack([speech_like(1), speech_like(2)]))
    features = np.stack([log_mel(clip, UTTERANCE) for clip in wave.numpy()])
    with torch.no_grad():
        from_wave, from_features = student(wave), student.forward_logmel(torch.from_numpy(features))
    assert from_wave.shape == (2, 3)
    np.testing.assert_allclose(from_wave, from_features, atol=1e-4)


@pytest.mark.parametrize("count", [100, 101])
def test_padding_after_the_end_reaches_only_the_last_twelve_frames(student, count):
    padded = Wav2Small(UTTERANCE, end_padding=True)
    padded.load_state_dict(student.state_dict())
    padded.eval()
    x = frames(count)
    with torch.no_grad():
        stream, whole = student.tokens(x)[0], padded.tokens(x)[0]
    # Token s sees frames up to 2 s + 12.
    assert len(stream) == (count - Wav2Small.least_frames) // 2 + 1
    assert len(whole) == (count + 1) // 2
    torch.testing.assert_close(stream, whole[: len(stream)], rtol=1e-5, atol=1e-6)


def test_a_stream_keeps_its_tokens_when_more_audio_comes(student):
    x = frames(61)
    with torch.no_grad():
        early, late = student.tokens(x[:, :40])[0], student.tokens(x)[0]
    torch.testing.assert_close(early, late[: len(early)], rtol=1e-5, atol=1e-5)
    assert len(late) > len(early)


def test_shortest_stream(student):
    with torch.no_grad():
        assert student.tokens(frames(Wav2Small.least_frames)).shape == (1, 1, 169)


def test_tokens_keep_time_apart_from_channels(student):
    """Changing one frame changes only the tokens that see it: the reshape must not mix time."""
    x = frames(80)
    changed = x.clone()
    changed[:, 0] += 20
    with torch.no_grad():
        before, after = student.tokens(x)[0], student.tokens(changed)[0]
    differs = (before != after).any(dim=1)
    assert differs[0]
    # A token reaches back 12 frames of its own, which is 6 tokens.
    assert not differs[7:].any()


def test_token_features_are_channel_times_mel(student):
    tokens = {}
    student.mix.register_forward_hook(lambda module, inputs, output: tokens.update(mix=output))
    with torch.no_grad():
        flat = student.tokens(frames(40))
    assert torch.equal(flat[0, 3].reshape(13, 13), tokens["mix"][0, :, 3])


def test_pooling_weighs_each_feature_over_time(student):
    tokens = torch.randn(1, 9, 169, generator=torch.Generator().manual_seed(0))
    t = tokens[0].numpy().astype(np.float64)
    w = {name: value.numpy().astype(np.float64) for name, value in student.state_dict().items()}
    values, scores = (t @ w[f"{name}.weight"].T + w[f"{name}.bias"] for name in ("lin", "sof"))
    weights = np.exp(scores) / np.exp(scores).sum(axis=0)
    expected = (values * weights).sum(axis=0) @ w["adv.weight"].T + w["adv.bias"]
    student.tokens = lambda logmel: tokens
    with torch.no_grad():
        np.testing.assert_allclose(student.forward_logmel(frames(20))[0], expected, atol=1e-5)


PARAMETERS2 = {name: PARAMETERS[name] for name in ("conv_real", "conv_imag", "mel", "l1")} | {
    **{f"l{n}": 1547 for n in range(2, 8)},
    "lin": 182,
    "sof": 182,
    "adv": 1017,
}


def test_parameters_of_the_second_network_layer_by_layer():
    network = Wav2Small2(UTTERANCE)
    found = dict.fromkeys(PARAMETERS2, 0)
    for name, parameter in network.named_parameters():
        found[name.split(".")[0]] += parameter.numel()
    assert found == PARAMETERS2
    assert sum(found.values()) == 15_888
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 10_806


def test_the_second_network_by_its_formulas():
    torch.manual_seed(4)
    network = Wav2Small2(UTTERANCE).eval()
    maps = torch.randn(1, 13, 9, 13)
    network.trunk = lambda logmel: maps
    w = {name: value.numpy().astype(np.float64) for name, value in network.state_dict().items()}
    x = maps[0].numpy().astype(np.float64)
    values, scores = (
        np.einsum("oc,ctm->otm", w[f"{name}.weight"][:, :, 0, 0], x) + w[f"{name}.bias"][:, None, None]
        for name in ("lin", "sof")
    )
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    pooled = (values * weights).sum(axis=1)
    features = np.concatenate([pooled, pooled @ pooled.T], axis=1).ravel()
    assert features.size == 338
    with torch.no_grad():
        found = network.forward_logmel(frames(20))[0]
    np.testing.assert_allclose(found, w["adv.weight"] @ features + w["adv.bias"], atol=1e-5)
