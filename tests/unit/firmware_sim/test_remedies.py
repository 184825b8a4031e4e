"""What would meet a budget, against figures computed by hand."""

import dataclasses

import pytest

from edgekit.targets import load_target
from firmware_sim.remedies import Candidate, remedies

BLOCK_CYCLES = 200_000
"""Of the hearing aid: 4 ms at 50 MHz; 60,000 of them are left to the model."""


def candidate(cycles, name="", ram=16_000):
    return Candidate(name, (cycles,) * 500, 32_000, ram, 100_000, 400, 55_000, "")


def found(*candidates, **budget):
    target = load_target("hearing-aid")
    target = dataclasses.replace(target, budget=dataclasses.replace(target.budget, **budget))
    return {remedy.change: remedy for remedy in remedies(candidates, target)}


def test_a_clock_is_the_load_over_the_share():
    """90,000 cycles in 4 ms are 22.5 MHz, 30 % of 75 MHz; the power is that of the same cycles."""
    faster = found(candidate(90_000), average_uw=1e6)["a clock of 75 MHz"]
    assert faster.plan.model_load_percent == pytest.approx(30)
    assert faster.average_uw == pytest.approx(22.5 * 34.8)
    assert faster.held
    assert faster.total_ram_bytes == 16_000 + 2 * 4 * 64


def test_a_clock_does_not_mend_the_power():
    faster = found(candidate(90_000))["a clock of 75 MHz"]
    assert not faster.held
    assert faster.over == ("average_uw",)
    assert faster.average_uw == pytest.approx(783)


def test_a_window_takes_the_time_that_its_work_needs():
    """2 s of 22.5 MHz are 45 M cycles, at 15 MHz 3 s, and they begin a block late; a third waits."""
    made = found(candidate(90_000), total_ram_bytes=100_000)
    window = made["a window of 2 s every 3.1 s"]
    assert window.held
    assert window.plan.model_load_percent == pytest.approx(100 * 45 / 50 / 3.1)
    assert window.plan.buffer_bytes == pytest.approx(2 * 16_000 * 2 / 3, rel=0.01)
    entries = 2 * window.plan.target.policy.buffer_blocks
    assert window.total_ram_bytes == 16_000 + window.plan.buffer_bytes + entries
    assert window.plan.longest_result_ms == pytest.approx(1000, abs=5)


def test_the_longest_window_that_fits_is_taken():
    """16,768 bytes are left, 130 for a block of 64 samples: 8,255 samples, a third of 1.55 s."""
    made = found(candidate(90_000))
    assert [change for change, remedy in made.items() if remedy.held] == ["a window of 1.5 s every 2.3 s"]


def test_another_student_is_taken_as_it_is_where_that_is_enough():
    made = found(candidate(90_000), candidate(50_000, "hop 128"))
    assert made["hop 128"].held
    assert "hop 128 and a clock of 42 MHz" not in made
    assert next(iter(made)) in ("hop 128", "a window of 1.5 s every 2.3 s"), "what holds comes first"


def test_what_only_takes_too_much_flash_is_not_made_faster():
    large = dataclasses.replace(candidate(50_000, "hop 128"), flash_bytes=200_000)
    made = found(candidate(90_000), large)
    assert made["hop 128"].over == ("flash_bytes",)
    assert [change for change in made if change.startswith("hop 128 and")] == []


def test_the_main_loop_of_windows_takes_flash():
    """Of 400 bytes more than the same firmware that hears everything."""
    made = found(candidate(90_000), flash_bytes=100_399)
    assert made["a window of 0.5 s every 0.8 s"].over == ("flash_bytes",)
    assert made["a clock of 75 MHz"].flash_bytes == 100_000
    assert found(candidate(90_000), flash_bytes=100_400)["a window of 1.5 s every 2.3 s"].held


def test_power_decides_how_often_where_it_is_tighter_than_the_load():
    """45 M cycles at 34.8 uW/MHz are 1,566 uWs: at 300 uW that takes 5.22 s."""
    made = found(candidate(90_000), average_uw=300.0, total_ram_bytes=100_000)
    assert made["a window of 2 s every 5.3 s"].held


def test_what_holds_no_budget_is_still_shown():
    made = found(candidate(90_000, ram=40_000))
    assert made
    assert not any(remedy.held for remedy in made.values())


def test_this_computer_has_no_other_clock_and_no_power():
    """Of 5 ms of work in blocks of 4 ms, a window of 2 s needs 2.5 s, and begins a block late."""
    target = load_target("host")
    target = dataclasses.replace(target, budget=dataclasses.replace(target.budget, total_ram_bytes=100_000))
    slow = [candidate(5_000_000), candidate(3_000_000, "hop 128")]
    made = {remedy.change: remedy for remedy in remedies(slow, target)}
    assert set(made) == {"hop 128", "a window of 2 s every 2.6 s"}
    assert all(remedy.held and remedy.average_uw is None for remedy in made.values())
    assert made["hop 128"].to_dict()["how"] == "measured"


def test_json_values_have_their_units():
    target = load_target("hearing-aid")
    row = remedies([candidate(90_000)], target)[0].to_dict()
    assert row["change"] == "a window of 1.5 s every 2.3 s"
    assert row["held"] is True
    assert row["missed_deadlines"] == 0
    assert row["core_load_percent"] == pytest.approx(100 * 1.5 * 22.5 / 2.3 / 50)
    blocks = (row["total_ram_bytes"] - 16_000) // 130
    waits = f"{128 * blocks:,} bytes of audio wait at worst (buffer_blocks = {blocks})"
    assert row["how"].endswith(waits)
