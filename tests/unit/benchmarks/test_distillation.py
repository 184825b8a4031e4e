"""The rows of the ablations: each differs from the base as it says, and its command gives its settings."""

import shlex
from dataclasses import asdict

import pytest

from benchmarks.distillation.report import SETS, markdown
from benchmarks.distillation.rows import ABLATIONS, AMOUNTS
from edgekit.cli.app import cli

ROWS = {row.name: row for row in (*ABLATIONS, *AMOUNTS)}
BASE = ROWS["base"]


@pytest.mark.parametrize("name", ROWS)
def test_every_row_differs_from_the_base_and_has_a_name_of_its_own(name):
    row = ROWS[name]
    assert len(ROWS) == len(ABLATIONS) + len(AMOUNTS)
    same = (row.config, row.relabel, row.share) == (BASE.config, BASE.relabel, BASE.share)
    assert same == (row is BASE)


@pytest.mark.parametrize("row", ABLATIONS, ids=lambda row: row.name)
def test_a_command_is_what_the_row_trains(row, monkeypatch, tmp_path):
    called = []

    def remember(config, labels, out, progress, relabel):
        called.append((asdict(config), str(labels), str(out), relabel or ()))
        raise LookupError

    monkeypatch.setattr("distill.training.distill", remember)
    monkeypatch.setattr("edgekit.pipeline.listener", lambda *teachers: teachers)
    monkeypatch.setattr("edgekit.cli.stages.announce", lambda _: None)
    program, *words = shlex.split(row.command)
    assert program == "edgekit"
    with pytest.raises(LookupError):
        cli.main(words, standalone_mode=False)
    assert called == [(asdict(row.config), "labels", row.name, row.relabel)]


def test_the_page_says_what_more_audio_is_worth():
    """Disagreement that halves with every doubling of the audio: a slope of one."""

    def ccc(value):
        values = dict.fromkeys(("arousal", "dominance", "valence"), value)
        return {name: {"compact": values} for name in SETS}

    found = {name: ccc(1 - 0.05 / row.share) for name, row in ROWS.items()}
    found["base"] = ccc(0.6)
    for share, value in ((0.125, -2.2), (0.25, -0.6), (0.5, 0.2)):
        found[f"clips-{share:g}"] = ccc(value)
    page = markdown(found, hours=0.8)
    assert "| arousal | 1.00 | 0.96 | 0.88 | 2.7 |" in page
    assert "| valence | 1.00 | 0.96 | 0.60 | reached |" in page
    for row in ABLATIONS:
        assert f"    {row.command}" in page


def test_rows_that_were_not_trained_are_named():
    values = dict.fromkeys(("arousal", "dominance", "valence"), 0.5)
    page = markdown({"base": {name: {"compact": values} for name in SETS}}, hours=0.8)
    assert "the recipe (`base`)" in page
    assert "(`loss-mse`)" not in page.split("## Commands")[0]
    assert "Not trained yet: loss-mse, adamw, mixup-0.2," in page
    assert "power law" not in page
