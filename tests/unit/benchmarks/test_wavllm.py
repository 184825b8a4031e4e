"""The tiny model's tasks: clips are what labels say, held-out ones are new; a short run of everything."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.wavllm import report, sounds, tasks, tiny
from benchmarks.wavllm.sounds import COUNTS, LENGTHS_S, OWNERS, PITCHES_HZ, Sound
from edgekit.audio import SAMPLE_RATE_HZ
from wavllm_teacher.speech_llm.curriculum import Schedule
from wavllm_teacher.speech_llm.figures import PAPER
from wavllm_teacher.speech_llm.instructions import read_manifest

SPLITS = sorted(set(OWNERS))
SPEECH = {split: sounds.voices(split) for split in ("train", "test")}
ALL = [
    Sound(kind, count, length, pitch)
    for kind, count, length in itertools.product(sounds.KINDS, COUNTS, LENGTHS_S)
    for pitch in (PITCHES_HZ if kind == "tone" else (None,))
]


def bursts(samples: np.ndarray) -> list[np.ndarray]:
    """Pieces between pauses: where the level is above a sixth of the loudest for longer than a flicker."""
    hop = SAMPLE_RATE_HZ // 100
    level = np.array([np.abs(part).max() for part in np.array_split(samples, samples.size // hop)])
    loud = np.flatnonzero(level > level.max() / 6)
    runs = np.split(loud, np.flatnonzero(np.diff(loud) > 8) + 1)
    return [samples[run[0] * hop : (run[-1] + 1) * hop] for run in runs]


@pytest.mark.parametrize(
    "sound", ALL, ids=lambda s: "-".join(filter(None, (s.kind, s.count, s.length, s.pitch)))
)
@pytest.mark.parametrize("split", SPEECH)
def test_a_clip_is_what_its_label_says(sound, split):
    found = bursts(sounds.synthesise(sound, split, np.random.default_rng(3), SPEECH[split]))
    assert len(found) == 1 + COUNTS.index(sound.count)
    for burst in found:
        assert (burst.size / SAMPLE_RATE_HZ > 0.22) is (sound.length == "long")
        if sound.pitch:
            spectrum = np.abs(np.fft.rfft(burst * np.hanning(burst.size), 16384))
            low_hz, high_hz = PITCHES_HZ[sound.pitch]
            assert 0.9 * low_hz < spectrum.argmax() * SAMPLE_RATE_HZ / 16384 < 1.1 * high_hz


def test_what_clips_are_made_of_belongs_to_one_split():
    rng = np.random.default_rng(0)
    cells = {
        split: {int(16 * np.log2(sounds.draw(1, 2, split, rng))) for _ in range(500)} for split in SPLITS
    }
    assert sum(map(len, cells.values())) == 16
    assert set().union(*cells.values()) == set(range(16))
    clips = [clip.tobytes() for split in SPLITS for clip in sounds.voices(split)]
    assert len(set(clips)) == len(clips) == 237


def asked(split: str) -> list:
    rng = np.random.default_rng(1)
    return tasks.instructions([(sounds.DEFAULT_AUDIO, sound) for sound in ALL for _ in range(8)], split, rng)


def test_answers_are_in_the_order_that_is_asked_for():
    sound, rng = Sound("tone", "two", "long", "high"), np.random.default_rng(0)
    for one in itertools.chain.from_iterable(
        tasks.combined(sounds.DEFAULT_AUDIO, sound, rng) for _ in range(40)
    ):
        named = [
            word for word in one.prompt.replace(",", "").replace(".", "").split() if word in tasks.QUESTIONS
        ]
        if "after" in one.prompt:
            named.reverse()
        truths = [getattr(sound, name) for name in named]
        if "step" in one.prompt:
            truths = [f"{name}: {truth}" for name, truth in zip(named, truths, strict=True)]
        assert one.answer == "; ".join(truths), one


def test_nothing_unseen_is_trained():
    trained, held_out = asked("train"), asked("test")
    words = {one.prompt.split()[0] for one in held_out if one.task == tasks.UNSEEN[1]}
    assert words == {"Say"}
    for one in trained:
        assert one.task not in tasks.UNSEEN
        assert not one.prompt.startswith("Say")
        assert not all(name in one.prompt for name in tasks.UNSEEN_PAIR)
    for task in (*tasks.SINGLE, *tasks.COMBINED, *tasks.UNSEEN):
        assert [one for one in held_out if one.task == task], task
    notes = [
        {frozenset(one.prompt.split(":")[0].split()) for one in found if one.task == tasks.TEXT}
        for found in (trained, held_out)
    ]
    assert not notes[0] & notes[1]
    assert len(notes[1]) == 6


def test_a_short_run_of_everything(tmp_path):
    """The losses of all trainings fall; the page has what they gave."""
    short = Schedule(steps=50, batch=8, learning_rate=5e-3)
    recipe = replace(
        tiny.FULL,
        clips={"train": 24, "dev": 1, "test": 8},
        encoder_steps=12,
        decoder_steps=40,
        decoder_batch=8,
        single=short,
        combined=short,
        items=1,
    )
    tiny.write_tasks(tmp_path, recipe)
    found = {
        "encoders": tiny.timed(tiny.make_ears, tmp_path, recipe),
        "decoder": tiny.timed(tiny.make_decoder, tmp_path, recipe),
        "single": tiny.timed(tiny.learn_single, tmp_path, recipe),
        "combined": {
            arm: {"0": tiny.timed(tiny.learn_combined, tmp_path, recipe, arm, 0)} for arm in tiny.ARMS
        },
        "minutes": 1.0,
    }
    runs = [found["encoders"], found["decoder"], found["single"]]
    runs += [found["combined"][arm]["0"] for arm in tiny.ARMS]
    for run in runs:
        assert np.mean(run["losses"][5:]) < 0.9 * np.mean(run["losses"][:2])
    asked_for = {line.task for line in read_manifest(tmp_path / tiny.MANIFEST) if line.split == "test"}
    assert set(found["single"]["shares"]) == asked_for
    page = report.markdown({"tiny": found})
    assert "prompt-aware, seed 0" in page
    followed = found["combined"]["prompt-aware"]["0"]["combined"]["instruction_following"]
    assert f"{followed:.1%}, tiny model, sounds" in page
    assert "instruction following, all four" in page
    assert "asked fewer items first" not in page
    assert "asked fewer items first" in report.markdown({"tiny": found, report.EARLIER: found})


def test_what_is_not_measured_has_no_figure():
    """Without results, the page has the paper's figures alone, and says so beside each."""
    page = report.markdown({})
    assert "## A tiny model" not in page
    assert page.count("not measured: nothing here") == sum(map(len, PAPER.values()))


def test_a_gain_counts_if_chance_is_smaller():
    """Two arms, three seeds: shares of 0.9 of 100 items in four forms have a standard error of 0.015."""

    def runs(*means):
        return {str(seed): {"shares": dict.fromkeys(tasks.COMBINED, mean)} for seed, mean in enumerate(means)}

    found = {
        "single": {"items": dict.fromkeys(tasks.COMBINED, 100)},
        "combined": {"plain": runs(0.9, 0.9, 0.9), "prompt-aware": runs(0.91, 0.92, 0.9)},
    }
    assert report.standard_error(found) == pytest.approx(0.015)
    assert report.better(found, [0.9, 0.9, 0.9], [0.91, 0.92, 0.9]) == 1
    assert report.gains([0.9, 0.9], [0.91, 0.88]) == "+0.010, -0.020"
