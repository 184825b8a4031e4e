"""The learning curve as a picture."""

import xml.etree.ElementTree as ET

import pytest

from distill.curves import LOSS_NAMES, history_svg
from distill.loss import LOSSES

HISTORY = [[0, 1e-3, None, 0.0, 0.1, None], [50, 1e-3, 1.5, 0.5, 0.4, None], [100, 0.0, 0.9, 0.7, 0.6, None]]


def words(svg: str) -> set[str]:
    return {text for element in ET.fromstring(svg).iter() if (text := (element.text or "").strip())}


def test_it_says_what_it_shows():
    found = words(history_svg(HISTORY, "ccc"))
    assert {"Loss on training crops", "Agreement on development clips", "sum of 1 - CCC", "step"} <= found
    assert {"arousal", "dominance"} <= found
    assert "valence" not in found, "a dimension without a value has no curve"


def test_the_same_history_gives_the_same_bytes():
    assert history_svg(HISTORY, "ccc") == history_svg(HISTORY, "ccc")
    assert history_svg(HISTORY, "ccc") != history_svg(HISTORY[:2], "ccc")


@pytest.mark.parametrize("rows", [HISTORY[:1], [[0, 0.0, None, None, None, None]]])
def test_a_training_of_no_steps(rows):
    ET.fromstring(history_svg(rows, "ccc"))


def test_every_loss_has_a_name_of_its_own():
    assert set(LOSS_NAMES) == set(LOSSES)
    found = words(history_svg(HISTORY, "mse"))
    assert "sum of mean squared errors" in found
    assert "sum of 1 - CCC" not in found
