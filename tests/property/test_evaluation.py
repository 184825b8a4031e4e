"""What holds of agreement figures and their intervals, whatever the values."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from unit.edgekit.labelled import label_set

from edgekit.evaluation import Reference, evaluate
from edgekit.evaluation.bootstrap import _figures, _sums, intervals
from edgekit.evaluation.reference import TABLE
from edgekit.metrics import ccc, is_constant, pearson, rmse

# Labels are float32: values on a grid, so that no variance is mere rounding.
VALUES = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
PAIRS = st.integers(2, 30).flatmap(
    lambda n: st.tuples(*[arrays.arrays(np.float64, (n, 3), elements=VALUES)] * 2)
)
SEEDS = st.integers(0, 1000)


def reference_of(files, adv, speakers):
    places = [f"line {i}" for i in range(len(files))]
    return Reference("t.csv", TABLE, list(files), places, adv, {"speaker": list(speakers)}, 0)


@given(PAIRS)
def test_ccc_is_at_most_pearson(pair):
    for p, r in zip(*(side.T for side in pair), strict=True):
        assume(not is_constant(p) and not is_constant(r))
        assert abs(ccc(p, r)) <= abs(pearson(p, r)) + 1e-9


@given(PAIRS, st.integers(1, 6))
def test_sums_over_clusters_give_the_figures(pair, clusters):
    p, r = pair
    sums = _sums(p, r, np.arange(len(p)) % min(clusters, len(p)))
    found = _figures(sums.sum(axis=0).reshape(1, -1))
    for name, figure in (("ccc", ccc), ("pearson", pearson), ("rmse", rmse)):
        for d in range(3):
            constant = is_constant(p[:, d]) or is_constant(r[:, d])
            expected = np.nan if constant and name != "rmse" else figure(p[:, d], r[:, d])
            np.testing.assert_allclose(found[name][0, d], expected, rtol=1e-7, atol=1e-9)


@settings(max_examples=25)
@given(PAIRS, st.data(), SEEDS)
def test_the_order_of_rows_changes_nothing(pair, data, seed):
    adv, reference = pair
    files = [f"{i}.wav" for i in range(len(adv))]
    speakers = [str(i % 4) for i in range(len(adv))]
    ours, theirs = (data.draw(st.permutations(range(len(adv)))) for _ in range(2))
    found = [
        evaluate(
            label_set([files[i] for i in mine], adv[list(mine)]),
            reference_of([files[i] for i in other], reference[list(other)], [speakers[i] for i in other]),
            resamples=100,
            seed=seed,
        ).groups
        for mine, other in ((range(len(adv)), range(len(adv))), (ours, theirs))
    ]
    assert found[0] == found[1]


@settings(max_examples=25)
@given(PAIRS, SEEDS)
def test_a_speaker_per_clip_is_the_same_as_no_speaker(pair, seed):
    adv, reference = pair
    files = [f"{i:02d}.wav" for i in range(len(adv))]
    labels = label_set(files, adv)
    by_speaker, by_clip = (
        evaluate(labels, reference_of(files, reference, speakers), resamples=100, seed=seed)
        for speakers in ([f"{i:02d}" for i in range(len(adv))], [""] * len(adv))
    )
    assert by_speaker.groups == by_clip.groups
    assert (by_speaker.resampling.unit, by_clip.resampling.unit) == ("speaker", "clip")


@settings(max_examples=25)
@given(SEEDS, st.integers(10, 40), st.floats(0.05, 1))
def test_the_interval_holds_the_estimate(seed, clusters, noise):
    rng = np.random.default_rng(seed)
    r = rng.normal(size=(clusters * 3, 1))
    p = 0.8 * r + noise * rng.normal(size=r.shape)
    found = intervals(p, r, np.arange(len(r)) % clusters, 300, seed)
    for name, figure in (("ccc", ccc), ("pearson", pearson), ("rmse", rmse)):
        low, high = found[name][:, 0]
        assert low < figure(p[:, 0], r[:, 0]) < high
