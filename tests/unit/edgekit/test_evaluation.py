"""Figures, intervals and matching of `edgekit evaluate`, against formulas written out."""

import numpy as np
import pytest
from scipy import stats
from unit.edgekit.labelled import label_set, write_csv

from edgekit.errors import AudioError, ConfigError
from edgekit.evaluation import evaluate, read_reference
from edgekit.evaluation.bootstrap import intervals
from edgekit.evaluation.matching import average_files, match
from edgekit.metrics import DIMENSIONS


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def table(tmp_path, files, adv, **more):
    rows = [
        {"file": name}
        | dict(zip(DIMENSIONS, values, strict=True))
        | {key: column[i] for key, column in more.items()}
        for i, (name, values) in enumerate(zip(files, np.asarray(adv).tolist(), strict=True))
    ]
    return read_reference(write_csv(tmp_path / "reference.csv", rows))


def names(count):
    return [f"clip{i:03d}.wav" for i in range(count)]


def ccc_formula(p, r):
    covariance = np.mean((p - p.mean()) * (r - r.mean()))
    return 2 * covariance / (p.std() ** 2 + r.std() ** 2 + (p.mean() - r.mean()) ** 2)


def figures(group, dimension="arousal"):
    return {metric: row[dimension] for metric, row in group.figures.items()}


def test_figures_equal_their_formulas(tmp_path, rng):
    reference = rng.uniform(0, 1, (60, 3))
    adv = (0.6 * reference + rng.normal(0, 0.1, (60, 3))).astype(np.float32)
    found = evaluate(label_set(names(60), adv), table(tmp_path, names(60), reference), resamples=100)
    for d, dimension in enumerate(DIMENSIONS):
        p, r = adv[:, d].astype(float), reference[:, d]
        of = figures(found.groups[0], dimension)
        assert of["ccc"].value == pytest.approx(ccc_formula(p, r))
        assert of["pearson"].value == pytest.approx(stats.pearsonr(p, r).statistic)
        assert of["rmse"].value == pytest.approx(np.sqrt(np.mean((p - r) ** 2)))
        assert of["mae"].value == pytest.approx(np.mean(np.abs(p - r)))


def test_intervals_equal_a_bootstrap_written_out(rng):
    reference, cluster = rng.uniform(0, 1, (40, 2)), np.arange(40) % 7
    prediction = reference + rng.normal(0, 0.2, (40, 2))
    found = intervals(prediction, reference, cluster, 500, seed=5)
    draws = np.random.default_rng(5).integers(7, size=(500, 7))
    drawn = {"ccc": [], "pearson": [], "rmse": [], "mae": []}
    for draw in draws:
        rows = np.concatenate([np.flatnonzero(cluster == k) for k in draw])
        p, r = prediction[rows, 1], reference[rows, 1]
        drawn["ccc"].append(ccc_formula(p, r))
        drawn["pearson"].append(np.corrcoef(p, r)[0, 1])
        drawn["rmse"].append(np.sqrt(np.mean((p - r) ** 2)))
        drawn["mae"].append(np.mean(np.abs(p - r)))
    # The expanded percentile interval of Hesterberg (2015).
    tail = stats.norm.cdf(np.sqrt(7 / 6) * stats.t.ppf(0.025, 6))
    for metric, values in drawn.items():
        np.testing.assert_allclose(found[metric][:, 1], np.quantile(values, [tail, 1 - tail]), rtol=1e-9)


def test_all_resamples_at_once_or_in_parts(rng, monkeypatch):
    p, r = rng.normal(size=(2, 30, 3))
    whole = intervals(p, r, np.arange(30), 200, 0)
    monkeypatch.setattr("edgekit.evaluation.bootstrap.DRAWS_AT_ONCE", 30 * 7)
    parts = intervals(p, r, np.arange(30), 200, 0)
    # The parts draw other resamples of the same population.
    np.testing.assert_allclose(parts["ccc"], whole["ccc"], atol=0.15)
    assert parts["rmse"].shape == (2, 3)


def covered(rng, clusters, size, speaker_std, by_cluster=True):
    """Whether the 95 % interval of a normal sample's correlation holds the known value."""
    shared = rng.normal(size=clusters).repeat(size) * speaker_std
    noise = np.sqrt(1 - speaker_std**2)
    a, b = (shared + noise * rng.normal(size=clusters * size) for _ in range(2))
    cluster = np.arange(clusters).repeat(size) if by_cluster else np.arange(clusters * size)
    # The two share nothing but the speaker: correlation, and CCC as both have variance 1, are its variance.
    found = intervals(a[:, None], b[:, None], cluster, 300, int(rng.integers(1 << 30)))
    return [low <= speaker_std**2 <= high for (low,), (high,) in (found["ccc"], found["pearson"])]


