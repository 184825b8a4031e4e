"""Both trainings, whole, on tiny models and a few tones."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from unit.wavllm_teacher.tiny import TINY_SHAPE, write_corpus

from edgekit.errors import AudioError
from edgekit.metrics import adv_ccc
from wavllm_teacher import train
from wavllm_teacher.full import FullConfig, States, predict_states, random_crop, train_full, train_head
from wavllm_teacher.imitation import Heard, ImitationConfig, draw
from wavllm_teacher.recipe import CompactConfig, train_compact
from wavllm_teacher.registry import load_teacher
from wavllm_teacher.training import cached, mean_ccc, read_clips, varied_copy
from wavllm_teacher.whisper import Head

SPLITS = ["train"] * 6 + ["dev"] * 3 + ["test"] * 3


@pytest.fixture
def corpus(tmp_path):
    rows = [(f"{i:02d}.wav", split) for i, split in enumerate(SPLITS)]
    folder = write_corpus(tmp_path / "corpus", rows)
    write_corpus(folder / "more", [("read.wav", "train")], labelled=False)
    # The table of the outer folder lists the inner one's clip, without labels.
    with (folder / "labels.csv").open("a") as table:
        table.write("more/read.wav,,,,unlabelled\n")
    return folder


def full_config(corpus, encoder_dir):
    return FullConfig(corpus, encoder_dir, copies=2, epochs=2, batch=6)


def test_clips_are_those_of_the_table(corpus):
    clips = read_clips(corpus)
    assert [clip.split for clip in clips] == [*SPLITS, "unlabelled"]
    assert clips[0].labels is not None
    assert clips[-1].labels is None


def test_a_folder_without_a_table_is_refused(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/x.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"no clips\.csv or labels\.csv lists its audio"):
        read_clips(tmp_path / "a/b")


def test_copies_differ_and_are_the_same_each_time():
    voices = [np.random.default_rng(i).standard_normal(4000).astype(np.float32) * 0.1 for i in range(3)]
    assert varied_copy(voices, (7, 0, 1)) is voices[1]
    first, again, other = (varied_copy(voices, seed) for seed in ((7, 1, 1), (7, 1, 1), (7, 2, 1)))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.allclose(first, other)


def test_a_cached_array_is_made_once(tmp_path):
    cached(tmp_path / "x.npy", lambda: np.ones(3, np.float16))
    kept = cached(tmp_path / "x.npy", lambda: pytest.fail("made twice"))
    assert kept.tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_full_training_is_reproducible_and_reports_held_out_speakers(corpus, encoder_dir, tmp_path):
    config = full_config(corpus, encoder_dir)
    metrics = train_full(config, tmp_path / "one")
    train_full(config, tmp_path / "two")
    assert load_teacher(str(tmp_path / "one")).digest == load_teacher(str(tmp_path / "two")).digest
    assert metrics["held_out_speakers"]["full_vs_pseudo_labels"]["clips"] == 3
    assert json.loads((tmp_path / "one/metrics.json").read_text()) == json.loads(json.dumps(metrics))


def test_full_training_fits_what_can_be_learned():
    rng = np.random.default_rng(0)
    labels = rng.random((60, 3)).astype(np.float32)
    arrays = [
        np.zeros((2, 12, 8), np.float16) + rng.normal(0, 0.1, (2, 12, 8)).astype(np.float16) for _ in labels
    ]
    for array, adv in zip(arrays, labels, strict=True):
        array[1, :, :3] += adv.astype(np.float16)
    train_part = States(arrays[:40], torch.from_numpy(labels[:40]))
    dev_part = States(arrays[40:], torch.from_numpy(labels[40:]))
    config = replace(full_config(None, None), copies=1, mix_start=(0, 1), ridge=1.0, batch=20)
    _, history = train_head(train_part, dev_part, config)
    assert min(history[-1].values()) > 0.8
    slow_start = replace(config, ridge=1e4, learning_rate=1e-2, epochs=4)
    head, history = train_head(train_part, dev_part, slow_start)
    kept = mean_ccc(adv_ccc(predict_states(head, dev_part), dev_part.labels.numpy()))
    assert kept == pytest.approx(max(map(mean_ccc, history)), abs=1e-6)
    assert kept > mean_ccc(history[0]) + 0.1


def test_crops_are_pieces_of_the_states():
    states = np.arange(20, dtype=np.float16).reshape(1, 20, 1)
    piece = random_crop(np.random.default_rng(0), 5)(states)
    assert piece.shape == (1, 5, 1)
    assert np.array_equal(np.diff(piece[0, :, 0]), np.ones(4))
    assert random_crop(np.random.default_rng(0), 50)(states).shape == states.shape


def test_targets_of_a_whole_clip_are_the_full_teachers():
    torch.manual_seed(0)
    head = Head(4, 16).eval()
    torch.nn.init.normal_(head.out.weight)
    rng = np.random.default_rng(0)
    heard = Heard(rng.random((81, 16)).astype(np.float16), rng.random((40, 32)).astype(np.float16))
    batch = draw([heard], 1000, head, rng)
    frames = torch.from_numpy(heard.frames).float()[None]
    torch.testing.assert_close(batch.adv, head(frames, torch.ones(1, 40, dtype=torch.bool)))
    assert batch.mel.shape == (1, 80, 16)
    assert batch.frames.shape == (1, 20, 32)
    torch.testing.assert_close(batch.frames[0, 3], frames[0, 6:8].mean(0))
    assert abs(batch.mel.mean().item()) < 1e-6


def test_crops_of_mel_and_teacher_frames_start_together():
    head = Head(4, 16).eval()
    mel, frames = np.zeros((400, 16), np.float16), np.zeros((200, 32), np.float16)
    mel[:, 0], frames[:, 0] = np.arange(400), np.arange(200)
    starts = set()
    for seed in range(5):
        batch = draw([Heard(mel, frames)], 20, head, np.random.default_rng(seed))
        first_mel = (batch.mel[0, 0, 0] - batch.mel[0, 0, 1]).item()
        assert first_mel == pytest.approx(2 * (batch.frames[0, 0, 0].item() - 0.5), abs=0.01)
        assert (batch.mel.shape[1], batch.frames.shape[1]) == (80, 20)
        starts.add(round(first_mel))
    assert len(starts) > 2


def test_compact_training_writes_a_teacher_and_its_metrics(corpus, full_dir, tmp_path):
    speech = write_corpus(tmp_path / "speech", [("a.wav", "train"), ("b.wav", "test"), ("c.wav", "test")])
    training = ImitationConfig(steps=4, batch=10, dev_every=2)
    config = CompactConfig(corpus, speech, full_dir, (1, 2, 1), TINY_SHAPE, training)
    metrics = train_compact(config, tmp_path / "out")
    assert metrics["held_out_speakers"]["compact_vs_full"]["clips"] == 3
    assert metrics["speech_test_voices"]["compact_vs_full"]["clips"] == 2
    assert len(metrics["training"]["dev_ccc_vs_full"]) == 2
    assert load_teacher(str(tmp_path / "out")).name == "compact"


def test_command_line(corpus, encoder_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "FullConfig", lambda c, e: full_config(c, e))
    arguments = ["full", "--corpus", str(corpus), "--encoder", str(encoder_dir), "--out", str(tmp_path / "t")]
    assert train.main(arguments) == 0
    assert "held_out_speakers" in capsys.readouterr().out
    arguments[4] = str(tmp_path)
    assert train.main(arguments) == 5
    assert "hint: " in capsys.readouterr().err
