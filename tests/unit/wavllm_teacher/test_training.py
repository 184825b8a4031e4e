"""Both trainings, whole, on tiny models and a few tones."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
from unit.wavllm_teacher.tiny import TINY_LAYERS, TINY_SHAPE, voice
from unit.wavllm_teacher.tiny import write_corpus as write_any_corpus

from edgekit.errors import AudioError, ConfigError
from wavllm_teacher import imitation, train
from wavllm_teacher.full import FullConfig, train_full
from wavllm_teacher.imitation import Group, Heard, ImitationConfig, draw, imitate
from wavllm_teacher.recipe import CompactConfig, train_compact
from wavllm_teacher.registry import load_teacher
from wavllm_teacher.training import cached, read_clips, varied_copy

write_corpus = partial(write_any_corpus, licence="CC0-1.0")

SPLITS = ["train"] * 6 + ["dev"] * 3 + ["test"] * 3


@pytest.fixture
def corpus(tmp_path):
    rows = [(f"{i:02d}.wav", split) for i, split in enumerate(SPLITS)]
    folder = write_corpus(tmp_path / "corpus", rows)
    write_corpus(folder / "more", [("read.wav", "train")], labelled=False)
    # The table of the outer folder lists the inner one's clip, without labels.
    with (folder / "labels.csv").open("a") as table:
        table.write("more/read.wav,,,,,unlabelled,CC0-1.0\n")
    return folder


def full_config(corpus, encoder_dir):
    return FullConfig(corpus, encoder_dir, TINY_LAYERS, copies=2)


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


def test_full_training_needs_emotions(tmp_path, encoder_dir):
    folder = write_corpus(tmp_path / "corpus", [("a.wav", "train"), ("b.wav", "test")])
    table = (folder / "labels.csv").read_text().replace("angry", "")
    (folder / "labels.csv").write_text(table)
    with pytest.raises(AudioError, match=r"a\.wav: no emotion in its table"):
        train_full(full_config(folder, encoder_dir), tmp_path / "out")


def test_full_training_never_hears_test_speakers(corpus, encoder_dir, tmp_path):
    train_full(full_config(corpus, encoder_dir), tmp_path / "with")
    for name in ("09", "10", "11"):
        soundfile.write(corpus / f"{name}.wav", voice(0.4, 99), 16000)
    train_full(full_config(corpus, encoder_dir), tmp_path / "other")
    heads = [(tmp_path / name / "head.safetensors").read_bytes() for name in ("with", "other")]
    assert heads[0] == heads[1]


def heard(seconds: float, seed: int = 0) -> Heard:
    """What a full teacher of two states of width 16 might have said to a clip."""
    rng, frames = np.random.default_rng(seed), int(seconds * 50)
    return Heard(
        rng.random((80, 2 * frames)).astype(np.float16), rng.random((2, frames, 16)).astype(np.float16)
    )


@pytest.fixture
def full(full_dir):
    return load_teacher(str(full_dir)).network


def test_targets_of_a_whole_clip_are_the_full_teachers(full):
    clip = voice(0.8, 3)
    states = full.frames(clip)
    kept = Heard(np.zeros((80, 80), np.float16), states.half().numpy())
    batch = draw([kept], 1000, full, np.random.default_rng(0))
    adv = full.head.expected(batch.scores)
    np.testing.assert_allclose(adv.numpy(), full.predict([clip]), atol=1e-3)
    assert batch.mel.shape == (1, 80, 80)
    assert batch.states.shape == (1, 40, 32)


def test_crops_of_mel_and_teacher_frames_start_together(full):
    mel, states = np.zeros((80, 400), np.float16), np.zeros((2, 200, 16), np.float16)
    mel[0], states[:, :, 0] = np.arange(400), np.arange(200)
    starts = set()
    for seed in range(5):
        batch = draw([Heard(mel, states)], 20, full, np.random.default_rng(seed))
        assert batch.mel[0, 0, 0] == 2 * batch.states[0, 0, 0]
        assert (batch.mel.shape[2], batch.states.shape[1]) == (40, 20)
        starts.add(batch.mel[0, 0, 0].item())
    assert len(starts) > 2


IMITATION = ImitationConfig(steps=4, warm_up=1, batch=10, save_every=2)


def test_compact_training_writes_a_teacher_and_its_metrics(corpus, full_dir, tmp_path):
    speech = write_corpus(tmp_path / "speech", [("a.wav", "train"), ("b.wav", "test"), ("c.wav", "test")])
    config = CompactConfig(corpus, speech, full_dir, (1, 2, 1), TINY_SHAPE, IMITATION)
    metrics = train_compact(config, tmp_path / "out")
    assert metrics["held_out_speakers"]["compact_vs_full"]["clips"] == 3
    assert metrics["speech_test_voices"]["compact_vs_full"]["clips"] == 2
    assert len(metrics["training"]["losses"]) == 2
    assert load_teacher(str(tmp_path / "out")).name == "compact"


def groups(corpus) -> list[Group]:
    clips = tuple(read_clips(corpus)[:6])
    return [Group("acted", clips, copies=1, share=1.0)]


def imitate_tiny(corpus, full, checkpoint, config=IMITATION):
    material = [(group, [heard(0.5, i) for i in range(6)]) for group in groups(corpus)]
    return imitate(material, full, TINY_SHAPE, config, checkpoint)


def test_a_cut_training_goes_on_where_it_was(corpus, full, tmp_path, monkeypatch):
    whole, history = imitate_tiny(corpus, full, tmp_path / "whole.pt")
    learn, steps = imitation._learn, iter(range(3))

    def cut(*arguments):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        learn(*arguments)

    monkeypatch.setattr(imitation, "_learn", cut)
    with pytest.raises(KeyboardInterrupt):
        imitate_tiny(corpus, full, tmp_path / "cut.pt")
    monkeypatch.setattr(imitation, "_learn", learn)
    resumed, resumed_history = imitate_tiny(corpus, full, tmp_path / "cut.pt")
    assert resumed_history == history
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_imitation_learns(corpus, full, tmp_path):
    config = replace(IMITATION, steps=60, warm_up=5, save_every=10, learning_rate=5e-3)
    _, history = imitate_tiny(corpus, full, tmp_path / "c.pt", config)
    assert history[-1]["states"] < history[0]["states"]
    assert history[-1]["divergence"] < history[0]["divergence"]


def test_command_line(corpus, encoder_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "FullConfig", lambda c, e: full_config(c, e))
    arguments = ["full", "--corpus", str(corpus), "--encoder", str(encoder_dir), "--out", str(tmp_path / "t")]
    assert train.main(arguments) == 0
    assert "held_out_speakers" in capsys.readouterr().out
    arguments[4] = str(tmp_path)
    assert train.main(arguments) == 5
    assert "hint: " in capsys.readouterr().err


@pytest.mark.parametrize("licence", ["CC-BY-NC-SA-4.0", "All rights reserved", ""])
def test_weights_that_ship_learn_from_free_audio_only(full_dir, encoder_dir, tmp_path, licence):
    clips = [(f"{number}.wav", split) for number, split in enumerate(["train", "train", "dev", "test"])]
    corpus = write_corpus(tmp_path / "corpus", clips)
    table = (corpus / "labels.csv").read_text()
    (corpus / "labels.csv").write_text(table.replace("CC0-1.0", licence, 1))
    with pytest.raises(
        ConfigError, match=r"0\.wav: its licence is .*weights that ship learn from free audio"
    ):
        train_full(FullConfig(corpus, encoder_dir), tmp_path / "full")
    with pytest.raises(ConfigError, match=r"0\.wav: its licence is"):
        train_compact(CompactConfig(corpus, corpus, full_dir), tmp_path / "compact")
