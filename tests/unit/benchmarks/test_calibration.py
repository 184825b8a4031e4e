"""The fit on networks of known waits, the bars on the real ones, and the targets that state the result."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.calibration.__main__ import NOTHING, markdown
from benchmarks.calibration.fit import BOARD, OTHER_BOARD, Network, fit, folds, read_networks
from edgekit.targets import load_target


def made(name, taken, words, waits, table=1000.0):
    return Network(name, table, taken, words, table + waits[0] * taken + waits[1] * words)


KNOWN = [made("ad", 10, 90, (3, 4)), made("kws", 60, 20, (3, 4)), made("ic", 30, 50, (3, 4))]


def test_known_waits_are_found():
    assert fit(KNOWN) == pytest.approx((3, 4))
    assert [fold.error_percent for fold in folds(KNOWN)] == pytest.approx([0, 0, 0], abs=1e-9)


def test_a_wait_is_never_negative_nor_longer_than_the_flash():
    assert fit([made("ad", 10, 90, (-1, 4)), made("kws", 60, 20, (-1, 4))])[0] == pytest.approx(0, abs=1e-6)
    assert fit([made("ad", 10, 90, (3, 8)), made("kws", 60, 20, (3, 8))])[1] == pytest.approx(5, abs=1e-6)


def test_a_network_is_predicted_without_itself():
    odd = made("vww", 50, 50, (9, 9))
    fold = next(fold for fold in folds([*KNOWN, odd]) if fold.network is odd)
    assert fold.waits == pytest.approx((3, 4))
    assert fold.error_percent == pytest.approx(100 * (1350 / 1900 - 1))


@pytest.mark.shared
def test_the_bars_and_the_targets_that_state_them(shared):
    networks = read_networks(shared / "calibration", BOARD)
    errors = np.abs([fold.error_percent for fold in folds(networks)])
    assert len(errors) == 4
    assert errors.max() <= 15
    assert errors.mean() <= 8
    timing = load_target("nucleo-l4r5zi").timing
    assert (timing.fetch_wait_cycles, timing.data_wait_cycles) == pytest.approx(fit(networks), abs=5e-4)
    stated = (timing.worst_error_percent, timing.mean_error_percent)
    assert stated == pytest.approx((errors.max(), errors.mean()), abs=0.05)


@pytest.mark.shared
def test_the_other_board_with_nothing_fitted(shared):
    (keywords,) = read_networks(shared / "calibration", OTHER_BOARD)
    error = abs(keywords.error_percent(NOTHING))
    assert error <= 12
    for name in ("hearing-aid", "nrf5340"):
        assert load_target(name).timing.worst_error_percent == pytest.approx(error, abs=0.05)


@pytest.mark.shared
def test_the_page_is_of_these_data(shared):
    networks, elsewhere = (read_networks(shared / "calibration", board) for board in (BOARD, OTHER_BOARD))
    page = markdown(networks, elsewhere)
    assert page == (Path(__file__).parents[3] / "benchmarks" / "calibration.md").read_text()
