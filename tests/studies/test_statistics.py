"""Statistics over seeds, against values computed by hand and by slower loops."""

import itertools

import numpy as np
import pytest

from surefoot.evaluation import statistics as of_episodes
from surefoot.studies.statistics import (
    curve_band,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    time_to_threshold,
)

FIVE = np.array([4.0, 1.0, 100.0, 2.0, 3.0])


def bootstrap(strata, statistic, resamples=4000):
    """Return a 95 % interval by a plain loop."""
    rng = np.random.default_rng(7)
    values = [statistic([rng.choice(seeds, len(seeds)) for seeds in strata]) for _ in range(resamples)]
    return np.quantile(values, [0.025, 0.975])


def test_the_interquartile_mean_leaves_out_the_best_and_the_worst_of_five():
    assert interquartile_mean([FIVE]).value == 3.0
    assert interquartile_mean([FIVE]).value == of_episodes.interquartile_mean(FIVE)


def test_the_interval_of_several_tasks_resamples_the_seeds_of_each():
    rng = np.random.default_rng(0)
    tasks = [rng.normal(centre, 1.0, size) for centre, size in ((0.0, 6), (10.0, 5))]
    estimate = interquartile_mean(tasks)
    low, high = bootstrap(tasks, lambda drawn: of_episodes.interquartile_mean(np.concatenate(drawn)))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.1)
    # Resampling the eleven scores together would draw more of one task than of the other.
    pooled = interquartile_mean([np.concatenate(tasks)])
    assert pooled.high - pooled.low > 2 * (estimate.high - estimate.low)


def test_one_seed_has_no_interval():
    for estimate in (interquartile_mean([np.array([3.0])]), probability_of_improvement([FIVE], [np.array([2.5])])):
        assert (estimate.low, estimate.high) == (None, None)
    value, low, high = curve_band(np.array([[1.0, 2.0]]))
    assert value.tolist() == low.tolist() == high.tolist() == [1.0, 2.0]


def test_the_probability_of_improvement_counts_pairs_and_half_of_ties():
    ours, theirs = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0])
    # (1, 2) loses, (2, 2) ties, the other four win.
    assert probability_of_improvement([ours], [theirs]).value == pytest.approx(4.5 / 6)
    assert probability_of_improvement([theirs], [ours]).value == pytest.approx(1.5 / 6)
    assert probability_of_improvement([ours, ours], [theirs, ours + 10]).value == pytest.approx(4.5 / 6 / 2)


def test_the_interval_of_an_improvement_resamples_both_methods():
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(0.5, 1.0, 6), rng.normal(0.0, 1.0, 7)
    estimate = probability_of_improvement([ours], [theirs])
    low, high = bootstrap(
        [ours, theirs], lambda drawn: np.mean([a > b or 0.5 * (a == b) for a, b in itertools.product(*drawn)])
    )
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.03)


def test_a_profile_falls_from_one_to_zero():
    value, low, high = performance_profile([FIVE], np.array([0.0, 2.0, 50.0, 100.0]))
    assert value.tolist() == pytest.approx([1.0, 0.6, 0.2, 0.0])
    assert (low <= value).all() and (value <= high).all()
    assert high[0] == low[0] == 1.0 and high[1] > low[1]


def test_a_band_contains_its_curve():
    curves = np.linspace(0, 1, 9) + np.random.default_rng(2).normal(0, 0.1, (5, 9))
    value, low, high = curve_band(curves)
    assert value.tolist() == pytest.approx([of_episodes.interquartile_mean(column) for column in curves.T])
    assert (low < value).all() and (value < high).all()


@pytest.mark.parametrize(
    "returns, expected",
    [
        ([[0, 5, 9], [5, 5, 1], [0, 0, 5]], (3, 3, 20.0, 10.0, 30.0)),
        ([[0, 5, 9], [0, 0, 0], [0, 0, 5]], (2, 3, 30.0, 20.0, None)),
        ([[0, 5, 9], [0, 0, 0], [0, 0, 0]], (1, 3, None, 20.0, None)),
        ([[0, 5, 9], [0, 0, 0]], (1, 2, None, 20.0, None)),
        ([[0, 0, 0]], (0, 1, None, None, None)),
    ],
)
def test_a_seed_that_does_not_reach_the_threshold_counts_as_infinitely_late(returns, expected):
    times = [np.array([10.0, 20.0, 30.0])] * len(returns)
    result = time_to_threshold(times, [np.array(values, float) for values in returns], 5.0)
    assert (result.reached, result.seeds, result.median, result.first, result.last) == expected
