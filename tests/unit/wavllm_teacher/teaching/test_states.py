"""Hidden states on disk: crops, copies, scale, and what a rerun does not compute again."""

import numpy as np
import pytest
import torch
from unit.wavllm_teacher.teaching.tiny_corpora import config_of
from unit.wavllm_teacher.tiny import voice

from edgekit.audio import read_audio
from edgekit.errors import UnsupportedError
from edgekit.progress import silent
from wavllm_teacher.dual_encoder import load_encoders
from wavllm_teacher.teaching.corpus import read_corpora
from wavllm_teacher.teaching.stage import initial_network
from wavllm_teacher.teaching.states import Heard, States, hear, keep
from wavllm_teacher.training import varied_copy

pytestmark = pytest.mark.usefixtures("tiny_sizes")


def stored(folder, name: str, *arrays: np.ndarray) -> States:
    files = tuple(folder / f"{name}{i}.npy" for i in range(len(arrays)))
    for file, array in zip(files, arrays, strict=True):
        np.save(file, array.astype(np.float16))
    return States(files, tuple(array.shape[1] for array in arrays))


def test_both_encoders_are_cropped_alike(tmp_path):
    whisper = stored(tmp_path, "whisper", np.arange(20).reshape(1, 20, 1))
    wavlm = stored(tmp_path, "wavlm", np.arange(19).reshape(1, 19, 1))
    heard = Heard({"whisper": whisper, "wavlm": wavlm}, torch.zeros(1, 3))
    starts = {heard.random_starts([0], 5, np.random.default_rng(seed))[0] for seed in range(60)}
    assert starts == set(range(15))
    crops = heard.batch([0], [7], 5)
    assert [crops[name][0].flatten().tolist() for name in ("whisper", "wavlm")] == [[7, 8, 9, 10, 11]] * 2
    assert heard.random_starts([0], 50, np.random.default_rng(0)) == [0]
    assert heard.batch([0])["wavlm"][0].shape == (1, 19, 1)


def test_train_is_heard_in_copies_the_rest_once(corpus, encoder_dir, tmp_path):
    config = config_of(corpus, whisper=encoder_dir)
    encoders, (read,) = load_encoders(config.encoders), read_corpora(config.corpora)
    train, dev = (hear(read, s, encoders, config, tmp_path / "states", silent) for s in ("train", "dev"))
    assert (len(train.states["whisper"].files), len(dev.states["whisper"].files)) == (12, 3)
    wanted = torch.tensor([clip.labels for clip in read.clips["train"]])
    assert torch.equal(train.labels, torch.cat([wanted, wanted]))
    for index, clip in enumerate(read.clips["train"]):
        states = encoders["whisper"](read_audio(clip.file)).half()
        assert torch.equal(train.states["whisper"].read(index), states)
        assert train.states["whisper"].frames[index] == states.shape[1]
        augmented = train.states["whisper"].read(6 + index)
        assert augmented.shape != states.shape or not torch.equal(augmented, states)


def test_copies_follow_the_seed():
    voices = [voice(0.3, seed) for seed in range(3)]
    assert varied_copy(voices, (0, 0, 1)) is voices[1]
    one, again, other = (varied_copy(voices, seed) for seed in ((0, 1, 1), (0, 1, 1), (1, 1, 1)))
    assert np.array_equal(one, again)
    assert one.size != other.size or not np.array_equal(one, other)


def test_a_rerun_computes_only_what_is_missing(corpus, encoder_dir, tmp_path):
    config = config_of(corpus, whisper=encoder_dir)
    encoders, (read,) = load_encoders(config.encoders), read_corpora(config.corpora)
    calls = []

    def counted(samples):
        calls.append(samples.size)
        return encoders["whisper"](samples)

    first = hear(read, "train", {"whisper": counted}, config, tmp_path, silent)
    assert len(calls) == 12
    lost = first.states["whisper"].files[7]
    before = lost.read_bytes()
    lost.unlink()
    hear(read, "train", {"whisper": counted}, config, tmp_path, silent)
    assert len(calls) == 13
    assert lost.read_bytes() == before


def test_clean_speech_sets_the_scale(corpus, encoder_dir, tmp_path):
    config = config_of(corpus, whisper=encoder_dir)
    encoders, (read,) = load_encoders(config.encoders), read_corpora(config.corpora)
    heard = hear(read, "train", encoders, config, tmp_path, silent)
    branch = initial_network(config, encoders, {"one": heard}).branches["whisper"]
    clips = [encoders["whisper"](read_audio(clip.file)) for clip in read.clips["train"]]
    states = torch.cat(clips, dim=1)
    torch.testing.assert_close(branch.mean, states.mean(dim=1), atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(branch.scale, states.std(dim=1, correction=0) + 1e-3, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("value", [70_000.0, float("inf"), float("nan")])
def test_states_beyond_float16(tmp_path, value):
    with pytest.raises(UnsupportedError, match="state of wavlm is not finite or exceeds 65504") as error:
        keep(tmp_path / "wavlm" / "x.npy", torch.tensor([[[1.0, value]]]))
    assert error.value.hint
