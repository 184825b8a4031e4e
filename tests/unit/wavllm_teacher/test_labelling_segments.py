"""Cutting at pauses: what every cut must hold, on any levels, and where it should lie, on some."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from edgekit.audio import open_audio
from wavllm_teacher.labelling import segments
from wavllm_teacher.labelling.segments import LONGEST, SHORTEST, cut_at_pauses, find_speech, read_levels

runs = st.lists(st.tuples(st.integers(1, 2500), st.integers(-100, 0)), min_size=1, max_size=12)


@given(runs, st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_segments_hold_all_speech_within_bounds_and_without_overlap(runs, jitter, seed):
    levels = np.repeat([level for _, level in runs], [count for count, _ in runs])
    levels = levels + np.random.default_rng(seed).integers(-jitter, jitter + 1, levels.size)
    levels = np.clip(np.pad(levels, (0, max(0, SHORTEST - levels.size))), -100, 0).astype(np.int8)
    found = cut_at_pauses(levels)
    covered = np.zeros(levels.size, np.int32)
    for start, end in found:
        assert 0 <= start < end <= levels.size
        assert SHORTEST <= end - start <= LONGEST
        covered[start:end] += 1
    assert covered.max(initial=0) <= 1
    assert (covered[find_speech(levels)] == 1).all()
    # Nothing but silence is left out, and of every pause at most what is next to speech is kept.
    assert bool(found) == bool(find_speech(levels).any())


def speech(seconds, *pauses):
    """Levels of speech at -20 dB with pauses (from, to) at -80 dB, in seconds."""
    levels = np.full(round(100 * seconds), -20, np.int8)
    for start, end in pauses:
        levels[round(100 * start) : round(100 * end)] = -80
    return levels


def test_a_long_pause_ends_a_segment_though_a_longer_one_would_fit():
    assert cut_at_pauses(speech(20, (4, 5.2), (8, 11))) == [(0, 420), (500, 820), (1080, 2000)]


def test_without_long_pauses_the_longest_is_chosen_and_of_equals_the_later():
    assert cut_at_pauses(speech(14, (3, 3.4), (6, 6.8), (9, 9.8), (11, 11.5)))[0] == (0, 920)


def test_without_any_pause_the_quietest_place_is_chosen():
    levels = speech(14)
    levels[1000:1015] = -35
    (first, cut), _ = cut_at_pauses(levels)
    assert first == 0
    assert 1000 <= cut <= 1015


def test_a_short_word_between_long_silences_is_two_seconds_long():
    assert cut_at_pauses(speech(60, (0, 30), (30.3, 60))) == [(2980, 3180)]


def test_steady_noise_is_labelled_not_dropped():
    noise = np.random.default_rng(0).integers(-42, -38, 3000).astype(np.int8)
    found = cut_at_pauses(noise)
    assert sum(end - start for start, end in found) == 3000


def test_rare_speech_above_noise_is_found():
    levels = np.full(60_000, -60, np.int8)
    levels[30_000:30_500] = -25
    assert cut_at_pauses(levels) == [(29_980, 30_520)]


@pytest.mark.parametrize("level", [-100, -75])
def test_silence_has_no_segment(level):
    assert cut_at_pauses(np.full(5000, level, np.int8)) == []


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100])
def test_levels_are_of_whole_hundredths_whatever_the_rate(tmp_path, monkeypatch, rate_hz):
    loud = np.concatenate([np.full(2 * rate_hz, 0.1), np.full(rate_hz + rate_hz // 200, 1e-4)])
    soundfile.write(tmp_path / "a.wav", np.stack([loud, loud], 1), rate_hz, subtype="FLOAT")
    whole = levels_of(tmp_path / "a.wav")
    assert whole[1] == pytest.approx(loud.size / rate_hz)
    assert whole[0].tolist() == [-20] * 200 + [-80] * 100
    monkeypatch.setattr(segments, "BLOCK_S", 1)
    blocks = levels_of(tmp_path / "a.wav")
    assert (blocks[0].tolist(), blocks[1]) == (whole[0].tolist(), whole[1])


def levels_of(path):
    with open_audio(path) as audio:
        return read_levels(audio)
