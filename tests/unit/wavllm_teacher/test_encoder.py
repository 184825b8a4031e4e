import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from unit.wavllm_teacher.tiny import TINY_WHISPER, voice

from edgekit.audio import read_audio
from edgekit.errors import ArtifactError
from wavllm_teacher.device import Device
from wavllm_teacher.encoder import WhisperStates, load_encoder, whisper_log_mel


@pytest.fixture
def encoder_copy(encoder_dir, tmp_path):
    return shutil.copytree(encoder_dir, tmp_path / "encoder")


def test_states_have_one_frame_per_320_samples(encoder_dir):
    states = load_encoder(encoder_dir)(voice(0.5, 0)[:6401])
    assert states.shape == (4, 21, 16)


def test_fewer_blocks_give_the_same_first_states(encoder_dir):
    encoder = load_encoder(encoder_dir)
    samples = voice(0.4, 0)
    assert torch.equal(encoder(samples, last=2), encoder(samples)[:3])


def test_long_clips_are_encoded_in_windows_of_30_s(encoder_dir):
    encoder = load_encoder(encoder_dir)
    samples = voice(30.5, 0)
    states = encoder(samples, last=1)
    assert states.shape[1] == 1525
    assert torch.equal(states[:, 1500:], encoder(samples[480_000:], last=1))


def test_a_single_sample_is_padded_to_a_tenth_of_a_second(encoder_dir):
    assert load_encoder(encoder_dir)(np.ones(1, np.float32)).shape == (4, 5, 16)


@pytest.mark.shared
def test_real_encoder_equals_transformers_on_padded_input(shared):
    from transformers import WhisperFeatureExtractor

    folder = shared / "weights/whisper-base-encoder"
    encoder = load_encoder(folder)
    samples = read_audio(next((shared / "corpus/free/emodb").glob("*.flac")))
    extract = WhisperFeatureExtractor.from_pretrained(folder)
    mel = torch.from_numpy(extract(samples, sampling_rate=16000, return_tensors="np")["input_features"])
    padded = np.pad(samples, (0, 480_000 - samples.size))
    torch.testing.assert_close(
        whisper_log_mel(torch.from_numpy(padded), encoder.filters)[None], mel, atol=1e-5, rtol=0
    )
    with torch.no_grad():
        expected = encoder.encoder(mel, output_hidden_states=True)
    own = encoder(padded)
    for state, other in zip(own, [*expected.hidden_states[:-1], expected.last_hidden_state], strict=True):
        torch.testing.assert_close(state, other[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("layers.1.fc1.weight"), r"tensor layers\.1\.fc1\.weight is missing"),
        (
            lambda t: t.update({"conv1.bias": torch.zeros(3)}),
            r"tensor conv1\.bias has shape \(3,\), expected \(16,\)",
        ),
        (lambda t: t.update(extra=torch.zeros(1)), "tensor extra is unknown"),
        (lambda t: t["conv2.bias"].fill_(float("nan")), r"tensor conv2\.bias holds NaN"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(encoder_copy, change, message):
    tensors = load_file(encoder_copy / "model.safetensors")
    change(tensors)
    save_file(tensors, encoder_copy / "model.safetensors")
    with pytest.raises(ArtifactError, match=message):
        load_encoder(encoder_copy)


def test_damaged_and_missing_files(encoder_copy, tmp_path):
    (encoder_copy / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(ArtifactError, match="damaged weights file"):
        load_encoder(encoder_copy)
    (encoder_copy / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="no such weights file"):
        load_encoder(encoder_copy)
    with pytest.raises(ArtifactError, match=r"config\.json is missing"):
        load_encoder(tmp_path)
    (encoder_copy / "config.json").write_text(json.dumps({"model_type": "wavlm"}))
    with pytest.raises(ArtifactError, match="model_type is 'wavlm', not 'whisper'"):
        load_encoder(encoder_copy)
    (encoder_copy / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        load_encoder(encoder_copy)


def test_in_bfloat16_states_are_near_and_come_back_as_float32():
    torch.manual_seed(0)
    states = WhisperStates(TINY_WHISPER)
    exact = states(voice(1.0, 0))
    states.run_on(Device("cpu", "bfloat16"))
    rough = states(voice(1.0, 0))
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.1