@pytest.mark.parametrize(("clusters", "least"), [(60, 0.90), (10, 0.82)])
def test_intervals_cover_a_known_value(rng, clusters, least):
    rate = np.mean([covered(rng, clusters, 8, 0.7) for _ in range(300)], axis=0)
    assert (rate > least).all()
    assert (rate < 0.985).all()


def test_clips_of_one_speaker_are_not_independent(rng):
    rate = np.mean([covered(rng, 60, 8, 0.7, by_cluster=False) for _ in range(300)], axis=0)
    assert (rate < 0.85).all()


def test_clusters_are_speakers_within_corpora(tmp_path, rng):
    adv = rng.uniform(0, 1, (8, 3))
    more = {"speaker": ["1", "1", "2", "Unknown", "1", "2", "", "2"], "corpus": list("aaaabbbb")}
    found = evaluate(label_set(names(8), adv), table(tmp_path, names(8), adv, **more), resamples=100)
    assert found.groups[0].clusters == 6
    assert (found.resampling.unit, found.resampling.lone_clips) == ("speaker", 2)


def test_by_clip_without_speakers(tmp_path, rng):
    adv = rng.uniform(0, 1, (8, 3))
    found = evaluate(label_set(names(8), adv), table(tmp_path, names(8), adv), resamples=100)
    assert (found.resampling.unit, found.resampling.lone_clips) == ("clip", 0)
    assert found.groups[0].clusters == 8


def test_groups_hold_their_own_clips(tmp_path, rng):
    reference, adv = rng.uniform(0, 1, (2, 30, 3))
    more = {
        "corpus": ["x"] * 30,
        "gender": ["f", "m", ""] * 10,
        "split": ["Test1", "Test2"] * 15,
        "Age": ["old"] * 30,
    }
    labels = label_set(names(30), adv)
    found = evaluate(labels, table(tmp_path, names(30), reference, **more), ("AGE",), resamples=100)
    of = {(group.by, group.value): group for group in found.groups}
    assert list(of) == [
        ("", ""),
        ("split", "Test1"),
        ("split", "Test2"),
        ("gender", "not stated"),
        ("gender", "f"),
        ("gender", "m"),
        ("age", "old"),
    ]
    women = of["gender", "f"]
    assert women.clips == 10
    expected = ccc_formula(labels.adv[::3, 2].astype(float), reference[::3, 2])
    assert women.figures["ccc"]["valence"].value == pytest.approx(expected)
    # A group's interval does not depend on which other groups there are.
    assert of["age", "old"].figures == found.groups[0].figures


def test_one_split_of_the_reference(tmp_path, rng):
    adv = rng.uniform(0, 1, (6, 3))
    splits = ["Test1", "Test1", "Train", "Test1", "Train", "Test1"]
    reference = table(tmp_path, names(6), adv, split=splits)
    found = evaluate(label_set(names(3), adv[:3]), reference, split="test1", resamples=100)
    assert (found.groups[0].clips, found.split_from) == (2, "reference")
    # Rows of other splits that were never labelled are not missing.
    assert (found.unmatched_rows, found.unmatched_files) == (2, 0)
    with pytest.raises(ConfigError, match="no clip to compare is in split Test3") as caught:
        evaluate(label_set(names(3), adv[:3]), reference, split="Test3")
    assert "Test1, Train" in caught.value.hint


def test_one_split_of_the_labels(tmp_path, rng):
    adv = rng.uniform(0, 1, (6, 3))
    labels = label_set(names(6), adv, split=["dev", "test", "test", "dev", "test", "dev"])
    found = evaluate(labels, table(tmp_path, names(3), adv[:3]), split="test", resamples=100)
    assert (found.groups[0].clips, found.split_from) == (2, "labels")
    assert (found.unmatched_rows, found.unmatched_files) == (0, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p, r: (p * 0 + 0.3, r), "all labels are the same"),
        (lambda p, r: (p, r * 0 + 0.3), "all reference values are the same"),
        (lambda p, r: (p[:1], r[:1]), "fewer than 2 clips"),
    ],
)
def test_undefined_is_not_zero(tmp_path, rng, change, reason):
    adv, reference = change(*rng.uniform(0, 1, (2, 9, 3)))
    found = evaluate(
        label_set(names(len(adv)), adv), table(tmp_path, names(len(adv)), reference), resamples=100
    )
    of = figures(found.groups[0])
    for metric in ("ccc", "pearson"):
        assert (of[metric].value, of[metric].interval) == (None, None)
        assert of[metric].how == f"undefined: {reason}"
    assert of["rmse"].value is not None


def test_interval_of_one_speaker_is_undefined(tmp_path, rng):
    adv, reference = rng.uniform(0, 1, (2, 9, 3))
    found = evaluate(label_set(names(9), adv), table(tmp_path, names(9), reference, speaker=["s"] * 9))
    of = figures(found.groups[0])
    assert of["ccc"].value is not None
    assert {figure.interval for figure in of.values()} == {None}
    assert found.groups[0].few_clusters


