"""The learning curve as a picture."""

import xml.etree.ElementTree as ET

import pytest

from distill.curves import history_svg

HISTORY = [[0, 1e-3, None, 0.0, 0.1, None], [50, 1e-3, 1.5, 0.5, 0.4, None], [100, 0.0, 0.9, 0.7, 0.6, None]]


def words(svg: str) -> set[str]:
    return {text for element in ET.fromstring(svg).iter() if (text := (element.text or "").strip())}


def test_it_says_what_it_shows():
    found = words(history_svg(HISTORY))
    assert {"Loss on training crops", "Agreement on development clips", "sum of 1 - CCC", "step"} <= found
    assert {"arousal", "dominance"} <= found
    assert "valence" not in found, "a dimension without a value has no curve"


def test_the_same_history_gives_the_same_bytes():
    assert history_svg(HISTORY) == history_svg(HISTORY)
    assert history_svg(HISTORY) != history_svg(HISTORY[:2])


@pytest.mark.parametrize("rows", [HISTORY[:1], [[0, 0.0, None, None, None, None]]])
def test_a_training_of_no_steps(rows):
    ET.fromstring(history_svg(rows))
