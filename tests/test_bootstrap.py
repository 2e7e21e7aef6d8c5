"""Bootstrap intervals against a naive loop, and how often they hold the truth."""

import numpy as np
import pytest

from mmkit import bootstrap


def naive(values, groups, draws, seed):
    """Draw groups, lay their rows beside each other, take the mean."""
    rng, count = np.random.default_rng(seed), groups.max() + 1
    found = []
    for chosen in (rng.integers(0, count, count) for _ in range(draws)):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in chosen])
        found.append(np.nanmean(values[rows], 0))
    return np.array(found)


def test_means_and_statistics_are_those_of_a_naive_loop():
    rng = np.random.default_rng(1)
    values, groups = rng.random((30, 2)), np.sort(rng.integers(0, 9, 30))
    groups = np.unique(groups, return_inverse=True)[1]
    values[3, 1] = np.nan
    expected = naive(values, groups, 50, 7)
    assert np.allclose(bootstrap.means(values, groups, 50, 7), expected)
    found = bootstrap.statistics(lambda rows: {"a": values[rows, 0].mean()}, groups, 50, 7)
    assert np.allclose(found["a"], expected[:, 0])


def test_chunks_change_nothing(monkeypatch):
    values = np.random.default_rng(2).random((20, 3))
    whole = bootstrap.means(values, draws=40)
    monkeypatch.setattr(bootstrap, "CHUNK", 60)
    assert np.allclose(bootstrap.means(values, draws=40), whole, rtol=1e-12)


def test_rows_of_a_group_stay_together():
    """Ten equal copies of each row say nothing new: the interval is as wide as without them."""
    values = np.random.default_rng(3).random((40, 1))
    alone = bootstrap.interval(bootstrap.means(values)[:, 0])
    copies = bootstrap.interval(bootstrap.means(np.repeat(values, 10, 0), np.repeat(np.arange(40), 10))[:, 0])
    assert np.allclose(alone, copies)


def test_nothing_gives_nan():
    assert np.isnan(bootstrap.interval(np.array([]))).all()
    assert np.isnan(bootstrap.means(np.full((3, 1), np.nan), draws=5)).all()


@pytest.mark.parametrize("kind", ["recall", "ratio of groups", "median"])
def test_the_interval_holds_the_truth_in_about_95_of_100_draws(kind):
    rng, held, trials = np.random.default_rng(4), 0, 200
    for trial in range(trials):
        if kind == "recall":
            truth, values, groups = 0.7, (rng.random((150, 1)) < 0.7).astype(float), None
        elif kind == "ratio of groups":  # five captions an image, as right or wrong as their image is easy
            easy = rng.beta(2, 2, 120)
            groups = np.repeat(np.arange(120), 5)
            truth, values = 0.5, (rng.random((600, 1)) < easy[groups, None]).astype(float)
        else:
            truth, values, groups = np.log(2), rng.exponential(1, (151, 1)), np.arange(151)
        if kind == "median":
            drawn = bootstrap.statistics(lambda rows: {"m": float(np.median(values[rows]))}, groups, 300, trial)["m"]  # noqa: B023
        else:
            drawn = bootstrap.means(values, groups, 400, trial)[:, 0]
        low, high = bootstrap.interval(drawn)
        held += low <= truth <= high
    assert 0.9 <= held / trials <= 0.99