def test_interval_is_undefined_where_too_many_resamples_are(rng):
    p, r = rng.uniform(0, 1, (2, 3, 1))
    # Of three clips, one resample in nine is the same clip three times.
    found = intervals(p, r, np.arange(3), 500, 0)
    assert np.isnan(found["ccc"]).all()
    assert np.isfinite(found["rmse"]).all()


def test_pieces_of_a_file_are_averaged_by_duration():
    adv = np.array([[0.2, 0.0, 1.0], [0.9, 0.3, 0.3], [0.8, 0.4, 0.0]])
    labels = label_set(["b.wav", "a.wav", "b.wav"], adv, start_s=[0.0, 0.0, 6.0], end_s=[6.0, 1.0, 8.0])
    files = average_files(labels)
    assert files.file == ["a.wav", "b.wav"]
    np.testing.assert_allclose(files.adv, [[0.9, 0.3, 0.3], [0.35, 0.1, 0.75]], atol=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"end_s": [0.0, 0.0]}, "a.wav lasts 0 s"), ({"split": ["test", "dev"]}, "a.wav is in two splits")],
)
def test_impossible_pieces(change, message):
    with pytest.raises(AudioError, match=message):
        average_files(label_set(["a.wav", "a.wav"], np.zeros((2, 3)), **change))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("a/x.wav", "a/x.wav"),
        ("a/x.wav", "./a/x.wav"),
        ("a/x.wav", "a\\x.wav"),
        ("x.wav", "free/a/x.wav"),
        ("free/a/x.wav", "x.wav"),
        ("a/x.flac", "x"),
        ("x.flac", "a/x.wav"),
        ("x.1.flac", "x.1"),
    ],
)
def test_names_that_match(tmp_path, ours, theirs):
    files = average_files(label_set([ours, "other/y.wav"], np.zeros((2, 3))))
    pairs = match(files, table(tmp_path, [theirs, "z.wav"], np.zeros((2, 3))))
    assert [(files.file[i], j) for i, j in pairs] == [(ours, 0)]


@pytest.mark.parametrize("theirs", ["xx.wav", "b/x.wav", "x.wav.wav", "a", ".", "./"])
def test_names_that_do_not(tmp_path, theirs):
    files = average_files(label_set(["a/x.wav"], np.zeros((1, 3))))
    with pytest.raises(AudioError, match=r"none of its 1 labelled rows \(first: .*\) speaks of one of the 1"):
        match(files, table(tmp_path, [theirs], np.zeros((1, 3))))


def test_the_same_name_goes_before_an_ending(tmp_path):
    files = average_files(label_set(["a/x.wav", "x.wav"], np.zeros((2, 3))))
    reference = table(tmp_path, ["x.wav", "c/a/x.wav"], np.zeros((2, 3)))
    assert match(files, reference) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (["a/x.wav", "b/x.wav"], ["x.wav"], r"line 2 \(x\.wav\) could be a/x\.wav or b/x\.wav"),
        (["x.wav"], ["a/x.wav", "b/x.wav"], r"x\.wav could be line 2 \(a/x\.wav\) or line 3 \(b/x\.wav\)"),
        (["x.wav"], ["x.wav", "x.wav"], r"x\.wav could be line 2 \(x\.wav\) or line 3 \(x\.wav\)"),
        (["x.wav"], ["x.flac", "x.ogg"], r"x\.wav could be line 2 \(x\.flac\) or line 3"),
        ([f"{i}/x.wav" for i in range(9)], ["x"], r"3/x\.wav or 5 more"),
    ],
)
def test_ambiguous_names_are_named(tmp_path, ours, theirs, message):
    files = average_files(label_set(ours, np.zeros((len(ours), 3))))
    with pytest.raises(AudioError, match=message) as caught:
        match(files, table(tmp_path, theirs, np.zeros((len(theirs), 3))))
    assert caught.value.hint


def test_rows_without_partner_are_counted(tmp_path, rng):
    adv = rng.uniform(0, 1, (5, 3))
    found = evaluate(label_set(names(5)[1:], adv[1:]), table(tmp_path, names(4), adv[:4]), resamples=100)
    assert (found.unmatched_files, found.unmatched_rows, found.groups[0].clips) == (1, 1, 3)


def test_unknown_column(tmp_path, rng):
    adv = rng.uniform(0, 1, (4, 3))
    with pytest.raises(ConfigError, match="has no column mood to group by") as caught:
        evaluate(label_set(names(4), adv), table(tmp_path, names(4), adv, age=[1, 2, 3, 4]), ("mood",))
    assert "age, split" in caught.value.hint
