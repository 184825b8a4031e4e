"""The rows of the ablations: each differs from the base as it says, and its command gives its settings."""

import csv
import shlex
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from unit.distill.test_training import write_labels

import benchmarks.distillation.__main__ as distillation
from benchmarks.distillation.amounts import SETS
from benchmarks.distillation.report import markdown
from benchmarks.distillation.rows import ABLATIONS, ALL
from edgekit.cli.app import cli

ROWS = {row.name: row for row in ALL}
BASE = ROWS["base"]


@pytest.mark.parametrize("name", ROWS)
def test_every_row_differs_from_the_base_and_has_a_name_of_its_own(name):
    row = ROWS[name]
    assert len(ROWS) == len(ALL)
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


def test_a_share_is_of_the_clips_to_learn_from(monkeypatch, tmp_path):
    """All test clips stay, and what a small share holds, a larger one holds too."""
    labels = write_labels(tmp_path, ["train"] * 12 + ["dev"] * 4 + ["test"] * 5)
    monkeypatch.setattr(distillation, "label", lambda config, out: SimpleNamespace(path=out))
    files = {}
    for share in (0.25, 0.5):
        manifest = distillation._share(share, labels, tmp_path).with_name(f"labels-{share}.csv")
        rows = list(csv.DictReader(manifest.read_text().splitlines()))
        assert [row["split"] for row in rows].count("test") == 5
        files[share] = {row["file"] for row in rows if row["split"] != "test"}
    assert (len(files[0.25]), len(files[0.5])) == (4, 8)
    assert files[0.25] < files[0.5]


def agreeing(value, *, noise=0.0, teachers=("compact",)):
    """Agreement by one value in all dimensions, in noise by less."""
    of = {name: value - (noise if "babble" in name else 0) for name in SETS}
    return {
        name: {t: dict.fromkeys(("arousal", "dominance", "valence"), ccc) for t in teachers}
        for name, ccc in of.items()
    }


def test_the_page_says_what_more_audio_is_worth():
    """Disagreement that halves with every doubling of the audio: a slope of one."""
    found = {name: agreeing(1 - 0.05 / row.share) for name, row in ROWS.items()}
    found["base"] = agreeing(0.6)
    for share, value in ((0.125, -2.2), (0.25, -0.6), (0.5, 0.2)):
        found[f"clips-{share:g}"] = agreeing(value)
    page = markdown(found, hours=0.8)
    assert (
        "| compact | arousal, EmoDB test speakers | at least 0.88 | 1.00 ± 0.00 | 0.600 | 0.960 | 2.68 |"
        in page
    )
    assert (
        "| compact | valence, RAVDESS test speakers | at least 0.50 | 1.00 ± 0.00 | 0.600 | 0.960 | reached |"
        in page
    )
    assert (
        "| compact | arousal, RAVDESS test speakers | at least 0.75 | 1.00 ± 0.00 | 0.600 | 0.960 | 1.28 |"
        in page
    )
    assert "| compact | valence lost by hop 128 | at most 0.04 |  | 0.350 | 0.035 | 7.01 |" in page
    for row in ABLATIONS:
        assert f"    {row.command}" in page


def test_what_more_audio_does_not_mend_is_said_to_stay():
    """What noise costs grows with the hours; a slow gain is told from none."""
    shares = {"base": 1.0, "clips-0.5": 0.5, "clips-0.25": 0.25}
    page = markdown(
        {name: agreeing(0.6 + share / 5, noise=0.1 + share / 5) for name, share in shares.items()}, 1
    )
    assert "labels of the clean clip | at most 0.08 |  | 0.291 | 0.418 | more audio does not help |" in page
    assert page.count("more audio does not help") == 2
    slow = {name: agreeing(1 - 0.7 * share**-0.01) for name, share in shares.items()}
    assert (
        "| arousal, EmoDB test speakers | at least 0.88 | 0.01 ± 0.00 | 0.300 | 0.316 | more than 10,000 |"
        in markdown(slow, 1)
    )


def test_a_teacher_that_not_all_amounts_were_measured_by_has_no_row():
    both = ("compact", "full")
    found = {name: agreeing(0.5 + row.share / 5, teachers=both) for name, row in ROWS.items()}
    assert "| full | arousal, RAVDESS" in markdown(found, 1)
    found["base"] = agreeing(0.7)
    assert "| full | arousal, RAVDESS" not in markdown(found, 1)


def test_rows_that_were_not_trained_are_named():
    values = dict.fromkeys(("arousal", "dominance", "valence"), 0.5)
    page = markdown({"base": {name: {"compact": values} for name in SETS}}, hours=0.8)
    assert "the recipe (`base`)" in page
    assert "(`loss-mse`)" not in page.split("## Commands")[0]
    assert "Not trained yet: loss-mse, adamw, mixup-0.2," in page
    assert "power law" not in page
