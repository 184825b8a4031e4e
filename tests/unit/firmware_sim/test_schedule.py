"""The schedule against layouts drawn by hand, and against a simulation cycle by cycle."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.target import Policy
from edgekit.targets import load_target
from firmware_sim.schedule import Core, schedule

BLOCK = 100
"""Cycles of a block of one sample at 10 Hz on a clock of 1 kHz."""


def device(share=30.0, buffer_blocks=2, window=None):
    target = load_target("hearing-aid")
    policy = Policy("continuous", buffer_blocks, "of the test")
    if window:
        policy = Policy("window", buffer_blocks, "of the test", *window)
    return dataclasses.replace(
        target,
        core=dataclasses.replace(target.core, clock_hz=1000),
        audio=dataclasses.replace(target.audio, sample_rate_hz=10, block_samples=1, core_share_percent=share),
        policy=policy,
    )


def laid_out(made):
    return [(work.arrival, work.begin, work.end) for work in made.works]


def test_the_audio_path_goes_first():
    """Blocks arrive at 100, 200, ...; the audio path has the first 70 cycles of each."""
    made = schedule([20, 30], device())
    assert laid_out(made) == [(100, 170, 190), (200, 270, 300), (300, 370, 390), (400, 470, 500)]
    assert made.longest_result == 100
    assert made.missed_deadlines == 0
    assert made.waiting_blocks == 1
    assert (made.model_load_percent, made.audio_path_load_percent) == (25, 70)


def test_work_is_interrupted_and_the_next_block_waits():
    """45 cycles: 30 in the first block, and 15 behind the audio path of the next one."""
    made = schedule([45, 10], device())
    assert laid_out(made)[:2] == [(100, 170, 285), (200, 285, 295)]
    assert made.longest_result == 185
    assert made.missed_deadlines == 0
    assert made.waiting_blocks == 2


def test_work_that_ends_after_its_audio_was_overwritten_is_missed():
    assert schedule([45, 10], device(buffer_blocks=1)).missed_deadlines == 2
    assert [work.missed for work in schedule([45, 10], device(buffer_blocks=1)).works] == [True, False] * 2


def test_work_that_piles_up_has_no_longest_time():
    made = schedule([31, 31], device(buffer_blocks=1))
    assert made.longest_result is None
    assert made.longest_result_ms is None
    assert made.model_load_percent == 31
    assert made.missed_deadlines == 4
    assert schedule([30, 30], device(buffer_blocks=1)).missed_deadlines == 0


def test_a_window_may_take_until_the_next_one_begins():
    """Two blocks of 60 in every 5: 120 cycles of work, of 150 that are left to it."""
    made = schedule([60, 60], device(buffer_blocks=4, window=(0.2, 0.5)))
    assert laid_out(made)[:3] == [(100, 170, 300), (200, 370, 500), (600, 670, 800)]
    assert made.longest_result == 300
    assert made.longest_result_ms == 300
    assert made.missed_deadlines == 0
    assert made.model_load_percent == 24
    assert made.buffer_bytes == 2 * 2
    assert schedule([60, 91], device(buffer_blocks=4, window=(0.2, 0.5))).longest_result is None


def test_a_result_behind_the_beginning_of_the_next_window_is_missed():
    late = schedule([60, 31], device(buffer_blocks=9, window=(0.2, 0.4)))
    assert [work.missed for work in late.works] == [False, True] * 3
    assert schedule([60, 30], device(buffer_blocks=9, window=(0.2, 0.4))).missed_deadlines == 0


def test_windows_without_a_pause_between_them_can_be_in_time():
    made = schedule([20, 20], device(buffer_blocks=4, window=(0.2, 0.2)))
    assert (made.missed_deadlines, made.longest_result) == (0, 90)
    assert schedule([10, 31], device(buffer_blocks=1, window=(0.2, 0.2))).missed_deadlines == 3


def test_a_longer_window_repeats_the_blocks_of_the_run():
    made = schedule([10, 20], device(window=(0.3, 0.5)))
    assert made.model_load_percent == pytest.approx(100 * (10 + 20 + 10) / 500)


def test_the_load_is_of_the_audio_that_was_heard():
    """Two blocks, the second half empty: 40 cycles in 150."""
    made = schedule([20, 20], dataclasses.replace(device(), audio=two_samples(device())), samples=3)
    assert made.model_load_percent == pytest.approx(100 * 40 / 300)


def two_samples(target):
    """Blocks of two samples: 200 cycles."""
    return dataclasses.replace(target.audio, block_samples=2)


def test_json_values_have_their_units():
    values = schedule([45, 10], device()).to_dict()
    assert values["block_ms"] == 100
    assert values["deadline_ms"] == 200
    assert values["audio_path_cycles_per_block"] == 70
    assert values["longest_result_ms"] == 185
    assert values["total_load_percent"] == 97.5
    first = {"arrival_ms": 100, "begin_ms": 170, "end_ms": 285, "due_ms": 300, "missed": False}
    assert values["timeline"][0] == first


def cycle_by_cycle(costs, share, rounds):
    """Return (begin, end) of each block, from a loop over every cycle."""
    audio_path = round(BLOCK * (100 - share) / 100)
    work = [[cost, None, None] for cost in costs * rounds]
    wall = done = 0
    while done < len(work):
        if wall % BLOCK >= audio_path and wall >= BLOCK * (done + 1):
            if work[done][1] is None:
                work[done][1] = wall
            work[done][0] -= 1
            if work[done][0] == 0:
                work[done][2] = wall + 1
                done += 1
        wall += 1
    return [(begin, end) for _, begin, end in work]


@settings(max_examples=60)
@given(st.lists(st.integers(1, 150), min_size=1, max_size=8), st.integers(1, 100))
def test_any_run_is_laid_out_as_a_loop_over_every_cycle_does(costs, share):
    made = schedule(costs, device(share=float(share)))
    assert [(work.begin, work.end) for work in made.works] == cycle_by_cycle(costs, share, 2)


@given(st.integers(1, 99), st.integers(1, 500))
def test_the_two_clocks_are_each_others_inverse(audio_path, background):
    core = Core(BLOCK, audio_path)
    wall = core.wall_at(background)
    assert core.background_at(wall) == background
    assert core.background_at(wall - 1) == background - 1
