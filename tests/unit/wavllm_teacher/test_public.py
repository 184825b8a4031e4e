"""What the public teachers compute."""

import numpy as np
import pytest
import torch
from unit.wavllm_teacher.public_tiny import checkpoint, old_names, write_folder
from unit.wavllm_teacher.tiny import voice

from wavllm_teacher import hub
from wavllm_teacher.dawn import Dawn
from wavllm_teacher.dawn import load as load_dawn
from wavllm_teacher.device import Device
from wavllm_teacher.encoder import pad_to_least
from wavllm_teacher.msp_wavlm import SelfAttentivePooling
from wavllm_teacher.msp_wavlm import load as load_msp_wavlm
from wavllm_teacher.public import MeanTeacher, PublicTeacher
from wavllm_teacher.registry import load_teacher

KINDS = ("dawn", "msp-wavlm")
LOAD = {"dawn": load_dawn, "msp-wavlm": load_msp_wavlm}
CLIPS = [voice(seconds, seed) for seed, seconds in enumerate((1.0, 0.9, 0.62, 0.1001, 0.7))]
CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(autouse=True)
def on_the_processor(monkeypatch):
    """bfloat16 on a GPU, if this machine has one, is another question than whether the network is right."""
    monkeypatch.setattr("wavllm_teacher.public.best_device", lambda: Device("cpu", "float32"))


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("rename", [dict, old_names], ids=["new-names", "old-names"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_a_composition_of_transformers_modules(tmp_path, kind, rename, pickled):
    tensors, reference = checkpoint(kind)
    folder = write_folder(tmp_path / "model", kind, rename(tensors), pickled=pickled)
    adv = load_teacher(str(folder)).predict(CLIPS)
    assert adv.dtype == np.float32
    np.testing.assert_allclose(adv, [reference(clip) for clip in CLIPS], **CLOSE)
    assert np.ptp(adv, axis=0).min() > 1e-3, "the clips must differ, or nothing is compared"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["layer", "group"])
def test_a_batch_gives_what_its_clips_give_alone(tmp_path, kind, norm):
    tensors, reference = checkpoint(kind, feat_extract_norm=norm)
    teacher = LOAD[kind](write_folder(tmp_path / "model", kind, tensors, feat_extract_norm=norm))
    together = teacher.predict(CLIPS)
    alone = np.concatenate([teacher.predict([clip]) for clip in CLIPS])
    np.testing.assert_allclose(together, alone, **CLOSE)
    np.testing.assert_allclose(together, [reference(clip) for clip in CLIPS], **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_many_clips_are_computed_a_bounded_part_at_a_time(tmp_path, monkeypatch, kind):
    tensors, reference = checkpoint(kind)
    teacher = LOAD[kind](write_folder(tmp_path / "model", kind, tensors))
    monkeypatch.setattr("wavllm_teacher.public.MOST_SAMPLES", 30_000)
    computed, frames = [], teacher.network.frames
    monkeypatch.setattr(
        teacher.network, "frames", lambda x, v: computed.append(tuple(x.shape)) or frames(x, v)
    )
    clips = [*CLIPS, voice(2.0, 7), *CLIPS[::-1]]
    np.testing.assert_allclose(teacher.predict(clips), [reference(clip) for clip in clips], **CLOSE)
    assert computed == [(1, 16000), (2, 14400), (2, 11200), (1, 32000), (2, 11200), (2, 14400), (1, 16000)]


@pytest.mark.parametrize("kind", KINDS)
def test_padding_would_change_a_label_without_masks(kind):
    reference = checkpoint(kind)[1]
    longer = np.pad(CLIPS[1], (0, CLIPS[0].size - CLIPS[1].size))
    assert np.abs(reference(longer) - reference(CLIPS[1])).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [1, 399, 400, 1599])
def test_short_clips_end_in_silence(tmp_path, kind, samples):
    tensors, reference = checkpoint(kind)
    clip = voice(0.2, 3)[:samples]
    adv = LOAD[kind](write_folder(tmp_path / "model", kind, tensors)).predict([clip, CLIPS[0]])
    np.testing.assert_allclose(adv[0], reference(pad_to_least(clip)), **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_and_no_clips(tmp_path, kind):
    tensors, _ = checkpoint(kind)
    teacher = LOAD[kind](write_folder(tmp_path / "model", kind, tensors))
    assert np.isfinite(teacher.predict([np.zeros(16000, np.float32)])).all()
    assert teacher.predict([]).shape == (0, 3)


def test_the_deviation_of_constant_frames_is_at_its_floor():
    pooled = SelfAttentivePooling(4)(torch.full((1, 3, 4), 0.5), torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(pooled, torch.tensor([[0.5] * 4 + [1e-5**0.5] * 4]))


def test_another_order_of_the_outputs_is_put_right(tmp_path):
    tensors, reference = checkpoint("dawn")
    labels = {"0": "Valence", "1": "Arousal", "2": "Dominance"}
    teacher = load_dawn(write_folder(tmp_path / "model", "dawn", tensors, id2label=labels))
    np.testing.assert_allclose(teacher.predict(CLIPS[:1])[0], reference(CLIPS[0])[[1, 2, 0]], **CLOSE)


def test_entries_that_are_left_out_are_those_of_transformers(tmp_path):
    defaults = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
    without = dict.fromkeys(defaults)
    full = write_folder(tmp_path / "full", "dawn", {}, **defaults)
    short = write_folder(tmp_path / "short", "dawn", {}, **without)
    shapes = []
    for folder in (full, short):
        with torch.device("meta"):
            network = Dawn(hub.read_json(folder / "config.json"))
        shapes.append({name: t.shape for name, t in network.state_dict().items()})
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) < len(checkpoint("dawn")[0])


def test_nothing_of_a_config_but_sizes_reaches_transformers(tmp_path):
    tensors, reference = checkpoint("dawn")
    decoys = {
        "attn_implementation": "someone/kernel",
        "_attn_implementation": "someone/kernel",
        "dtype": "float16",
    }
    teacher = load_dawn(write_folder(tmp_path / "model", "dawn", tensors, **decoys, add_adapter=True))
    np.testing.assert_allclose(teacher.predict(CLIPS[:1])[0], reference(CLIPS[0]), **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_near_and_leaves_the_head_exact(tmp_path, kind):
    # A multiple of 16 channels a group, as in the public models: others are wrong with AMX (torch 2.13).
    sizes = {"hidden_size": 32, "num_conv_pos_embedding_groups": 2}
    tensors, _ = checkpoint(kind, **sizes)
    exact = LOAD[kind](write_folder(tmp_path / "model", kind, tensors, **sizes))
    half = PublicTeacher(exact.network, exact.order, Device("cpu", "bfloat16")).predict(CLIPS)
    gap = np.abs(half - exact.predict(CLIPS)).max()
    assert 0 < gap < 0.1
    assert half.dtype == np.float32
    assert not np.array_equal(half, torch.from_numpy(half).bfloat16().float().numpy())


def test_the_fusion_is_the_mean(tmp_path):
    teachers, references = [], []
    for kind in KINDS:
        tensors, reference = checkpoint(kind)
        teachers.append(LOAD[kind](write_folder(tmp_path / kind, kind, tensors)))
        references.append(np.array([reference(clip) for clip in CLIPS]))
    adv = MeanTeacher(teachers).predict(CLIPS)
    assert adv.dtype == np.float32
    np.testing.assert_allclose(adv, (references[0] + references[1]) / 2, **CLOSE)
    assert np.array_equal(load_teacher(str(tmp_path)).predict(CLIPS), adv)
